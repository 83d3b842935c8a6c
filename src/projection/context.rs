//! What a projection or a session's user may do inside the transaction.

use crate::database::identifier;
use crate::database::{self, Sql};
use crate::error::{Error, Result};
use crate::events::partition::Partition;
use crate::pongo::{Collection, DocumentTable, Executor};
use crate::slots::slot::OwnedSlots;
use postgres::Row;
use postgres::types::ToSql;

/// The transaction that a projection writes in.
///
/// Everything that is done here is committed with the append, or not at all. The transaction cannot be ended from here:
/// `COMMIT` and `ROLLBACK` are refused, and the append fails.
pub struct ProjectionContext<'a> {
    sql: &'a mut dyn Sql,
    partition: &'a Partition,
    /// The tables that the projection has declared, where that is known.
    declared: Option<&'a [String]>,
    shadow: Option<&'a ShadowTables>,
    slots: Option<&'a OwnedSlots>,
}

/// The tables of a read model that is being built beside the live one: what they stand for, and what they are called.
#[derive(Debug)]
pub(crate) struct ShadowTables {
    pub(crate) live: Vec<String>,
    pub(crate) shadows: Vec<String>,
}

impl ShadowTables {
    fn find(&self, table: &str) -> Option<&str> {
        let index = self.live.iter().position(|live| live == table)?;
        self.shadows.get(index).map(String::as_str)
    }
}

impl std::fmt::Debug for ProjectionContext<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ProjectionContext")
            .field("partition", &self.partition.name)
            .finish_non_exhaustive()
    }
}

impl<'a> ProjectionContext<'a> {
    pub(crate) fn new(sql: &'a mut dyn Sql, partition: &'a Partition) -> Self {
        Self {
            sql,
            partition,
            declared: None,
            shadow: None,
            slots: None,
        }
    }

    /// The same, writing into the tables of a rebuild.
    pub(crate) fn with_shadow(mut self, shadow: &'a ShadowTables) -> Self {
        self.shadow = Some(shadow);
        self
    }

    /// The same for a worker that has some of the slots only; `None` has all.
    pub(crate) fn with_slots(mut self, slots: Option<&'a OwnedSlots>) -> Self {
        self.slots = slots;
        self
    }

    /// The same for a projection that has declared its tables.
    pub(super) fn declaring<'b>(&'b mut self, tables: &'b [String]) -> ProjectionContext<'b> {
        ProjectionContext {
            sql: &mut *self.sql,
            partition: self.partition,
            declared: Some(tables),
            shadow: self.shadow,
            slots: self.slots,
        }
    }

    /// The partition (tenant) whose messages are handled. A table of your own needs a column for it, if the store has
    /// tenants.
    pub fn partition(&self) -> &str {
        &self.partition.name
    }

    /// A table of the read model as it is written in SQL: with its schema, in quotes. A rebuild builds the model in tables of
    /// its own, beside the live ones, so a projection takes their names from here.
    ///
    /// ```
    /// # use emmett_postgresql::ProjectionContext;
    /// fn clear(context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
    ///     let sales = context.table("sales")?;
    ///     context.execute(&format!("DELETE FROM {sales}"), &[])?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the projection has not [declared](crate::Projection::tables) the table.
    pub fn table(&self, name: &str) -> Result<String> {
        let is_declared = self
            .declared
            .is_none_or(|tables| tables.iter().any(|table| table == name));
        if !is_declared || self.is_undeclared_in_rebuild(name) {
            return Err(Error::invalid(
                format!("table \"{name}\""),
                "the projection has not declared it: see SqlProjection::tables",
            ));
        }
        Ok(identifier::qualify(
            &self.partition.schema,
            self.resolve(name),
        ))
    }

    fn is_undeclared_in_rebuild(&self, table: &str) -> bool {
        self.shadow
            .is_some_and(|shadow| shadow.find(table).is_none())
    }

    fn resolve<'n>(&self, table: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.shadow
            .and_then(|shadow| shadow.find(table))
            .unwrap_or(table)
    }

    /// Whether the documents of this id (or the rows of this stream) are this worker's to write. Always, unless several
    /// workers share the work; then messages come to each worker that owns one of their
    /// [keys](crate::Projection::keys).
    ///
    /// ```
    /// # use emmett_postgresql::ProjectionContext;
    /// fn own<'i>(ids: &[&'i str], context: &ProjectionContext<'_>) -> Vec<&'i str> {
    ///     ids.iter().copied().filter(|id| context.owns(id)).collect()
    /// }
    /// ```
    pub fn owns(&self, key: &str) -> bool {
        self.slots.is_none_or(|slots| slots.owns(key))
    }

    /// Runs a statement and returns the number of rows that it changed.
    ///
    /// # Errors
    /// When the database refuses it. The transaction cannot be committed after that.
    pub fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        database::execute(self.sql, sql, values)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// Like [`execute`](ProjectionContext::execute).
    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        database::query(self.sql, sql, values)
    }

    /// Runs several statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// Like [`execute`](ProjectionContext::execute).
    pub fn batch_execute(&mut self, sql: &str) -> Result<()> {
        database::batch_execute(self.sql, sql)
    }

    /// A collection of documents, in this transaction.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        let table = self.resolve(name).to_owned();
        Collection::in_table(
            Executor::transaction(&mut *self.sql, &self.partition.schema, &self.partition.name),
            name,
            table,
        )
    }

    /// The table of a collection's documents.
    pub(super) fn documents(&self, collection: &str) -> Result<DocumentTable> {
        DocumentTable::new(
            &self.partition.schema,
            &self.partition.name,
            collection,
            self.resolve(collection),
        )
    }

    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        self.sql
    }

    pub(crate) fn schema(&self) -> &'a str {
        &self.partition.schema
    }
}
