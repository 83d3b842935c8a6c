//! Decisions by several threads, beside the same two statements by hand, and what keys and snapshots cost and bring.

use crate::harness::{Harness, Turn, hash};
use crate::plain::PlainDecider;
use crate::shop::{CartEvent, Random, events, items};
use anyhow::Result;
use emmett_postgresql::decide::{Decide, DecideError, Evolve, StreamBoundary, stream};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{ConnectionOptions, EventStore};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::thread;
use uuid::Uuid;

const THREADS: usize = 8;
const STREAMS: usize = 100;
/// Conflicts are part of the work, and no decision is given up.
const RETRIES: u32 = 10_000;
const LONG_STREAM: &str = "ShoppingCart-long";
const LONG: usize = 10_000;

#[derive(Default, Serialize, Deserialize)]
struct Cart {
    items: u64,
}

impl Evolve for Cart {
    type Event = CartEvent;

    fn evolve(&mut self, event: &CartEvent) {
        if matches!(event, CartEvent::ProductItemAdded(_)) {
            self.items += 1;
        }
    }
}

type Outcome = Result<(), DecideError<Infallible>>;
type OfCart<'s> = Decide<&'s EventStore, StreamBoundary<Cart>>;

#[expect(clippy::unnecessary_wraps, reason = "a decision may refuse")]
fn add(_: &Cart) -> Result<Vec<CartEvent>, Infallible> {
    Ok(events(1))
}

fn plain(decide: OfCart<'_>) -> Outcome {
    decide.run(add).map(drop)
}

fn keyed(decide: OfCart<'_>) -> Outcome {
    decide.key(Uuid::now_v7().to_string()).run(add).map(drop)
}

fn with_snapshots(decide: OfCart<'_>) -> Outcome {
    decide.snapshot_every(10).run(add).map(drop)
}

fn store(database: &Database) -> Result<EventStore> {
    // One connection more than threads, for the writer of snapshots.
    let options = ConnectionOptions::new().pool_size(u32::try_from(THREADS)? + 1);
    Ok(EventStore::builder(database.url())
        .connection_options(options)
        .open()?)
}

/// Lets all threads decide at the same time, on streams that are new in each turn; returns the number of decisions.
fn decide_on_streams(
    threads: &mut [impl FnMut(&str) -> Result<()> + Send],
    turn: Turn,
) -> Result<u64> {
    thread::scope(|scope| {
        let work = |number: usize, decide: &mut dyn FnMut(&str) -> Result<()>| {
            let mut random = Random::new(hash((turn.seed, number)));
            turn.repeat(|| {
                let stream = random.below(STREAMS);
                decide(&format!("ShoppingCart-{:016x}-{stream}", turn.seed))?;
                Ok(1)
            })
        };
        let threads: Vec<_> = threads
            .iter_mut()
            .enumerate()
            .map(|(number, decide)| scope.spawn(move || work(number, decide)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a decision panicked"))
            .sum()
    })
}

fn ours(
    store: &EventStore,
    threads: usize,
    run: fn(OfCart<'_>) -> Outcome,
) -> Vec<impl FnMut(&str) -> Result<()> + Send> {
    let decide =
        |_| move |name: &str| Ok(run(store.decide(stream::<Cart>(name)).retries(RETRIES))?);
    (0..threads).map(decide).collect()
}

fn by_hand(database: &Database) -> Result<Vec<impl FnMut(&str) -> Result<()> + Send>> {
    (0..THREADS)
        .map(|_| {
            let mut decider = PlainDecider::new(database.client()?)?;
            Ok(move |name: &str| {
                let add = |events: &[CartEvent]| {
                    let mut cart = Cart::default();
                    for event in events {
                        cart.evolve(event);
                    }
                    std::hint::black_box(cart);
                    items(1).remove(0)
                };
                decider.decide(name, add)
            })
        })
        .collect()
}

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let name = "decide on 100 streams, 8 threads";
    if harness.wants(name) {
        let database = crate::database(server)?;
        let store = store(&database)?;
        let (mut measured, mut baseline) = (ours(&store, THREADS, plain), by_hand(&database)?);
        harness.compare(
            name,
            |turn| decide_on_streams(&mut measured, turn),
            |turn| decide_on_streams(&mut baseline, turn),
        )?;
    }
    let beside_plain = [
        (
            "decide with a key, 8 threads, beside without",
            THREADS,
            keyed as fn(OfCart<'_>) -> Outcome,
        ),
        ("decide with a key, 1 thread, beside without", 1, keyed),
        (
            "decide with snapshots, 1 thread, beside without",
            1,
            with_snapshots,
        ),
    ];
    for (name, threads, run) in beside_plain {
        if harness.wants(name) {
            let database = crate::database(server)?;
            let store = store(&database)?;
            let (mut measured, mut baseline) =
                (ours(&store, threads, run), ours(&store, threads, plain));
            // Streams of their own, so that no side reads the other's events.
            harness.compare(
                name,
                |turn| decide_on_streams(&mut measured, turn),
                |turn| decide_on_streams(&mut baseline, turn.other_streams()),
            )?;
        }
    }
    load_long_stream(harness, server)
}

fn load_long_stream(harness: &Harness, server: &Server) -> Result<()> {
    let name = "load 10,000 events by a snapshot, beside all";
    if !harness.wants(name) {
        return Ok(());
    }
    let database = crate::database(server)?;
    let first = store(&database)?;
    first.append_to_stream(LONG_STREAM, &events(LONG))?;
    let load = |store: &EventStore, with_snapshot: bool| {
        let decide = store.decide(stream::<Cart>(LONG_STREAM));
        let decide = if with_snapshot {
            decide.snapshot_every(100)
        } else {
            decide
        };
        let done = decide.run(|_| Ok::<_, Infallible>([]))?;
        anyhow::ensure!(done.state.items == LONG as u64, "the state has all events");
        Ok(1)
    };
    load(&first, true)?;
    // The drop waits for the snapshot.
    drop(first);
    let store = store(&database)?;
    harness.compare(
        name,
        |turn| turn.repeat(|| load(&store, true)),
        |turn| turn.repeat(|| load(&store, false)),
    )
}
