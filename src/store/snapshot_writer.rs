//! The thread that writes snapshots, so that no command waits for one.

use crate::database::Connections;
use crate::error::{Error, Result};
use crate::events::{Partition, Snapshot, snapshot};
use crate::trace;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Most snapshots that wait. More are dropped: a later decision offers a newer one.
const MOST_WAITING: usize = 64;

/// How long the drop of a store waits for the last snapshots. A program that ends after one command would otherwise never
/// write any.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Writes the offered snapshots in a thread, which begins with the first one and ends with the last clone of the store.
pub(crate) struct SnapshotWriter {
    connections: Connections,
    thread: Mutex<Option<Thread>>,
}

struct Thread {
    waiting: Sender<Offer>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

struct Offer {
    partition: Arc<Partition>,
    snapshot: Snapshot,
}

impl SnapshotWriter {
    pub(crate) fn new(connections: &Connections) -> Self {
        Self {
            connections: connections.clone(),
            thread: Mutex::new(None),
        }
    }

    /// Leaves a snapshot to the thread, or drops it if too many wait.
    pub(crate) fn offer(&self, partition: &Arc<Partition>, snapshot: Snapshot) {
        let offer = Offer {
            partition: Arc::clone(partition),
            snapshot,
        };
        let mut thread = self.thread.lock();
        if thread.is_none() {
            match Thread::start(self.connections.clone()) {
                Ok(started) => *thread = Some(started),
                Err(error) => return trace::snapshot_lost(&offer.snapshot.stream, &error),
            }
        }
        let Some(thread) = &*thread else { return };
        if let Err(TrySendError::Full(offer)) = thread.waiting.try_send(offer) {
            trace::snapshot_skipped(&offer.snapshot.stream);
        }
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if let Some(Thread { waiting, ended }) = self.thread.get_mut().take() {
            drop(waiting);
            let _ = ended.recv_timeout(LAST_WRITES);
        }
    }
}

impl Thread {
    fn start(connections: Connections) -> Result<Self> {
        let (waiting, offers) = bounded(MOST_WAITING);
        let (running, ended) = bounded::<()>(0);
        std::thread::Builder::new()
            .name("emt:snapshots".into())
            .spawn(move || {
                let _running = running;
                for offer in offers {
                    write(&connections, &offer);
                }
            })
            .map_err(|source| Error::Thread { source })?;
        Ok(Self { waiting, ended })
    }
}

fn write(
    connections: &Connections,
    Offer {
        partition,
        snapshot,
    }: &Offer,
) {
    let connections = connections.of_partition(&partition.scope().partition);
    let written = connections.run(true, |sql| snapshot::write(sql, partition, snapshot));
    if let Err(error) = written {
        trace::snapshot_lost(&snapshot.stream, &error);
    }
}
