//! The script of a handler: where it fails, and which messages it was called with.

use crate::consumer::message_name::MessageName;
use crate::consumer::processor::{Handler, Processor, Reaction};
use crate::error::ProcessEnd;
use crate::events::RecordedMessage;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::Arc;

/// A failure at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The handler fails.
    Failure(Moment),
    /// The process ends.
    End(Moment),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Instead of the call of the handler.
    Before,
    /// After the handler has succeeded, before the commit.
    After,
}

/// The faults at one message, one for each attempt.
#[derive(Debug, Default)]
struct Faults {
    next: VecDeque<Fault>,
    then_always: Option<Fault>,
}

impl Faults {
    fn first(&self) -> Option<Fault> {
        self.next.front().copied().or(self.then_always)
    }
}

/// The faults of a handler, and the messages with which it was called.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: Mutex<HashMap<MessageName, Faults>>,
    calls: Mutex<Vec<MessageName>>,
}

impl Script {
    /// Adds faults at a message, after those that it has.
    pub(crate) fn add(&self, message: MessageName, fault: Fault, times: u32) {
        let mut faults = self.faults.lock();
        let next = &mut faults.entry(message).or_default().next;
        next.extend((0..times).map(|_| fault));
    }

    /// Adds a fault at each further attempt at a message.
    pub(crate) fn add_always(&self, message: MessageName, fault: Fault) {
        self.faults.lock().entry(message).or_default().then_always = Some(fault);
    }

    /// Returns the messages with which the handler was called since the last time.
    pub(crate) fn take_calls(&self) -> Vec<MessageName> {
        std::mem::take(&mut self.calls.lock())
    }

    fn run(
        &self,
        messages: &[&RecordedMessage],
        handle: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let due = self.due(messages);
        if let Some((
            message,
            fault @ (Fault::Failure(Moment::Before) | Fault::End(Moment::Before)),
        )) = &due
        {
            return self.happen(message, *fault);
        }
        let names = messages.iter().map(|message| MessageName::of(message));
        self.calls.lock().extend(names);
        handle()?;
        match due {
            Some((message, fault)) => self.happen(&message, fault),
            None => Ok(()),
        }
    }

    /// Returns the first of these messages at which something happens.
    fn due(&self, messages: &[&RecordedMessage]) -> Option<(MessageName, Fault)> {
        let faults = self.faults.lock();
        let mut names = messages.iter().map(|message| MessageName::of(message));
        names.find_map(|name| {
            let fault = faults.get(&name)?.first()?;
            Some((name, fault))
        })
    }

    fn happen(&self, message: &MessageName, fault: Fault) -> anyhow::Result<()> {
        if let Some(faults) = self.faults.lock().get_mut(message) {
            faults.next.pop_front();
        }
        match fault {
            Fault::Failure(_) => anyhow::bail!("the specification lets {message} fail"),
            Fault::End(_) => resume_unwind(Box::new(ProcessEnd)),
        }
    }
}

/// Returns a reactor whose handler follows the script.
pub(super) fn scripted(processor: Processor, script: &Arc<Script>) -> Processor {
    let script = Arc::clone(script);
    let handler = match processor.handler {
        Handler::Reactor(Reaction::Each(each)) => {
            Handler::Reactor(Reaction::Each(Box::new(move |message, context| {
                script.run(&[message], || each(message, context))
            })))
        }
        Handler::Reactor(Reaction::Batch(batch)) => {
            Handler::Reactor(Reaction::Batch(Box::new(move |messages, context| {
                script.run(messages, || batch(messages, context))
            })))
        }
        other @ (Handler::Projector(_) | Handler::Workflow(_)) => other,
    };
    Processor {
        handler,
        ..processor
    }
}
