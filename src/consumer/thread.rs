//! The threads of a consumer, which can be joined with a timeout.

use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, bounded};
use std::thread::JoinHandle;
use std::time::Instant;

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // The operating system refuses names with U+0000. Linux shows the first 15 bytes.
    let name = name.replace('\0', " ");
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|source| Error::Thread { source })
}

/// A thread that can be joined with a deadline.
pub(super) struct Thread {
    pub(super) name: String,
    handle: JoinHandle<()>,
    /// Closed when the thread ends, also by a panic.
    ended: Receiver<()>,
}

impl Thread {
    pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Self> {
        let (running, ended) = bounded::<()>(0);
        let handle = spawn(name, move || {
            let _running = running;
            run();
        })?;
        Ok(Self {
            name: name.to_owned(),
            handle,
            ended,
        })
    }

    /// Waits until the thread ends, or until a message is received. Returns whether the thread has ended.
    pub(super) fn wait_unless(&self, interrupt: &Receiver<()>) -> bool {
        let mut select = Select::new();
        let ended = select.recv(&self.ended);
        select.recv(interrupt);
        select.ready() == ended
    }

    /// Waits until the thread ends, or until the deadline. Returns `None` if the thread still runs; it continues alone.
    /// Otherwise returns whether it ended without a panic.
    pub(super) fn join_until(self, deadline: Option<Instant>) -> Option<bool> {
        let is_running = deadline.is_some_and(|deadline| {
            self.ended.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout)
        });
        (!is_running).then(|| self.handle.join().is_ok())
    }
}
