//! What a batch of inputs leads to: messages and timers.

use super::timers::{NewTimer, TimerChanges, change};
use crate::database::ExpectedVersion;
use crate::error::Result;
use crate::events::{OutgoingMessage, StreamAppend};
use crate::store::Session;
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Commands and timers of a batch. The records are with their instances.
#[derive(Default)]
pub(super) struct Outcome {
    /// The streams of the commands, in the order of their first commands.
    targets: Vec<(String, Vec<OutgoingMessage>)>,
    target_indices: HashMap<String, usize>,
    /// By instance and name; `None` cancels.
    timers: BTreeMap<(String, String), Option<NewTimer>>,
    complete: BTreeSet<String>,
}

impl Outcome {
    pub(super) fn send(&mut self, stream: String, message: OutgoingMessage) {
        let next = self.targets.len();
        let index = *self.target_indices.entry(stream.clone()).or_insert(next);
        if index == next {
            self.targets.push((stream, Vec::new()));
        }
        self.targets[index].1.push(message);
    }

    /// Sets a timer. The last change of a timer in a batch counts.
    pub(super) fn set(&mut self, id: &str, name: String, timer: NewTimer) {
        self.timers.insert((id.to_owned(), name), Some(timer));
    }

    pub(super) fn cancel(&mut self, id: &str, name: String) {
        self.timers.insert((id.to_owned(), name), None);
    }

    /// Cancels all timers of an instance.
    pub(super) fn complete(&mut self, id: &str) {
        self.timers.retain(|(of, _), _| of != id);
        self.complete.insert(id.to_owned());
    }

    /// Changes the timers, and then appends the records and the commands. A transaction that waits for a timer must not hold
    /// the feed back.
    pub(super) fn store(
        self,
        workflow: &str,
        records: Vec<StreamAppend>,
        session: &mut Session<'_>,
    ) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let (changes, targets) = self.into_parts();
        let mut appends = records;
        for (stream, messages) in targets {
            appends.push(append(&stream, ExpectedVersion::Any, messages)?);
        }
        let partition = session.shared_partition();
        change(session.sql()?, &partition, workflow, &changes)?;
        session.append_all(&appends)?;
        Ok(())
    }

    fn into_parts(self) -> (TimerChanges, Vec<(String, Vec<OutgoingMessage>)>) {
        let mut changes = TimerChanges::default();
        let complete = self.complete.into_iter().map(|id| (id, None));
        changes.cancelled.extend(complete);
        for ((id, name), timer) in self.timers {
            match timer {
                Some(timer) => changes.set.push((id, name, timer)),
                None => changes.cancelled.push((id, Some(name))),
            }
        }
        (changes, self.targets)
    }
}

pub(super) fn append(
    stream: &str,
    expected: ExpectedVersion,
    messages: Vec<OutgoingMessage>,
) -> Result<StreamAppend> {
    let messages = messages
        .into_iter()
        .map(|message| message.complete(stream, &Map::new()))
        .collect::<Result<_>>()?;
    StreamAppend::new(stream, expected, messages)
}
