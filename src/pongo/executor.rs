//! The executors of a collection's statements.

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

/// Creates the tables of collections on their first use, once per process.
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

/// The tables that a transaction has created. Other transactions do not see them before the commit.
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

/// An executor of a collection's statements.
pub(crate) enum Executor<'a> {
    /// Runs each operation on its own connection.
    Connections {
        connections: Connections,
        scope: Scope,
        tables: Arc<CollectionTables>,
    },
    /// Runs operations in a transaction. `tables` is present if the transaction may create tables.
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

    /// Refuses an unknown tenant before statements that do not check it themselves. Those are the statements on indexes, which
    /// all tenants share.
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

    /// Runs an operation that needs the collection's table. Creates the table first, if that is allowed.
    pub(super) fn on_table<T>(&self, collection: &str, run: impl Fn() -> Result<T>) -> Result<T> {
        self.ensure(collection)?;
        let mut outcome = run();
        if outcome.as_ref().is_err_and(Error::is_undefined_table) {
            self.forget(collection);
            // Another session has dropped the table since. A transaction cannot continue after that.
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

    /// Runs several statements that are committed together, or not at all.
    pub(super) fn atomically<T>(
        &self,
        collection: &str,
        run: impl Fn(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        self.on_table(collection, || self.in_one_transaction(&run))
    }

    /// The same, but the collection need not exist.
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

    /// Begins a transaction on its own connection. Returns `None` if the executor is already a transaction.
    pub(super) fn begin(&self) -> Result<Option<PooledTransaction>> {
        match self {
            Self::Connections { connections, .. } => {
                Ok(Some(PooledTransaction::begin(connections)?))
            }
            Self::Transaction { .. } => Ok(None),
        }
    }

    /// Runs an operation in the current transaction.
    pub(super) fn run_inside<T>(&self, run: impl Fn(&mut dyn Sql) -> Result<T>) -> Result<T> {
        match self {
            Self::Connections { connections, .. } => connections.run(false, run),
            Self::Transaction { transaction, .. } => run(transaction.lock().sql()?),
        }
    }

    /// Makes the next use check whether the collection's table exists.
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
