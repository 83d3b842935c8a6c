//! What a collection runs its statements on.

use crate::connection::{Connections, Nested, Sql, Transaction};
use crate::error::Result;
use crate::partition::Partition;
use crate::schema::create_collection;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Creates the tables of collections when they are first used, once per process.
pub(crate) struct CollectionTables {
    may_create: bool,
    created: Mutex<HashSet<String>>,
}

impl CollectionTables {
    pub(crate) fn new(may_create: bool) -> Self {
        Self {
            may_create,
            created: Mutex::default(),
        }
    }

    pub(super) fn ensure(&self, connections: &Connections, schema: &str, name: &str) -> Result<()> {
        if !self.may_create || self.created().contains(name) {
            return Ok(());
        }
        connections.run(true, |sql| create_collection(sql, schema, name))?;
        self.created().insert(name.to_owned());
        Ok(())
    }

    fn created(&self) -> MutexGuard<'_, HashSet<String>> {
        // The set is never left half changed, so a panic of another thread has not spoilt it.
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a collection runs its statements on.
pub(crate) enum CollectionHome<'a> {
    /// Each operation on a connection of its own.
    Connections {
        connections: Connections,
        partition: Arc<Partition>,
        tables: Arc<CollectionTables>,
    },
    /// A transaction.
    Transaction {
        sql: RefCell<&'a mut dyn Sql>,
        partition: &'a Partition,
    },
}

impl<'a> CollectionHome<'a> {
    pub(crate) fn transaction(sql: &'a mut dyn Sql, partition: &'a Partition) -> Self {
        Self::Transaction {
            sql: RefCell::new(sql),
            partition,
        }
    }

    pub(super) fn partition(&self) -> &Partition {
        match self {
            Self::Connections { partition, .. } => partition,
            Self::Transaction { partition, .. } => partition,
        }
    }

    pub(super) fn run<T>(
        &self,
        collection: &str,
        repeatable: bool,
        run: impl Fn(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Connections {
                connections,
                partition,
                tables,
            } => {
                tables.ensure(connections, &partition.schema, collection)?;
                connections.run(repeatable, run)
            }
            Self::Transaction { sql, .. } => run(&mut **sql.borrow_mut()),
        }
    }

    /// Runs several statements that are committed together or not at all.
    pub(super) fn atomically<T>(
        &self,
        collection: &str,
        run: impl FnOnce(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Connections {
                connections,
                partition,
                tables,
            } => {
                tables.ensure(connections, &partition.schema, collection)?;
                let mut transaction = Transaction::begin(connections)?;
                let done = run(transaction.sql())?;
                transaction.commit()?;
                Ok(done)
            }
            Self::Transaction { sql, .. } => {
                let mut sql = sql.borrow_mut();
                let mut nested = Nested::begin(&mut **sql)?;
                let done = run(nested.sql())?;
                nested.release()?;
                Ok(done)
            }
        }
    }

    /// Begins a transaction on a connection of its own; `None` where the home is one already.
    pub(super) fn begin(&self, collection: &str) -> Result<Option<Transaction>> {
        match self {
            Self::Connections {
                connections,
                partition,
                tables,
            } => {
                tables.ensure(connections, &partition.schema, collection)?;
                Transaction::begin(connections).map(Some)
            }
            Self::Transaction { .. } => Ok(None),
        }
    }

    /// Runs something in the transaction that the home is.
    pub(super) fn run_inside<T>(&self, run: impl Fn(&mut dyn Sql) -> Result<T>) -> Result<T> {
        match self {
            Self::Connections { connections, .. } => connections.run(false, run),
            Self::Transaction { sql, .. } => run(&mut **sql.borrow_mut()),
        }
    }
}
