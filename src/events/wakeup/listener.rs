//! The thread that listens for appends of other processes and rings the bells of this one.

use super::bells::Bells;
use super::channel::{Channel, LONGEST_ATTEMPT_PAUSE, SHORTEST_ATTEMPT_PAUSE};
use crate::database::{BackOff, Checkout, Connections};
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use postgres::Notification;
use postgres::fallible_iterator::FallibleIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon the thread notices that it is no longer needed. The wait for a notification cannot be interrupted.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(250);
/// After this much silence, the thread asks the server whether it is alive.
const SILENCE: Duration = Duration::from_secs(10);

pub(super) struct Listener {
    thread: ListenerThread,
    /// Dropped with the store, which tells the thread to end.
    _open: Sender<()>,
}

impl Listener {
    pub(super) fn new(connections: &Connections, channel: &Channel, bells: &Arc<Bells>) -> Self {
        let (open, closed) = bounded(0);
        Self {
            thread: ListenerThread {
                connections: connections.clone(),
                channel: channel.clone(),
                bells: Arc::clone(bells),
                closed,
            },
            _open: open,
        }
    }

    /// Listens as long as there are bells. If no thread can be started, the pollers only poll.
    pub(super) fn start(&self) {
        if !self.thread.bells.begin_listening() {
            return;
        }
        let thread = self.thread.clone();
        let started = std::thread::Builder::new()
            .name("emt:listen".into())
            .spawn(move || thread.run());
        if started.is_err() {
            self.thread.bells.give_up_listening();
        }
    }
}

#[derive(Clone)]
struct ListenerThread {
    connections: Connections,
    channel: Channel,
    bells: Arc<Bells>,
    closed: Receiver<()>,
}

impl ListenerThread {
    fn run(&self) {
        let mut back_off = BackOff::new(SHORTEST_ATTEMPT_PAUSE, LONGEST_ATTEMPT_PAUSE);
        while self.is_needed() {
            // A failure has no receiver: the pollers poll until the connection is replaced. A thread that is no longer
            // needed ends without another check: a later poller starts a new one.
            if let Ok(Ended::NotNeeded) = self.listen(&mut back_off) {
                return;
            }
            let waited = self.closed.recv_timeout(back_off.next());
            if waited == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn is_needed(&self) -> bool {
        let store_is_gone = self.closed.try_recv() == Err(TryRecvError::Disconnected);
        !store_is_gone && !self.bells.end_listening()
    }

    /// Listens until the connection is lost or no bell is left.
    fn listen(&self, back_off: &mut BackOff) -> Result<Ended> {
        let Some(mut connection) = self.connections.dedicated()? else {
            return Ok(Ended::ConnectionLost);
        };
        connection
            .sql()
            .batch(&format!("LISTEN {}", self.channel.0))
            .map_err(|error| Error::database("listen", error))?;
        back_off.reset();
        // Notifications that were sent before `LISTEN` are lost.
        self.bells.ring_all();
        let mut heard_at = Instant::now();
        while !connection.is_closed() {
            if !self.is_needed() {
                return Ok(Ended::NotNeeded);
            }
            if let Some(notification) = next(&mut connection)? {
                self.bells.ring(notification.payload());
                heard_at = Instant::now();
            } else if heard_at.elapsed() >= SILENCE {
                ask(&mut connection)?;
                // Ringing detects pollers that are gone.
                self.bells.ring_all();
                heard_at = Instant::now();
            }
        }
        Ok(Ended::ConnectionLost)
    }
}

/// Reason why the thread stopped listening.
enum Ended {
    NotNeeded,
    ConnectionLost,
}

fn next(connection: &mut Checkout) -> Result<Option<Notification>> {
    let mut notifications = connection.client().notifications();
    let next = notifications.timeout_iter(LOOKS_UP_EVERY).next();
    next.map_err(|error| Error::database("listen", error))
}

fn ask(connection: &mut Checkout) -> Result<()> {
    let answer = connection.sql().batch("");
    answer.map_err(|error| Error::database("ask whether the server is alive", error))
}
