//! Rebuilds during appends and reads.

use super::{assert_cleaned_up, folded, model, store_with};
use crate::support::added;
use emmett_postgresql::{EventStore, StreamMessages};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Appends in several ways until it is told to stop.
fn write(store: &EventStore, writer: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let stream = format!("Cart-w{writer}");
    for number in 0_u32.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let event = added(["hat", "shoe", "shirt"][number as usize % 3], 1);
        match number % 3 {
            0 => {
                let streams = [&stream, &format!("{stream}-b")]
                    .map(|stream| StreamMessages::new(stream, std::slice::from_ref(&event)));
                store.append_to_streams(streams.into_iter().collect::<Result<_, _>>()?)?;
            }
            1 => store.with_session(|session| {
                session.append_to_stream(&stream, std::slice::from_ref(&event))?;
                session.append_to_stream(&stream, &[added("sock", 1)])?;
                Ok(())
            })?,
            _ => {
                store.append_to_stream(&stream, &[event])?;
            }
        }
    }
    Ok(())
}

/// At every moment the documents belong together, and none goes back.
fn read(store: &EventStore, stop: &AtomicBool, reads: &AtomicU64) -> anyhow::Result<()> {
    let mut before = model(store, "items")?;
    while !stop.load(Ordering::Acquire) {
        let now = model(store, "items")?;
        let products: u64 = now
            .iter()
            .filter(|(id, _)| *id != "all")
            .map(|(_, n)| n)
            .sum();
        anyhow::ensure!(
            now.get("all") == Some(&products),
            "not from one moment: {now:?}"
        );
        for (id, count) in &before {
            anyhow::ensure!(
                now.get(id) >= Some(count),
                "{id} went back: {before:?} {now:?}"
            );
        }
        before = now;
        reads.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}

#[test]
fn while_eight_threads_append_and_one_reads_nothing_is_lost_or_torn() -> anyhow::Result<()> {
    let (database, store) = store_with(200)?;
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));

    let handled = thread::scope(|scope| -> anyhow::Result<u64> {
        let mut others: Vec<_> = (0..8)
            .map(|writer| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || write(store, writer, stop))
            })
            .collect();
        others.push(scope.spawn(|| read(&store, &stop, &reads)));
        let mut handled = 0;
        let rebuilt = [1, 2, 1, 2].iter().try_for_each(|workers| {
            let rebuild = store.rebuild("items").workers(*workers).batch_size(50);
            handled = rebuild.run()?.handled;
            anyhow::Ok(())
        });
        stop.store(true, Ordering::Release);
        for other in others {
            other.join().expect("no panic")?;
        }
        rebuilt.map(|()| handled)
    })?;

    assert!(handled > 200, "others have appended meanwhile");
    assert!(reads.load(Ordering::Acquire) > 10);
    let live = model(&store, "items")?;
    assert_eq!(live, folded(&store)?);
    store.rebuild("items").run()?;
    assert_eq!(model(&store, "items")?, live);
    assert_cleaned_up(&database)
}
