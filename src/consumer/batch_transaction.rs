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

pub(super) struct Work {
    connections: Connections,
    partition: Arc<Partition>,
    projections: InlineProjections,
    patience: Duration,
    transaction: Option<Transaction>,
    /// What the present part can be taken back to.
    mark: Mark,
    appended: usize,
}

#[derive(PartialEq, Clone, Copy)]
enum Mark {
    /// The part has done nothing yet; there may be a savepoint of the part before.
    None {
        savepoint: bool,
    },
    /// The part has begun the transaction.
    Begin,
    Savepoint,
}

impl Work {
    pub(super) fn new(store: &EventStore, patience: Duration) -> Self {
        Self {
            connections: store.connections().clone(),
            partition: Arc::clone(store.partition()),
            projections: store.projections().clone(),
            patience,
            transaction: None,
            mark: Mark::None { savepoint: false },
            appended: 0,
        }
    }

    pub(super) fn partition(&self) -> &str {
        &self.partition.name
    }

    /// Begins a part that can be taken back alone.
    pub(super) fn begin_part(&mut self) {
        let savepoint = match self.mark {
            Mark::None { savepoint } => savepoint,
            Mark::Begin => false,
            Mark::Savepoint => true,
        };
        self.mark = Mark::None { savepoint };
    }

    /// Takes back what the present part has done.
    pub(super) fn undo_part(&mut self) -> Result<()> {
        match (self.mark, &mut self.transaction) {
            (Mark::Begin, transaction) => {
                *transaction = None;
                self.mark = Mark::None { savepoint: false };
                Ok(())
            }
            (Mark::Savepoint, Some(transaction)) => transaction
                .sql()
                .batch("ROLLBACK TO SAVEPOINT emt_part")
                .map_err(|source| Error::database("take back a part of a batch", source)),
            _ => Ok(()),
        }
    }

    pub(super) fn sql(&mut self) -> Result<&mut dyn Sql> {
        if let (Mark::None { savepoint }, Some(transaction)) = (self.mark, &mut self.transaction) {
            let mark = if savepoint {
                "RELEASE SAVEPOINT emt_part; SAVEPOINT emt_part"
            } else {
                "SAVEPOINT emt_part"
            };
            transaction
                .sql()
                .batch(mark)
                .map_err(|source| Error::database("begin a part of a batch", source))?;
            self.mark = Mark::Savepoint;
        }
        let transaction = if let Some(transaction) = self.transaction.take() {
            transaction
        } else {
            self.mark = Mark::Begin;
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
