//! A consumer for specifications: the workers and the reader of every consumer, on the caller's thread.
//!
//! Three things are scripted. The pauses between retries are noted instead of waited for. The reactor's handler fails as
//! the script says. The process ends where the script says: nothing of the library catches that, so the transaction rolls
//! back, no lease is released, and another process takes over.

mod process;
mod script;

pub(crate) use process::Stopped;
pub(crate) use script::{Fault, Moment, Script};

use super::plan::Plan;
use super::processor::Processor;
use super::reactor::Reactor;
use super::retry_pauses::{RetryPause, RetryPauses};
use super::stop::StopHandle;
use crate::error::{ProcessEnd, Result};
use crate::store::EventStore;
use parking_lot::Mutex;
use process::Process;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A session may stand still in a debugger for so long.
const LEASE: Duration = Duration::from_secs(3_600);

/// A consumer with one reactor, run on the caller's thread.
pub(crate) struct ScriptedConsumer {
    store: EventStore,
    plan: Plan,
    process: Option<Process>,
    pauses: Arc<Mutex<Vec<RetryPause>>>,
}

impl ScriptedConsumer {
    /// Registers the reactor. It handles nothing yet.
    pub(crate) fn new(store: EventStore, reactor: Reactor, script: &Arc<Script>) -> Result<Self> {
        let pauses = Arc::default();
        let mut settings = store.consumer().settings;
        settings.lease = LEASE;
        settings.is_job = true;
        settings.retry_pauses = RetryPauses::Noted(Arc::clone(&pauses));
        let processor = script::scripted(reactor.into_processor()?, script);
        let plan = Plan::new(vec![processor], settings, StopHandle::new(), None)?;
        Ok(Self {
            process: Some(Process::start(&plan, &store)?),
            store,
            plan,
            pauses,
        })
    }

    /// Handles all that is in the store, also what the reactor appends, and carries out requests for parked messages.
    pub(crate) fn run(&mut self) -> Result<Option<Stopped>> {
        loop {
            let mut process = match self.process.take() {
                Some(process) => process,
                None => Process::start(&self.plan, &self.store)?,
            };
            match catch_unwind(AssertUnwindSafe(|| process.run())) {
                Ok(worked) => {
                    worked?;
                    return Ok(process.stop());
                }
                Err(panic) if panic.is::<ProcessEnd>() => process.expire()?,
                Err(panic) => resume_unwind(panic),
            }
            self.plan = self.plan.of_another_process()?;
        }
    }

    pub(crate) fn take_pauses(&self) -> Vec<RetryPause> {
        std::mem::take(&mut self.pauses.lock())
    }

    pub(crate) fn name(&self) -> &str {
        &self.processor().name
    }

    pub(crate) fn version(&self) -> u32 {
        self.processor().version.unsigned_abs()
    }

    /// Whether the reactor handles messages of this type in this stream.
    pub(crate) fn handles(&self, stream: &str, message_type: &str) -> bool {
        self.processor().handled.has(stream, message_type)
    }

    /// Whether messages of all streams are handled in the order of the feed.
    pub(crate) fn has_one_order(&self) -> bool {
        self.processor().new_slots() == 1
    }

    fn processor(&self) -> &Processor {
        &self.plan.processors[0]
    }
}
