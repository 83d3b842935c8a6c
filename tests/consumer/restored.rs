//! A database that was restored or emptied: its processors are ahead of the sequence.

use super::fixtures::{counts, journal, journaled, stored};
use crate::support::{added, store};
use emmett_postgresql::{
    Error, EventStore, Projector, Reactor, Recorded, Result,
    consumer::{RunEnd, StartFrom},
    error::ProcessorError,
    operations::ProcessorState,
    testing::Database,
};
use std::time::Duration;

const EMPTY: &str = "
    TRUNCATE emt_messages, emt_streams; ALTER SEQUENCE emt_global_message_position RESTART";

/// 5 events were handled, then everything was emptied, then 3 others were appended.
fn emptied() -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    append(&store, "Old", 5)?;
    let _ = store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()?;
    database.client()?.batch_execute(EMPTY)?;
    append(&store, "New", 3)?;
    Ok((database, store))
}

fn append(store: &EventStore, stream: &str, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        store.append_to_stream(stream, &[added("hat", 1)])?;
    }
    Ok(())
}

/// The position and the head that the error names.
fn ahead<T: std::fmt::Debug>(result: Result<T>) -> (u64, u64) {
    match result {
        Err(Error::Processor(ProcessorError::Ahead {
            processor,
            position,
            head,
            ..
        })) => {
            assert_eq!(processor, "journal");
            (position, head)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_that_runs_or_waits_takes_the_checkpoint_for_the_truth() -> anyhow::Result<()> {
    let (_database, store) = emptied()?;
    let consumer = || store.consumer().projector(journal("journal"));

    assert_eq!(ahead(consumer().run_until_caught_up()), (5, 3));
    assert_eq!(ahead(consumer().run_to(2)), (5, 3));
    assert_eq!(ahead(consumer().run_for(Duration::from_secs(60))), (5, 3));
    assert_eq!(ahead(consumer().start()), (5, 3));
    let patience = Duration::from_secs(60);
    assert_eq!(ahead(store.wait_for("journal", 3, patience)), (5, 3));
    assert_eq!(ahead(store.wait_for("journal", 9, patience)), (5, 3));
    assert_eq!(ahead(store.prove_processor("journal")), (5, 3));
    Ok(())
}

#[test]
fn a_rebuild_of_it_is_refused() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, "Old", 5)?;
    let _ = store
        .consumer()
        .projector(counts("journal"))
        .run_until_caught_up()?;
    database.client()?.batch_execute(EMPTY)?;
    append(&store, "New", 3)?;

    assert_eq!(ahead(store.rebuild_with(counts("journal")).run()), (5, 3));
    let request = store.rebuild_with(counts("journal")).request();
    assert_eq!(ahead(request), (5, 3));

    store.processors().reset("journal", 0)?;
    assert_eq!(store.rebuild_with(counts("journal")).run()?.handled, 3);
    Ok(())
}

#[test]
fn its_state_says_so_until_it_is_reset_and_then_it_skips_nothing() -> anyhow::Result<()> {
    let (database, store) = emptied()?;
    let state = || anyhow::Ok(store.processors().list()?[0].state);
    assert_eq!(state()?, ProcessorState::Ahead);

    store.processors().reset("journal", 0)?;

    assert_eq!(state()?, ProcessorState::Stopped);
    let mut client = database.client()?;
    client.batch_execute("DELETE FROM journal")?;
    append(&store, "New", 4)?;
    let report = store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()?;
    assert!(matches!(report.end, RunEnd::CaughtUp), "{report:?}");
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    Ok(())
}

#[test]
fn one_slot_ahead_of_the_sequence_is_enough() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, "Cart-1", 3)?;
    let projector = || Projector::new(journal("journal")).slots(4);
    let _ = store
        .consumer()
        .projector(projector())
        .run_until_caught_up()?;
    let sql = "UPDATE emt_processor_slots SET position = 4 WHERE slot = 2";
    database.client()?.batch_execute(sql)?;

    let job = store.consumer().projector(projector());
    assert_eq!(ahead(job.run_until_caught_up()), (4, 3));
    let patience = Duration::from_secs(60);
    assert_eq!(ahead(store.wait_for("journal", 3, patience)), (4, 3));
    assert_eq!(store.processors().list()?[0].state, ProcessorState::Ahead);
    Ok(())
}

#[test]
fn a_new_processor_cannot_begin_there_and_leaves_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, "Cart-1", 3)?;
    let reactor = |position| {
        Reactor::new("journal")
            .each(|_: &Recorded<crate::support::CartEvent>, _| Ok(()))
            .start_from(StartFrom::Position(position))
    };

    let job = store.consumer().reactor(reactor(4));
    assert_eq!(ahead(job.run_until_caught_up()), (4, 3));

    assert!(store.processors().list()?.is_empty());
    let job = store.consumer().reactor(reactor(2));
    assert_eq!(job.run_until_caught_up()?.handled(), 1);
    Ok(())
}
