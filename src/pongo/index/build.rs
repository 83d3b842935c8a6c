//! Building an index while others write.
//!
//! `CREATE INDEX CONCURRENTLY` is no transaction: what it has built is there before its comment is. So it builds under a name
//! that says what it builds, and the index gets its own name together with its comment.

use crate::database::back_off::BackOff;
use crate::database::identifier;
use crate::database::{Checkout, Connections, PooledTransaction, get, param};
use crate::error::{Error, Result};
use crate::pongo::index::declaration::Index;
use crate::pongo::index::indexes::{self, Found, list, lock, look, note, rename, write_into};
use postgres::error::SqlState;
use postgres::types::Type;
use std::time::Duration;

/// Without a query, whose portal would keep its snapshot until the transaction ends.
const TAKE_TURN: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    LOCK TABLE {schema}.emt_collections IN SHARE UPDATE EXCLUSIVE MODE NOWAIT";

const DISCARD: &str = "SELECT {schema}.emt_index_discard($1, $2)";

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How often a build begins anew, where others get in its way.
const ATTEMPTS: usize = 20;

/// Creates an index outside of any transaction; false when it exists.
pub(in crate::pongo) fn create_concurrently(
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
    for _ in 0..ATTEMPTS {
        if build.is_there()? {
            return Ok(false);
        }
        match build.run() {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) if error.is_deadlock() => {}
            Err(error) => {
                // A unique index that is not valid would refuse documents all the same.
                build.discard_invalid()?;
                return Err(error);
            }
        }
    }
    Err(Error::IndexMismatch {
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
    fn is_there(&self) -> Result<bool> {
        self.connections.run(true, |sql| {
            Ok(look(sql, self.schema, self.collection, self.index)? == Found::Index)
        })
    }

    /// False where others have got in the way.
    fn run(&self) -> Result<bool> {
        self.discard_invalid()?;
        let statement = self
            .index
            .statement(self.schema, self.collection, &self.built_as, true)?;
        // Repeatable, because an index that exists is skipped.
        self.connections.run(true, |sql| {
            sql.batch(&statement)
                .map_err(|source| indexes::refused(self.collection, self.index, source))
        })?;
        self.finish()
    }

    /// Gives the index its comment and its name.
    fn finish(&self) -> Result<bool> {
        let mut transaction = PooledTransaction::begin(self.connections)?;
        let sql = transaction.sql();
        lock(sql, self.schema, self.collection)?;
        let is_whole = list(sql, self.schema, self.collection)?
            .iter()
            .any(|built| built.name == self.built_as && built.valid);
        if !is_whole {
            return Ok(false);
        }
        let is_new = look(sql, self.schema, self.collection, self.index)? != Found::Index;
        if is_new {
            note(
                sql,
                self.schema,
                self.collection,
                &self.built_as,
                self.index,
            )?;
            rename(sql, self.schema, &self.built_as, &self.name)?;
        } else {
            indexes::drop(sql, self.schema, self.collection, &self.built_as)?;
        }
        transaction.commit()?;
        Ok(is_new)
    }

    /// Drops what a build that failed has left. Whoever has the table's lock knows that nobody else builds.
    fn discard_invalid(&self) -> Result<()> {
        let refused = |source| Error::database("discard an index that is not valid", source);
        let mut transaction = PooledTransaction::begin(self.connections)?;
        let lock = format!(
            "LOCK TABLE {}.{} IN SHARE UPDATE EXCLUSIVE MODE",
            identifier::quote(self.schema),
            identifier::quote(self.collection)
        );
        transaction.sql().batch(&lock).map_err(refused)?;
        let names = [&self.name, &self.built_as];
        let rows = transaction
            .sql()
            .query(
                &write_into(DISCARD, self.schema),
                &[
                    param(&self.collection, Type::TEXT),
                    param(&names.as_slice(), Type::TEXT_ARRAY),
                ],
            )
            .map_err(refused)?;
        let discarded: Vec<String> = rows.first().map_or(Ok(Vec::new()), |row| get(row, 0))?;
        transaction.commit()?;
        for name in discarded {
            let drop = format!(
                "DROP INDEX CONCURRENTLY IF EXISTS {}.{}",
                identifier::quote(self.schema),
                identifier::quote(&name)
            );
            self.connections
                .run(true, |sql| sql.batch(&drop).map_err(refused))?;
        }
        Ok(())
    }
}

/// One concurrent build at a time. Of two of one table, the second would wait for the table and the first for the snapshot
/// with which the second waits. So the lock is held by a connection that does nothing else, and tried instead of waited
/// for. On a pool of the caller's, which may have no second connection, the server ends such a deadlock and the build
/// begins anew.
struct Turn {
    _keeper: Checkout,
}

impl Turn {
    fn wait_for(connections: &Connections, schema: &str) -> Result<Option<Self>> {
        let refused = |source| Error::database("wait for another build of an index", source);
        let Some(mut keeper) = connections.dedicated()? else {
            return Ok(None);
        };
        let take = write_into(TAKE_TURN, schema);
        let mut pauses = BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            match keeper.sql().batch(&take) {
                Ok(()) => return Ok(Some(Self { _keeper: keeper })),
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
                Err(error) => return Err(refused(error)),
            }
            keeper.sql().batch("ROLLBACK").map_err(refused)?;
            let _ = crossbeam_channel::after(pauses.next()).recv();
        }
    }
}
