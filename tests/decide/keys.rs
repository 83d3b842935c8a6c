//! Commands that are carried out once under their key.

use super::{Cart, Full};
use crate::support::{CartEvent, added, store};
use emmett_postgresql::decide::{DecideError, Decided, Decision, StreamBoundary, stream};
use emmett_postgresql::{Error, EventStore};
use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

type Added = Result<Decided<StreamBoundary<Cart>, u32>, DecideError<Full>>;

fn add(store: &EventStore, key: &str) -> Added {
    store.decide(stream::<Cart>("Cart-1")).key(key).run(|cart| {
        let events = cart.add()?;
        Ok(Decision::new()
            .append("Cart-1", events)
            .reply(cart.items + 1))
    })
}

fn count(store: &EventStore) -> Result<usize, Error> {
    Ok(store.read_stream::<CartEvent>("Cart-1")?.events.len())
}

#[test]
fn a_repeated_command_gets_the_stored_reply_and_is_not_decided_again() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let first = add(&store, "add-1")?;
    let second = add(&store, "add-2")?;
    add(&store, "add-3")?;
    let repeated = add(&store, "add-1")?;

    assert_eq!((first.reply, first.was_decided_before), (1, false));
    assert_eq!((second.reply, second.version), (2, 2));
    // The cart is full meanwhile: decided again, it would be refused.
    assert_eq!((repeated.reply, repeated.was_decided_before), (1, true));
    assert_eq!((repeated.version, repeated.appended.len()), (3, 0));
    assert_eq!(count(&store)?, 3);
    Ok(())
}

#[test]
fn a_refused_command_leaves_no_key() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 3)])?;
    assert_eq!(
        add(&store, "add-1").expect_err("full").refused(),
        Some(Full(3))
    );

    // After a conflict, too: the first attempt's key is taken back.
    let attempts = Cell::new(0);
    let done = store
        .decide(stream::<Cart>("Cart-2"))
        .key("add-2")
        .run(|_| {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 1 {
                store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
            }
            Ok::<_, Error>([added("hat", 1)])
        })?;
    assert_eq!((attempts.get(), done.version), (2, 2));
    assert!(!done.was_decided_before);
    Ok(())
}

#[test]
fn a_decision_without_events_keeps_its_reply() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let decide = |reply: &str| {
        let decision = |_: &Cart| Ok::<_, Infallible>(Decision::new().reply(reply.to_owned()));
        store
            .decide(stream::<Cart>("Cart-1"))
            .key("nothing")
            .run(decision)
    };
    assert_eq!(decide("first")?.reply, "first");
    assert_eq!(decide("second")?.reply, "first");
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_key_with_another_content_is_an_error() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let decide = |content: &str| -> Result<u64, DecideError<Full>> {
        let decide = store.decide(stream::<Cart>("Cart-1")).key("add-1");
        Ok(decide.content(&content)?.run(Cart::add)?.version)
    };
    assert_eq!(decide("a hat")?, 1);
    assert_eq!(decide("a hat")?, 1);
    for other in [
        decide("two hats"),
        add(&store, "add-1").map(|done| done.version),
    ] {
        let Err(DecideError::Store(error @ Error::CommandKeyReused { .. })) = other else {
            panic!("{other:?}");
        };
        assert_eq!(
            error.to_string(),
            "command key \"add-1\" was used for a command with another content"
        );
    }
    assert_eq!(count(&store)?, 1);
    Ok(())
}

#[test]
fn keys_and_replies_that_cannot_be_stored_are_errors_that_name_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for key in ["", "a\0b", &"x".repeat(2_001)] {
        let refused = add(&store, key);
        assert!(
            matches!(refused, Err(DecideError::Store(Error::InvalidInput { .. }))),
            "{refused:?}"
        );
    }
    let nan = store
        .decide(stream::<Cart>("Cart-1"))
        .key("nan")
        .run(|cart| {
            Ok::<_, Full>(
                Decision::new()
                    .append("Cart-1", cart.add()?)
                    .reply(f64::NAN),
            )
        });
    assert!(matches!(
        nan,
        Err(DecideError::Store(Error::CommandJson { part: "reply", .. }))
    ));
    assert_eq!(count(&store)?, 0);

    add(&store, "number")?;
    let text = store
        .decide(stream::<Cart>("Cart-1"))
        .key("number")
        .run(|_| Ok::<_, Infallible>(Decision::new().reply(String::new())));
    let Err(DecideError::Store(error)) = text else {
        panic!("a number is no text");
    };
    assert_eq!(
        error.to_string(),
        "the reply of the command with key \"number\" does not fit"
    );
    Ok(())
}

#[test]
fn of_many_callers_with_one_key_one_decides_and_all_get_its_reply() -> anyhow::Result<()> {
    const CALLERS: u32 = 32;
    let (_database, store) = store()?;
    for round in 0..5 {
        let key = format!("add-{round}");
        let (start, number) = (Barrier::new(CALLERS as usize), AtomicU32::new(0));
        let call = || -> Result<u32, DecideError<Infallible>> {
            start.wait();
            let own = number.fetch_add(1, Ordering::Relaxed);
            let done = store
                .decide(stream::<Cart>("Cart-1"))
                .retries(1_000)
                .key(&key)
                .run(|_| {
                    let hat = [added("hat", 1)];
                    Ok(Decision::new().append("Cart-1", hat).reply(own))
                })?;
            Ok(done.reply)
        };
        let replies = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect::<Result<Vec<u32>, _>>()
        })?;
        assert!(
            replies.iter().all(|reply| *reply == replies[0]),
            "{replies:?}"
        );
        assert_eq!(count(&store)?, round + 1);
    }
    Ok(())
}

#[test]
fn each_tenant_has_keys_of_its_own_and_loses_them_when_it_is_removed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;

    assert!(!add(&store, "add-1")?.was_decided_before);
    assert!(!add(&acme, "add-1")?.was_decided_before);

    store.tenants().remove("acme")?.with_all_data()?;
    let kept: i64 = database
        .client()?
        .query_one("SELECT count(*) FROM emt_command_keys", &[])?
        .get(0);
    assert_eq!(kept, 1);
    Ok(())
}

#[test]
fn old_keys_are_deleted_however_many_there_are() -> anyhow::Result<()> {
    let (database, store) = store()?;
    add(&store, "new")?;
    database.client()?.batch_execute(
        "INSERT INTO emt_command_keys (partition, command_key, digest, reply, created)
         SELECT tenant, number::TEXT, '', 'null', now() - INTERVAL '2 days'
           FROM generate_series(1, 2500) AS number, unnest('{emt:default,acme}'::TEXT[]) AS tenant",
    )?;
    let day = std::time::Duration::from_secs(24 * 60 * 60);

    assert_eq!(store.command_keys(day)?, 2_500);
    assert_eq!(store.delete_command_keys(day)?, 2_500);
    assert_eq!(store.delete_command_keys(day)?, 0);

    assert_eq!(store.command_keys(std::time::Duration::ZERO)?, 1);
    assert!(add(&store, "new")?.was_decided_before);
    Ok(())
}

#[test]
fn the_order_of_a_maps_keys_is_no_other_content() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    // Each map has an order of its own.
    for _ in 0..5 {
        let content: HashMap<u32, u32> = (0..50).map(|number| (number, number)).collect();
        store
            .decide(stream::<Cart>("Cart-1"))
            .key("add-1")
            .content(&content)?
            .run(Cart::add)?;
    }
    assert_eq!(count(&store)?, 1);
    Ok(())
}
