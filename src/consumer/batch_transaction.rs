//! The transaction of a batch: begun when it is first needed, committed together with the checkpoint.

use crate::database::{Connections, Sql, Transaction};
use crate::error::{Error, Result};
use crate::events::partition::Partition;
use crate::events::stream::Appended;
use crate::pongo::{Collection, Executor};
use crate::projection::InlineProjections;
use crate::store::EventStore;
use crate::store::Session;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct BatchTransaction {
    connections: Connections,
    partition: Arc<Partition>,
    projections: InlineProjections,
    patience: Duration,
    transaction: Option<Transaction>,
    /// What the present part can be taken back to.
    savepoint: Savepoint,
    appended: usize,
}

#[derive(PartialEq, Clone, Copy)]
enum Savepoint {
    /// The part has done nothing yet; there may be a savepoint of the part before.
    None {
        earlier: bool,
    },
    /// The part has begun the transaction.
    Begin,
    Set,
}

impl BatchTransaction {
    pub(super) fn new(store: &EventStore, patience: Duration) -> Self {
        Self {
            connections: store.connections().clone(),
            partition: Arc::clone(store.partition()),
            projections: store.projections().clone(),
            patience,
            transaction: None,
            savepoint: Savepoint::None { earlier: false },
            appended: 0,
        }
    }

    pub(super) fn partition(&self) -> &str {
        &self.partition.name
    }

    /// Begins a part that can be taken back alone.
    pub(super) fn begin_part(&mut self) {
        let earlier = match self.savepoint {
            Savepoint::None { earlier } => earlier,
            Savepoint::Begin => false,
            Savepoint::Set => true,
        };
        self.savepoint = Savepoint::None { earlier };
    }

    /// Takes back what the present part has done.
    pub(super) fn undo_part(&mut self) -> Result<()> {
        match (self.savepoint, &mut self.transaction) {
            (Savepoint::Begin, transaction) => {
                *transaction = None;
                self.savepoint = Savepoint::None { earlier: false };
                Ok(())
            }
            (Savepoint::Set, Some(transaction)) => transaction
                .sql()
                .batch("ROLLBACK TO SAVEPOINT emt_part")
                .map_err(|source| Error::database("take back a part of a batch", source)),
            _ => Ok(()),
        }
    }

    pub(super) fn sql(&mut self) -> Result<&mut dyn Sql> {
        if let (Savepoint::None { earlier }, Some(transaction)) =
            (self.savepoint, &mut self.transaction)
        {
            let set = if earlier {
                "RELEASE SAVEPOINT emt_part; SAVEPOINT emt_part"
            } else {
                "SAVEPOINT emt_part"
            };
            transaction
                .sql()
                .batch(set)
                .map_err(|source| Error::database("begin a part of a batch", source))?;
            self.savepoint = Savepoint::Set;
        }
        let transaction = if let Some(transaction) = self.transaction.take() {
            transaction
        } else {
            self.savepoint = Savepoint::Begin;
            Transaction::begin_within(&self.connections, self.patience)?
        };
        Ok(self.transaction.insert(transaction).sql())
    }

    /// The transaction as a session, for appends and SQL.
    pub(super) fn session(&mut self) -> Result<Session<'_>> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        Ok(Session::borrowed(self.sql()?, partition, projections))
    }

    pub(super) fn collection<T>(&mut self, name: &str) -> Result<Collection<'_, T>> {
        self.sql()?;
        let Self {
            transaction: Some(transaction),
            partition,
            ..
        } = self
        else {
            unreachable!("the transaction has just been begun")
        };
        let home = Executor::transaction(transaction.sql(), &partition.schema, &partition.name);
        Ok(Collection::new(home, name))
    }

    /// Runs the last statement and commits if it agrees; else everything is rolled back. Without a transaction, the
    /// statement is one of its own.
    pub(super) fn commit(self, last: impl Fn(&mut dyn Sql) -> Result<bool>) -> Result<bool> {
        let Some(mut transaction) = self.transaction else {
            return self.connections.run(false, last);
        };
        let agreed = last(transaction.sql())?;
        if agreed {
            transaction.commit()?;
        }
        Ok(agreed)
    }

    /// Notes that messages were appended, which somebody shall hear of after the commit.
    pub(super) fn note_appended(&mut self, appended: &Appended) {
        if !appended.already_appended {
            self.appended += appended.global_positions.len();
        }
    }

    pub(super) fn appended(&self) -> usize {
        self.appended
    }
}
