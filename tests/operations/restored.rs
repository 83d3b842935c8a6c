//! Sequences that were set back, and positions that are drawn twice.

use crate::consumer::fixtures::{counts, journal, journaled};
use crate::support::{added, quiet, store, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    Error, EventStore, EventStoreBuilder, FeedOptions, RawEvent, Result,
    database::DatabaseError,
    error::ProcessorError,
    operations::{FindingKind, ProcessorState},
    projection::ProjectionStatus,
};
use postgres::NoTls;
use r2d2_postgres::PostgresConnectionManager;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

const SET_BACK: &str = "SELECT setval('emt_global_message_position', 1, FALSE)";

const APPEND: &str = r#"
    SELECT success FROM emt_append_to_stream(ARRAY['1'], ARRAY['{"productId": "hat", "quantity": 1, "price": 1.5}'::JSONB], ARRAY['{}'::JSONB],
        ARRAY['1'], ARRAY['ProductItemAdded'], ARRAY['E'], 'Cart-7', 'Cart')"#;

fn append(store: &EventStore, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| {
        store
            .append_to_stream("Cart-1", &[added("hat", 1)])
            .map(drop)
    })
}

/// One event of the tenant "acme", then five of the store, which the processor "journal" has handled.
fn handled() -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    append(&store.tenant("acme")?, 1)?;
    append(&store, 5)?;
    let _ = job(&store)?;
    Ok((database, store))
}

fn job(store: &EventStore) -> Result<emmett_postgresql::consumer::RunReport> {
    store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()
}

fn run(database: &Database, sql: &str) -> anyhow::Result<()> {
    Ok(database.client()?.batch_execute(sql)?)
}

/// Ends all sessions but the one that asks.
fn end_sessions(database: &Database) -> anyhow::Result<()> {
    let mut client = database.client()?;
    client.batch_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )?;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    wait_until("all other sessions have ended", || {
        client
            .query_one(others, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 0)
    });
    Ok(())
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    let Err(Error::Database(error @ DatabaseError::Inconsistent { .. })) = result else {
        panic!("{result:?}")
    };
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    assert!(text.contains("emmett repair sequence"), "{text}");
    assert!(!error.is_retryable());
}

/// The position, its epoch, and the store's epoch that the error names.
#[track_caller]
fn old_epoch<T: std::fmt::Debug>(result: Result<T>) -> (u64, u64, u64) {
    match result {
        Err(Error::Processor(ProcessorError::OldEpoch {
            processor,
            position,
            epoch,
            store_epoch,
            ..
        })) => {
            assert_eq!(processor, "journal");
            (position, epoch, store_epoch)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sequence_behind_the_table_is_refused_at_open_and_at_the_first_append_of_each_connection()
-> anyhow::Result<()> {
    let (database, store) = handled()?;
    let acme = store.tenant("acme")?;
    run(&database, SET_BACK)?;
    end_sessions(&database)?;

    let words = "is at 0, but partition \"emt:default\" has a message at position 6";
    assert_refused(EventStore::open(database.url()), words);
    assert_refused(append(&store, 1), words);
    assert_refused(append(&store, 1), words);
    assert_refused(
        store.append_to_streams(vec![emmett_postgresql::StreamMessages::new(
            "A-1",
            &[added("hat", 1)],
        )?]),
        words,
    );
    assert_refused(store.begin(), words);
    assert_refused(job(&store), words);
    assert_refused(
        store.consumer().projector(journal("journal")).start(),
        words,
    );
    assert_refused(store.rebuild_with(counts("other")).run(), words);
    assert_refused(store.restored(), words);
    let words = "partition \"acme\" has a message at position 1";
    assert_refused(append(&acme, 1), words);
    let log = r#"{"streamName": "Cart-9", "type": "Opened", "data": {}}"#;
    let imported = acme.import(
        log.as_bytes(),
        emmett_postgresql::operations::ImportOptions::new(),
    );
    assert_refused(imported, words);
    assert_eq!(store.read_stream::<RawEvent>("Cart-1")?.events.len(), 5);

    let finding = &store.doctor()?.findings[0];
    assert_eq!(finding.kind, FindingKind::SequenceBehind);
    assert!(
        finding.advice.contains("emmett repair sequence"),
        "{finding:?}"
    );
    Ok(())
}

#[test]
fn a_pool_of_the_callers_is_looked_at_again_after_a_connection_was_lost() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
    let pool = r2d2::Pool::builder()
        .max_size(1)
        .test_on_check_out(false)
        .build(manager)?;
    let store = EventStoreBuilder::with_pool(pool)
        .notifications(false)
        .open()?;
    append(&store, 5)?;
    run(&database, SET_BACK)?;
    end_sessions(&database)?;

    assert_refused(append(&store, 1), "has a message at position 5");
    Ok(())
}

#[test]
fn a_repair_before_anything_was_drawn_begins_an_epoch_in_which_processors_go_on()
-> anyhow::Result<()> {
    let (database, store) = handled()?;
    run(&database, SET_BACK)?;

    let repair = store.repair_sequence()?;

    assert_eq!((repair.found, repair.head), (0, 6));
    assert_eq!((repair.epoch, repair.kept), (1, 6));
    assert!(repair.has_repaired());
    let again = store.repair_sequence()?;
    assert!(!again.has_repaired());
    assert_eq!((again.epoch, again.kept), (1, 6));
    EventStore::open(database.url())?;
    append(&store, 1)?;
    assert_eq!(job(&store)?.handled(), 1);
    Ok(())
}

#[test]
fn a_repair_after_positions_were_drawn_again_stops_the_processors_that_may_have_skipped_some()
-> anyhow::Result<()> {
    let (database, store) = handled()?;
    run(&database, SET_BACK)?;
    // As a client does that looks at nothing. Position 1 is another tenant's, so nothing refuses it.
    run(&database, APPEND)?;

    let repair = store.repair_sequence()?;

    assert_eq!((repair.found, repair.head), (1, 6));
    assert_eq!((repair.epoch, repair.kept), (1, 0));
    append(&store, 3)?;
    assert_eq!(old_epoch(job(&store)), (6, 0, 1));
    assert_eq!(
        old_epoch(store.consumer().projector(journal("journal")).start()),
        (6, 0, 1)
    );
    assert_eq!(old_epoch(store.wait_for("journal", 1, LONG)), (6, 0, 1));
    assert_eq!(old_epoch(store.prove_processor("journal")), (6, 0, 1));
    assert_eq!(store.processors().list()?[0].state, ProcessorState::Ahead);
    let findings = store.doctor()?.findings;
    assert_eq!(findings[0].kind, FindingKind::ProcessorAhead);
    assert!(
        findings[0]
            .problem
            .contains("of epoch 0, but the store is at epoch 1"),
        "{findings:?}"
    );

    store.processors().reset("journal", 0)?;
    run(&database, "DELETE FROM journal")?;
    assert_eq!(job(&store)?.handled(), 9);
    assert_eq!(
        journaled(&mut database.client()?, "journal")?,
        [1, 2, 3, 4, 5, 6, 7, 8, 9]
    );
    assert!(store.doctor()?.findings.is_empty());
    Ok(())
}

#[test]
fn a_checkpoint_that_the_sequence_has_outgrown_is_noticed_by_the_epoch() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, 5)?;
    let _ = job(&store)?;
    run(
        &database,
        "TRUNCATE emt_messages, emt_streams; ALTER SEQUENCE emt_global_message_position RESTART",
    )?;
    append(&store, 7)?;

    assert_eq!(store.restored_to(0)?, 1);

    assert_eq!(old_epoch(job(&store)), (5, 0, 1));
    store.processors().reset("journal", 5)?;
    assert_eq!(job(&store)?.handled(), 2);
    let other = store
        .consumer()
        .projector(journal("other"))
        .run_until_caught_up()?;
    assert_eq!(other.handled(), 7);
    let refused = store.restored_to(8);
    assert!(
        matches!(refused, Err(Error::InvalidInput { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn after_a_restore_checkpoints_of_before_go_over_and_foreign_readers_notice() -> anyhow::Result<()>
{
    let (database, store) = handled()?;
    let read = |epoch| {
        let options = FeedOptions::new().after(2).epoch(epoch);
        store
            .read_all::<RawEvent>(options)
            .collect::<Result<Vec<_>>>()
    };
    assert_eq!(read(store.epoch()?)?.len(), 4);
    run(&database, "UPDATE emt_processor_slots SET position = 5")?;

    assert_eq!(store.restored()?, 1);

    assert_eq!(job(&store)?.handled(), 1);
    let refused = read(0);
    assert!(
        matches!(
            refused,
            Err(Error::StoreEpoch {
                expected: 0,
                actual: 1,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(read(1)?.len(), 4);
    Ok(())
}

#[test]
fn a_running_processor_that_is_beyond_what_is_kept_stops_and_another_goes_on() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    append(&store, 5)?;
    let _ = job(&store)?;
    run(&database, "UPDATE emt_processor_slots SET position = 2")?;
    let behind = store.consumer().projector(journal("other")).start()?;
    store.wait_for("other", 5, LONG)?;
    run(
        &database,
        "UPDATE emt_processor_slots SET position = 2 WHERE processor = 'journal'",
    )?;

    assert_eq!(store.restored_to(3)?, 1);

    append(&store, 1)?;
    assert_eq!(job(&store)?.handled(), 4);
    let states: Vec<_> = store.processors().list()?;
    assert_eq!(
        (states[1].name.as_str(), states[1].state),
        ("other", ProcessorState::Ahead)
    );
    assert_eq!(states[1].position, 5);
    drop(behind);
    Ok(())
}

#[test]
fn a_checkpoint_that_has_not_run_here_is_of_the_epoch_in_which_it_was_written() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    append(&store, 5)?;
    run(
        &database,
        "INSERT INTO emt_processor_beginnings (partition, processor, version, position) VALUES ('emt:default', 'journal', 1, 4)",
    )?;
    store.restored_to(3)?;

    assert_eq!(store.processors().list()?[0].state, ProcessorState::Ahead);
    assert_eq!(old_epoch(job(&store)), (4, 0, 1));
    store.processors().reset("journal", 3)?;
    assert_eq!(job(&store)?.handled(), 2);
    Ok(())
}

#[test]
fn a_lost_flag_of_inline_projections_is_refused_and_repaired() -> anyhow::Result<()> {
    for has_drawn in [false, true] {
        let (database, _) = store()?;
        let open = || {
            quiet(database.url())
                .inline_projection(counts("counts"))
                .open()
        };
        let store = open()?;
        append(&store, 2)?;
        run(&database, "SELECT setval('emt_inline_in_emt_default', 0)")?;
        if !has_drawn {
            run(&database, SET_BACK)?;
        }
        let plain = quiet(database.url()).open_unchecked()?;

        let words = if has_drawn {
            "emt_inline_in_emt_default was set back"
        } else {
            "is at 0"
        };
        assert_refused(open(), words);
        assert_refused(append(&plain, 1), words);
        assert_eq!(
            plain.doctor()?.findings[0].kind,
            FindingKind::SequenceBehind
        );
        let repair = plain.repair_sequence()?;

        assert_eq!(repair.partitions, ["emt:default"]);
        append(&plain, 1)?;
        let status = plain.registered_projections()?[0].status;
        let right = if has_drawn {
            ProjectionStatus::Stale
        } else {
            ProjectionStatus::Following
        };
        assert_eq!(status, right);
    }
    Ok(())
}
