//! Repeated appends with the same message ids.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    AppendOptions, Appended, Error, EventStore, ExpectedVersion, NewMessage, Result,
    StreamMessages,
    events::MessageKind,
    operations::{ExportOptions, ImportOptions},
};

fn message(id: &str, product: &str) -> NewMessage<CartEvent> {
    NewMessage::new(added(product, 1)).message_id(id)
}

/// Asserts that nothing was stored now, and that it says what the first append said.
fn assert_is_repetition(again: &Appended, first: &Appended) {
    assert!(again.already_appended && !first.already_appended);
    assert!(!again.created_new_stream);
    assert_eq!(again.next_expected_version, first.next_expected_version);
    assert_eq!(again.global_positions, first.global_positions);
    assert_eq!(again.last_global_position, first.last_global_position);
}

fn version(store: &EventStore, stream: &str) -> Result<u64> {
    let read = store.read_stream::<CartEvent>(stream)?;
    assert_eq!(read.events.len() as u64, read.current_version);
    Ok(read.current_version)
}

#[test]
fn an_append_that_began_the_stream_is_not_stored_again() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let messages = [message("a", "shoes"), message("b", "hat")];
    let first = store.append_to_stream("Cart-1", &messages)?;

    let again = store.append_to_stream("Cart-1", &messages)?;

    assert!(first.created_new_stream);
    assert_is_repetition(&again, &first);
    assert_eq!(version(&store, "Cart-1")?, 2);
    Ok(())
}

#[test]
fn an_append_is_recognised_behind_later_ones() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("socks", 1)])?;
    let messages = [message("a", "shoes"), message("b", "hat")];
    let first = store.append_to_stream("Cart-1", &messages)?;
    store.append_to_stream("Cart-1", &[message("c", "scarf")])?;

    let again = store.append_to_stream("Cart-1", &messages)?;

    assert_is_repetition(&again, &first);
    assert_eq!(again.next_expected_version, 3);
    assert_eq!(version(&store, "Cart-1")?, 4);
    Ok(())
}

#[test]
fn an_append_with_an_expected_version_is_recognised_instead_of_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for (stream, expected) in [
        ("Cart-1", ExpectedVersion::DoesNotExist),
        ("Cart-2", ExpectedVersion::Exact(0)),
        ("Cart-3", ExpectedVersion::Exact(1)),
        ("Cart-4", ExpectedVersion::Exists),
    ] {
        if !matches!(stream, "Cart-1" | "Cart-2") {
            store.append_to_stream(stream, &[added("socks", 1)])?;
        }
        let append = || {
            let options = AppendOptions::new().expect(expected);
            store.append_to_stream_with(stream, &[message("a", "shoes")], options)
        };
        let first = append()?;
        store.append_to_stream(stream, &[added("scarf", 1)])?;

        let again = append()?;

        assert_is_repetition(&again, &first);
        assert_eq!(version(&store, stream)?, first.next_expected_version + 1);
    }
    Ok(())
}

#[test]
fn new_ids_with_a_stale_version_conflict() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[message("a", "shoes"), message("b", "hat")])?;

    let options = AppendOptions::new().expected_version(1);
    let refused = store.append_to_stream_with("Cart-1", &[message("c", "scarf")], options);

    assert!(matches!(refused, Err(Error::Conflict { actual: 2, .. })));
    assert_eq!(version(&store, "Cart-1")?, 2);
    Ok(())
}

#[test]
fn ids_that_stand_for_other_messages_are_refused_and_nothing_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let messages = [
        message("a", "shoes"),
        message("b", "hat"),
        message("c", "scarf"),
    ];
    store.append_to_stream("Cart-1", &messages)?;
    let other_type = CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    };
    let [a, b, c, d] =
        ["shoes", "hat", "scarf", "socks"].map(|product| move |id: &str| message(id, product));

    for (what, wrong) in [
        ("other content", vec![c("a")]),
        ("other content in one of several", vec![a("a"), d("b")]),
        (
            "another type",
            vec![NewMessage::new(other_type).message_id("a")],
        ),
        ("another kind", vec![a("a").kind(MessageKind::Command)]),
        ("another order", vec![b("b"), a("a")]),
        ("another order of three", vec![a("a"), c("c"), b("b")]),
        ("gaps", vec![a("a"), c("c")]),
        ("a new one behind", vec![a("a"), b("b"), c("c"), d("d")]),
        ("a new one before", vec![d("d"), a("a")]),
        (
            "one without an id",
            vec![a("a"), NewMessage::new(added("hat", 1))],
        ),
    ] {
        for expected in [
            ExpectedVersion::Any,
            ExpectedVersion::Exact(3),
            ExpectedVersion::Exact(0),
        ] {
            let options = AppendOptions::new().expect(expected);

            let refused = store.append_to_stream_with("Cart-1", &wrong, options);

            assert!(
                matches!(&refused, Err(Error::MessageIdReused { stream, .. }) if stream == "Cart-1"),
                "{what}, expecting {expected}: {refused:?}"
            );
            assert_eq!(version(&store, "Cart-1")?, 3, "{what}");
        }
    }
    Ok(())
}

#[test]
fn one_id_twice_in_an_append_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let refused = store.append_to_stream("Cart-1", &[message("a", "shoes"), message("a", "shoes")]);

    assert!(matches!(refused, Err(Error::InvalidInput { what, .. }) if what.contains("\"a\"")));
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn each_stream_has_ids_of_its_own() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[message("a", "shoes")])?;

    let elsewhere = store.append_to_stream("Cart-2", &[message("a", "hat")])?;

    assert!(elsewhere.created_new_stream);
    assert_eq!(
        (version(&store, "Cart-1")?, version(&store, "Cart-2")?),
        (1, 1)
    );
    Ok(())
}

#[test]
fn of_concurrent_repetitions_one_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-2", &[added("socks", 1)])?;
    for (stream, expected) in [
        ("Cart-1", ExpectedVersion::Any),
        ("Cart-2", ExpectedVersion::Any),
        ("Cart-3", ExpectedVersion::DoesNotExist),
    ] {
        let append = || {
            let messages = [message("a", "shoes"), message("b", "hat")];
            store.append_to_stream_with(stream, &messages, AppendOptions::new().expect(expected))
        };
        let before = version(&store, stream)?;

        let outcomes = std::thread::scope(|scope| -> Result<Vec<_>> {
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(append)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        })?;

        let (again, first): (Vec<_>, Vec<_>) = outcomes
            .iter()
            .partition(|outcome| outcome.already_appended);
        assert_eq!(first.len(), 1, "{stream}");
        for repetition in again {
            assert_is_repetition(repetition, first[0]);
        }
        assert_eq!(version(&store, stream)?, before + 2);
    }
    Ok(())
}

#[test]
fn a_session_recognises_what_it_and_others_have_appended() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let stored = store.append_to_stream("Cart-1", &[message("a", "shoes")])?;

    store.with_session(|session| {
        let again = session.append_to_stream("Cart-1", &[message("a", "shoes")])?;
        let first = session.append_to_stream("Cart-2", &[message("a", "hat")])?;
        let own = session.append_to_stream("Cart-2", &[message("a", "hat")])?;
        assert_is_repetition(&again, &stored);
        assert_is_repetition(&own, &first);
        Ok(())
    })?;

    assert_eq!(
        (version(&store, "Cart-1")?, version(&store, "Cart-2")?),
        (1, 1)
    );
    Ok(())
}

#[test]
fn an_append_to_several_streams_is_recognised_stream_by_stream() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let append = |product: &str| {
        store.append_to_streams(vec![
            StreamMessages::new("Cart-1", &[message("a", "shoes"), message("b", "hat")])?,
            StreamMessages::new("Cart-2", &[message("a", product)])?,
        ])
    };
    let first = append("scarf")?;

    let again = append("scarf")?;
    let refused = append("socks");

    for (again, first) in again.iter().zip(&first) {
        assert_is_repetition(again, first);
    }
    assert!(
        matches!(&refused, Err(Error::MessageIdReused { stream, .. }) if stream == "Cart-2"),
        "{refused:?}"
    );
    assert_eq!(
        (version(&store, "Cart-1")?, version(&store, "Cart-2")?),
        (2, 1)
    );
    Ok(())
}

/// An append of one message by the function of the schema: the ids, whose first is the stream's first message.
const APPEND: &str = "
    SELECT emt_append('Cart-1', 'Cart', 'emt:default', NULL, ARRAY[$1::TEXT], ARRAY['Noted'], ARRAY['E'], ARRAY['1'],
                      ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], TRUE)";

/// How many pages of messages and their ids this session has looked at.
const LOOKED_AT: &str = "
    SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::BIGINT FROM pg_class
     WHERE relname ~ '^emt_message' AND relkind IN ('r', 'i')";

#[test]
fn a_long_stream_is_not_looked_through() -> anyhow::Result<()> {
    let (database, _store) = store()?;
    let mut client = database.client()?;
    client.query(APPEND, &[&"first"])?;
    client.batch_execute(
        "INSERT INTO emt_messages (stream_position, stream_id, message_schema_version, message_id, message_type,
                                   message_data, message_metadata)
         SELECT n, 'Cart-1', '1', 'other-' || n, 'Noted', '{}', '{}' FROM generate_series(2, 20000) AS n;
         UPDATE emt_streams SET stream_position = 20000 WHERE stream_id = 'Cart-1'",
    )?;
    for statistics in ["SELECT", "VACUUM ANALYZE"] {
        client.batch_execute(statistics)?;
        for (id, kind) in [(format!("new {statistics}"), 0), ("first".to_owned(), 3)] {
            let mut transaction = client.transaction()?;
            let before: i64 = transaction.query_one(LOOKED_AT, &[])?.get(0);
            let result: Vec<i64> = transaction.query_one(APPEND, &[&id])?.get(0);
            let after: i64 = transaction.query_one(LOOKED_AT, &[])?.get(0);
            transaction.commit()?;
            let pages = after - before;

            assert_eq!(result[0], kind, "{id}");
            assert!(pages < 60, "{id} looks at {pages} pages");
        }
    }
    Ok(())
}

#[test]
fn ids_that_the_library_made_cost_no_row() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let noted = || -> anyhow::Result<i64> {
        let row = database
            .client()?
            .query_one("SELECT count(*) FROM emt_message_ids", &[])?;
        Ok(row.get(0))
    };

    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    assert_eq!(noted()?, 0);
    store.append_to_stream("Cart-1", &[message("a", "shoes")])?;
    store.append_to_stream("Cart-1", &[message("a", "shoes")])?;
    store
        .append_to_stream("Cart-1", &[message("a", "hat")])
        .expect_err("another message");
    assert_eq!(noted()?, 1);
    Ok(())
}

#[test]
fn an_imported_message_is_not_appended_again() -> anyhow::Result<()> {
    let (_source, from) = store()?;
    let (_target, to) = store()?;
    let longest = "x".repeat(3_000);
    let messages = [message("a", "shoes"), message(&longest, "hat")];
    let first = from.append_to_stream("Cart-1", &messages)?;
    let mut log = Vec::new();
    from.export(&mut log, ExportOptions::new())?;
    to.import(log.as_slice(), ImportOptions::new())?;

    assert_is_repetition(&to.append_to_stream("Cart-1", &messages)?, &first);
    Ok(())
}

#[test]
fn a_tenant_that_is_added_again_knows_no_ids() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[message("a", "shoes")])?;
    store.append_to_stream("Cart-1", &[message("a", "shoes")])?;

    store.tenants().remove("acme")?.with_all_data()?;

    let left: i64 = database
        .client()?
        .query_one(
            "SELECT count(*) FROM emt_message_ids WHERE partition = 'acme'",
            &[],
        )?
        .get(0);
    assert_eq!(left, 0);
    let again = store.append_to_stream("Cart-1", &[message("a", "shoes")])?;
    assert!(again.already_appended);
    Ok(())
}
