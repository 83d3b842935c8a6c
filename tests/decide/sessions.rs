//! Decisions in a transaction of the caller's, and in reactors.

use super::Cart;
use crate::support::{CartEvent, added, store};
use emmett_postgresql::consumer::RunEnd;
use emmett_postgresql::decide::{DecideError, Decision, stream};
use emmett_postgresql::{Error, Reactor, Recorded, RunUntil};
use std::convert::Infallible;

#[test]
fn a_decision_in_a_session_sees_what_the_session_has_appended() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let version = store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        let first = session.decide(stream::<Cart>("Cart-1")).run(Cart::add)?;
        assert_eq!(first.state.items, 2);
        let second = session
            .decide(stream::<Cart>("Cart-1"))
            .key("add-1")
            .run(Cart::add)?;
        let repeated = session
            .decide(stream::<Cart>("Cart-1"))
            .key("add-1")
            .run(Cart::add)?;
        assert!(repeated.was_decided_before);
        Ok(second.version)
    })?;

    assert_eq!(version, 3);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 3);
    Ok(())
}

#[test]
fn a_decision_is_rolled_back_with_its_session_and_so_is_its_key() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut session = store.begin()?;
    session
        .decide(stream::<Cart>("Cart-1"))
        .key("add-1")
        .run(Cart::add)?;
    session.rollback()?;
    assert!(!store.stream_exists("Cart-1")?);

    let done = store
        .decide(stream::<Cart>("Cart-1"))
        .key("add-1")
        .run(Cart::add)?;
    assert!(!done.was_decided_before);
    Ok(())
}

#[test]
fn after_a_conflict_the_session_can_be_used_and_nothing_was_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.with_session(|session| {
        for (name, key) in [("Cart-1", None), ("Cart-2", Some("add-1"))] {
            let disturb = |_: &Cart| {
                store.append_to_stream(name, &[added("shoes", 1)])?;
                Ok::<_, Error>(Decision::new().append(name, [added("hat", 1)]))
            };
            let decide = session.decide(stream::<Cart>(name));
            let refused = match key {
                None => decide.run(disturb).map(|_| ()),
                Some(key) => decide.key(key).run(disturb).map(|_| ()),
            };
            assert!(
                matches!(refused, Err(DecideError::Store(Error::Conflict { .. }))),
                "{refused:?}"
            );
        }
        session.append_to_stream("Log-1", &[added("tried", 1)])?;
        Ok(())
    })?;
    for name in ["Cart-1", "Cart-2"] {
        assert_eq!(store.read_stream::<CartEvent>(name)?.events.len(), 1);
    }
    assert!(store.stream_exists("Log-1")?);
    Ok(())
}

#[test]
fn what_a_reactor_decides_has_the_message_as_its_cause() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Order-1", &[added("ordered", 1)])?;
    let reactor = Reactor::new("fill").each(|message: &Recorded<CartEvent>, context| {
        if &*message.stream_name == "Order-1" {
            let seen = (stream::<Cart>("Cart-1"), stream::<Cart>("Cart-2"));
            context.decide(seen).run(|_| {
                Ok::<_, Infallible>(Decision::new().append("Cart-1", [added("hat", 1)]))
            })?;
        }
        Ok(())
    });

    let report = store.consumer().reactor(reactor).run(RunUntil::CaughtUp)?;
    assert_eq!(report.end, RunEnd::CaughtUp);

    let ordered = store.read_stream::<CartEvent>("Order-1")?;
    let filled = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(
        filled.events[0].causation_id.as_deref(),
        Some(ordered.events[0].message_id.as_str())
    );
    Ok(())
}
