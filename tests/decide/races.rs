//! Decisions of many threads at once.

use super::{Cart, Full};
use crate::support::{CartEvent, added, database};
use emmett_postgresql::decide::{DecideError, Decision, stream};
use emmett_postgresql::{ConnectionOptions, EventStore};
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ENOUGH: u32 = 100_000;

/// A store with connections for many threads, and the database that has to outlive it.
fn store() -> anyhow::Result<(emmett_postgresql::testing::Database, EventStore)> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(16))
        .open()?;
    Ok((database, store))
}

/// Runs a closure in so many threads, which start together.
fn together<T: Send>(threads: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (start, run) = (Barrier::new(threads), &run);
    thread::scope(|scope| {
        let begin = |number| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                run(number)
            })
        };
        let running: Vec<_> = (0..threads).map(begin).collect();
        let ended = running.into_iter();
        ended.map(|one| one.join().expect("no panic")).collect()
    })
}

/// Each thread adds items until it is refused, and once more.
#[test]
fn of_64_threads_each_outcome_is_in_the_stream_and_no_refusal_is_repeated() -> anyhow::Result<()> {
    const THREADS: usize = 64;
    const ROOM: u32 = 100;
    let (_database, store) = store()?;
    let refusals = AtomicUsize::new(0);
    let add = |product: &str| {
        let cart = stream::<Cart>("Cart-1");
        store.decide(cart).retries(ENOUGH).run(|cart| {
            if cart.items < ROOM {
                return Ok([added(product, 1)]);
            }
            refusals.fetch_add(1, Ordering::Relaxed);
            Err(Full(cart.items))
        })
    };
    let fill = |thread: usize| -> Result<Vec<String>, DecideError<Full>> {
        let mut done = Vec::new();
        let mut refused = 0;
        while refused < 2 {
            let product = format!("{thread}-{}", done.len());
            match add(&product) {
                Ok(_) => done.push(product),
                Err(DecideError::Refused(Full(items))) => {
                    assert_eq!(items, ROOM, "refused with the state that refuses");
                    refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    };

    let outcomes = together(THREADS, fill);

    let mut expected = HashSet::new();
    for outcome in outcomes {
        expected.extend(outcome?);
    }
    let stored = store.read_stream::<CartEvent>("Cart-1")?.events;
    assert_eq!(stored.len(), ROOM as usize);
    let products = stored.into_iter().map(|recorded| match recorded.event {
        CartEvent::ProductItemAdded { product_id, .. } => product_id,
        other => format!("{other:?}"),
    });
    assert_eq!(products.collect::<HashSet<_>>(), expected);
    assert_eq!(refusals.into_inner(), 2 * THREADS, "each is told once");
    Ok(())
}

/// For how long; `.ci/run --long` takes longer.
fn duration() -> anyhow::Result<Duration> {
    let seconds = std::env::var("EMMETT_TEST_SKEW_SECONDS").map_or(Ok(1), |text| text.parse())?;
    Ok(Duration::from_secs(seconds))
}

/// Write skew: each decision reads both streams and appends to one, if neither has a mark yet.
#[test]
fn of_32_threads_that_read_two_streams_and_append_to_one_a_single_one_succeeds()
-> anyhow::Result<()> {
    const THREADS: usize = 32;
    const ROUNDS: usize = 6;
    let (_database, store) = store()?;
    let end = Instant::now() + duration()?;
    let mut round = 0;
    while round < ROUNDS || Instant::now() < end {
        let names = [format!("Left-{round}"), format!("Right-{round}")];
        // In each second round, neither stream exists.
        let exist = round % 2 == 0;
        if exist {
            for name in &names {
                store.append_to_stream(name, &[added("before", 0)])?;
            }
        }
        let mark = |number: usize| -> Result<bool, DecideError<Full>> {
            let own = &names[number % 2];
            let both = (stream::<Cart>(&names[0]), stream::<Cart>(&names[1]));
            let done = store.decide(both).retries(ENOUGH).run(|(left, right)| {
                match left.items + right.items {
                    0 => Ok(Decision::new().append(own, [added("mark", 1)])),
                    items => Err(Full(items)),
                }
            });
            match done {
                Ok(_) => Ok(true),
                Err(DecideError::Refused(Full(1))) => Ok(false),
                Err(error) => Err(error),
            }
        };

        let outcomes = together(THREADS, mark);

        let won = outcomes.into_iter().collect::<Result<Vec<bool>, _>>()?;
        let winners = won.iter().filter(|won| **won).count();
        assert_eq!(winners, 1, "round {round}");
        let mut events = 0;
        for name in &names {
            events += store.read_stream::<CartEvent>(name)?.events.len();
        }
        assert_eq!(events, 1 + if exist { 2 } else { 0 }, "round {round}");
        round += 1;
    }
    Ok(())
}
