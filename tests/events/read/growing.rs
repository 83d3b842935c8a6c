//! Readers and concurrent writers.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{EventStore, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Reads until the writer is done; each time, version and events belong together.
fn read_until(done: &AtomicBool, store: &EventStore) -> Result<u64> {
    let mut seen = 0;
    while !done.load(Ordering::Acquire) {
        let read = store.read_stream::<CartEvent>("Cart-1")?;
        let folded = store.aggregate_stream("Cart-1", || 0, |count, _: CartEvent| count + 1)?;

        let count = read.events.len() as u64;
        assert_eq!(read.current_version, count);
        assert_eq!(folded.current_version, folded.state);
        assert_eq!(count % 3, 0, "an append is seen whole");
        assert!(count >= seen && folded.state >= count);
        seen = count;
    }
    Ok(seen)
}

#[test]
fn a_read_sees_whole_appends_and_the_version_that_belongs_to_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| -> anyhow::Result<()> {
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| read_until(&done, &store)))
            .collect();
        for number in 0..100 {
            let events = [added("a", number), added("b", number), added("c", number)];
            store.append_to_stream("Cart-1", &events)?;
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().expect("no panic")?;
        }
        Ok(())
    })?;

    assert_eq!(
        store.read_stream::<CartEvent>("Cart-1")?.current_version,
        300
    );
    Ok(())
}
