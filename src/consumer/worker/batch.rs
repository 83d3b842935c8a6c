//! A worker's part of a batch, handled in one transaction with the checkpoint.

use super::call::refused_commit;
use super::{BatchError, Ended, Unconfirmed, Worker};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::consumer::mailbox::Batch;
use crate::consumer::processor::Handler;
use crate::database::Sql;
use crate::error::{Error, Result};
use crate::events::RecordedMessage;
use crate::slots::{ProcessorKey, parking, slot_of};
use crate::trace;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A message and the slots of this worker that handle it. Most messages have one slot. A message of a multi-stream
/// document may have several.
pub(super) struct Task<'b> {
    pub(super) message: &'b RecordedMessage,
    /// The stream under which it is parked: its own, or that of the workflow's instance that gets it.
    pub(super) stream: Arc<str>,
    /// Slots in which the message has to be handled.
    pub(super) open: Vec<i32>,
    /// Slots in which an earlier message of its stream is parked.
    pub(super) parked: Vec<i32>,
}

/// A message to park because an earlier one of the stream is parked.
#[derive(Clone, Copy)]
pub(super) struct Following<'b> {
    slot: i32,
    pub(super) message: &'b RecordedMessage,
    stream: &'b str,
}

impl<'b> Task<'b> {
    /// Returns whether the message is handled for some documents, and parked for others.
    fn is_mixed(&self) -> bool {
        !self.open.is_empty() && !self.parked.is_empty()
    }

    /// Returns the message for each slot in which it has to be parked.
    pub(super) fn following(&'b self) -> impl Iterator<Item = Following<'b>> {
        self.parked.iter().map(|slot| Following {
            slot: *slot,
            message: self.message,
            stream: &self.stream,
        })
    }
}

impl Following<'_> {
    pub(super) fn park(self, sql: &mut dyn Sql, key: ProcessorKey<'_>) -> Result<()> {
        parking::park(sql, key, self.slot, self.message, self.stream, 0, None)
    }
}

impl Worker {
    /// Handles a whole batch, or returns the error.
    pub(super) fn run_batch(&mut self, batch: &Batch) -> Result<Option<Ended>, BatchError> {
        while self.reached < batch.up_to {
            // Slots that are ahead have handled the next messages already. They join when the other slots reach them.
            let ahead = self.held.iter().map(|slot| slot.position);
            let next = ahead.filter(|position| *position > self.reached).min();
            let up_to = next.unwrap_or(batch.up_to).min(batch.up_to);
            if let Some(ended) = self.run_batch_up_to(batch, up_to)? {
                return Ok(Some(ended));
            }
            if self.shared.stop.is_stopped() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(super) fn run_batch_up_to(
        &mut self,
        batch: &Batch,
        up_to: u64,
    ) -> Result<Option<Ended>, BatchError> {
        let (reached, messages) = (self.reached, batch.messages.iter());
        let is_next = |message: &&RecordedMessage| {
            message.global_position() > reached && message.global_position() <= up_to
        };
        let mut tasks: Vec<Task<'_>> = messages
            .filter(is_next)
            .filter_map(|message| self.task(message))
            .collect();
        let (up_to, is_last) = self.cut_at_condition(&mut tasks, up_to);
        if tasks.is_empty() {
            self.reached = up_to;
        } else {
            self.run_tasks(&tasks, up_to)?;
        }
        Ok(is_last.then_some(Ended::Condition))
    }

    pub(super) fn run_tasks(&mut self, tasks: &[Task<'_>], up_to: u64) -> Result<(), BatchError> {
        if self.after_crash {
            self.one_by_one(tasks, up_to, None)?;
            self.after_crash = false;
            return Ok(());
        }
        if tasks.iter().any(Task::is_mixed) {
            return self.one_by_one(tasks, up_to, None);
        }
        let Err(error) = self.handle_together(tasks, up_to) else {
            return Ok(());
        };
        let BatchError::Handler(error) = error else {
            return Err(error);
        };
        if error.alone.is_some() {
            return self.one_by_one(tasks, up_to, Some(error));
        }
        self.report_handler(&error);
        self.one_by_one(tasks, up_to, None)
    }

    /// Returns this worker's part of a message, if any.
    pub(super) fn task<'b>(&self, message: &'b RecordedMessage) -> Option<Task<'b>> {
        if !self.processor().handles(message) {
            return None;
        }
        let stream = self.parking_stream(message)?;
        let (parked, open): (Vec<i32>, Vec<i32>) = self
            .slots_of(message, &stream)
            .into_iter()
            .partition(|slot| self.is_parked(*slot, &stream));
        (!open.is_empty() || !parked.is_empty()).then_some(Task {
            message,
            stream,
            open,
            parked,
        })
    }

    fn is_parked(&self, slot: i32, stream: &str) -> bool {
        !self.parked.is_empty() && self.parked.contains(&(slot, stream.to_owned()))
    }

    /// Returns the stream whose order the message belongs to: its own, or that of a workflow's instance. `None` if no
    /// instance gets the message.
    fn parking_stream(&self, message: &RecordedMessage) -> Option<Arc<str>> {
        let own = || Arc::clone(&message.stream_name);
        match &self.processor().handler {
            // The handler reports messages that cannot be decoded.
            Handler::Workflow(workflow) => match workflow.instance_of(message) {
                Ok(instance) => instance.map(Arc::from),
                Err(_) => Some(own()),
            },
            Handler::Projector(_) | Handler::Reactor(_) => Some(own()),
        }
    }

    /// Returns the held slots that handle the message and have not seen it yet. `stream` decides, unless the projection has
    /// keys.
    fn slots_of(&self, message: &RecordedMessage, stream: &str) -> Vec<i32> {
        let position = message.global_position();
        let is_open = |slot: &i32| {
            if let Some(replaying) = &self.replaying {
                return replaying.coverage.slots.contains(slot);
            }
            let held = self.held.iter().find(|held| held.slot == *slot);
            held.is_some_and(|held| held.position < position)
        };
        let slot = |key: &str| slot_of(key, self.all_slots).cast_signed();
        let keys = match &self.processor().handler {
            Handler::Projector(projection) if self.all_slots > 1 => projection.keys(message),
            _ => Ok(None),
        };
        let mut slots: Vec<i32> = match keys {
            Ok(Some(keys)) => keys.iter().map(|key| slot(key)).collect(),
            // The handler reports messages that cannot be decoded, in one of the slots.
            Ok(None) | Err(_) => vec![slot(stream)],
        };
        slots.sort_unstable();
        slots.dedup();
        slots.retain(is_open);
        slots
    }

    /// Drops the tasks after the first message that meets the `stop_after` condition. Returns the position up to
    /// which tasks remain, and whether such a message was found.
    pub(super) fn cut_at_condition(&self, tasks: &mut Vec<Task<'_>>, up_to: u64) -> (u64, bool) {
        let Some(condition) = &self.processor().options.stop_after else {
            return (up_to, false);
        };
        let meets = |task: &Task<'_>| !task.open.is_empty() && condition(task.message);
        let Some(index) = tasks.iter().position(meets) else {
            return (up_to, false);
        };
        tasks.truncate(index + 1);
        (tasks[index].message.global_position(), true)
    }

    /// Handles messages in one transaction. Messages of streams with parked messages are parked in it.
    pub(super) fn handle_together(
        &mut self,
        tasks: &[Task<'_>],
        up_to: u64,
    ) -> Result<(), BatchError> {
        let handled: Vec<&RecordedMessage> = tasks
            .iter()
            .filter(|task| !task.open.is_empty())
            .map(|task| task.message)
            .collect();
        let parked: Vec<Following<'_>> = tasks.iter().flat_map(Task::following).collect();
        let slots: Vec<i32> = self
            .moving()
            .iter()
            .filter(|held| self.replaying.is_some() || held.position < up_to)
            .map(|held| held.slot)
            .collect();
        self.handle(&handled, &slots, &parked, up_to)
    }

    /// Handles messages for some slots, parks others, and moves the checkpoint, in one transaction.
    pub(super) fn handle(
        &mut self,
        messages: &[&RecordedMessage],
        slots: &[i32],
        parked: &[Following<'_>],
        up_to: u64,
    ) -> Result<(), BatchError> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let mut transaction = BatchTransaction::new(&shared.store, shared.settings.lease);
        let span = trace::batch(&mailbox.processor.name, messages.len());
        let done = mailbox.while_busy(|| self.call(&mut transaction, messages, slots));
        let (handled, up_to, failure) = match done {
            Ok(()) => (messages.len(), up_to, None),
            // The messages before the failed one are committed.
            Err((done @ 1.., BatchError::Handler(error))) => {
                let last = messages[done - 1].global_position();
                (done, last, Some(BatchError::Handler(error)))
            }
            Err((_, error)) => {
                drop(transaction);
                return Err(self.unless_lost(error)?);
            }
        };
        let after_commit = transaction.take_after_commit();
        let (key, holder) = (shared.key(&mailbox.processor), shared.holder(&mailbox));
        let was_unwell = transaction.take_unwell();
        let refused = |error| refused_commit(error, was_unwell, messages);
        for following in parked {
            if following.message.global_position() <= up_to {
                following.park(transaction.sql()?, key).map_err(refused)?;
            }
        }
        let held = self.moving();
        self.note_caught_up(&mut transaction, &held, up_to)
            .map_err(refused)?;
        let committed = transaction.commit(|sql| key.checkpoint(sql, holder, &held, up_to));
        if committed.as_ref().is_err_and(Error::is_outcome_unknown) {
            self.unconfirmed = Some(Unconfirmed {
                held,
                up_to,
                handled,
            });
        }
        if !committed.map_err(refused)? {
            return Err(BatchError::Lost);
        }
        shared.store.committed(after_commit);
        self.note_checkpoint(up_to);
        self.count(handled);
        trace::handled(&mailbox.processor.name, handled, up_to);
        drop(span);
        failure.map_or(Ok(()), Err)
    }

    /// Counts a batch whose commit was not acknowledged, if its checkpoint is in the table. So `handled` includes it.
    pub(super) fn confirm(&mut self) -> Result<(), BatchError> {
        let Some(batch) = &self.unconfirmed else {
            return Ok(());
        };
        let key = self.shared.key(&self.mailbox.processor);
        let moved = |sql: &mut dyn Sql| key.has_moved(sql, &batch.held, batch.up_to);
        if self.shared.run(moved)? {
            self.count(batch.handled);
        }
        self.unconfirmed = None;
        Ok(())
    }

    fn count(&self, handled: usize) {
        let counter = &self.mailbox.handled;
        counter.fetch_add(handled as u64, Ordering::Relaxed);
    }

    /// Ignores the failure of a handler whose slots were lost, because it has read later writes of the new owner.
    pub(super) fn unless_lost(&self, error: BatchError) -> Result<BatchError, BatchError> {
        if !matches!(error, BatchError::Handler(_)) {
            return Ok(error);
        }
        let (key, holder) = (
            self.shared.key(&self.mailbox.processor),
            self.shared.holder(&self.mailbox),
        );
        let holds = self.shared.run(|sql| key.holds(sql, holder, &self.held))?;
        Ok(if holds { error } else { BatchError::Lost })
    }

    pub(super) fn note_checkpoint(&mut self, position: u64) {
        if self.replaying.is_some() {
            return;
        }
        for slot in &mut self.held {
            slot.position = slot.position.max(position);
        }
        self.reached = self.reached.max(position);
        self.checkpoint_written_at = Instant::now();
        self.mailbox.recover();
    }

    /// Stores the worker's progress if there was nothing to handle.
    pub(super) fn write_checkpoint(&mut self) -> Result<(), BatchError> {
        if self.held.is_empty() || self.reached == self.checkpoint() {
            return Ok(());
        }
        let reached = self.reached;
        self.handle(&[], &[], &[], reached)
    }
}
