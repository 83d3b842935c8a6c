//! Newer code that handles more types than older code, after it and at the same time.

use crate::support::{store, wait_until};
use emmett_postgresql::{
    DocumentProjection, Error, Event, EventStore, Projector, RawEvent, Reactor, ReactorContext,
    Recorded,
    consumer::{OnNewTypes, RunEnd},
    error::ProcessorError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the old program knows.
#[derive(Debug, Serialize, Deserialize)]
enum Old {
    Created { number: u32 },
}

impl Event for Old {
    const CATEGORY: &'static str = "Order";
}

/// What the new program knows.
#[derive(Debug, Serialize, Deserialize)]
enum New {
    Created { number: u32 },
    Paid { number: u32 },
}

impl Event for New {
    const CATEGORY: &'static str = "Order";
}

type Seen = Arc<Mutex<Vec<u64>>>;

fn note<E>(
    seen: &Seen,
) -> impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync + use<E> {
    let seen = Arc::clone(seen);
    move |recorded, _| {
        seen.lock().expect("a list").push(recorded.global_position);
        Ok(())
    }
}

fn seen(seen: &Seen) -> Vec<u64> {
    seen.lock().expect("a list").clone()
}

fn old(positions: &Seen) -> Reactor {
    Reactor::new("mails").each(note::<Old>(positions))
}

fn new(positions: &Seen) -> Reactor {
    Reactor::new("mails").each(note::<New>(positions))
}

/// Created at 1 and 3, paid at 2 and 4, and an event of another category at 5.
fn append(store: &EventStore) -> anyhow::Result<()> {
    for number in [1, 2] {
        let stream = format!("Order-{number}");
        store.append_to_stream(&stream, &[New::Created { number }, New::Paid { number }])?;
    }
    store.append_to_stream("Invoice-1", &[RawEvent::new("Paid", json!({"number": 9}))])?;
    Ok(())
}

fn run(store: &EventStore, reactor: Reactor) -> anyhow::Result<()> {
    let report = store.consumer().reactor(reactor).run_until_caught_up()?;
    anyhow::ensure!(matches!(report.end, RunEnd::CaughtUp), "{:?}", report.end);
    Ok(())
}

/// A store in which an old reactor has passed two new events over.
fn passed_over() -> anyhow::Result<(emmett_postgresql::testing::Database, EventStore)> {
    let (database, store) = store()?;
    append(&store)?;
    let positions = Seen::default();
    run(&store, old(&positions))?;
    assert_eq!(seen(&positions), [1, 3]);
    Ok((database, store))
}

#[test]
fn from_here_leaves_them_alone() -> anyhow::Result<()> {
    let (_database, store) = passed_over()?;
    let positions = Seen::default();
    run(&store, new(&positions))?;
    assert!(seen(&positions).is_empty());
    store.append_to_stream("Order-1", &[New::Paid { number: 1 }])?;
    run(&store, new(&positions).on_new_types(OnNewTypes::Replay))?;
    assert_eq!(seen(&positions), [6], "it was decided once");
    Ok(())
}

#[test]
fn refuse_says_which_and_how_many() -> anyhow::Result<()> {
    let (_database, store) = passed_over()?;
    let positions = Seen::default();
    let refused = || new(&positions).on_new_types(OnNewTypes::Refuse);
    let started = store.consumer().reactor(refused()).start();
    let Err(Error::Processor(ProcessorError::NewTypes {
        types,
        missed,
        position,
        ..
    })) = started
    else {
        panic!("{started:?}")
    };
    assert_eq!((types, missed, position), (vec!["Paid".to_owned()], 2, 5));
    run(&store, old(&positions).on_new_types(OnNewTypes::Refuse))?;

    run(&store, new(&positions).on_new_types(OnNewTypes::Replay))?;
    run(&store, refused())?;
    assert_eq!(seen(&positions), [2, 4]);
    Ok(())
}

#[test]
fn replay_handles_them_in_their_order_and_goes_on() -> anyhow::Result<()> {
    let (_database, store) = passed_over()?;
    store.append_to_stream("Order-1", &[New::Created { number: 3 }])?;
    let positions = Seen::default();
    run(&store, new(&positions).on_new_types(OnNewTypes::Replay))?;
    assert_eq!(seen(&positions), [2, 4, 6]);
    run(&store, new(&positions).on_new_types(OnNewTypes::Replay))?;
    assert_eq!(seen(&positions), [2, 4, 6]);
    Ok(())
}

#[test]
fn nothing_that_was_passed_over_is_nothing_to_decide() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Order-1", &[New::Created { number: 1 }])?;
    let positions = Seen::default();
    run(&store, old(&positions))?;
    run(&store, new(&positions).on_new_types(OnNewTypes::Refuse))?;
    assert_eq!(seen(&positions), [1]);
    Ok(())
}

#[test]
fn an_old_program_beside_a_new_one_is_made_up_for() -> anyhow::Result<()> {
    let (_database, store) = passed_over()?;
    let (positions, old_positions) = (Seen::default(), Seen::default());
    let replaying = || new(&positions).on_new_types(OnNewTypes::Replay);
    run(&store, replaying())?;
    // It takes over, and passes one over again.
    store.append_to_stream(
        "Order-1",
        &[New::Created { number: 5 }, New::Paid { number: 5 }],
    )?;
    run(&store, old(&old_positions))?;
    assert_eq!(
        (seen(&positions), seen(&old_positions)),
        (vec![2, 4], vec![6])
    );

    run(&store, replaying())?;
    assert_eq!(
        seen(&positions),
        [2, 4, 7],
        "only what the old one has passed over"
    );
    Ok(())
}

#[test]
fn what_began_after_them_has_not_passed_them_over() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store)?;
    let positions = Seen::default();
    let from_end =
        |reactor: Reactor| reactor.start_from(emmett_postgresql::consumer::StartFrom::End);
    run(&store, from_end(old(&positions)))?;
    let refusing = new(&positions).on_new_types(OnNewTypes::Refuse);
    run(&store, from_end(refusing))?;
    assert!(seen(&positions).is_empty());
    Ok(())
}

#[test]
fn an_enum_that_reads_all_takes_over_from_one_with_types() -> anyhow::Result<()> {
    let (_database, store) = passed_over()?;
    let positions = Seen::default();
    let all = Reactor::new("mails").each(note::<RawEvent>(&positions));
    run(&store, all.on_new_types(OnNewTypes::Replay))?;
    assert_eq!(seen(&positions), [2, 4, 5]);
    // And back, and forth.
    store.append_to_stream(
        "Order-1",
        &[New::Created { number: 1 }, New::Paid { number: 1 }],
    )?;
    run(&store, old(&positions))?;
    let all = Reactor::new("mails").each(note::<RawEvent>(&positions));
    run(&store, all.on_new_types(OnNewTypes::Replay))?;
    assert_eq!(seen(&positions), [2, 4, 5, 6, 7]);
    Ok(())
}

/// The positions of the events of each order. Fails at one that is counted twice.
fn orders<E: Event + 'static>(fails_at: Option<u64>, failing: &Arc<AtomicBool>) -> Projector {
    let failing = Arc::clone(failing);
    let projection = DocumentProjection::single_stream(
        "orders",
        move |order: Option<Value>, recorded: &Recorded<E>| {
            let position = recorded.global_position;
            let is_failing = fails_at == Some(position) && failing.load(Ordering::SeqCst);
            assert!(!is_failing, "as the test asked");
            let mut order = order.unwrap_or_else(|| json!({"positions": []}));
            if let Some(positions) = order["positions"].as_array_mut() {
                assert!(!positions.contains(&json!(position)), "{position} twice");
                positions.push(json!(position));
            }
            Some(order)
        },
    );
    Projector::new(projection).slots(4).workers(2)
}

#[test]
fn a_projector_handles_each_of_them_once_also_after_a_failure_in_the_middle() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let failing = Arc::new(AtomicBool::new(true));
    for number in 0..40 {
        let stream = format!("Order-{}", number % 8);
        store.append_to_stream(&stream, &[New::Created { number }, New::Paid { number }])?;
    }
    let caught_up = |projector: Projector| {
        let consumer = store.consumer().batch_size(7).projector(projector);
        consumer.run_until_caught_up()
    };
    assert!(matches!(
        caught_up(orders::<Old>(None, &failing))?.end,
        RunEnd::CaughtUp
    ));

    let replaying = || orders::<New>(Some(50), &failing).on_new_types(OnNewTypes::Replay);
    for _ in 0..2 {
        assert!(matches!(
            caught_up(replaying()),
            Err(Error::Processor(ProcessorError::JobFailed { .. }))
        ));
    }
    failing.store(false, Ordering::SeqCst);
    assert!(matches!(caught_up(replaying())?.end, RunEnd::CaughtUp));

    let mut positions: Vec<u64> = Vec::new();
    for order in store
        .collection::<Value>("orders")
        .find(json!({}))
        .to_vec()?
    {
        let of_order = order["positions"].as_array().cloned().unwrap_or_default();
        positions.extend(of_order.iter().filter_map(Value::as_u64));
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=80).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_rebuild_by_the_new_code_has_handled_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store)?;
    let failing = Arc::default();
    let run = |projector: Projector| store.consumer().projector(projector).run_until_caught_up();
    let _ = run(orders::<Old>(None, &failing))?;
    let rebuilt = DocumentProjection::single_stream(
        "orders",
        |order: Option<Value>, recorded: &Recorded<New>| {
            let mut order = order.unwrap_or_else(|| json!({"positions": []}));
            if let Some(positions) = order["positions"].as_array_mut() {
                positions.push(json!(recorded.global_position));
            }
            Some(order)
        },
    );
    store.rebuild_with(rebuilt).run()?;
    let _ = run(orders::<New>(None, &failing).on_new_types(OnNewTypes::Replay))?;

    let order = store
        .collection::<Value>("orders")
        .find_one(json!({"_id": "Order-1"}))?;
    assert_eq!(order.unwrap_or_default()["positions"], json!([1, 2]));
    Ok(())
}

#[test]
fn a_rolling_deployment_of_two_consumers_handles_each_event() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let failing = Arc::default();
    let lease = Duration::from_millis(500);
    let begin = |projector: Projector| store.consumer().lease(lease).projector(projector).start();
    let old = begin(orders::<Old>(None, &failing))?;
    for number in 0..10 {
        let stream = format!("Order-{}", number % 5);
        store.append_to_stream(&stream, &[New::Created { number }, New::Paid { number }])?;
    }
    let replaying = || orders::<New>(None, &failing).on_new_types(OnNewTypes::Replay);
    let new = begin(replaying())?;
    for number in 10..30 {
        let stream = format!("Order-{}", number % 5);
        store.append_to_stream(&stream, &[New::Created { number }, New::Paid { number }])?;
    }
    store.wait_for("orders", 60, Duration::from_secs(20))?;
    old.stop()?;
    let positions = || -> emmett_postgresql::Result<Vec<u64>> {
        let mut positions: Vec<u64> = Vec::new();
        for order in store
            .collection::<Value>("orders")
            .find(json!({}))
            .to_vec()?
        {
            let of_order = order["positions"].as_array().cloned().unwrap_or_default();
            positions.extend(of_order.iter().filter_map(Value::as_u64));
        }
        positions.sort_unstable();
        Ok(positions)
    };
    wait_until("the new program has made up for the old one", || {
        positions().is_ok_and(|positions| positions == (1..=60).collect::<Vec<_>>())
    });
    new.stop()?;
    Ok(())
}
