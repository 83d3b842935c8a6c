//! Failed messages: each is handled alone, retried, and parked in the end.

use super::batch::{Following, Task};
use super::{BatchError, HandlerError, Place, Worker};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::consumer::message_name::MessageName;
use crate::events::RecordedMessage;
use crate::slots::parking;
use std::sync::Arc;

/// Maximum number of crashes at a message before it is parked as a poison message.
const MAX_CRASHES: i32 = 5;

impl Worker {
    /// Handles each message alone, to find the failing one, and parks it or stops there. `tried` is the error of a
    /// message that was already handled alone. It counts as the first attempt.
    pub(super) fn one_by_one(
        &mut self,
        tasks: &[Task<'_>],
        up_to: u64,
        mut tried: Option<HandlerError>,
    ) -> Result<(), BatchError> {
        for task in tasks {
            if self.shared.stop.is_stopped() {
                return Ok(());
            }
            // Look again: messages before the failed one may be handled already, or parked since.
            let Some(task) = self.task(task.message) else {
                continue;
            };
            if task.open.is_empty() {
                self.park_after(&task)?;
            } else {
                let position = Some(task.message.global_position());
                self.run_one(&task, tried.take_if(|tried| tried.alone == position))?;
            }
        }
        if self.replaying.is_some() {
            return Ok(());
        }
        self.reached = up_to;
        self.write_checkpoint()
    }

    /// Parks a message, because an earlier message of its stream is parked.
    pub(super) fn park_after(&mut self, task: &Task<'_>) -> Result<(), BatchError> {
        let parked: Vec<Following<'_>> = task.following().collect();
        self.handle(&[], &[], &parked, task.message.global_position())
    }

    /// Handles one message with the retries of the policy, and then parks it or fails.
    pub(super) fn run_one(
        &mut self,
        task: &Task<'_>,
        mut tried: Option<HandlerError>,
    ) -> Result<(), BatchError> {
        let message = task.message;
        if self.after_crash && self.is_poison(task)? {
            let reason = "the process ended each time it handled this message";
            return self.park(task, MAX_CRASHES.unsigned_abs(), reason);
        }
        let after: Vec<Following<'_>> = task.following().collect();
        let mut failed = 0;
        loop {
            let handled = match tried.take() {
                Some(error) => Err(BatchError::Handler(error)),
                None => self.handle(&[message], &task.open, &after, message.global_position()),
            };
            let Err(BatchError::Handler(error)) = handled else {
                return handled;
            };
            failed += 1;
            self.report_handler(&error);
            match self.processor().options.on_failure.delay(failed) {
                Some(delay) => {
                    let pauses = &self.shared.settings.retry_pauses;
                    pauses.pause(&self.shared.stop, message, delay);
                }
                None if self.processor().options.on_failure.parks() => {
                    return self.park(task, failed, &format!("{:#}", error.cause));
                }
                None => {
                    let cause = error.cause.context(error.place);
                    return Err(BatchError::Handler(cause.into()));
                }
            }
            if self.shared.stop.is_stopped() {
                return Err(BatchError::Lost);
            }
        }
    }

    /// Notes an attempt before it is made. Returns whether too many owners have crashed at this message.
    pub(super) fn is_poison(&self, task: &Task<'_>) -> Result<bool, BatchError> {
        let first = task.open.first();
        let Some(held) = self.held.iter().find(|held| Some(&held.slot) == first) else {
            return Err(BatchError::Lost);
        };
        let (key, holder) = (
            self.shared.key(&self.mailbox.processor),
            self.shared.holder(&self.mailbox),
        );
        let position = task.message.global_position();
        match self
            .shared
            .run(|sql| key.attempt(sql, holder, *held, position))?
        {
            Some(attempts) => Ok(attempts > MAX_CRASHES),
            None => Err(BatchError::Lost),
        }
    }

    pub(super) fn park(
        &mut self,
        task: &Task<'_>,
        attempts: u32,
        error: &str,
    ) -> Result<(), BatchError> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let (key, holder) = (shared.key(&mailbox.processor), shared.holder(&mailbox));
        let message = task.message;
        let mut transaction = BatchTransaction::new(&shared.store, shared.settings.lease);
        for slot in &task.open {
            parking::park(
                transaction.sql()?,
                key,
                *slot,
                message,
                &task.stream,
                attempts,
                Some(error),
            )?;
        }
        for following in task.following() {
            following.park(transaction.sql()?, key)?;
        }
        let up_to = message.global_position();
        let held = self.moving();
        self.note_caught_up(&mut transaction, &held, up_to)?;
        if !transaction.commit(|sql| key.checkpoint(sql, holder, &held, up_to))? {
            return Err(BatchError::Lost);
        }
        self.note_checkpoint(up_to);
        let parked = task
            .open
            .iter()
            .map(|slot| (*slot, task.stream.to_string()));
        self.parked.extend(parked);
        Ok(())
    }

    pub(super) fn report_handler(&self, error: &HandlerError) {
        let cause = anyhow::anyhow!("{:#}", error.cause).context(error.place.clone());
        self.mailbox.survive(&self.failed(cause));
    }
}

impl BatchError {
    /// Adds the messages to the error of a handler.
    pub(super) fn at(self, messages: &[&RecordedMessage]) -> Self {
        match self {
            Self::Handler(HandlerError { cause, .. }) => {
                let alone = match messages {
                    [message] => Some(message.global_position()),
                    _ => None,
                };
                Self::Handler(HandlerError {
                    cause,
                    place: Place {
                        text: cannot_handle(messages),
                        message: messages
                            .last()
                            .copied()
                            .filter(|_| alone.is_some())
                            .map(MessageName::of),
                    },
                    alone,
                })
            }
            other => other,
        }
    }
}

/// Describes the message at which a handler failed, or the first and last message of a failed batch.
fn cannot_handle(messages: &[&RecordedMessage]) -> String {
    match messages {
        [] => String::new(),
        [message] => format!(
            "the handler failed at position {}: message {} of stream \"{}\", type \"{}\"",
            message.global_position(),
            message.stream_position(),
            message.stream_name(),
            message.message_type()
        ),
        [first, .., last] => format!(
            "the handler failed with {} messages together, at positions {} to {}; each is handled alone next",
            messages.len(),
            first.global_position(),
            last.global_position()
        ),
    }
}
