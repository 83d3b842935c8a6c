use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::database::connections::proxy::{Loss, Proxy};
use crate::support::{CartEvent, added, database, store};
use crossbeam_channel::bounded;
use emmett_postgresql::{
    Error, EventStore, FailurePolicy, Projector, RawEvent, Reactor, Recorded, RunUntil,
    SqlProjection,
    consumer::{ConsumerBuilder, RunEnd, RunReport, StopHandle},
    error::ProcessorError,
    operations::ParkedSelection,
    rebuild::RequestedRebuild,
};
use std::error::Error as _;
use std::sync::Arc;
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
fn a_job_to_a_position_leaves_a_processor_that_is_after_it_where_it_is() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let events: Vec<_> = (0..10).map(|_| added("hat", 1)).collect();
    store.append_to_stream("Cart-1", &events)?;
    let _ = store.consumer().projector(counts("counts")).run_to(8)?;

    let both = store.consumer().projector(counts("counts"));
    let report = both.projector(journal("journal")).run_to(4)?;

    let mut positions: Vec<u64> = report.processors.iter().map(|one| one.position).collect();
    positions.sort_unstable();
    assert_eq!((report.handled(), positions), (4, vec![4, 8]));
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

#[test]
fn a_batch_whose_commit_got_no_answer_is_counted_once() -> anyhow::Result<()> {
    let database = database();
    let proxy = Arc::new(Proxy::to(&database)?);
    let store = EventStore::open(proxy.url())?;
    for number in 0..30 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    let _ = store.consumer().projector(journal("journal")).run_to(0)?;
    for loss in [Loss::Answer, Loss::Statement] {
        let losing = Projector::new(journal("journal")).on_start({
            let proxy = Arc::clone(&proxy);
            move || proxy.lose(loss, "SAVEPOINT emt_commit; COMMIT")
        });
        let before = journaled(&mut database.client()?, "journal")?.len();
        let report = store
            .consumer()
            .projector(losing)
            .batch_size(10)
            .run_to(if before == 0 { 20 } else { 30 })?;
        let after = journaled(&mut database.client()?, "journal")?.len();
        assert_eq!(report.handled(), (after - before) as u64, "{loss:?}");
    }
    let mut client = database.client()?;
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    Ok(())
}

#[test]
fn a_job_with_nothing_new_carries_out_what_was_asked_for() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    let names: Vec<String> = (0..8).map(|number| format!("mails{number}")).collect();
    let job = |is_broken: bool| {
        let reactors = names.iter().map(|name| {
            Reactor::new(name.as_str())
                .each(move |message: &Recorded<RawEvent>, _| {
                    anyhow::ensure!(!is_broken || &*message.stream_name != "Cart-1", "no paper");
                    Ok(())
                })
                .on_failure(FailurePolicy::park())
        });
        let consumer = store.consumer().projector(counts("counts"));
        reactors
            .fold(consumer, ConsumerBuilder::reactor)
            .run_until_caught_up()
    };
    assert_eq!(job(true)?.handled(), 3 + 8);
    for name in &names {
        store
            .processors()
            .replay(name, &ParkedSelection::Stream("Cart-1".to_owned()))?;
    }
    database
        .client()?
        .batch_execute("UPDATE counts SET data = '{\"events\": 99, \"items\": 0, \"last\": 2}'")?;
    store.rebuild("counts").request()?;

    let report = job(false)?;

    assert_eq!(report.handled(), 2 * 8);
    for processor in store.processors().list()? {
        assert_eq!(
            (processor.parked, processor.waiting),
            (0, 0),
            "{}",
            processor.name
        );
    }
    let requested = store.requested_rebuild("counts")?;
    assert_eq!(requested, RequestedRebuild::Done);
    let counted = counted(&store, "counts", "Cart-1")?;
    assert_eq!(counted.map(|counted| counted.events), Some(2));
    Ok(())
}

#[test]
fn a_replay_that_fails_again_does_not_keep_a_job() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    let job = || {
        let broken = Reactor::new("mails")
            .each(|_: &Recorded<RawEvent>, _| anyhow::bail!("no paper"))
            .on_failure(FailurePolicy::park());
        store.consumer().reactor(broken).run_until_caught_up()
    };
    let _ = job()?;
    store.processors().replay("mails", &ParkedSelection::All)?;
    let _ = job()?;
    let processors = store.processors().list()?;
    assert_eq!((processors[0].parked, processors[0].waiting), (1, 1));
    Ok(())
}
