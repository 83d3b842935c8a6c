//! A missed event that an inline projection cannot handle.

use super::{hold_followers, order};
use crate::support::{CartEvent, added, database, wait_until, wait_until_active};
use emmett_postgresql::{
    EventStore, Recorded, SqlProjection,
    operations::FindingKind,
    projection::{ProjectionStatus, RegisteredProjection},
};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the projection does with 13 and 14 items, as long as it is broken.
fn handle(event: &CartEvent) -> anyhow::Result<()> {
    match event {
        CartEvent::ProductItemAdded { quantity: 13, .. } => anyhow::bail!("13 is too many"),
        CartEvent::ProductItemAdded { quantity: 14, .. } => panic!("14 is\0too many"),
        _ => Ok(()),
    }
}

/// Writes down the positions of its events, in the order in which it handles them.
fn journal(is_broken: &Arc<AtomicBool>) -> SqlProjection {
    let is_broken = Arc::clone(is_broken);
    SqlProjection::new("journal", move |events: &[Recorded<CartEvent>], context| {
        for event in events {
            if is_broken.load(Ordering::SeqCst) {
                handle(&event.event)?;
            }
            let position = i64::try_from(event.global_position)?;
            context.execute("INSERT INTO journal (position) VALUES ($1)", &[&position])?;
        }
        Ok(())
    })
}

fn journaled(client: &mut Client) -> anyhow::Result<Vec<i64>> {
    let rows = client.query("SELECT position FROM journal ORDER BY number", &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn find(store: &EventStore, name: &str) -> RegisteredProjection {
    let projections = store.registered_projections().expect("the registry");
    let found = projections.into_iter().find(|one| one.name == name);
    found.expect("it is registered")
}

fn an_event_that_fails_is_named_and_tried_again(quantity: u32, cause: &str) -> anyhow::Result<()> {
    let database = database();
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE journal (number BIGSERIAL, position BIGINT)")?;
    let is_broken = Arc::new(AtomicBool::new(true));
    let store = EventStore::builder(database.url())
        .inline_projection(journal(&is_broken))
        .inline_projection(order(1))
        .open()?;
    let plain = EventStore::open(database.url())?;

    // All three in one batch.
    let mut holder = hold_followers(&database, "journal")?;
    let events = [1, quantity, 1].map(|quantity| added("hat", quantity));
    let last = plain
        .append_to_stream("Cart-1", &events)?
        .last_global_position;
    holder.batch_execute("COMMIT")?;
    wait_until("the failure is kept", || {
        find(&store, "journal").failure.is_some()
    });
    let failing = find(&store, "journal");
    let findings = plain.doctor()?.findings;
    // The other projection goes on, and no append is refused.
    wait_until("the other one is active", || {
        find(&store, "orders").status == ProjectionStatus::Active
    });
    let appended = store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    let before = journaled(&mut client)?;

    is_broken.store(false, Ordering::SeqCst);
    wait_until_active(&store);

    let failure = failing.failure.expect("a failure");
    assert_eq!(failing.status, ProjectionStatus::Following);
    assert_eq!(failing.missed.map(|missed| missed.count), Some(2));
    assert_eq!(failure.global_position, last - 1);
    let place = format!(
        "message 2 of stream \"Cart-1\", type \"ProductItemAdded\", at global position {}: {cause}",
        last - 1
    );
    assert_eq!(failure.error, place);
    assert_eq!(findings[0].kind, FindingKind::FailingProjection);
    assert!(
        findings[0].problem.ends_with(&place),
        "{}",
        findings[0].problem
    );
    assert_eq!(appended.projections, ["orders"]);
    assert_eq!(before, [i64::try_from(last)? - 2]);
    assert_eq!(find(&store, "journal").failure, None);
    let all: Vec<i64> = (i64::try_from(last)? - 2..).take(4).collect();
    assert_eq!(journaled(&mut client)?, all);
    Ok(())
}

#[test]
fn an_event_whose_handler_fails_is_named_and_tried_again() -> anyhow::Result<()> {
    an_event_that_fails_is_named_and_tried_again(13, "13 is too many")
}

#[test]
fn an_event_whose_handler_panics_is_named_and_tried_again() -> anyhow::Result<()> {
    an_event_that_fails_is_named_and_tried_again(14, "the projection panicked: 14 is\\0too many")
}
