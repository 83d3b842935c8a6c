//! Snapshots: a cache that a decision can do without.

#[cfg(feature = "tracing")]
mod warnings;

use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::consumer::{FailurePolicy, RunEnd};
use emmett_postgresql::decide::{DecideError, Decision, Evolve, stream};
use emmett_postgresql::{Error, EventStore, Reactor, Recorded, RunUntil, testing};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Basket {
    items: u32,
}

impl Evolve for Basket {
    type Event = CartEvent;
    const VERSION: u32 = 2;

    fn evolve(&mut self, event: &CartEvent) {
        if let CartEvent::ProductItemAdded { quantity, .. } = event {
            self.items += quantity;
        }
    }
}

type Outcome = Result<(u32, u64), DecideError<Infallible>>;

/// Adds one item, and keeps a snapshot every three events.
fn add(store: &EventStore, name: &str) -> Outcome {
    let done = store
        .decide(stream::<Basket>(name))
        .snapshot_every(3)
        .run(|_| Ok([added("hat", 1)]))?;
    Ok((done.state.items, done.version))
}

/// Reads without a change.
fn look(store: &EventStore, name: &str) -> Outcome {
    let done = store
        .decide(stream::<Basket>(name))
        .snapshot_every(3)
        .run(|_| Ok([]))?;
    Ok((done.state.items, done.version))
}

fn fill(store: &EventStore, name: &str, events: u32) -> Result<(), Error> {
    let events: Vec<CartEvent> = (0..events).map(|_| added("hat", 1)).collect();
    store.append_to_stream(name, &events).map(drop)
}

/// The versions of a stream's snapshots.
fn snapshots(database: &testing::Database, name: &str) -> anyhow::Result<Vec<i64>> {
    let query = "SELECT stream_position FROM emt_snapshots WHERE stream_id = $1 ORDER BY 1";
    let rows = database.client()?.query(query, &[&name])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn wait_for_snapshot(database: &testing::Database, name: &str, version: i64) {
    wait_until("the snapshot is written", || {
        snapshots(database, name).expect("read") == [version]
    });
}

fn execute(database: &testing::Database, sql: &str) -> anyhow::Result<()> {
    Ok(database.client()?.batch_execute(sql)?)
}

/// A read of the whole stream would fail from now on.
fn forget_the_first_event(database: &testing::Database) -> anyhow::Result<()> {
    execute(
        database,
        "DELETE FROM emt_messages WHERE stream_position = 1",
    )
}

#[test]
fn a_decision_reads_only_the_events_after_the_snapshot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 4)?;
    assert_eq!(add(&store, "Cart-1")?, (5, 5));
    wait_for_snapshot(&database, "Cart-1", 5);

    forget_the_first_event(&database)?;

    assert_eq!(add(&store, "Cart-1")?, (6, 6));
    assert_eq!(look(&store, "Cart-1")?, (6, 6));
    let whole = store
        .decide(stream::<Basket>("Cart-1"))
        .run(|_| Ok::<_, Infallible>([]));
    assert!(matches!(
        whole,
        Err(DecideError::Store(Error::StreamGap { .. }))
    ));
    Ok(())
}

#[test]
fn a_snapshot_is_written_when_it_is_due_and_not_before() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for version in 1..=2 {
        assert_eq!(add(&store, "Cart-1")?.1, version);
    }
    assert_eq!(add(&store, "Cart-1")?.1, 3);
    wait_for_snapshot(&database, "Cart-1", 3);
    for version in 4..=5 {
        assert_eq!(add(&store, "Cart-1")?.1, version);
    }
    // A program that ends has written what was due, and nothing else.
    drop(store);
    assert_eq!(snapshots(&database, "Cart-1")?, [3]);

    let store = EventStore::open(database.url())?;
    assert_eq!(add(&store, "Cart-1")?, (6, 6));
    drop(store);
    assert_eq!(snapshots(&database, "Cart-1")?, [6]);
    Ok(())
}

#[test]
fn a_refused_decision_and_one_without_events_leave_a_snapshot_too() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 7)?;
    let refused = store
        .decide(stream::<Basket>("Cart-1"))
        .snapshot_every(3)
        .run(|basket| Err::<Decision, u32>(basket.items));
    assert!(matches!(refused, Err(DecideError::Refused(7))));
    wait_for_snapshot(&database, "Cart-1", 7);

    fill(&store, "Cart-2", 7)?;
    assert_eq!(look(&store, "Cart-2")?, (7, 7));
    wait_for_snapshot(&database, "Cart-2", 7);
    Ok(())
}

#[test]
fn a_snapshot_that_cannot_be_used_is_replaced_and_the_state_is_right() -> anyhow::Result<()> {
    for change in [
        "state_version = 1",
        "state_version = 3",
        r#"state = '{"items": "many"}'"#,
        "state = 'null'",
        "stream_position = 99",
        "message_id = 'lost'",
        // The states of other versions and other histories would be wrong, too.
        r#"state_version = 1, state = '{"items": 70}'"#,
        r#"message_id = 'lost', state = '{"items": 70}'"#,
        r#"stream_position = 5, state = '{"items": 70}'"#,
    ] {
        let (database, store) = store()?;
        fill(&store, "Cart-1", 4)?;
        look(&store, "Cart-1")?;
        wait_for_snapshot(&database, "Cart-1", 4);
        fill(&store, "Cart-1", 1)?;
        execute(&database, &format!("UPDATE emt_snapshots SET {change}"))?;

        assert_eq!(look(&store, "Cart-1")?, (5, 5), "{change}");

        wait_for_snapshot(&database, "Cart-1", 5);
        forget_the_first_event(&database)?;
        assert_eq!(look(&store, "Cart-1")?, (5, 5), "{change}");
    }
    Ok(())
}

#[test]
fn a_snapshot_of_a_lost_history_is_not_used() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 3)?;
    look(&store, "Cart-1")?;
    wait_for_snapshot(&database, "Cart-1", 3);

    // A restore that lost the stream, and kept the snapshots.
    execute(
        &database,
        "DELETE FROM emt_messages; DELETE FROM emt_streams",
    )?;
    assert_eq!(look(&store, "Cart-1")?, (0, 0));
    store.append_to_stream(
        "Cart-1",
        &[added("hat", 10), added("hat", 10), added("hat", 10)],
    )?;

    assert_eq!(look(&store, "Cart-1")?, (30, 3));
    Ok(())
}

#[test]
fn states_of_several_types_and_streams_keep_snapshots_side_by_side() -> anyhow::Result<()> {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Lines(Vec<u32>);
    impl Evolve for Lines {
        type Event = CartEvent;
        fn evolve(&mut self, event: &CartEvent) {
            if let CartEvent::ProductItemAdded { quantity, .. } = event {
                self.0.push(*quantity);
            }
        }
    }
    let (database, store) = store()?;
    fill(&store, "Cart-1", 3)?;
    fill(&store, "Cart-2", 5)?;
    let decide = |key: &str| {
        let boundary = (
            stream::<Basket>("Cart-1"),
            stream::<Lines>("Cart-2"),
            stream::<Basket>("Cart-3"),
        );
        store
            .decide(boundary)
            .key(key)
            .snapshot_every(3)
            .run(|(first, second, third)| {
                let reply = (first.items, second.0.len(), third.items);
                Ok::<_, Infallible>(
                    Decision::new()
                        .append("Cart-1", [added("hat", 1)])
                        .reply(reply),
                )
            })
    };
    assert_eq!(decide("one")?.reply, (3, 5, 0));
    look(&store, "Cart-2")?;
    wait_until("both types have a snapshot", || {
        snapshots(&database, "Cart-2").expect("read") == [5, 5]
            && snapshots(&database, "Cart-1").expect("read") == [4]
    });
    forget_the_first_event(&database)?;

    let done = decide("two")?;
    assert_eq!(done.reply, (4, 5, 0));
    assert_eq!((done.state.0.items, done.version), (5, (5, 5, 0)));

    let repeated = decide("one")?;
    assert!(repeated.was_decided_before);
    assert_eq!(
        (repeated.reply, repeated.state.0.items, repeated.version.0),
        ((3, 5, 0), 5, 5)
    );
    Ok(())
}

#[test]
fn a_command_does_not_wait_for_its_snapshot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut blocker = database.client()?;
    let mut blocking = blocker.transaction()?;
    blocking.batch_execute("LOCK TABLE emt_snapshots IN SHARE MODE")?;

    // Many more than can wait for the thread.
    for version in 1..=200 {
        let done = store
            .decide(stream::<Basket>("Cart-1"))
            .snapshot_every(1)
            .run(|_| Ok::<_, Infallible>([added("hat", 1)]))?;
        assert_eq!(
            (done.version, done.state.items),
            (version, u32::try_from(version)?)
        );
    }
    assert_eq!(snapshots(&database, "Cart-1")?, [0_i64; 0]);

    blocking.commit()?;
    wait_until("a snapshot is written", || {
        snapshots(&database, "Cart-1").expect("read").len() == 1
    });
    assert_eq!(look(&store, "Cart-1")?, (200, 200));
    Ok(())
}

#[test]
fn a_rolled_back_session_leaves_no_snapshot_and_a_committed_one_does() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 5)?;
    let mut session = store.begin()?;
    let add = |session: &mut emmett_postgresql::Session<'_>| {
        session
            .decide(stream::<Basket>("Cart-1"))
            .snapshot_every(3)
            .run(|_| Ok::<_, Infallible>([added("hat", 1)]))
            .map(|done| done.version)
    };
    assert_eq!(add(&mut session)?, 6);
    session.rollback()?;

    assert_eq!(store.with_session(|session| Ok(add(session)?))?, 6);
    wait_for_snapshot(&database, "Cart-1", 6);

    // A part that is rolled back alone.
    store.with_session(|session| {
        let undone = session.nested(|session| {
            for _ in 0..4 {
                add(session)?;
            }
            anyhow::bail!("undone")
        });
        let _: Error = undone.map(|(): ()| ()).expect_err("undone");
        Ok(())
    })?;
    assert_eq!(look(&store, "Cart-1")?, (6, 6));
    drop(store);
    assert_eq!(snapshots(&database, "Cart-1")?, [6]);
    Ok(())
}

#[test]
fn a_decision_of_a_reactor_leaves_a_snapshot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 4)?;
    let reactor = Reactor::new("counts").each(|message: &Recorded<CartEvent>, context| {
        if &*message.stream_name == "Cart-1" {
            context
                .decide(stream::<Basket>("Sum-1"))
                .snapshot_every(4)
                .run(|_| Ok::<_, Infallible>([added("sum", 1)]))?;
        }
        Ok(())
    });
    let report = store.consumer().reactor(reactor).run(RunUntil::CaughtUp)?;
    assert_eq!(report.end, RunEnd::CaughtUp);

    wait_for_snapshot(&database, "Sum-1", 4);
    Ok(())
}

#[test]
fn a_decision_that_its_reactor_undoes_leaves_no_snapshot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 2)?;
    let reactor = Reactor::new("fails")
        .on_failure(FailurePolicy::park().retries(0, Duration::ZERO))
        .categories(&["Cart"])
        .each(|message: &Recorded<CartEvent>, context| {
            context
                .decide(stream::<Basket>("Sum-1"))
                .snapshot_every(1)
                .run(|_| Ok::<_, Infallible>([added("sum", 1)]))?;
            anyhow::ensure!(message.stream_position == 1, "undone");
            Ok(())
        });
    let report = store.consumer().reactor(reactor).run(RunUntil::CaughtUp)?;
    assert_eq!(report.end, RunEnd::CaughtUp);
    assert_eq!(store.read_stream::<CartEvent>("Sum-1")?.events.len(), 1);

    drop(store);
    assert_eq!(snapshots(&database, "Sum-1")?, [1]);
    Ok(())
}

#[test]
fn a_state_that_is_no_json_costs_the_snapshot_and_nothing_else() -> anyhow::Result<()> {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Mean(f64);
    impl Evolve for Mean {
        type Event = CartEvent;
        fn evolve(&mut self, _: &CartEvent) {
            self.0 = f64::NAN;
        }
    }
    let (database, store) = store()?;
    let done = store
        .decide(stream::<Mean>("Cart-1"))
        .snapshot_every(1)
        .run(|_| Ok::<_, Infallible>([added("hat", 1)]))?;
    assert!(done.state.0.is_nan());
    drop(store);
    assert_eq!(snapshots(&database, "Cart-1")?, [0_i64; 0]);
    Ok(())
}

#[test]
fn a_state_comes_back_as_it_was_written() -> anyhow::Result<()> {
    #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
    struct Exact {
        zero: f64,
        small: f64,
        large: u64,
        text: String,
        order: serde_json::Map<String, serde_json::Value>,
    }
    impl Evolve for Exact {
        type Event = CartEvent;
        fn evolve(&mut self, _: &CartEvent) {
            let order = [("b", 1), ("a", 2)].map(|(name, value)| (name.to_owned(), value.into()));
            *self = Self {
                zero: -0.0,
                small: 1e-300,
                large: u64::MAX,
                text: "\u{1F600} \\ \" \u{1}".to_owned(),
                order: order.into_iter().collect(),
            };
        }
    }
    let (database, store) = store()?;
    fill(&store, "Cart-1", 2)?;
    let read = || {
        store
            .decide(stream::<Exact>("Cart-1"))
            .snapshot_every(1)
            .run(|_| Ok::<_, Infallible>([]))
            .map(|done| done.state)
    };
    let first = read()?;
    wait_for_snapshot(&database, "Cart-1", 2);
    forget_the_first_event(&database)?;
    let second = read()?;
    assert_eq!(second, first);
    assert!(second.zero.is_sign_negative());
    assert_eq!(
        serde_json::to_string(&second)?,
        serde_json::to_string(&first)?
    );
    Ok(())
}

#[test]
fn the_longest_names_of_types_and_streams_have_snapshots() -> anyhow::Result<()> {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Wide<A, B>(u32, std::marker::PhantomData<(A, B)>);
    impl<A: Default, B: Default> Evolve for Wide<A, B> {
        type Event = CartEvent;
        fn evolve(&mut self, _: &CartEvent) {
            self.0 += 1;
        }
    }
    type Deep =
        Wide<Wide<Wide<Basket, Basket>, Wide<Basket, Basket>>, Wide<Basket, Wide<Basket, Basket>>>;
    assert!(std::any::type_name::<Deep>().len() > 255);

    let (database, store) = store()?;
    let name = format!("Cart-{}", "x".repeat(1_995));
    fill(&store, &name, 2)?;
    let read = || {
        store
            .decide(stream::<Deep>(&name))
            .snapshot_every(1)
            .run(|_| Ok::<_, Infallible>([]))
            .map(|done| done.state.0)
    };
    assert_eq!(read()?, 2);
    wait_for_snapshot(&database, &name, 2);
    forget_the_first_event(&database)?;
    assert_eq!(read()?, 2);
    Ok(())
}

#[test]
fn a_tenant_has_snapshots_of_its_own_and_loses_them_when_it_is_removed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    fill(&store, "Cart-1", 3)?;
    fill(&acme, "Cart-1", 5)?;
    assert_eq!(look(&store, "Cart-1")?, (3, 3));
    assert_eq!(look(&acme, "Cart-1")?, (5, 5));
    wait_until("both have a snapshot", || {
        snapshots(&database, "Cart-1").expect("read") == [3, 5]
    });
    assert_eq!(look(&store, "Cart-1")?, (3, 3));
    assert_eq!(look(&acme, "Cart-1")?, (5, 5));

    store.tenants().remove("acme")?.with_all_data()?;
    assert_eq!(snapshots(&database, "Cart-1")?, [3]);
    assert_eq!(store.delete_snapshots("Cart-1")?, 1);
    assert_eq!(store.delete_snapshots("Cart-1")?, 0);
    Ok(())
}

#[test]
fn a_stream_that_comes_back_from_the_archive_has_its_snapshot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store, "Cart-1", 3)?;
    look(&store, "Cart-1")?;
    wait_for_snapshot(&database, "Cart-1", 3);
    store.archive_stream("Cart-1")?;
    assert_eq!(look(&store, "Cart-1")?, (0, 0));
    store.unarchive_stream("Cart-1")?;
    forget_the_first_event(&database)?;
    assert_eq!(look(&store, "Cart-1")?, (3, 3));
    Ok(())
}

#[test]
fn an_interval_of_no_events_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let refused = store
        .decide(stream::<Basket>("Cart-1"))
        .snapshot_every(0)
        .run(|_| Ok::<_, Infallible>([added("hat", 1)]));
    assert_eq!(
        refused.expect_err("refused").to_string(),
        "snapshot_every: must be at least 1"
    );
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn many_threads_with_snapshots_lose_nothing() -> anyhow::Result<()> {
    let (database, store) = store()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..25).try_for_each(|_| {
                        store
                            .decide(stream::<Basket>("Cart-1"))
                            .retries(1_000)
                            .snapshot_every(2)
                            .run(|_| Ok::<_, Infallible>([added("hat", 1)]))
                            .map(drop)
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    assert_eq!(look(&store, "Cart-1")?, (200, 200));
    drop(store);
    let state: String = database
        .client()?
        .query_one("SELECT state::TEXT FROM emt_snapshots", &[])?
        .get(0);
    let version = snapshots(&database, "Cart-1")?[0];
    assert_eq!(state, format!(r#"{{"items":{version}}}"#));
    Ok(())
}
