//! A transaction that begins on first use.

use super::error::{Result, RoomError};
use super::pool::Connections;
use super::pooled_transaction::PooledTransaction;
use super::savepoint::{Savepoint, roll_back_part};
use super::sql::Sql;
use super::verification::Verification;
use std::time::Duration;

/// A transaction that begins with its first statement and whose parts can be undone one by one. A part without statements
/// costs nothing.
pub(crate) struct LazyTransaction {
    connections: Connections,
    patience: Duration,
    verification: Verification,
    begun: Option<PooledTransaction>,
    savepoint: Savepoint,
    /// A statement of an undone part failed because of a temporary database failure.
    was_unwell: bool,
}

impl LazyTransaction {
    /// `patience` has the meaning of [`PooledTransaction::begin_within`].
    pub(crate) fn new(
        connections: &Connections,
        patience: Duration,
        verification: &Verification,
    ) -> Self {
        Self {
            connections: connections.clone(),
            patience,
            verification: verification.clone(),
            begun: None,
            savepoint: Savepoint::None { earlier: false },
            was_unwell: false,
        }
    }

    /// Begins a part that can be undone separately.
    pub(crate) fn begin_part(&mut self) {
        self.savepoint = self.savepoint.next();
    }

    /// Undoes the current part.
    pub(crate) fn undo_part(&mut self) -> Result<()> {
        self.was_unwell = self.take_unwell();
        match (self.savepoint, &mut self.begun) {
            (Savepoint::Begin, begun) => {
                *begun = None;
                self.savepoint = Savepoint::None { earlier: false };
                Ok(())
            }
            (Savepoint::Set, Some(transaction)) => roll_back_part(transaction.sql()),
            _ => Ok(()),
        }
    }

    pub(crate) fn sql(&mut self) -> Result<&mut dyn Sql> {
        let transaction = match self.begun.take() {
            Some(transaction) => transaction,
            None => self.begin()?,
        };
        let sql = self.begun.insert(transaction).sql();
        self.savepoint.set(sql)?;
        Ok(sql)
    }

    /// Whether a statement failed because of a temporary database failure, even if code above hid its error. Clears the
    /// mark.
    pub(crate) fn take_unwell(&mut self) -> bool {
        let begun = self.begun.as_mut();
        let is_unwell = begun.is_some_and(PooledTransaction::take_unwell);
        std::mem::take(&mut self.was_unwell) || is_unwell
    }

    fn begin(&mut self) -> Result<PooledTransaction> {
        self.savepoint = Savepoint::Begin;
        let mut begun = PooledTransaction::begin_within(&self.connections, self.patience)?;
        begun.verify(&self.verification)?;
        Ok(begun)
    }

    /// Runs the last statement and commits if it succeeds; otherwise rolls everything back. Without a begun transaction, the
    /// statement is its own transaction.
    pub(crate) fn commit<E: RoomError>(
        self,
        last: impl Fn(&mut dyn Sql) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let Some(mut transaction) = self.begun else {
            return self
                .connections
                .run_verified(&self.verification, false, last);
        };
        let agreed = last(transaction.sql())?;
        if agreed {
            transaction.commit()?;
        }
        Ok(agreed)
    }
}
