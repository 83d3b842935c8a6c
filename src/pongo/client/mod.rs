//! The client: collections without an event store.

mod builder;
mod transaction;

pub use builder::PongoClientBuilder;
pub use transaction::PongoTransaction;

use crate::database::position::from_sql;
use crate::database::{
    Connections, DEFAULT_PARTITION, PooledTransaction, Schema, SchemaSql, Scope, Transaction,
    check_key, check_open, param, refuse_async_context, scalar,
};
use crate::pongo::collection::Collection;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::{CollectionTables, Executor, TransactionTables};
use postgres::types::Type;
use std::sync::Arc;

const DELETE_TENANT: SchemaSql = SchemaSql::new("SELECT {schema}.emt_document_delete_tenant($1)");

/// Collections of documents in a PostgreSQL database, queried like MongoDB's.
///
/// It needs no event store; where there is one in the same database and schema, both see the same documents. Cheap to clone;
/// all clones share one pool of connections.
///
/// ```
/// use emmett_postgresql::pongo::PongoClient;
/// use serde_json::{Value, json};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// let client = PongoClient::connect(database.url())?;
/// let users = client.collection::<Value>("users");
/// users.insert_one(&json!({"_id": "anna", "age": 37}))?;
/// assert_eq!(users.count_documents(json!({"age": {"$gte": 18}}))?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PongoClient {
    connections: Connections,
    scope: Scope,
    tables: Arc<CollectionTables>,
    schema: Schema,
}

impl std::fmt::Debug for PongoClient {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PongoClient")
            .field("schema", &self.scope.schema)
            .field("partition", &self.scope.partition)
            .finish_non_exhaustive()
    }
}

impl PongoClient {
    pub(crate) fn new(connections: Connections, schema: Schema, may_create: bool) -> Self {
        Self {
            scope: Scope {
                schema: Arc::clone(schema.name()),
                partition: DEFAULT_PARTITION.into(),
            },
            tables: Arc::new(CollectionTables::new(may_create)),
            connections,
            schema,
        }
    }

    /// A collection of documents. Its table is created when it is first used, if the client may migrate.
    pub fn collection<T>(&self, name: &str) -> Collection<'static, T> {
        let executor = Executor::Connections {
            connections: self.connections.clone(),
            scope: self.scope.clone(),
            tables: Arc::clone(&self.tables),
        };
        Collection::new(executor, name)
    }

    /// The same client as one tenant sees it: documents of its own in every collection. The default one, which is called
    /// `emt:default`, is seen without.
    ///
    /// Without an event store in the same schema, no tenant has to be added. Beside one, the tenant has to be one of
    /// [its tenants](crate::events::Tenants::add); until then, operations fail with [`Error::UnknownTenant`]. The statements look
    /// themselves, without another round trip. A write or a delete whose filter can match nothing may return without a look.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when no tenant can have this name.
    pub fn tenant(&self, name: &str) -> Result<Self> {
        check_key("the tenant's name", name)?;
        let scope = Scope {
            partition: name.into(),
            ..self.scope.clone()
        };
        Ok(Self {
            scope,
            ..self.clone()
        })
    }

    /// Deletes all documents of a tenant, in all collections, and returns how many.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for the default tenant, whose name is `emt:default`, and for a tenant of the event store in the
    /// same schema, whose events would stay: [`Tenants::remove`](crate::events::Tenants::remove) removes that one with everything.
    pub fn remove_tenant(&self, name: &str) -> Result<u64> {
        if name == DEFAULT_PARTITION {
            return Err(Error::invalid(
                format!("tenant \"{name}\""),
                "is the client itself and cannot be removed",
            ));
        }
        let text = DELETE_TENANT.in_schema(&self.scope.schema);
        self.connections.run(true, |sql| {
            let rows = sql
                .query(&text, &[param(&name, Type::TEXT)])
                .map_err(|source| refused_removal(name, source))?;
            Ok(scalar(&rows)?.map_or(Ok(0), from_sql)?)
        })
    }

    /// The database schema, as far as collections need it: its SQL, its state, its migration.
    pub fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// Runs several operations in one transaction: committed when the closure succeeds, else rolled back.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// client.with_transaction(|transaction| {
    ///     transaction.collection::<Value>("orders").insert_one(&json!({"_id": "o-1"}))?;
    ///     transaction.collection::<Value>("invoices").insert_one(&json!({"order": "o-1"}))?;
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the closure returned: an [`Error`] as it is, another error as [`Error::Transaction`].
    /// [`DatabaseError::TransactionAborted`](crate::database::DatabaseError::TransactionAborted) when a statement failed in it,
    /// [`DatabaseError::UnknownOutcome`](crate::database::DatabaseError::UnknownOutcome) when the connection was lost during the commit.
    pub fn with_transaction<T>(
        &self,
        run: impl FnOnce(&mut PongoTransaction<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        let own = PooledTransaction::begin(&self.connections)?;
        let mut transaction = self.transaction(Transaction::pooled(own, self.scope.clone()));
        let done = transaction.run(run)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs operations in a transaction of the caller's, which the caller commits.
    ///
    /// The client's own `commit` reports success for a transaction in which a statement has failed; this function fails
    /// then, so commit only after it has succeeded.
    ///
    /// # Errors
    /// What the closure returned: an [`Error`] as it is, another error as [`Error::Transaction`]. The transaction should be
    /// rolled back then.
    pub fn in_transaction<T>(
        &self,
        transaction: &mut postgres::Transaction<'_>,
        run: impl FnOnce(&mut PongoTransaction<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        refuse_async_context()?;
        let scope = self.scope.clone();
        let done = self
            .transaction(Transaction::borrowed(transaction, scope))
            .run(run)?;
        check_open(transaction)?;
        Ok(done)
    }

    fn transaction<'a>(&self, transaction: Transaction<'a>) -> PongoTransaction<'a> {
        let tables = TransactionTables::new(Arc::clone(&self.tables));
        PongoTransaction::new(transaction, tables)
    }
}

fn refused_removal(name: &str, source: postgres::Error) -> Error {
    if source.code().is_some_and(|code| code.code() == "SE034") {
        return Error::invalid(
            format!("tenant \"{name}\""),
            "belongs to the event store, too: remove it with Tenants::remove",
        );
    }
    Error::database("delete a tenant's documents", source)
}
