use super::fixtures::{journal, journaled, stored};
use crate::support::{CartEvent, added, store, wait_until};
use crossbeam_channel::{bounded, unbounded};
use emmett_postgresql::{
    ConnectionOptions, Error, EventStore, FailurePolicy, Projector, RawEvent, Reactor, Recorded,
    SqlProjection,
    consumer::RunEnd,
    error::ProcessorError,
    operations::{FindingKind, ParkedOptions},
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// Fails at events of this stream as long as it is told to.
fn failing_reactor(
    name: &str,
    bad: &'static str,
    broken: &Arc<AtomicBool>,
    seen: crossbeam_channel::Sender<(String, u64)>,
) -> Reactor {
    let broken = Arc::clone(broken);
    Reactor::new(name).each(move |message: &Recorded<CartEvent>, _| {
        if &*message.stream_name == bad
            && message.stream_position == 1
            && broken.load(Ordering::SeqCst)
        {
            anyhow::bail!("it is broken");
        }
        seen.send((message.stream_name.to_string(), message.stream_position))?;
        Ok(())
    })
}

#[test]
fn a_processor_stops_in_front_of_the_event_that_it_cannot_handle() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (seen, events) = unbounded();
    let broken = Arc::new(AtomicBool::new(true));
    for stream in ["Cart-1", "Cart-2", "Cart-3"] {
        store.append_to_stream(stream, &[added("hat", 1)])?;
    }
    let consumer = store
        .consumer()
        .reactor(failing_reactor("mails", "Cart-2", &broken, seen.clone()))
        .start()?;
    let error = consumer.wait().expect_err("it fails");

    let text = error.to_string();
    assert_eq!(
        text,
        format!("{:#}", anyhow::Error::from(error)),
        "the cause is said once"
    );
    for part in [
        "mails",
        "position 2",
        "message 1 of stream \"Cart-2\"",
        "it is broken",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(
        events.try_iter().collect::<Vec<_>>(),
        [("Cart-1".to_owned(), 1)]
    );
    let error = store
        .wait_for("mails", 3, LONG)
        .expect_err("it has stopped");
    assert!(
        matches!(error, Error::Processor(ProcessorError::Failed { .. })),
        "{error}"
    );

    broken.store(false, Ordering::SeqCst);
    let consumer = store
        .consumer()
        .reactor(failing_reactor("mails", "Cart-2", &broken, seen))
        .start()?;
    store.wait_for("mails", 3, LONG)?;
    let streams: Vec<String> = events.try_iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams, ["Cart-2", "Cart-3"]);
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_event_is_tried_again_as_often_as_the_policy_says() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let reactor = Reactor::new("shaky")
        .each(move |_: &Recorded<RawEvent>, _| {
            anyhow::ensure!(counted.fetch_add(1, Ordering::SeqCst) == 3, "not yet");
            Ok(())
        })
        .on_failure(FailurePolicy::stop().retries(5, Duration::from_millis(1)));
    let consumer = store.consumer().reactor(reactor).start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("shaky", appended.last_global_position, LONG)?;

    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_parked_event_holds_its_stream_back_and_no_other() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let (seen, events) = unbounded();
    let broken = Arc::new(AtomicBool::new(true));
    let reactor =
        failing_reactor("mails", "Cart-1", &broken, seen).on_failure(FailurePolicy::park());
    let consumer = store
        .consumer()
        .reactor(reactor)
        .lease(Duration::from_millis(400))
        .start()?;
    let bad = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    store.append_to_stream("Cart-1", &[added("hat", 2)])?;
    let last = store.append_to_stream("Cart-2", &[added("hat", 2)])?;
    store.wait_for("mails", last.last_global_position, LONG)?;

    assert_eq!(
        events.try_iter().collect::<Vec<_>>(),
        [("Cart-2".to_owned(), 1), ("Cart-2".to_owned(), 2)]
    );
    let error = store
        .wait_for("mails", bad.last_global_position, LONG)
        .expect_err("it is parked");
    assert!(error.to_string().contains("it is broken"), "{error}");
    let error = store.wait_for("mails", 3, LONG).expect_err("it waits");
    assert!(
        error
            .to_string()
            .contains("an earlier message of its stream is parked"),
        "{error}"
    );

    broken.store(false, Ordering::SeqCst);
    let replay = "UPDATE emt_parked_messages SET request = 'replay' WHERE stream_id = 'Cart-1'";
    database.client()?.execute(replay, &[])?;
    for position in 1..=2 {
        assert_eq!(events.recv_timeout(LONG)?, ("Cart-1".to_owned(), position));
    }
    store.append_to_stream("Cart-1", &[added("hat", 3)])?;
    assert_eq!(events.recv_timeout(LONG)?, ("Cart-1".to_owned(), 3));
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_discarded_event_lets_the_later_ones_of_its_stream_go_on() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let (seen, events) = unbounded();
    let broken = Arc::new(AtomicBool::new(true));
    let reactor =
        failing_reactor("mails", "Cart-1", &broken, seen).on_failure(FailurePolicy::park());
    let consumer = store
        .consumer()
        .reactor(reactor)
        .lease(Duration::from_millis(400))
        .start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    store
        .wait_for("mails", 2, LONG)
        .expect_err("the second waits behind the first");

    let sql = "UPDATE emt_parked_messages SET request = CASE global_position WHEN 1 THEN 'discard' ELSE 'replay' END";
    database.client()?.execute(sql, &[])?;

    assert_eq!(events.recv_timeout(LONG)?, ("Cart-1".to_owned(), 2));
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_projector_that_fails_in_the_middle_of_a_batch_leaves_nothing_half_done() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    for number in 1..=10 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", number)])?;
    }
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    let projection = SqlProjection::new("journal", move |events: &[Recorded<CartEvent>], context| {
        for event in events {
            let position = i64::try_from(event.global_position)?;
            context.execute("INSERT INTO journal (position, stream) VALUES ($1, $2)", &[&position, &&*event.stream_name])?;
            anyhow::ensure!(position != 6 || !breaks.load(Ordering::SeqCst), "six is not liked");
        }
        Ok(())
    })
    .init(|context| {
        context.batch_execute(
            "CREATE TABLE IF NOT EXISTS journal (number BIGINT GENERATED ALWAYS AS IDENTITY, position BIGINT, stream TEXT)",
        )?;
        Ok(())
    });
    let parking = Projector::new(projection)
        .on_failure(FailurePolicy::park().retries(2, Duration::from_millis(1)));
    let consumer = store
        .consumer()
        .projector(parking)
        .lease(Duration::from_millis(400))
        .start()?;
    store.wait_for("journal", 10, LONG)?;

    let mut client = database.client()?;
    let all = stored(&mut client)?;
    let without_six: Vec<i64> = all
        .iter()
        .copied()
        .filter(|position| *position != 6)
        .collect();
    assert_eq!(journaled(&mut client, "journal")?, without_six);

    broken.store(false, Ordering::SeqCst);
    client.execute("UPDATE emt_parked_messages SET request = 'replay'", &[])?;
    crate::support::wait_until("six was handled", || {
        journaled(&mut client, "journal").is_ok_and(|positions| positions.last() == Some(&6))
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_panic_of_a_handler_is_its_failure() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let reactor = Reactor::new("wild").each(|_: &Recorded<RawEvent>, _| panic!("oh no"));
    let consumer = store.consumer().reactor(reactor).start()?;
    let text = format!(
        "{:#}",
        anyhow::Error::from(consumer.wait().expect_err("it fails"))
    );
    assert!(text.contains("oh no"), "{text}");
    Ok(())
}

#[test]
fn a_handler_that_commits_by_itself_is_noticed_and_nothing_is_stored() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let projection = SqlProjection::new("wild", |_: &[Recorded<RawEvent>], context| {
        context.execute("INSERT INTO wild VALUES (1)", &[])?;
        // The refusal is ignored, too.
        let _ = context.batch_execute("COMMIT");
        Ok(())
    })
    .init(|context| Ok(context.batch_execute("CREATE TABLE IF NOT EXISTS wild (number INTEGER)")?));
    let consumer = store.consumer().projector(projection).start()?;
    consumer.wait().expect_err("it fails");

    let rows: i64 = database
        .client()?
        .query_one("SELECT count(*) FROM wild", &[])?
        .get(0);
    assert_eq!(rows, 0);
    Ok(())
}

#[test]
fn connections_that_are_ended_at_random_neither_skip_nor_repeat_an_event() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .batch_size(5)
        .start()?;
    let mut client = database.client()?;
    let mut last = 0;
    for number in 0..200 {
        let appended = store.append_to_stream(&format!("Cart-{}", number % 7), &[added("hat", 1)]);
        if let Ok(appended) = appended {
            last = last.max(appended.last_global_position);
        }
        if number % 10 == 0 {
            client.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
                &[],
            )?;
        }
    }
    store.wait_for("journal", last, LONG)?;

    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_failure_of_one_worker_stops_all_workers_of_the_processor() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let reactor = Reactor::new("mails")
        .each(|message: &Recorded<RawEvent>, _| {
            anyhow::ensure!(&*message.stream_name != "Cart-7", "it is broken");
            Ok(())
        })
        .workers(3);
    let consumer = store
        .consumer()
        .reactor(reactor)
        .lease(Duration::from_millis(400))
        .start()?;
    for number in 0..20 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }

    // Would wait for ever for a worker that goes on.
    let error = consumer.wait().expect_err("it fails");

    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("it is broken"), "{text}");
    Ok(())
}

#[test]
fn a_feed_that_cannot_be_read_ends_its_processors_with_the_reason() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[added("hat", 1), added("hat", 2), added("hat", 3)],
    )?;
    let _ = store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()?;
    let consumer = store.consumer().projector(journal("journal")).start()?;
    // As after a careless restore.
    database
        .client()?
        .batch_execute("SELECT setval('emt_global_message_position', 2)")?;

    let error = consumer.wait().expect_err("the feed cannot be read");

    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("below the position 3"), "{text}");
    let error = store
        .wait_for("journal", 4, LONG)
        .expect_err("it would skip events");
    assert!(
        matches!(error, Error::Processor(ProcessorError::Ahead { .. })),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_projection_is_kept_by_appends_or_by_a_consumer_but_not_by_both() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let inline = EventStore::builder(database.url())
        .inline_projection(super::fixtures::counts("counts"))
        .open()?;

    let refused = inline
        .consumer()
        .projector(super::fixtures::counts("counts"))
        .start();
    let text = refused
        .expect_err("its events would be counted twice")
        .to_string();
    assert!(
        text.contains("\"counts\" is kept inline, so no consumer can keep it"),
        "{text}"
    );

    let report = inline
        .consumer()
        .projector(super::fixtures::counts("others"))
        .run_until_caught_up()?;
    assert_eq!(report.end, RunEnd::CaughtUp);
    let refused = EventStore::builder(database.url())
        .inline_projection(super::fixtures::counts("others"))
        .open();
    let text = refused
        .expect_err("its events would be counted twice")
        .to_string();
    assert!(text.contains("\"others\" is kept by a consumer"), "{text}");
    Ok(())
}

#[test]
fn a_processor_that_repeats_what_fails_is_seen_to_do_so() -> anyhow::Result<()> {
    let database = crate::support::database();
    let store = EventStore::builder(database.url())
        .connection_options(
            ConnectionOptions::new()
                .pool_size(1)
                .connection_timeout(Duration::from_secs(1)),
        )
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    // It has the only connection of the pool, and asks for another one.
    let inside = store.clone();
    let greedy = SqlProjection::new("greedy", move |_: &[Recorded<CartEvent>], _| {
        inside.stream_exists("Cart-1")?;
        Ok(())
    });
    let consumer = store
        .consumer()
        .projector(greedy)
        .lease(Duration::from_millis(300))
        .start()?;

    let operator = EventStore::open(database.url())?;
    let processors = || operator.processors().list();
    wait_until("the doctor sees it", || {
        operator.doctor().is_ok_and(|report| {
            let mut kinds = report.findings.iter().map(|finding| finding.kind);
            kinds.any(|kind| kind == FindingKind::ProcessorRepeats)
        })
    });
    let survived = processors()?.remove(0).survived.expect("an error");
    assert!(
        survived.times >= 2 && survived.error.contains("no connection of the pool"),
        "{survived:?}"
    );
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_handler_that_runs_for_long_is_seen_to_do_so() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (go, may_go) = bounded::<()>(1);
    let slow = Reactor::new("slow").each(move |_: &Recorded<RawEvent>, _| Ok(may_go.recv()?));
    let consumer = store
        .consumer()
        .reactor(slow)
        .lease(Duration::from_millis(300))
        .start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let busy_for = || {
        store
            .processors()
            .list()
            .map(|all| all[0].slots[0].busy_for)
    };

    let a_while = Duration::from_millis(600);
    wait_until("it is seen", || {
        busy_for().is_ok_and(|busy| busy.is_some_and(|time| time >= a_while))
    });
    go.send(())?;
    store.wait_for("slow", appended.last_global_position, LONG)?;
    assert_eq!(busy_for()?, None);
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_event_that_fails_is_handled_no_more_often_than_the_policy_says() -> anyhow::Result<()> {
    for (retries, bad) in [(0, 1), (0, 3), (2, 1), (2, 3)] {
        let (_database, store) = store()?;
        let events: Vec<CartEvent> = (1..=4).map(|quantity| added("hat", quantity)).collect();
        store.append_to_stream("Cart-1", &events)?;
        let (seen, attempts) = unbounded();
        let (report, reports) = unbounded();
        let reactor = Reactor::new("mails")
            .each(move |message: &Recorded<RawEvent>, _| {
                seen.send(message.global_position)?;
                anyhow::ensure!(message.global_position != bad, "no paper");
                Ok(())
            })
            .on_failure(FailurePolicy::park().retries(retries, Duration::from_millis(1)))
            .on_error(move |error| drop(report.send(error.to_string())));

        let report = store.consumer().reactor(reactor).run_until_caught_up()?;

        let expected: Vec<u64> = (1..=bad).chain((0..retries).map(|_| bad)).collect();
        assert_eq!(attempts.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(reports.try_iter().count(), retries as usize + 1);
        assert_eq!(report.handled(), bad - 1);
        let parked = store.processors().parked("mails", ParkedOptions::new())?;
        assert_eq!(parked[0].attempts, retries + 1);
    }
    Ok(())
}

#[test]
fn a_batch_of_one_event_that_fails_is_handled_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let attempts = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&attempts);
    let reactor = Reactor::new("mails")
        .batch(move |_: &[Recorded<RawEvent>], _| {
            counting.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("no paper")
        })
        .on_failure(FailurePolicy::park());
    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    Ok(())
}
