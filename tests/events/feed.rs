//! The feed as a reader sees it. `fence` proves that it has no holes.

use crate::events::fence::fixtures::{ACME, DEFAULT, Ground, append};
use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    Error, Event, EventStore, FeedOptions, NewMessage, RawEvent, Recorded, Result,
    database::DatabaseError, events::MessageKind,
};
use postgres::error::SqlState;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A reader that knows less than was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
enum Confirmation {
    ShoppingCartConfirmed { client_id: String },
}

impl Event for Confirmation {}

fn confirmed() -> CartEvent {
    CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 10.0,
    }
}

fn positions<E: Event>(feed: impl Iterator<Item = Result<Recorded<E>>>) -> Result<Vec<u64>> {
    feed.map(|message| Ok(message?.global_position)).collect()
}

fn all(store: &EventStore) -> Result<Vec<u64>> {
    positions(store.read_all::<RawEvent>(FeedOptions::new()))
}

#[test]
fn an_empty_feed_ends_at_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let mut feed = store.read_all::<RawEvent>(FeedOptions::new());

    assert!(feed.next().is_none());
    assert_eq!(feed.position(), 0);
    Ok(())
}

#[test]
fn all_streams_come_in_global_order_with_what_was_recorded() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let command = NewMessage::new(confirmed())
        .kind(MessageKind::Command)
        .message_id("confirm-1")
        .metadata("clientId", "anna");
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.append_to_stream("Cart-2", &[added("socks", 2)])?;
    store.append_to_stream("Cart-1", &[command])?;

    let messages: Vec<_> = store
        .read_all::<CartEvent>(FeedOptions::new())
        .collect::<Result<_>>()?;

    let places: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                message.global_position,
                &*message.stream_name,
                message.stream_position,
            )
        })
        .collect();
    assert_eq!(
        places,
        [(1, "Cart-1", 1), (2, "Cart-2", 1), (3, "Cart-1", 2)]
    );
    let last = &messages[2];
    assert_eq!(
        (&last.event, last.kind),
        (&confirmed(), MessageKind::Command)
    );
    assert_eq!(last.message_id, "confirm-1");
    assert_eq!(last.metadata["clientId"], json!("anna"));
    Ok(())
}

#[test]
fn batches_of_any_size_give_the_same_feed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for stream in ["Cart-1", "Cart-2", "Cart-3"] {
        store.append_to_stream(stream, &[added("shoes", 1), confirmed()])?;
    }

    for batch_size in [1, 2, 3, 6, 7, usize::MAX] {
        let options = FeedOptions::new().batch_size(batch_size);
        let everything = positions(store.read_all::<CartEvent>(options.clone()))?;
        let some_types = positions(store.read_all::<Confirmation>(options.clone()))?;
        let behind = positions(store.read_all::<CartEvent>(options.after(4)))?;

        assert_eq!(everything, [1, 2, 3, 4, 5, 6], "{batch_size}");
        assert_eq!(some_types, [2, 4, 6], "{batch_size}");
        assert_eq!(behind, [5, 6], "{batch_size}");
    }
    Ok(())
}

#[test]
fn a_later_reader_goes_on_at_the_position_of_an_earlier_one() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), confirmed(), confirmed()])?;
    let mut earlier = store.read_all::<CartEvent>(FeedOptions::new().batch_size(2));

    let mut met = vec![earlier.position()];
    while let Some(message) = earlier.next() {
        message?;
        met.push(earlier.position());
    }

    assert_eq!(met, [0, 1, 2, 3]);
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    for position in met {
        let later = store.read_all::<CartEvent>(FeedOptions::new().after(position));
        assert_eq!(positions(later)?, (position + 1..=4).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn a_reader_moves_over_types_that_it_does_not_know() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), confirmed()])?;
    store.append_to_stream("Cart-2", &[added("shoes", 1), added("socks", 1)])?;
    let mut feed = store.read_all::<Confirmation>(FeedOptions::new());

    let found = positions(&mut feed)?;

    assert_eq!(found, [2]);
    assert_eq!(feed.position(), 4);
    Ok(())
}

#[test]
fn messages_that_arrive_while_the_feed_is_read_are_delivered() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut feed = store.read_all::<CartEvent>(FeedOptions::new());
    assert_eq!(feed.next().unwrap()?.global_position, 1);

    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert_eq!(feed.next().unwrap()?.global_position, 2);
    assert!(feed.next().is_none());
    Ok(())
}

#[test]
fn the_horizon_is_below_the_head_while_an_append_is_open() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    store.append_to_stream("Cart-3", &[added("shoes", 1)])?;

    let horizon = store.feed_horizon(0)?;
    let readable = all(&store)?;
    session.commit()?;

    assert_eq!((horizon.position, horizon.head), (1, 3));
    assert_eq!(readable, [1]);
    let horizon = store.feed_horizon(1)?;
    assert_eq!((horizon.position, horizon.head), (3, 3));
    assert_eq!(all(&store)?, [1, 2, 3]);
    Ok(())
}

#[test]
fn a_rollback_sets_the_feed_free_and_leaves_no_hole_that_stops_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[added("shoes", 1), added("socks", 1)])?;
    store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    let held = all(&store)?;

    session.rollback()?;

    assert!(held.is_empty());
    assert_eq!(all(&store)?, [3]);
    let mut feed = store.read_all::<RawEvent>(FeedOptions::new().batch_size(1));
    assert_eq!(positions(&mut feed)?, [3]);
    assert_eq!(feed.position(), 3);
    Ok(())
}

#[test]
fn a_part_of_a_session_that_was_taken_back_does_not_hold_the_feed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut session = store.begin()?;
    let part: Result<()> = session.nested(|part| {
        part.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        anyhow::bail!("changed its mind")
    });
    assert!(matches!(part, Err(Error::Session { .. })));

    store.append_to_stream("Cart-2", &[added("shoes", 1)])?;

    assert_eq!(all(&store)?, [2]);
    Ok(())
}

#[test]
fn the_position_of_a_reader_never_goes_back() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("socks", 1)])?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-2", &[added("shoes", 1)])?;

    // Somebody else has told this reader a position that is not readable yet.
    let mut feed = store.read_all::<RawEvent>(FeedOptions::new().after(3));

    assert!(feed.next().is_none());
    assert_eq!(feed.position(), 3);
    Ok(())
}

#[test]
fn each_tenant_has_a_feed_of_its_own() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut client = ground.client()?;
    for partition in [DEFAULT, ACME, DEFAULT, ACME] {
        append(&mut client, partition, "Note-1")?;
    }

    assert_eq!(all(&ground.store)?, [1, 3]);
    assert_eq!(all(&ground.acme)?, [2, 4]);
    Ok(())
}

#[test]
fn a_message_that_does_not_fit_is_an_error_that_names_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let unfit = RawEvent::new("ShoppingCartConfirmed", json!({ "clientId": 5 }));
    store.append_to_stream("Cart-1", &[unfit])?;

    let refused = store.read_all::<Confirmation>(FeedOptions::new()).next();

    let Some(Err(Error::Decode {
        stream,
        version,
        message_type,
        ..
    })) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((&*stream, version), ("Cart-1", 1));
    assert_eq!(message_type, "ShoppingCartConfirmed");
    Ok(())
}

#[test]
fn a_sequence_behind_the_reader_is_an_error() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    append(&mut ground.client()?, DEFAULT, "Note-1")?;

    let mut feed = ground
        .store
        .read_all::<RawEvent>(FeedOptions::new().after(100));
    let refused = feed.next();
    let ended = feed.next();

    assert_eq!(
        sql_state(refused.as_ref()),
        Some(&SqlState::from_code("SE003"))
    );
    assert!(ended.is_none());
    assert_eq!(feed.position(), 100);
    Ok(())
}

#[test]
fn a_sequence_that_was_restarted_beyond_the_reader_lets_it_go_on() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let restart = "ALTER SEQUENCE public.emt_global_message_position RESTART WITH 101";
    ground.client()?.batch_execute(restart)?;

    let before = ground.store.feed_horizon(100)?;
    append(&mut ground.client()?, DEFAULT, "Note-1")?;

    assert_eq!((before.position, before.head), (100, 100));
    assert_eq!(all(&ground.store)?, [101]);
    Ok(())
}

#[test]
fn the_feed_is_read_at_read_committed_only() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    append(&mut ground.client()?, DEFAULT, "Note-1")?;

    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut client = ground.client()?;
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}"))?;
        let refused = client.query("SELECT public.emt_horizon($1, 0)", &[&DEFAULT]);

        let code = refused.unwrap_err().code().cloned();
        assert_eq!(code, Some(SqlState::from_code("SE001")), "{isolation}");
    }
    Ok(())
}

fn sql_state<T>(result: Option<&Result<T>>) -> Option<&SqlState> {
    match result {
        Some(Err(Error::Database(DatabaseError::Statement { source, .. }))) => source.code(),
        _ => None,
    }
}

/// Close and far messages by turns, of two types, some of them large and some archived.
const CLOSE_AND_FAR: &str = "
    INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata, is_archived)
    SELECT 'Note-' || stream, 1000, 'Note', '{}', stream = 3 FROM generate_series(0, 3) AS stream;
    INSERT INTO emt_messages (stream_id, stream_position, global_position, message_schema_version, message_id, message_type,
                              message_data, message_metadata, is_archived)
    SELECT 'Note-' || number % 4, number / 4 + 1, number + 9 * greatest(0, number - 2500) - 9 * greatest(0, number - 3000), '1',
           gen_random_uuid(), CASE number % 3 WHEN 0 THEN 'Noted' ELSE 'Read' END,
           jsonb_build_object('text', repeat('x', CASE number % 500 WHEN 7 THEN 90000 ELSE 1 END)), '{}', number % 4 = 3
      FROM generate_series(1, 4000) AS number;
    SELECT setval('emt_global_message_position', (SELECT max(global_position) FROM emt_messages))";

#[test]
fn pages_of_close_and_of_far_messages_are_one_feed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    client.batch_execute(CLOSE_AND_FAR)?;
    let by_hand =
        "SELECT global_position FROM emt_messages WHERE $1 OR message_type = 'Noted' ORDER BY 1";
    for is_all in [true, false] {
        let rows = client.query(by_hand, &[&is_all])?;
        let stored = rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned());
        let stored: Vec<u64> = stored.collect();
        for batch in [499, 500, 701, 1_000, 5_000, usize::MAX] {
            let options = FeedOptions::new()
                .batch_size(batch)
                .max_batch_bytes(400_000);
            let read = if is_all {
                positions(store.read_all::<RawEvent>(options))?
            } else {
                positions(store.read_all::<Noted>(options))?
            };
            assert_eq!(read, stored, "all: {is_all}, {batch} at a time");
        }
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
enum Noted {
    Noted { text: String },
}
impl Event for Noted {}
