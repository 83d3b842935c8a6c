//! The thread that notifies other processes of this one's appends.
//!
//! It sends `NOTIFY` after the commit, in a transaction of its own. A notifying transaction takes a server-wide lock at
//! commit, which would make all appends wait for each other.

use super::channel::{Channel, LONGEST_ATTEMPT_PAUSE, SHORTEST_ATTEMPT_PAUSE};
use super::pending::{PendingPartition, PendingPartitions};
use crate::database::{BackOff, Checkout, Connections, SchemaSql, Sql, get, param};
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use postgres::types::Type;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Notifies the partitions that have a live consumer. The transaction must not wait for the disk while it holds the lock.
/// Without a consumer, it takes no lock at all.
const NOTIFY: SchemaSql = SchemaSql::new("
    SELECT listening.partition, pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify($1, listening.partition)
      FROM {schema}.emt_slot_listening($2) AS listening (partition)");

/// Pause after a notification. It doubles while appends go on. The first ones of a burst are heard at once, and a steady
/// load sends 200 notifications a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// How long a partition counts as one without listeners.
const UNHEARD_FOR: Duration = Duration::from_secs(2);
/// Idle time after which the connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Maximum time that a program waits at its end for the last notification.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Notifier {
    pending: Arc<PendingPartitions>,
    connections: Connections,
    statement: Arc<str>,
    channel: Channel,
    /// Started by the first append; `None` if the thread could not be started.
    thread: OnceLock<Option<Handle>>,
}

struct Handle {
    wake: Sender<()>,
    /// Dropped with the store, which tells the thread to end.
    open: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Notifier {
    pub(super) fn new(connections: &Connections, schema: &str, channel: &Channel) -> Self {
        Self {
            pending: Arc::new(PendingPartitions::new()),
            connections: connections.clone(),
            statement: NOTIFY.in_schema(schema).into(),
            channel: channel.clone(),
            thread: OnceLock::new(),
        }
    }

    pub(super) fn appended(&self, partition: &str) {
        if !self.pending.add(partition) {
            return;
        }
        if let Some(handle) = self.thread.get_or_init(|| self.start()) {
            // If this fails, the thread has not yet taken the previous call, and will see everything that is pending.
            let _ = handle.wake.try_send(());
        }
    }

    #[cfg(test)]
    pub(super) fn knows(&self, partition: &str) -> bool {
        self.pending.knows(partition)
    }

    pub(super) fn forget(&self, partition: &str) {
        self.pending.forget(partition);
    }

    fn start(&self) -> Option<Handle> {
        let (wake, calls) = bounded(1);
        let (open, closed) = bounded(0);
        let (ends, ended) = bounded(0);
        let thread = NotifierThread {
            pending: Arc::clone(&self.pending),
            connections: self.connections.clone(),
            statement: Arc::clone(&self.statement),
            channel: self.channel.clone(),
            calls,
            closed,
            connection: None,
            _ends: ends,
        };
        let thread = std::thread::Builder::new()
            .name("emt:notify".into())
            .spawn(move || thread.run())
            .ok()?;
        Some(Handle {
            wake,
            open,
            ended,
            thread,
        })
    }
}

impl Drop for Notifier {
    /// Sends the pending notifications: a program that ends right after its append would otherwise lose them.
    fn drop(&mut self) {
        let Some(Handle {
            wake,
            open,
            ended,
            thread,
        }) = self.thread.take().flatten()
        else {
            return;
        };
        drop((wake, open));
        if ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected) {
            // The thread has ended. A panic in it does not concern an append.
            let _ = thread.join();
        }
    }
}

struct NotifierThread {
    pending: Arc<PendingPartitions>,
    connections: Connections,
    statement: Arc<str>,
    channel: Channel,
    calls: Receiver<()>,
    closed: Receiver<()>,
    /// A connection of its own while someone listens, so that a notification does not wait for one of the pool's. The pool's
    /// connections find out whether someone listens.
    connection: Option<Checkout>,
    _ends: Sender<()>,
}

impl NotifierThread {
    fn run(mut self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let quiet = self.calls.is_empty();
            match self.calls.recv_timeout(IDLE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.connection = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = if quiet {
                SHORTEST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
            self.notify_pending();
            // Not a wait for calls, which would end the pause.
            if self.closes_within(pause) {
                break;
            }
        }
        self.notify_pending();
    }

    fn closes_within(&self, time: Duration) -> bool {
        self.closed.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// Sends all pending notifications, however long the database is away. After the store is dropped, it makes one attempt.
    fn notify_pending(&mut self) {
        let pending = self.pending.take();
        if pending.is_empty() {
            return;
        }
        let mut back_off = BackOff::new(SHORTEST_ATTEMPT_PAUSE, LONGEST_ATTEMPT_PAUSE);
        while self.notify(&pending).is_err() {
            self.connection = None;
            if self.closes_within(back_off.next()) {
                for partition in &pending {
                    partition.put_back();
                }
                return;
            }
        }
    }

    fn notify(&mut self, pending: &[Arc<PendingPartition>]) -> Result<()> {
        let names: Vec<&str> = pending.iter().map(|partition| &*partition.name).collect();
        let (statement, channel) = (&self.statement, &self.channel);
        let heard = match &mut self.connection {
            Some(connection) => notify(connection.sql(), statement, channel, &names)?,
            None => self
                .connections
                .run(true, |sql| notify(sql, statement, channel, &names))?,
        };
        for partition in pending {
            if !heard.iter().any(|name| **name == *partition.name) {
                self.pending.unheard(partition, UNHEARD_FOR);
            }
        }
        if heard.is_empty() {
            self.connection = None;
        } else if self.connection.is_none() {
            // If none can be opened, the pool's connections are used.
            self.connection = self.connections.dedicated().ok().flatten();
        }
        Ok(())
    }
}

/// Notifies, and returns the partitions that have a listener.
fn notify(
    sql: &mut dyn Sql,
    statement: &str,
    channel: &Channel,
    partitions: &[&str],
) -> Result<Vec<String>> {
    let rows = sql
        .query(
            statement,
            &[
                param(&&*channel.0, Type::TEXT),
                param(&partitions, Type::TEXT_ARRAY),
            ],
        )
        .map_err(|error| Error::database("notify other processes", error))?;
    rows.iter().map(|row| Ok(get(row, "partition")?)).collect()
}
