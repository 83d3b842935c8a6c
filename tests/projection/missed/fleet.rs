//! Programs with different versions of a projection, with none, and by hand, all at once.

use super::{event, insert, is_right_where_active, with_version};
use crate::support::{database, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{AppendOptions, EventStore, StreamMessages};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(6);

/// Appends in all ways, to streams that all writers share, until it is told to stop.
fn append(store: &EventStore, writer: u64, stopped: &AtomicBool) -> anyhow::Result<()> {
    let mut number = writer;
    while !stopped.load(Ordering::SeqCst) {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let stream = format!("Cart-a{}", (number >> 33) % 7);
        let other = format!("Cart-b{}", (number >> 40) % 7);
        match (number >> 50) % 4 {
            0 => {
                store.append_to_streams(vec![
                    StreamMessages::new(&stream, &event())?,
                    StreamMessages::new(&other, &event())?,
                ])?;
            }
            1 => {
                store.with_session(|session| {
                    session.append_to_stream(&stream, &event())?;
                    session.append_to_stream(&other, &event())?;
                    Ok(())
                })?;
            }
            2 => {
                let rolled_back = store.with_session(|session| -> anyhow::Result<()> {
                    session.append_to_stream_with(&stream, &event(), AppendOptions::new())?;
                    anyhow::bail!("rolled back")
                });
                assert!(rolled_back.is_err());
            }
            _ => drop(store.append_to_stream(&stream, &event())?),
        }
    }
    Ok(())
}

fn insert_by_hand(database: &Database, stopped: &AtomicBool) -> anyhow::Result<()> {
    let mut client = database.client()?;
    let mut version = 0;
    while !stopped.load(Ordering::SeqCst) {
        version += 1;
        insert(&mut client, "Cart-hand", version)?;
        thread::yield_now();
    }
    Ok(())
}

/// Looks in one snapshot, again and again. How often it said active.
fn check(database: &Database, stopped: &AtomicBool, active: &AtomicU64) -> anyhow::Result<()> {
    let mut client = database.client()?;
    while !stopped.load(Ordering::SeqCst) {
        if let Some(is_right) = is_right_where_active(&mut client)? {
            assert!(is_right, "it says active, and is not what the events give");
            active.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// Runs all of these until the time is up; a failure ends it sooner.
fn run(stores: &[&EventStore], database: &Database, hands: usize) -> anyhow::Result<u64> {
    let (stopped, active) = (AtomicBool::new(false), AtomicU64::new(0));
    let (stopped, active) = (&stopped, &active);
    thread::scope(|scope| {
        let mut threads: Vec<_> = stores
            .iter()
            .enumerate()
            .map(|(number, store)| scope.spawn(move || append(store, number as u64 + 1, stopped)))
            .collect();
        for _ in 0..hands {
            threads.push(scope.spawn(|| insert_by_hand(database, stopped)));
        }
        threads.push(scope.spawn(|| check(database, stopped, active)));
        let begun = Instant::now();
        while begun.elapsed() < TIME && !threads.iter().any(thread::ScopedJoinHandle::is_finished) {
            thread::yield_now();
            let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(20));
        }
        stopped.store(true, Ordering::SeqCst);
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(active.load(Ordering::SeqCst))
}

#[test]
fn whenever_a_projection_says_active_it_is_right_and_at_the_end_it_is_both() -> anyhow::Result<()> {
    let database = database();
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-0", &event())?;
    let first = with_version(database.url(), 1).open()?;

    // Two versions and a program without the projection, and somebody with psql.
    let second = thread::scope(|scope| {
        let mixed = scope.spawn(|| run(&[&first, &first, &first, &plain], &database, 1));
        let second = with_version(database.url(), 2).open();
        mixed.join().expect("no panic")?;
        anyhow::Ok(second?)
    })?;
    run(
        &[&first, &first, &second, &second, &second, &plain],
        &database,
        0,
    )?;

    // Strangers go away; those who have the active version go on.
    let active = run(&[&second, &second], &database, 0)?;
    wait_until_active(&second);

    assert!(active > 0, "it becomes active again by itself");
    assert_eq!(is_right_where_active(&mut database.client()?)?, Some(true));
    Ok(())
}
