//! The transaction of a batch. It begins on first use and is committed together with the checkpoint.

use super::reactor_context::ReactorContext;
use crate::database::{LazyTransaction, Sql, Transaction};
use crate::error::Result;
use crate::events::RecordedMessage;
use crate::store::{AfterCommit, EventStore, Session};
use std::time::Duration;

pub(super) struct BatchTransaction<'s> {
    store: &'s EventStore,
    transaction: LazyTransaction,
    after_commit: AfterCommit,
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
            after_commit: AfterCommit::default(),
        }
    }

    /// Begins a part that can be rolled back alone.
    pub(super) fn begin_part(&mut self) {
        self.transaction.begin_part();
    }

    /// Rolls the current part back.
    pub(super) fn undo_part(&mut self) -> Result<()> {
        Ok(self.transaction.undo_part()?)
    }

    pub(super) fn sql(&mut self) -> Result<&mut dyn Sql> {
        Ok(self.transaction.sql()?)
    }

    /// Runs a reactor's code on a message, or on a batch whose last message is given.
    pub(super) fn react<T>(
        &mut self,
        message: &RecordedMessage,
        run: impl FnOnce(&mut ReactorContext<'_>) -> T,
    ) -> T {
        let scope = self.store.partition().scope().clone();
        let transaction = Transaction::lazy(&mut self.transaction, scope);
        let mut context = ReactorContext::new(self.store.session(transaction).caused_by(message));
        let outcome = run(&mut context);
        self.after_commit.add(context.take_after_commit());
        outcome
    }

    /// Runs the library's own code.
    pub(super) fn run<T>(&mut self, run: impl FnOnce(&mut Session<'_>) -> Result<T>) -> Result<T> {
        let scope = self.store.partition().scope().clone();
        let transaction = Transaction::lazy(&mut self.transaction, scope);
        let mut session = self.store.session(transaction);
        let done = run(&mut session)?;
        self.after_commit.add(session.take_after_commit());
        Ok(done)
    }

    /// Returns whether a statement met a transient database error, even if the handler ignored it.
    pub(super) fn take_unwell(&mut self) -> bool {
        self.transaction.take_unwell()
    }

    /// Runs the last statement and commits if it returns true. Rolls back otherwise.
    pub(super) fn commit(self, last: impl Fn(&mut dyn Sql) -> Result<bool>) -> Result<bool> {
        self.transaction.commit(last)
    }

    /// Takes what is to be done after the commit.
    pub(super) fn take_after_commit(&mut self) -> AfterCommit {
        std::mem::take(&mut self.after_commit)
    }
}
