//! The transaction of a batch: begun when it is first needed, committed together with the checkpoint.

use super::reactor_context::ReactorContext;
use crate::database::{LazyTransaction, Sql, Transaction};
use crate::error::Result;
use crate::events::RecordedMessage;
use crate::store::EventStore;
use std::time::Duration;

pub(super) struct BatchTransaction<'s> {
    store: &'s EventStore,
    transaction: LazyTransaction,
    appended: usize,
}

impl<'s> BatchTransaction<'s> {
    pub(super) fn new(store: &'s EventStore, patience: Duration) -> Self {
        Self {
            store,
            transaction: LazyTransaction::new(
                store.connections(),
                patience,
                store.partition().verification(),
            ),
            appended: 0,
        }
    }

    /// Begins a part that can be taken back alone.
    pub(super) fn begin_part(&mut self) {
        self.transaction.begin_part();
    }

    /// Takes back what the present part has done.
    pub(super) fn undo_part(&mut self) -> Result<()> {
        Ok(self.transaction.undo_part()?)
    }

    pub(super) fn sql(&mut self) -> Result<&mut dyn Sql> {
        Ok(self.transaction.sql()?)
    }

    /// Runs the code of a reactor on a message, or on the batch of which that is the last one.
    pub(super) fn react<T>(
        &mut self,
        message: &RecordedMessage,
        run: impl FnOnce(&mut ReactorContext<'_>) -> T,
    ) -> T {
        let scope = self.store.partition().scope().clone();
        let transaction = Transaction::lazy(&mut self.transaction, scope);
        let mut context = ReactorContext::new(self.store.session(transaction).caused_by(message));
        let outcome = run(&mut context);
        self.appended += context.appended();
        outcome
    }

    /// Whether the database was not well for a statement, whatever the handler made of its error.
    pub(super) fn take_unwell(&mut self) -> bool {
        self.transaction.take_unwell()
    }

    /// Runs the last statement and commits if it agrees; else everything is rolled back.
    pub(super) fn commit(self, last: impl Fn(&mut dyn Sql) -> Result<bool>) -> Result<bool> {
        self.transaction.commit(last)
    }

    /// How many messages were appended, of which somebody shall hear after the commit.
    pub(super) fn appended(&self) -> usize {
        self.appended
    }
}
