//! Calls of user code.

use super::{BatchError, Worker};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::consumer::processor::{Handler, Reaction};
use crate::database::DatabaseError;
use crate::error::{Error, caught, is_database_cause};
use crate::events::RecordedMessage;
use crate::projection::ProjectionContext;
use crate::slots::OwnedSlots;

impl Worker {
    /// Returns the slots for which a projection may write; `None` means all.
    pub(super) fn owned(&self, slots: &[i32]) -> Option<OwnedSlots> {
        let slots = slots.iter().map(|slot| slot.unsigned_abs());
        (self.all_slots > 1).then(|| OwnedSlots::new(self.all_slots, slots))
    }

    /// Calls the handler. On an error, returns the number of messages handled before. The handler is blamed only if no
    /// statement met a transient database error, even if it hid that error.
    pub(super) fn call(
        &self,
        transaction: &mut BatchTransaction<'_>,
        messages: &[&RecordedMessage],
        slots: &[i32],
    ) -> Result<(), (usize, BatchError)> {
        let called = self.call_handler(transaction, messages, slots);
        called.map_err(|(done, error)| match error {
            BatchError::Handler(error) if transaction.take_unwell() => {
                let source = error.cause.context(error.place);
                (
                    done,
                    BatchError::Unwell(Box::new(Error::Session { source })),
                )
            }
            error => (done, error),
        })
    }

    fn call_handler(
        &self,
        transaction: &mut BatchTransaction<'_>,
        messages: &[&RecordedMessage],
        slots: &[i32],
    ) -> Result<(), (usize, BatchError)> {
        let Some(last) = messages.last() else {
            return Ok(());
        };
        match &self.processor().handler {
            Handler::Projector(projection) => {
                let sql = transaction.sql().map_err(|error| (0, error.into()))?;
                let partition = self.shared.store.partition();
                let owned = self.owned(slots);
                let mut context = ProjectionContext::new(sql, partition).with_slots(owned.as_ref());
                guarded(|| projection.handle(messages, &mut context))
                    .map_err(|error| (0, error.at(messages)))
            }
            Handler::Reactor(Reaction::Batch(batch)) => {
                let handled =
                    transaction.react(last, |context| guarded(|| batch(messages, context)));
                handled.map_err(|error| (0, error.at(messages)))
            }
            Handler::Workflow(workflow) => {
                let handled = transaction.react(last, |context| {
                    guarded(|| Ok(workflow.handle(context, messages)?))
                });
                handled.map_err(|error| (0, error.unless_conflict().at(messages)))
            }
            Handler::Reactor(Reaction::Each(each)) => {
                for (done, message) in messages.iter().enumerate() {
                    transaction.begin_part();
                    let handled =
                        transaction.react(message, |context| guarded(|| each(message, context)));
                    if let Err(error) = handled {
                        transaction
                            .undo_part()
                            .map_err(|error| (done, error.into()))?;
                        return Err((done, error.at(&[message])));
                    }
                }
                Ok(())
            }
        }
    }
}

impl BatchError {
    /// Another transaction has changed an instance of a workflow since it was read: read and decide again.
    fn unless_conflict(self) -> Self {
        match self {
            Self::Handler(error) if is_conflict(&error.cause) => Self::Lost,
            other => other,
        }
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(Error::is_conflict)
}

/// Runs user code. A panic counts as its error. A transient database error does not.
pub(super) fn guarded(run: impl FnOnce() -> anyhow::Result<()>) -> Result<(), BatchError> {
    match caught("the handler", run).unwrap_or_else(Err) {
        Ok(()) => Ok(()),
        Err(error) if is_database_cause(&error) => {
            Err(BatchError::Unwell(Box::new(Error::of_closure(error))))
        }
        Err(error) => Err(BatchError::Handler(error.into())),
    }
}

/// Classifies the failed commit of a handler's transaction. The handler has ignored the error of a statement, or has
/// ended the transaction. This is its own failure, unless a statement met a transient database error.
pub(super) fn refused_commit(
    error: Error,
    was_unwell: bool,
    messages: &[&RecordedMessage],
) -> BatchError {
    let is_of_handler = !messages.is_empty()
        && matches!(
            error,
            Error::Database(DatabaseError::TransactionAborted { .. })
        );
    match error {
        error if !is_of_handler => BatchError::Database(error),
        error if was_unwell => BatchError::Unwell(Box::new(error)),
        error => BatchError::Handler(anyhow::Error::new(error).into()).at(messages),
    }
}
