//! An operator's requests to running processors.

use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::{
    FailurePolicy, Projector, RawEvent, Reactor, Recorded, operations::ParkedSelection,
    rebuild::RequestedRebuild,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(400);
const WRITERS: usize = 8;

#[test]
fn a_read_model_that_a_consumer_keeps_is_rebuilt_while_it_runs() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let consumer = store
        .consumer()
        .projector(Projector::new(counts("counts")).workers(2))
        .lease(LEASE)
        .batch_size(20)
        .start()?;
    let over = AtomicBool::new(false);

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, over) = (&store, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let _ = store.append_to_stream(&format!("Cart-{writer}"), &[added("hat", 1)]);
                }
            });
        }
        let rebuilt = (0..3).try_for_each(|_| {
            let report = store.rebuild_with(counts("counts")).workers(2).run()?;
            // The consumer has come behind the rebuild before the next one begins.
            store.wait_for("counts", report.position + 50, LONG)
        });
        over.store(true, Ordering::SeqCst);
        rebuilt
    })?;

    let head = store.feed_horizon(0)?.head;
    store.wait_for("counts", head, LONG)?;
    for writer in 0..WRITERS {
        let stream = format!("Cart-{writer}");
        let version = store.read_stream::<CartEvent>(&stream)?.current_version;
        let document = counted(&store, "counts", &stream)?.expect("a document");
        assert_eq!(
            (document.events, document.last),
            (version, version),
            "{stream}"
        );
    }
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_processor_that_is_set_back_handles_everything_behind_that_position_again() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .lease(LEASE)
        .start()?;
    for number in 0..10 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    store.wait_for("journal", 10, LONG)?;
    store.processors().reset("journal", 4)?;

    let mut client = database.client()?;
    let all = stored(&mut client)?;
    let twice: Vec<i64> = all.iter().chain(&all[4..]).copied().collect();
    wait_until("the rest was handled again", || {
        journaled(&mut client, "journal").is_ok_and(|positions| positions == twice)
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_stream_that_is_parked_is_seen_and_replayed_by_its_running_owner() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    let reactor = Reactor::new("mails")
        .each(move |message: &Recorded<RawEvent>, _| {
            anyhow::ensure!(
                message.stream_position > 1 || !breaks.load(Ordering::SeqCst),
                "no mail today"
            );
            Ok(())
        })
        .on_failure(FailurePolicy::park());
    let consumer = store.consumer().reactor(reactor).lease(LEASE).start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    wait_until("both are parked", || {
        let listed = store.processors().list();
        listed.is_ok_and(|all| {
            all.iter()
                .any(|processor| (processor.parked, processor.waiting) == (1, 1))
        })
    });

    broken.store(false, Ordering::SeqCst);
    let outcome = store.processors().replay("mails", &ParkedSelection::All)?;
    assert_eq!(outcome.marked, 2);
    assert!(outcome.owner_running);
    wait_until("nothing is parked", || {
        let listed = store.processors().list();
        listed.is_ok_and(|all| {
            all.iter()
                .all(|processor| processor.parked + processor.waiting == 0)
        })
    });
    assert_eq!(consumer.handled("mails"), 2);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_rebuild_that_somebody_else_asks_for_is_carried_out_by_the_running_consumer()
-> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .lease(LEASE)
        .start()?;
    store.wait_for("counts", 2, LONG)?;
    database
        .client()?
        .batch_execute("UPDATE counts SET data = '{\"events\": 99, \"items\": 0, \"last\": 2}'")?;

    let stranger = emmett_postgresql::EventStore::open(database.url())?;
    assert!(stranger.rebuild("counts").request()?, "a consumer keeps it");
    wait_until("it was carried out", || {
        stranger
            .requested_rebuild("counts")
            .is_ok_and(|outcome| outcome == RequestedRebuild::Done)
    });

    assert_eq!(
        counted(&store, "counts", "Cart-1")?.map(|counted| counted.events),
        Some(2)
    );
    let unknown = stranger
        .rebuild("nothing")
        .request()
        .expect_err("nobody knows it");
    assert!(unknown.to_string().contains("\"nothing\""), "{unknown}");
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_rebuild_that_was_asked_for_and_fails_says_why_and_is_not_tried_for_ever() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    // Tables that a projection does not declare cannot be built beside.
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .lease(LEASE)
        .start()?;
    store.rebuild("journal").request()?;
    let mut outcome = RequestedRebuild::Waiting;
    wait_until("it has failed", || {
        outcome = store
            .requested_rebuild("journal")
            .unwrap_or(RequestedRebuild::Waiting);
        outcome != RequestedRebuild::Waiting
    });

    let RequestedRebuild::Failed(error) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(error.contains("declares no tables"), "{error}");
    consumer.stop()?;
    Ok(())
}

#[test]
fn only_the_active_version_of_a_projection_is_kept() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let first = store
        .consumer()
        .projector(counts("counts"))
        .lease(LEASE)
        .start()?;
    store.wait_for("counts", 1, LONG)?;

    // Both would count into one document.
    let early = store
        .consumer()
        .projector(counts("counts").version(2))
        .start();
    let text = early.expect_err("it is not the active one").to_string();
    assert!(
        text.contains("has version 2, the active one is 1"),
        "{text}"
    );

    store.rebuild_with(counts("counts").version(2)).run()?;
    let error = first
        .wait()
        .expect_err("its version is not the active one any more");
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("version 2 is the active one"), "{text}");
    let late = store.consumer().projector(counts("counts")).start();
    let text = late.expect_err("it was replaced").to_string();
    assert!(
        text.contains("has version 1, the active one is 2"),
        "{text}"
    );

    let second = store
        .consumer()
        .projector(counts("counts").version(2))
        .lease(LEASE)
        .start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("counts", appended.last_global_position, LONG)?;
    assert_eq!(
        counted(&store, "counts", "Cart-1")?.map(|counted| counted.events),
        Some(2)
    );
    second.stop()?;
    Ok(())
}
