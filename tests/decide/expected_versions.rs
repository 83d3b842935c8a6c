//! Decisions about a version that the caller has seen.

use super::{Cart, Full};
use crate::support::{CartEvent, added, store};
use emmett_postgresql::decide::{DecideError, Decision, stream};
use emmett_postgresql::{Error, EventStore, ExpectedVersion};
use std::cell::Cell;
use std::convert::Infallible;

/// Returns the expected and the actual version of a conflict.
fn conflict<T, E>(outcome: Result<T, DecideError<E>>) -> Option<(ExpectedVersion, u64)> {
    match outcome {
        Err(DecideError::Store(Error::Conflict {
            expected, actual, ..
        })) => Some((expected, actual)),
        _ => None,
    }
}

fn versions(store: &EventStore) -> Result<u64, Error> {
    Ok(store.read_stream::<CartEvent>("Cart-1")?.current_version)
}

#[test]
fn another_version_is_a_conflict_before_anything_is_decided() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
    let never = |_: &Cart| -> Result<Option<CartEvent>, Infallible> { unreachable!("decided") };

    let one = |expected| store.decide(stream::<Cart>("Cart-1").expected_version(expected));
    for expected in [0, 1, 3, u64::MAX].map(ExpectedVersion::from) {
        assert_eq!(conflict(one(expected).run(never)), Some((expected, 2)));
        let keyed = one(expected).key("late").run(never);
        assert_eq!(conflict(keyed), Some((expected, 2)));
    }
    let new = one(ExpectedVersion::DoesNotExist).run(never);
    let missing = stream::<Cart>("Cart-2").expected_version(ExpectedVersion::Exists);
    let missing = store.decide(missing).run(never);
    let second = stream::<Cart>("Cart-2").expected_version(1);
    let second = store
        .decide((stream::<Cart>("Cart-1"), second))
        .run(|_| -> Result<Decision, Infallible> { unreachable!("decided") });

    assert_eq!(conflict(new), Some((ExpectedVersion::DoesNotExist, 2)));
    assert_eq!(conflict(missing), Some((ExpectedVersion::Exists, 0)));
    assert_eq!(conflict(second), Some((ExpectedVersion::Exact(1), 0)));
    assert_eq!(
        (
            versions(&store)?,
            store.command_keys(std::time::Duration::ZERO)?
        ),
        (2, 0)
    );
    Ok(())
}

#[test]
fn the_expected_version_is_decided_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for expected in [
        ExpectedVersion::DoesNotExist,
        ExpectedVersion::Exact(1),
        ExpectedVersion::Exists,
    ] {
        let seen = stream::<Cart>("Cart-1").expected_version(expected);
        store.decide(seen).run(Cart::add)?;
    }

    assert_eq!(versions(&store)?, 3);
    Ok(())
}

#[test]
fn an_append_after_the_read_is_a_conflict_that_no_retry_can_mend() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let decide = |expected: ExpectedVersion| {
        let attempts = Cell::new(0);
        let seen = stream::<Cart>("Cart-1").expected_version(expected);
        // So many retries would not end.
        let outcome = store.decide(seen).retries(1_000_000).run(|_| {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 1 {
                store.append_to_stream("Cart-1", &[added("hat", 1)])?;
            }
            Ok::<_, Error>([added("socks", 1)])
        });
        (conflict(outcome), attempts.get())
    };

    let exact = ExpectedVersion::Exact(1);
    assert_eq!(decide(exact), (Some((exact, 2)), 1));
    // It still exists, so the decision is made again.
    assert_eq!(decide(ExpectedVersion::Exists), (None, 2));
    assert_eq!(versions(&store)?, 4);
    Ok(())
}

#[test]
fn a_repeated_command_gets_its_reply_though_the_version_has_passed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let command = || -> Result<_, DecideError<Full>> {
        let new = stream::<Cart>("Cart-1").expected_version(0);
        store.decide(new).key("add-1").run(|cart| {
            let events = cart.add()?;
            Ok(Decision::new().append("Cart-1", events).reply(cart.items))
        })
    };

    let (first, repeated) = (command()?, command()?);

    assert_eq!((first.reply, first.was_decided_before), (0, false));
    assert_eq!((repeated.reply, repeated.was_decided_before), (0, true));
    assert_eq!(versions(&store)?, 1);
    Ok(())
}

#[test]
fn a_session_decides_on_the_version_after_its_own_appends() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let seen = |version| stream::<Cart>("Cart-1").expected_version(version);

    let late = session.decide(seen(0)).run(Cart::add);
    let done = session.decide(seen(1)).run(Cart::add)?;
    session.commit()?;

    assert_eq!(conflict(late), Some((ExpectedVersion::Exact(0), 1)));
    assert_eq!((done.version, versions(&store)?), (2, 2));
    Ok(())
}
