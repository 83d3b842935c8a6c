//! Concurrent index builds.
//!
//! `CREATE INDEX CONCURRENTLY` cannot run in a transaction: the index exists before its comment. The build therefore uses a
//! temporary name that identifies the definition. The index gets its final name together with its comment.

use super::catalog::{Catalog, Found, refused};
use super::declaration::Index;
use crate::database::{
    Checkout, Connections, PooledTransaction, RetryPolicy, SchemaSql, Sql, identifier, param,
    retry, scalar,
};
use crate::pongo::error::{Error, Result};
use postgres::error::SqlState;
use postgres::types::Type;
use std::time::Duration;

/// Not a query, because a query's portal would keep its snapshot until the transaction ends.
const TAKE_TURN: SchemaSql = SchemaSql::new(
    "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    LOCK TABLE {schema}.emt_collections IN SHARE UPDATE EXCLUSIVE MODE NOWAIT",
);

const DISCARD: SchemaSql = SchemaSql::new("SELECT {schema}.emt_index_discard($1, $2)");

const WAIT_FOR_TURN: RetryPolicy =
    RetryPolicy::without_end().pausing(Duration::from_millis(5), Duration::from_millis(100));

/// Maximum number of retries after interference by other sessions.
const BEGIN_ANEW: RetryPolicy = RetryPolicy::times(19);

/// Creates an index outside of any transaction. Returns false if it already exists.
pub(crate) fn create_concurrently(
    connections: &Connections,
    schema: &str,
    collection: &str,
    index: &Index,
) -> Result<bool> {
    let build = Build {
        connections,
        schema,
        collection,
        index,
        name: index.name(collection),
        built_as: index.built_as(collection),
    };
    if build.is_there()? {
        return Ok(false);
    }
    let _turn = Turn::wait_for(connections, schema)?;
    let outcome = retry(
        &BEGIN_ANEW,
        |_| build.run_if_missing(),
        |outcome| matches!(outcome, Ok(None)),
    );
    outcome?.ok_or_else(|| Error::IndexMismatch {
        collection: collection.to_owned(),
        index: index.name(collection),
        reason: "others are in the way whenever it is built".to_owned(),
    })
}

struct Build<'b> {
    connections: &'b Connections,
    schema: &'b str,
    collection: &'b str,
    index: &'b Index,
    name: String,
    built_as: String,
}

impl Build<'_> {
    fn catalog<'s>(&'s self, sql: &'s mut dyn Sql) -> Catalog<'s> {
        Catalog::new(sql, self.schema, self.collection)
    }

    fn is_there(&self) -> Result<bool> {
        self.connections.run(true, |sql| {
            Ok(self.catalog(sql).look(self.index)? == Found::Index)
        })
    }

    /// Returns whether a build was necessary, or `None` after interference by other sessions.
    fn run_if_missing(&self) -> Result<Option<bool>> {
        if self.is_there()? {
            return Ok(Some(false));
        }
        match self.run() {
            Ok(done) => Ok(done.then_some(true)),
            Err(error) if error.is_deadlock() => Ok(None),
            Err(error) => {
                // An invalid unique index would still refuse documents.
                self.discard_invalid()?;
                Err(error)
            }
        }
    }

    /// Returns false after interference by other sessions.
    fn run(&self) -> Result<bool> {
        self.discard_invalid()?;
        let statement = self
            .index
            .statement(self.schema, self.collection, &self.built_as, true)?;
        // Safe to retry, because an existing index is skipped.
        self.connections.run_outside(|sql| {
            sql.batch(&statement)
                .map_err(|source| refused(self.collection, self.index, source))
        })?;
        self.finish()
    }

    /// Sets the comment and the final name of the index.
    fn finish(&self) -> Result<bool> {
        let mut transaction = PooledTransaction::begin(self.connections)?;
        let mut catalog = self.catalog(transaction.sql());
        catalog.lock()?;
        let mut indexes = catalog.list()?.into_iter();
        if !indexes.any(|built| built.name == self.built_as && built.valid) {
            return Ok(false);
        }
        let is_new = catalog.look(self.index)? != Found::Index;
        if is_new {
            catalog.note(&self.built_as, self.index)?;
            catalog.rename(&self.built_as, &self.name)?;
        } else {
            catalog.drop(&self.built_as)?;
        }
        transaction.commit()?;
        Ok(is_new)
    }

    /// Drops the remains of a failed build. The table's lock guarantees that no other build is running.
    fn discard_invalid(&self) -> Result<()> {
        let failed = |source| Error::database("discard an index that is not valid", source);
        let mut transaction = PooledTransaction::begin(self.connections)?;
        let lock = format!(
            "LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE",
            identifier::qualify(self.schema, self.collection)
        );
        transaction.sql().batch(&lock).map_err(failed)?;
        let names = [&self.name, &self.built_as];
        let rows = transaction
            .sql()
            .query(
                &DISCARD.in_schema(self.schema),
                &[
                    param(&self.collection, Type::TEXT),
                    param(&names.as_slice(), Type::TEXT_ARRAY),
                ],
            )
            .map_err(failed)?;
        let discarded: Vec<String> = scalar(&rows)?.unwrap_or_default();
        transaction.commit()?;
        for name in discarded {
            let drop = format!(
                "DROP INDEX CONCURRENTLY IF EXISTS {}",
                identifier::qualify(self.schema, &name)
            );
            self.connections
                .run_outside(|sql| sql.batch(&drop).map_err(failed))?;
        }
        Ok(())
    }
}

/// A lock that permits one concurrent build at a time. Two builds on one table would deadlock: the second waits for the table,
/// and the first for the second's snapshot. A connection that does nothing else therefore holds the lock, and the lock is
/// polled instead of awaited. A caller-supplied pool may have no second connection. The server then ends such a deadlock, and
/// the build is retried.
struct Turn {
    _connection: Checkout,
}

impl Turn {
    fn wait_for(connections: &Connections, schema: &str) -> Result<Option<Self>> {
        let Some(mut connection) = connections.dedicated()? else {
            return Ok(None);
        };
        let take = TAKE_TURN.in_schema(schema);
        retry(
            &WAIT_FOR_TURN,
            |_| try_lock(connection.sql(), &take),
            |taken| matches!(taken, Ok(false)),
        )
        .map_err(|source| Error::database("wait for another build of an index", source))?;
        Ok(Some(Self {
            _connection: connection,
        }))
    }
}

/// Tries to take the lock. Returns false if another session holds it.
fn try_lock(sql: &mut dyn Sql, take: &str) -> Result<bool, postgres::Error> {
    match sql.batch(take) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            sql.batch("ROLLBACK").map(|()| false)
        }
        Err(error) => Err(error),
    }
}
