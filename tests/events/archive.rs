//! The archive: appends and reads skip its streams, but the feed keeps them.

use crate::events::fence::fixtures::{
    ACME, Change, DEFAULT, Ground, Reader, append, fails_without,
};
use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    AppendOptions, Appended, ConnectionOptions, Error, EventStore, ExpectedVersion, FeedOptions,
    RawEvent, ReadOptions, Result, StreamMessages,
};
use postgres::error::SqlState;
use postgres::{Client, IsolationLevel};
use serde_json::{Map, json};
use std::sync::{Barrier, Mutex};
use std::thread;

#[test]
fn an_archived_stream_is_read_only_on_request() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("socks", 2)])?;

    let version = store.archive_stream("Cart-1")?;

    assert_eq!(version, Some(2));
    assert!(!store.stream_exists("Cart-1")?);
    assert_eq!(store.stream_metadata("Cart-1")?, None);
    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!((read.current_version, read.events.len()), (0, 0));
    let on_request = ReadOptions::new().include_archived();
    let read = store.read_stream_with::<CartEvent>("Cart-1", on_request)?;
    assert_eq!((read.current_version, read.events.len()), (2, 2));
    Ok(())
}

#[test]
fn an_archived_stream_refuses_every_append_and_names_its_version() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("socks", 2)])?;
    store.archive_stream("Cart-1")?;

    for expected in [
        ExpectedVersion::Any,
        ExpectedVersion::DoesNotExist,
        ExpectedVersion::Exists,
        ExpectedVersion::Exact(2),
    ] {
        let options = AppendOptions::new().expect(expected);
        let refused = store.append_to_stream_with("Cart-1", &[added("shoes", 1)], options);

        assert!(
            matches!(&refused, Err(Error::StreamArchived { stream, version: 2, .. }) if stream == "Cart-1"),
            "{expected}: {refused:?}"
        );
    }
    assert_eq!(store.unarchive_stream("Cart-1")?, Some(2));
    Ok(())
}

#[test]
fn a_session_goes_on_after_an_archived_stream_has_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.archive_stream("Cart-1")?;

    store.with_session(|session| {
        let refused = session.append_to_stream("Cart-1", &[added("shoes", 1)]);
        assert!(matches!(refused, Err(Error::StreamArchived { .. })));
        session.append_to_stream("Cart-2", &[added("shoes", 1)])?;
        Ok(())
    })?;

    assert!(!store.stream_exists("Cart-1")?);
    assert!(store.stream_exists("Cart-2")?);
    Ok(())
}

#[test]
fn an_unarchived_stream_is_as_it_was_and_goes_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("socks", 2)])?;
    let owner = Map::from_iter([("owner".to_owned(), json!("anna"))]);
    store.set_stream_metadata("Cart-1", &owner)?;
    let before = store.read_stream::<CartEvent>("Cart-1")?;
    store.archive_stream("Cart-1")?;

    let version = store.unarchive_stream("Cart-1")?;

    assert_eq!(version, Some(2));
    let after = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(after.events, before.events);
    assert_eq!(store.stream_metadata("Cart-1")?, Some(owner));
    let appended = store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    assert_eq!(appended.next_expected_version, 3);
    Ok(())
}

#[test]
fn moving_a_stream_that_is_not_there_does_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert_eq!(store.archive_stream("Cart-2")?, None);
    assert_eq!(store.unarchive_stream("Cart-1")?, None);
    store.archive_stream("Cart-1")?;
    assert_eq!(store.archive_stream("Cart-1")?, None);
    Ok(())
}

#[test]
fn a_stream_of_the_same_name_in_another_tenant_stays() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    for store in [&ground.store, &ground.acme] {
        store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    }

    ground.acme.archive_stream("Cart-1")?;

    assert!(ground.store.stream_exists("Cart-1")?);
    assert!(!ground.acme.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn the_feed_delivers_archived_messages_where_they_were() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for stream in ["Cart-1", "Cart-2", "Cart-1"] {
        store.append_to_stream(stream, &[added("shoes", 1)])?;
    }
    let read = |options| -> Result<Vec<_>> { store.read_all::<CartEvent>(options).collect() };
    let before = read(FeedOptions::new())?;

    store.archive_stream("Cart-1")?;

    assert_eq!(read(FeedOptions::new())?, before);
    assert_eq!(
        read(FeedOptions::new().after(1).batch_size(1))?,
        before[1..]
    );
    store.unarchive_stream("Cart-1")?;
    assert_eq!(read(FeedOptions::new())?, before);
    Ok(())
}

/// Whether an append is refused that has waited for the move of its stream to the archive.
fn is_refused_after_the_move<T: Send>(
    ground: &Ground,
    append: impl FnOnce(&EventStore) -> Result<T> + Send,
) -> anyhow::Result<bool> {
    ground.store.append_to_stream("Note-1", &[noted()])?;
    let mut archiving = ground.begin()?;
    archiving.query(
        "SELECT public.emt_stream_move('Note-1', $1, TRUE)",
        &[&DEFAULT],
    )?;
    let appended = thread::scope(|scope| {
        let waiting = scope.spawn(|| append(&ground.store));
        ground.wait_for_waiting(1)?;
        archiving.batch_execute("COMMIT")?;
        anyhow::Ok(waiting.join().expect("the writer does not panic"))
    })?;
    let refused = matches!(appended, Err(Error::StreamArchived { version: 1, .. }));
    Ok(refused && Sides::of(ground, "Note-1")?.archived.streams == 1)
}

#[test]
fn an_append_that_waited_for_the_move_to_the_archive_is_refused() -> anyhow::Result<()> {
    let look_into_the_archive = Change::Rewrite {
        function: "emt_append_refusal",
        replace: "IF (SELECT tenant.has_archived",
        with: "IF FALSE AND (SELECT tenant.has_archived",
    };

    fails_without(&[look_into_the_archive], |ground| {
        is_refused_after_the_move(ground, |store| store.append_to_stream("Note-1", &[noted()]))
    })
}

#[test]
fn an_append_to_several_streams_that_waited_for_the_move_of_one_is_refused() -> anyhow::Result<()> {
    let look_at_the_archive = Change::Rewrite {
        function: "emt_append_several_in_emt_default",
        replace: "IF _has_new THEN",
        with: "IF FALSE THEN",
    };

    fails_without(&[look_at_the_archive], |ground| {
        let is_refused = is_refused_after_the_move(ground, |store| {
            let streams = ["Note-1", "Note-2"];
            let streams = streams.map(|name| StreamMessages::new(name, &[noted()]));
            store.append_to_streams(streams.into_iter().collect::<Result<_>>()?)
        })?;
        let other = ground.store.read_stream::<RawEvent>("Note-2")?;
        Ok(is_refused && other.current_version == 0)
    })
}

#[test]
fn a_move_that_waited_for_an_append_takes_its_messages_along() -> anyhow::Result<()> {
    let messages_in_a_later_statement = Change::Sql(
        "CREATE OR REPLACE FUNCTION public.emt_stream_move(_stream_id TEXT, _partition TEXT, _to_archive BOOLEAN)
             RETURNS BIGINT LANGUAGE sql AS $$
         WITH messages AS (
             UPDATE public.emt_messages SET is_archived = $3 WHERE stream_id = $1 AND partition = $2
         ), moved AS (
             DELETE FROM public.emt_streams_emt_default_active WHERE stream_id = $1 RETURNING stream_position
         )
         INSERT INTO public.emt_streams (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
         SELECT $1, stream_position, $2, 'Note', '{}', $3 FROM moved
         RETURNING stream_position
         $$",
    );

    fails_without(&[messages_in_a_later_statement], |ground| {
        ground.store.append_to_stream("Note-1", &[noted()])?;
        let mut appending = ground.begin()?;
        append(&mut appending, DEFAULT, "Note-1")?;
        let version = thread::scope(|scope| {
            let waiting = scope.spawn(|| ground.store.archive_stream("Note-1"));
            ground.wait_for_waiting(1)?;
            appending.batch_execute("COMMIT")?;
            anyhow::Ok(waiting.join().expect("the archiver does not panic")?)
        })?;
        Ok(version == Some(2) && Sides::of(ground, "Note-1")?.archived.versions == [1, 2])
    })
}

fn noted() -> RawEvent {
    RawEvent::new("Noted", json!({}))
}

const THREADS: usize = 16;
const STREAMS: usize = 20;

/// Something that one thread does to a stream; what it has appended, if anything.
type Action = fn(&EventStore, &mut Client, &str) -> anyhow::Result<Option<Appended>>;

#[test]
fn no_race_of_appends_and_moves_leaves_two_rows_of_a_stream() -> anyhow::Result<()> {
    assert_one_row_after_races_of(&[archive, unarchive, append_two, append_two])
}

#[test]
fn no_race_of_appends_with_old_snapshots_leaves_two_rows_of_a_stream() -> anyhow::Result<()> {
    assert_one_row_after_races_of(&[append_two, append_above_read_committed, archive])
}

fn assert_one_row_after_races_of(actions: &[Action]) -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let store = EventStore::builder(ground.database.url())
        .connection_options(ConnectionOptions::new().pool_size(THREADS.try_into()?))
        .open()?
        .tenant(ACME)?;

    for number in 0..STREAMS {
        let stream = format!("Note-{number}");
        let mut versions = race(&ground, &store, &stream, actions)?;

        versions.sort_unstable();
        let sides = Sides::of_tenant(&ground, ACME, &stream)?;
        let (side, other) = match sides.active.streams {
            0 => (sides.archived, sides.active),
            _ => (sides.active, sides.archived),
        };
        assert_eq!(other, Side::default(), "{stream}");
        assert_eq!(side.streams, 1, "{stream}");
        assert_eq!(side.versions, versions, "{stream}");
        assert_eq!(versions, (1..=side.version).collect::<Vec<_>>(), "{stream}");
    }
    assert_feed_is_complete(&ground)
}

/// Lets all threads loose on one stream. Returns the versions of what was appended.
fn race(
    ground: &Ground,
    store: &EventStore,
    stream: &str,
    actions: &[Action],
) -> anyhow::Result<Vec<i64>> {
    let (start, versions) = (Barrier::new(THREADS), Mutex::new(Vec::new()));
    let act = |number: usize| {
        let mut client = ground.client()?;
        start.wait();
        for action in actions.iter().cycle().skip(number).take(3) {
            match action(store, &mut client, stream) {
                Err(error) if may_happen(&error) => {}
                done => versions
                    .lock()
                    .unwrap()
                    .extend(done?.iter().flat_map(versions_of)),
            }
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || act(number)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap())
    })?;
    Ok(versions.into_inner()?)
}

/// The stream is archived, or a transaction of the test's own could not be serialized.
fn may_happen(error: &anyhow::Error) -> bool {
    match (error.downcast_ref::<Error>(), error.downcast_ref()) {
        (Some(error), _) => error.is_retryable() || matches!(error, Error::StreamArchived { .. }),
        (None, Some(driver)) => {
            postgres::Error::code(driver) == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
        }
        (None, None) => false,
    }
}

fn archive(store: &EventStore, _: &mut Client, stream: &str) -> anyhow::Result<Option<Appended>> {
    Ok(store.archive_stream(stream).map(|_| None)?)
}

fn unarchive(store: &EventStore, _: &mut Client, stream: &str) -> anyhow::Result<Option<Appended>> {
    Ok(store.unarchive_stream(stream).map(|_| None)?)
}

fn append_two(
    store: &EventStore,
    _: &mut Client,
    stream: &str,
) -> anyhow::Result<Option<Appended>> {
    Ok(Some(store.append_to_stream(stream, &[noted(), noted()])?))
}

/// May fail to serialize with the others, and has stored nothing then.
fn append_above_read_committed(
    store: &EventStore,
    client: &mut Client,
    stream: &str,
) -> anyhow::Result<Option<Appended>> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()?;
    transaction.batch_execute("SELECT")?;
    let appended = store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream(stream, &[noted(), noted()])?)
    })?;
    transaction.commit()?;
    Ok(Some(appended))
}

fn versions_of(appended: &Appended) -> [i64; 2] {
    let last = appended.next_expected_version.cast_signed();
    [last - 1, last]
}

fn assert_feed_is_complete(ground: &Ground) -> anyhow::Result<()> {
    let mut reader = Reader::new(&ground.acme);

    reader.read()?;

    assert_eq!(reader.seen, ground.stored(ACME)?);
    Ok(())
}

/// What is stored of a stream, outside the archive and in it.
struct Sides {
    active: Side,
    archived: Side,
}

#[derive(Debug, Default, PartialEq)]
struct Side {
    /// How many rows, and the sum of their versions.
    streams: i64,
    version: i64,
    /// Those of the messages.
    versions: Vec<i64>,
}

impl Sides {
    fn of(ground: &Ground, stream: &str) -> anyhow::Result<Self> {
        Self::of_tenant(ground, DEFAULT, stream)
    }

    fn of_tenant(ground: &Ground, partition: &str, stream: &str) -> anyhow::Result<Self> {
        let side = |leaf| Side::read(ground, partition, leaf, stream);
        Ok(Self {
            active: side("active")?,
            archived: side("archived")?,
        })
    }
}

impl Side {
    fn read(ground: &Ground, partition: &str, leaf: &str, stream: &str) -> anyhow::Result<Self> {
        let suffix = format!("{}_{leaf}", partition.replace(':', "_"));
        let sql = format!(
            "SELECT count(*), coalesce(sum(stream_position), 0)::BIGINT,
                    ARRAY(SELECT stream_position FROM public.emt_messages_{suffix}
                           WHERE stream_id = $1 ORDER BY stream_position)
               FROM public.emt_streams_{suffix} WHERE stream_id = $1"
        );
        let row = ground.client()?.query_one(&sql, &[&stream])?;
        Ok(Self {
            streams: row.get(0),
            version: row.get(1),
            versions: row.get(2),
        })
    }
}
