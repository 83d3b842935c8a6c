//! What a collection runs its statements on.

use super::error::{Error, Result};
use crate::database::schema::create_collection;
use crate::database::{
    Connections, DEFAULT_PARTITION, Nested, PooledTransaction, SchemaSql, Scope, Sql, Transaction,
    param,
};
use parking_lot::Mutex;
use postgres::types::Type;
use std::collections::HashSet;
use std::sync::Arc;

const REQUIRE_TENANT: SchemaSql = SchemaSql::new("SELECT {schema}.emt_document_require_tenant($1)");

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

    fn is_missing(&self, name: &str) -> bool {
        self.may_create && !self.created.lock().contains(name)
    }

    fn ensure(&self, connections: &Connections, scope: &Scope, name: &str) -> Result<()> {
        if self.is_missing(name) {
            connections.run(true, |sql| {
                create_collection(sql, &scope.schema, &scope.partition, name)
            })?;
            self.remember(name);
        }
        Ok(())
    }

    fn remember(&self, name: &str) {
        self.created.lock().insert(name.to_owned());
    }

    pub(super) fn forget(&self, name: &str) {
        self.created.lock().remove(name);
    }
}

/// The tables that a transaction has created, of which others know nothing until it is committed.
pub(crate) struct TransactionTables {
    shared: Arc<CollectionTables>,
    created: Mutex<HashSet<String>>,
}

impl TransactionTables {
    pub(super) fn new(shared: Arc<CollectionTables>) -> Self {
        Self {
            shared,
            created: Mutex::default(),
        }
    }

    fn ensure(&self, sql: &mut dyn Sql, scope: &Scope, name: &str) -> Result<()> {
        if self.shared.is_missing(name) && !self.created.lock().contains(name) {
            create_collection(sql, &scope.schema, &scope.partition, name)?;
            self.created.lock().insert(name.to_owned());
        }
        Ok(())
    }

    fn forget(&self, name: &str) {
        self.created.lock().remove(name);
        self.shared.forget(name);
    }

    pub(super) fn committed(&self) {
        for name in std::mem::take(&mut *self.created.lock()) {
            self.shared.remember(&name);
        }
    }
}

/// What a collection runs its statements on.
pub(crate) enum Executor<'a> {
    /// Each operation on a connection of its own.
    Connections {
        connections: Connections,
        scope: Scope,
        tables: Arc<CollectionTables>,
    },
    /// A transaction. Where it may create tables, it has `tables`.
    Transaction {
        transaction: Mutex<Transaction<'a>>,
        scope: Scope,
        tables: Option<&'a TransactionTables>,
    },
}

impl<'a> Executor<'a> {
    pub(crate) fn transaction(transaction: Transaction<'a>) -> Self {
        Self::Transaction {
            scope: transaction.scope().clone(),
            transaction: Mutex::new(transaction),
            tables: None,
        }
    }

    pub(super) fn creating(transaction: Transaction<'a>, tables: &'a TransactionTables) -> Self {
        Self::Transaction {
            scope: transaction.scope().clone(),
            transaction: Mutex::new(transaction),
            tables: Some(tables),
        }
    }

    fn scope(&self) -> &Scope {
        match self {
            Self::Connections { scope, .. } | Self::Transaction { scope, .. } => scope,
        }
    }

    pub(super) fn schema(&self) -> &str {
        &self.scope().schema
    }

    pub(super) fn partition(&self) -> &str {
        &self.scope().partition
    }

    /// Refuses a tenant that is not known, before statements that do not look themselves: those on indexes, which the whole
    /// collection shares.
    pub(super) fn require_tenant(&self, sql: &mut dyn Sql) -> Result<()> {
        if self.partition() == DEFAULT_PARTITION {
            return Ok(());
        }
        let partition = self.partition();
        sql.query_unnamed(
            &REQUIRE_TENANT.in_schema(self.schema()),
            &[param(&partition, Type::TEXT)],
        )
        .map_err(|source| Error::database("look for a tenant", source))?;
        Ok(())
    }

    /// Runs a statement on a collection.
    pub(super) fn run<T>(
        &self,
        collection: &str,
        repeatable: bool,
        run: impl Fn(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        self.on_table(collection, || match self {
            Self::Connections { connections, .. } => connections.run(repeatable, &run),
            Self::Transaction { transaction, .. } => run(transaction.lock().sql()?),
        })
    }

    /// Runs what needs the collection's table, which is created first where that is allowed.
    pub(super) fn on_table<T>(&self, collection: &str, run: impl Fn() -> Result<T>) -> Result<T> {
        self.ensure(collection)?;
        let mut outcome = run();
        if outcome.as_ref().is_err_and(Error::is_undefined_table) {
            self.forget(collection);
            // Somebody has dropped it since. A transaction cannot go on after that.
            if self.may_create_again() {
                self.ensure(collection)?;
                outcome = run();
            }
        }
        outcome.map_err(|error| error.about_collection(collection))
    }

    fn ensure(&self, collection: &str) -> Result<()> {
        match self {
            Self::Connections {
                connections,
                scope,
                tables,
            } => tables.ensure(connections, scope, collection),
            Self::Transaction {
                transaction,
                scope,
                tables: Some(tables),
            } => tables.ensure(transaction.lock().sql()?, scope, collection),
            Self::Transaction { tables: None, .. } => Ok(()),
        }
    }

    fn may_create_again(&self) -> bool {
        matches!(self, Self::Connections { tables, .. } if tables.may_create)
    }

    /// Runs several statements that are committed together or not at all.
    pub(super) fn atomically<T>(
        &self,
        collection: &str,
        run: impl Fn(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        self.on_table(collection, || self.in_one_transaction(&run))
    }

    /// The same where the collection need not be there.
    pub(super) fn in_one_transaction<T>(
        &self,
        run: impl FnOnce(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Connections { connections, .. } => {
                let mut transaction = PooledTransaction::begin(connections)?;
                let done = run(transaction.sql())?;
                transaction.commit()?;
                Ok(done)
            }
            Self::Transaction { transaction, .. } => {
                let mut transaction = transaction.lock();
                let mut nested = Nested::begin(transaction.sql()?)?;
                let done = run(nested.sql())?;
                nested.release()?;
                Ok(done)
            }
        }
    }

    /// Begins a transaction on a connection of its own; `None` where it is one already.
    pub(super) fn begin(&self) -> Result<Option<PooledTransaction>> {
        match self {
            Self::Connections { connections, .. } => {
                Ok(Some(PooledTransaction::begin(connections)?))
            }
            Self::Transaction { .. } => Ok(None),
        }
    }

    /// Runs something in the transaction that it is.
    pub(super) fn run_inside<T>(&self, run: impl Fn(&mut dyn Sql) -> Result<T>) -> Result<T> {
        match self {
            Self::Connections { connections, .. } => connections.run(false, run),
            Self::Transaction { transaction, .. } => run(transaction.lock().sql()?),
        }
    }

    /// Has the next use look whether the collection's table is there.
    pub(super) fn forget(&self, collection: &str) {
        match self {
            Self::Connections { tables, .. } => tables.forget(collection),
            Self::Transaction {
                tables: Some(tables),
                ..
            } => tables.forget(collection),
            Self::Transaction { tables: None, .. } => {}
        }
    }
}
