use super::fixtures::{counts, journal, journaled, stored};
use crate::support::{CartEvent, added, store};
use crossbeam_channel::bounded;
use emmett_postgresql::{
    Error, ProcessorError, Projector, RawEvent, Reactor, Recorded, RunEnd, RunReport, RunUntil,
    SqlProjection, StopHandle,
};
use std::error::Error as _;
use std::time::Duration;

#[test]
fn a_job_ends_when_it_has_caught_up_and_goes_on_there_the_next_time() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let nothing = store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()?;
    assert!(matches!(nothing.end, RunEnd::CaughtUp), "{nothing:?}");
    assert_eq!(nothing.handled(), 0);

    for round in 1..=3 {
        for number in 0..25 {
            store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
        }
        let report = store
            .consumer()
            .projector(journal("journal"))
            .batch_size(10)
            .run_until_caught_up()?;
        assert!(matches!(report.end, RunEnd::CaughtUp), "{report:?}");
        assert_eq!(
            (report.handled(), report.processors[0].position),
            (25, round * 25)
        );
    }

    let mut client = database.client()?;
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    Ok(())
}

#[test]
fn a_job_to_a_position_handles_nothing_behind_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &(0..10).map(|_| added("hat", 1)).collect::<Vec<_>>(),
    )?;

    let report = store.consumer().projector(counts("counts")).run_to(4)?;

    assert!(matches!(report.end, RunEnd::PositionReached), "{report:?}");
    assert_eq!((report.handled(), report.processors[0].position), (4, 4));
    Ok(())
}

#[test]
fn a_job_for_a_time_ends_when_it_is_up() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let report = store
        .consumer()
        .projector(counts("counts"))
        .run_for(Duration::from_millis(200))?;
    assert!(matches!(report.end, RunEnd::TimeUp), "{report:?}");
    assert!(report.duration >= Duration::from_millis(200));
    Ok(())
}

/// The report of a job that failed, and why it did.
fn failure(result: Result<RunReport, Error>) -> (RunReport, String) {
    match result {
        Err(error @ Error::Processor(ProcessorError::JobFailed { .. })) => {
            let cause = error.source().map(ToString::to_string);
            let Error::Processor(ProcessorError::JobFailed { report, .. }) = error else {
                unreachable!("it was matched");
            };
            assert_eq!(report.end, RunEnd::Failed);
            (*report, cause.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_that_fails_is_an_error_with_its_report_and_its_first_cause() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for quantity in 1..=5 {
        store.append_to_stream("Cart-1", &[added("hat", quantity)])?;
    }
    let broken = || {
        Reactor::new("broken").each(|message: &Recorded<RawEvent>, _| {
            anyhow::ensure!(message.global_position != 4, "out of paper");
            Ok(())
        })
    };
    let job = || store.consumer().reactor(broken());

    let (report, cause) = failure(job().run_until_caught_up());
    let done = &report.processors[0];
    assert_eq!((&*done.name, done.handled, done.position), ("broken", 3, 3));
    for part in [
        "\"broken\"",
        "message 4 of stream \"Cart-1\"",
        "out of paper",
    ] {
        assert!(cause.contains(part), "{cause}");
    }

    let (report, _) = failure(job().run_to(5));
    assert_eq!((report.handled(), report.processors[0].position), (0, 3));
    let (_, cause) = failure(job().run_for(Duration::from_secs(600)));
    assert!(cause.contains("out of paper"), "{cause}");
    Ok(())
}

#[test]
fn a_hook_that_panics_fails_the_job_instead_of_leaving_it_waiting() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let quiet = Reactor::new("quiet").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let panics = Reactor::new("panics")
        .each(|_: &Recorded<RawEvent>, _| Ok(()))
        .stop_after(|_| panic!("no such condition"));

    let job = store.consumer().reactor(quiet).reactor(panics);
    let (_, cause) = failure(job.run_for(Duration::from_secs(600)));

    assert!(cause.contains("\"panics\" failed"), "{cause}");
    assert!(cause.contains("no such condition"), "{cause}");
    Ok(())
}

#[test]
fn what_a_stopped_job_has_committed_is_counted() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for number in 0..30 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    let stop = StopHandle::new();
    let stopping = stop.clone();
    // The job learns of the stop while the batch, which is to be committed, is being handled.
    let slow = SqlProjection::new("slow", move |events: &[Recorded<CartEvent>], context| {
        stopping.stop();
        context.execute("SELECT pg_sleep(0.3)", &[])?;
        for event in events {
            let position = i64::try_from(event.global_position)?;
            context.execute("INSERT INTO slow (position) VALUES ($1)", &[&position])?;
        }
        Ok(())
    });
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE slow (position BIGINT)")?;

    let job = store
        .consumer()
        .projector(slow)
        .batch_size(10)
        .stop_on(&stop);
    let report = job.run_until_caught_up()?;

    assert_eq!(report.end, RunEnd::Stopped);
    let stored: i64 = client.query_one("SELECT count(*) FROM slow", &[])?.get(0);
    assert_eq!(
        (report.handled(), report.processors[0].position, stored),
        (10, 10, 10)
    );
    Ok(())
}

#[test]
fn only_one_job_runs_at_a_time() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let (enter, entered) = bounded(1);
    let (go, may_go) = bounded::<()>(1);
    let slow = Reactor::new("nightly").each(move |_: &Recorded<RawEvent>, _| {
        enter.send(())?;
        may_go.recv()?;
        Ok(())
    });
    let quick = || Reactor::new("nightly").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let lease = Duration::from_millis(800);

    std::thread::scope(|scope| {
        let job = store.consumer().reactor(slow).lease(lease);
        let first = scope.spawn(move || job.run_until_caught_up());
        entered.recv()?;
        let second = store
            .consumer()
            .reactor(quick())
            .lease(lease)
            .run_until_caught_up();
        assert!(
            matches!(second, Err(Error::Processor(ProcessorError::Busy { .. }))),
            "{second:?}"
        );
        go.send(())?;
        let report = first.join().expect("no panic")?;
        assert_eq!(report.handled(), 1);
        anyhow::Ok(())
    })?;
    let third = store
        .consumer()
        .reactor(quick())
        .lease(lease)
        .run_until_caught_up()?;
    assert_eq!(third.handled(), 0);
    Ok(())
}

#[test]
fn a_stop_handle_ends_a_job_behind_the_batch_in_hand() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for number in 0..100 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    let stop = StopHandle::new();
    let stopping = stop.clone();
    let third = move |message: &emmett_postgresql::RecordedMessage| {
        if message.global_position() == 30 {
            stopping.stop();
        }
        false
    };
    let report = store
        .consumer()
        .projector(Projector::new(journal("journal")).stop_after(third))
        .batch_size(10)
        .stop_on(&stop)
        .run_until_caught_up()?;

    assert!(matches!(report.end, RunEnd::Stopped), "{report:?}");
    let mut client = database.client()?;
    assert_eq!(
        journaled(&mut client, "journal")?,
        stored(&mut client)?[..30]
    );
    Ok(())
}

#[test]
fn a_job_that_ends_leaves_its_stop_handle_to_the_next_one() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let stop = StopHandle::new();

    for name in ["first", "second"] {
        let report = store
            .consumer()
            .projector(counts(name))
            .stop_on(&stop)
            .run_until_caught_up()?;
        assert!(matches!(report.end, RunEnd::CaughtUp), "{name}: {report:?}");
        assert_eq!(report.handled(), 1);
    }
    assert!(!stop.is_stopped());

    stop.stop();
    let report = store
        .consumer()
        .projector(counts("third"))
        .stop_on(&stop)
        .run_until_caught_up()?;
    assert!(matches!(report.end, RunEnd::Stopped), "{report:?}");
    Ok(())
}

#[test]
fn a_service_runs_on_after_it_has_caught_up_until_it_is_stopped() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let stop = StopHandle::new();
    let service = store.consumer().projector(counts("counts")).stop_on(&stop);

    std::thread::scope(|scope| {
        let running = scope.spawn(|| service.run(RunUntil::Stopped));
        let patience = Duration::from_secs(60);
        store.wait_for("counts", 1, patience)?;
        // A second one is on standby: no error, unlike that of a job.
        let standby = store.consumer().projector(counts("counts")).stop_on(&stop);
        let second = scope.spawn(|| standby.run(RunUntil::Stopped));
        let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        store.wait_for("counts", appended.last_global_position, patience)?;
        stop.stop();
        let (first, second) = (running.join(), second.join());
        let (first, second) = (first.expect("no panic")?, second.expect("no panic")?);
        assert_eq!((first.end, second.end), (RunEnd::Stopped, RunEnd::Stopped));
        assert_eq!(first.handled() + second.handled(), 2);
        Ok(())
    })
}
