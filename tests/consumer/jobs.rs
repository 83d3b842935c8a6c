use super::fixtures::{counts, journal, journaled, stored};
use crate::support::{added, store};
use crossbeam_channel::bounded;
use emmett_postgresql::{
    Error, ProcessorError, Projector, RawEvent, Reactor, Recorded, RunEnd, StopHandle,
};
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

#[test]
fn a_job_that_fails_says_so_in_its_report() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let broken = Reactor::new("broken").each(|_: &Recorded<RawEvent>, _| anyhow::bail!("no"));
    let report = store.consumer().reactor(broken).run_until_caught_up()?;
    let error = report.into_result().expect_err("it failed");
    assert!(
        matches!(error, Error::Processor(ProcessorError::Failed { .. })),
        "{error}"
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
