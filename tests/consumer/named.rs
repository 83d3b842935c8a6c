//! Projectors whose processors have their own names.

use super::fixtures::{counted, counts};
use crate::support::{added, store, wait_until};
use emmett_postgresql::{
    Error, EventStore, Projector, RawEvent, Reactor, Recorded,
    error::{ProcessorError, ProjectionError},
    rebuild::RequestedRebuild,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn named(name: &str) -> Projector {
    Projector::new(counts("carts")).name(name)
}

fn append(store: &EventStore, count: u32) -> anyhow::Result<u64> {
    let events: Vec<_> = (0..count).map(|number| added("hat", number)).collect();
    Ok(store
        .append_to_stream("Cart-1", &events)?
        .last_global_position)
}

fn handled(store: &EventStore) -> anyhow::Result<u64> {
    let carts = counted(store, "carts", "Cart-1")?;
    Ok(carts.map_or(0, |carts| carts.events))
}

fn nothing(name: &str) -> Reactor {
    Reactor::new(name).each(|_: &Recorded<RawEvent>, _| Ok(()))
}

#[track_caller]
fn assert_mismatch<T: std::fmt::Debug>(outcome: emmett_postgresql::Result<T>, text: &str) {
    let error = outcome.expect_err("a second processor");
    assert!(error.to_string().contains(text), "{error}");
    assert!(
        matches!(error, Error::Projection(ProjectionError::Mismatch { .. })),
        "{error:?}"
    );
}

#[test]
fn it_is_known_by_its_name_everywhere() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let position = append(&store, 3)?;
    let report = store
        .consumer()
        .projector(named("cart-keeping"))
        .run_until_caught_up()?;
    assert_eq!(report.processors[0].name, "cart-keeping");

    let consumer = store.consumer().projector(named("cart-keeping")).start()?;
    store.wait_for("cart-keeping", append(&store, 1)?, PATIENCE)?;
    assert_eq!(consumer.handled("cart-keeping"), 1);
    let status = store.processors().list()?;
    let (status, position) = (&status[0], position + 1);
    assert_eq!(
        (status.name.as_str(), status.position),
        ("cart-keeping", position)
    );
    assert_eq!(status.projection.as_deref(), Some("carts"));
    assert_eq!(store.registered_projections()?[0].name, "carts");
    assert_eq!(handled(&store)?, 4);
    let unknown = store.wait_for("carts", position, Duration::ZERO);
    assert!(matches!(
        unknown,
        Err(Error::Processor(ProcessorError::WaitTimeout {
            reached: None,
            ..
        }))
    ));
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_rebuild_stops_it_and_it_goes_on_after_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, 5)?;
    let projector = named("cart-keeping").workers(2);
    let consumer = store.consumer().projector(projector).start()?;
    store.rebuild_with(counts("carts")).run()?;
    store.wait_for("cart-keeping", append(&store, 2)?, PATIENCE)?;
    assert_eq!(handled(&store)?, 7);

    // A request finds it by its projection, too.
    let is_running = store.rebuild_with(counts("carts")).request()?;
    assert!(is_running);
    wait_until("the rebuild is done", || {
        matches!(store.requested_rebuild("carts"), Ok(RequestedRebuild::Done))
    });
    store.wait_for("cart-keeping", append(&store, 1)?, PATIENCE)?;
    assert_eq!(handled(&store)?, 8);
    consumer.stop()?;

    store.rebuild_with(counts("carts").version(2)).run()?;
    let old = store.consumer().projector(named("cart-keeping")).start();
    assert_mismatch(old, "version 1");
    Ok(())
}

#[test]
fn one_that_never_ran_begins_after_the_rebuild() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, 4)?;
    store.rebuild_with(counts("carts")).run()?;
    append(&store, 1)?;
    let _ = store
        .consumer()
        .projector(named("cart-keeping"))
        .run_until_caught_up()?;
    assert_eq!(handled(&store)?, 5);
    Ok(())
}

#[test]
fn a_projection_is_kept_by_one_processor() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, 2)?;
    let run = |projector: Projector| store.consumer().projector(projector).run_until_caught_up();
    let _ = run(counts("carts").into())?;
    assert_mismatch(
        run(named("other")),
        "\"carts\" is kept by the processor \"carts\"",
    );
    let both = store
        .consumer()
        .projector(counts("carts"))
        .projector(named("other"))
        .start();
    assert!(matches!(both, Err(Error::InvalidInput { .. })), "{both:?}");

    // The way to another name.
    store.processors().forget("carts")?;
    store.rebuild_with(counts("carts")).run()?;
    append(&store, 1)?;
    let _ = run(named("other"))?;
    assert_eq!(handled(&store)?, 3);
    assert_mismatch(
        run(counts("carts").into()),
        "kept by the processor \"other\"",
    );
    Ok(())
}

#[test]
fn a_reactor_and_a_projector_cannot_share_a_name() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, 2)?;
    let _ = store
        .consumer()
        .reactor(nothing("carts"))
        .run_until_caught_up()?;
    let taken = store.consumer().projector(counts("carts")).start();
    assert_mismatch(taken, "processor \"carts\" is a reactor");

    // A reactor that has the projection's name is not the projection's processor.
    let rebuilt = store.rebuild_with(counts("carts")).run();
    assert!(
        matches!(rebuilt, Err(Error::InvalidInput { .. })),
        "{rebuilt:?}"
    );
    let reactor = &store.processors().list()?[0];
    assert_eq!((reactor.position, reactor.slots[0].epoch), (2, 1));
    let projector = store.consumer().projector(named("mails"));
    let _ = projector.run_until_caught_up()?;
    let reactor = store.consumer().reactor(nothing("mails")).start();
    assert_mismatch(reactor, "projector of \"carts\"");
    Ok(())
}
