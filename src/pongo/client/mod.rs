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

/// A client for collections of documents in a PostgreSQL database, queried like MongoDB's.
///
/// The client needs no event store. With an event store in the same database and schema, both see the same documents. A clone
/// is cheap; all clones share one connection pool.
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
    /// Omits the connection string, because it may contain a password.
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

    /// Returns a collection of documents. Its first use creates its table, if the client may migrate.
    pub fn collection<T>(&self, name: &str) -> Collection<'static, T> {
        let executor = Executor::Connections {
            connections: self.connections.clone(),
            scope: self.scope.clone(),
            tables: Arc::clone(&self.tables),
        };
        Collection::new(executor, name)
    }

    /// Returns the client of a tenant, which has its own documents in every collection. A client without a tenant uses the
    /// default tenant, `emt:default`.
    ///
    /// Without an event store in the same schema, tenants need not be added. With one, the tenant must be one of [its
    /// tenants](crate::events::Tenants::add). Otherwise, operations fail with [`Error::UnknownTenant`]. The check is part of
    /// each statement and takes no extra round trip. A write or a delete whose filter cannot match any document may skip the
    /// check.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the name is not valid for a tenant.
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

    /// Deletes all documents of a tenant in all collections. Returns their number.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] for the default tenant, `emt:default`.
    /// - [`Error::InvalidInput`] for a tenant of the event store in the same schema, because its events would stay.
    ///   [`Tenants::remove`](crate::events::Tenants::remove) removes both.
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

    /// Returns the part of the database schema that collections need: its SQL, its state, its migration.
    pub fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// Runs several operations in one transaction. It is committed if the closure succeeds, otherwise rolled back.
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
    /// - The closure's error: an [`Error`] unchanged, any other error as [`Error::Transaction`].
    /// - [`DatabaseError::TransactionAborted`](crate::database::DatabaseError::TransactionAborted): a statement in the
    ///   transaction failed.
    /// - [`DatabaseError::UnknownOutcome`](crate::database::DatabaseError::UnknownOutcome): the connection was lost during the
    ///   commit.
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

    /// Runs operations in an existing transaction, which the caller commits.
    ///
    /// In `postgres`, `commit` reports success even if a statement in the transaction has failed. This function returns an
    /// error in that case, so commit only after it succeeds.
    ///
    /// # Errors
    /// The closure's error: an [`Error`] unchanged, any other error as [`Error::Transaction`]. Roll the transaction back then.
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
