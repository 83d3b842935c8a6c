//! Decisions: read, decide, append, and again after a conflict.

mod expected_versions;
mod keys;
mod processes;
mod races;
mod sessions;
mod several_streams;
mod snapshots;

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::decide::{
    DecideError, Decided, Decider, Decision, Evolve, StreamBoundary, stream,
};
use emmett_postgresql::{AppendOptions, Error, EventStore};
use std::cell::Cell;
use std::convert::Infallible;

/// A cart as decisions see it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cart {
    pub(crate) items: u32,
}

impl Evolve for Cart {
    type Event = CartEvent;

    fn evolve(&mut self, event: &CartEvent) {
        if let CartEvent::ProductItemAdded { quantity, .. } = event {
            self.items += quantity;
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the cart is full: {0} items")]
pub(crate) struct Full(pub(crate) u32);

impl Cart {
    /// Adds an item, up to three.
    pub(crate) fn add(&self) -> Result<Vec<CartEvent>, Full> {
        if self.items >= 3 {
            return Err(Full(self.items));
        }
        Ok(vec![added("hat", 1)])
    }
}

#[test]
fn a_decision_appends_its_events_to_the_stream_that_it_has_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let done = store.decide(stream::<Cart>("Cart-1")).run(Cart::add)?;

    assert_eq!((done.state.items, done.version), (2, 2));
    assert_eq!(done.appended.len(), 1);
    assert_eq!(done.appended[0].next_expected_version, 2);
    assert!(!done.was_decided_before);
    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(
        read.events[1].global_position,
        done.appended[0].last_global_position
    );
    Ok(())
}

#[test]
fn nothing_is_appended_for_no_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let none = store
        .decide(stream::<Cart>("Cart-1"))
        .run(|_| Ok::<_, Infallible>(None))?;
    let missing = store
        .decide(stream::<Cart>("Cart-2"))
        .run(|cart| Ok::<_, Infallible>(Decision::new().reply(cart.items)))?;

    assert_eq!((none.version, none.appended.len()), (1, 0));
    assert_eq!((missing.version, missing.reply), (0, 0));
    assert!(!store.stream_exists("Cart-2")?);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 1);
    Ok(())
}

#[test]
fn a_refusal_keeps_its_own_type_and_is_not_repeated() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 3)])?;
    let asked = Cell::new(0);

    let refused = store
        .decide(stream::<Cart>("Cart-1"))
        .retries(5)
        .run(|cart| {
            asked.set(asked.get() + 1);
            cart.add()
        });

    let refused = refused.expect_err("the cart is full");
    assert_eq!(refused.to_string(), "the cart is full: 3 items");
    assert_eq!(refused.refused(), Some(Full(3)));
    assert_eq!(asked.get(), 1);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 1);
    Ok(())
}

/// Decides, while another client appends at the first so many attempts.
fn disturbed(
    store: &EventStore,
    disturbances: u32,
    retries: u32,
) -> (
    u32,
    Result<Decided<StreamBoundary<Cart>>, DecideError<Error>>,
) {
    let attempts = Cell::new(0);
    let done = store
        .decide(stream::<Cart>("Cart-1"))
        .retries(retries)
        .run(|_| {
            attempts.set(attempts.get() + 1);
            if attempts.get() <= disturbances {
                store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
            }
            Ok([added("hat", 10)])
        });
    (attempts.get(), done)
}

#[test]
fn after_a_conflict_it_is_decided_anew_with_the_new_state() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let (attempts, done) = disturbed(&store, 2, 2);

    let done = done?;
    assert_eq!((attempts, done.version, done.state.items), (3, 3, 12));
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 3);
    Ok(())
}

#[test]
fn after_the_last_retry_the_conflict_is_the_error() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let (attempts, refused) = disturbed(&store, 9, 2);

    let Err(DecideError::Store(Error::Conflict { actual: 3, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(attempts, 3);
    let (attempts, refused) = disturbed(&store, 9, 0);
    assert!(matches!(
        refused,
        Err(DecideError::Store(Error::Conflict { .. }))
    ));
    assert_eq!(attempts, 1);
    Ok(())
}

#[test]
fn of_many_decisions_at_once_none_is_lost() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let fill = || -> Result<u32, DecideError<Full>> {
        let mut refused = 0;
        for _ in 0..4 {
            let done = store
                .decide(stream::<Cart>("Cart-1"))
                .retries(1_000)
                .run(Cart::add);
            match done {
                Ok(_) => {}
                Err(DecideError::Refused(_)) => refused += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    };

    let refused = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(fill)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum::<Result<u32, _>>()
    })?;

    assert_eq!(refused, 8 * 4 - 3);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 3);
    Ok(())
}

#[test]
fn an_archived_stream_is_an_error() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.archive_stream("Cart-1")?;

    let refused = store.decide(stream::<Cart>("Cart-1")).run(Cart::add);

    assert!(
        matches!(
            refused,
            Err(DecideError::Store(Error::StreamArchived { version: 1, .. }))
        ),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn an_event_that_the_stream_could_not_be_read_with_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let strange = || {
        let event = emmett_postgresql::RawEvent::new("Strange", serde_json::json!({}));
        Decision::new().append("Cart-1", [event])
    };

    let refused = store
        .decide(stream::<Cart>("Cart-1"))
        .run(|_| Ok::<_, Infallible>(strange()));

    assert!(
        matches!(
            refused,
            Err(DecideError::Store(Error::Decode { version: 1, .. }))
        ),
        "{refused:?}"
    );
    assert!(!store.stream_exists("Cart-1")?);
    let unnamed = store
        .decide(stream::<Cart>("Cart-1"))
        .run(|_| Ok::<_, Infallible>(Decision::new().append("", [added("hat", 1)])));
    assert!(matches!(
        unnamed,
        Err(DecideError::Store(Error::InvalidInput { .. }))
    ));
    Ok(())
}

pub(crate) struct AddHats(pub(crate) u32);

impl Decider for Cart {
    type Command = AddHats;
    type Error = Full;

    fn decide(&self, AddHats(count): &AddHats) -> Result<Vec<CartEvent>, Full> {
        if self.items + count > 3 {
            return Err(Full(self.items));
        }
        Ok(vec![added("hat", *count)])
    }
}

#[test]
fn a_decider_carries_out_commands() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let done = store
        .decide(stream::<Cart>("Cart-1"))
        .command(&AddHats(2))?;
    let refused = store.decide(stream::<Cart>("Cart-1")).command(&AddHats(2));

    assert_eq!((done.version, done.state.items), (1, 2));
    assert_eq!(refused.expect_err("full").refused(), Some(Full(2)));
    Ok(())
}

#[test]
fn tenants_decide_apart() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("shoes", 3)])?;

    let own = store.decide(stream::<Cart>("Cart-1")).run(Cart::add)?;
    let theirs = acme.decide(stream::<Cart>("Cart-1")).run(Cart::add);

    assert_eq!(own.version, 1);
    assert_eq!(theirs.expect_err("full").refused(), Some(Full(3)));
    Ok(())
}

/// The closure's own errors pass through `?`.
#[test]
fn a_conflict_that_is_not_of_the_decision_is_its_own() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let attempts = Cell::new(0);
    let refused = store.decide(stream::<Cart>("Cart-1")).run(|_| {
        attempts.set(attempts.get() + 1);
        let options = AppendOptions::new().expected_version(7);
        store.append_to_stream_with("Cart-2", &[added("hat", 1)], options)?;
        Ok::<_, Error>([added("hat", 1)])
    });
    assert!(matches!(
        refused,
        Err(DecideError::Refused(Error::Conflict { .. }))
    ));
    assert_eq!(attempts.get(), 1);
    Ok(())
}
