//! Calling user code.

use super::{BatchError, Worker, survives};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::consumer::processor::{Handler, Reaction};
use crate::error::{Error, caught, is_database_cause};
use crate::events::RecordedMessage;
use crate::projection::ProjectionContext;
use crate::slots::OwnedSlots;

impl Worker {
    /// What a projection may write: all, unless others hold the other slots.
    pub(super) fn owned(&self, slots: &[i32]) -> Option<OwnedSlots> {
        let slots = slots.iter().map(|slot| slot.unsigned_abs());
        (self.all_slots > 1).then(|| OwnedSlots::new(self.all_slots, slots))
    }

    /// Calls the handler; says how many messages were handled before it failed.
    pub(super) fn call(
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

/// Runs user code: a panic in it is its error, and an error of the database is none of its own.
pub(super) fn guarded(run: impl FnOnce() -> anyhow::Result<()>) -> Result<(), BatchError> {
    match caught("the handler", run).unwrap_or_else(Err) {
        Ok(()) => Ok(()),
        Err(error) if is_database_cause(&error) => Err(BatchError::Database(database_error(error))),
        Err(error) => Err(BatchError::Handler(error.into())),
    }
}

pub(super) fn database_error(error: anyhow::Error) -> Error {
    match Error::of_closure(error) {
        error if survives(&error) => error,
        error @ Error::Session { .. } => error,
        error => Error::Session {
            source: error.into(),
        },
    }
}
