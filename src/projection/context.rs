//! The transaction in which a projection writes.

use crate::database::{Scope, Sql, Transaction, identifier};
use crate::error::{Error, Result};
use crate::events::Partition;
use crate::pongo::{Collection, DocumentTable, Executor};
use crate::slots::OwnedSlots;
use std::ops::{Deref, DerefMut};

/// The [`Transaction`] in which a projection writes. Its changes are committed together with the append, or not at all.
pub struct ProjectionContext<'a> {
    transaction: Transaction<'a>,
    /// The tables that the projection has declared, if known.
    declared: Option<&'a [String]>,
    shadow: Option<&'a ShadowTables>,
    slots: Option<&'a OwnedSlots>,
}

/// The tables of a rebuild: the names of the live tables, and the names of the tables built beside them.
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
            .field("partition", &self.transaction.partition())
            .finish_non_exhaustive()
    }
}

impl<'a> Deref for ProjectionContext<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for ProjectionContext<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl<'a> ProjectionContext<'a> {
    pub(crate) fn new(sql: &'a mut dyn Sql, partition: &Partition) -> Self {
        Self {
            transaction: Transaction::borrowed(sql, partition.scope().clone()),
            declared: None,
            shadow: None,
            slots: None,
        }
    }

    /// Directs all writes to the tables of a rebuild.
    pub(crate) fn with_shadow(mut self, shadow: &'a ShadowTables) -> Self {
        self.shadow = Some(shadow);
        self
    }

    /// Restricts the context to the slots of one worker. `None` means all slots.
    pub(crate) fn with_slots(mut self, slots: Option<&'a OwnedSlots>) -> Self {
        self.slots = slots;
        self
    }

    /// Allows only the tables that the projection has declared.
    pub(super) fn declaring<'b>(&'b mut self, tables: &'b [String]) -> ProjectionContext<'b> {
        ProjectionContext {
            transaction: self.transaction.reborrow(),
            declared: Some(tables),
            shadow: self.shadow,
            slots: self.slots,
        }
    }

    /// Returns a table of the read model as a quoted SQL name with its schema.
    ///
    /// A rebuild writes into tables of its own, beside the live ones. A projection therefore takes every table name
    /// from this method.
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
    /// [`Error::InvalidInput`] when the projection has not [declared](crate::projection::Projection::tables) the table.
    pub fn table(&self, name: &str) -> Result<String> {
        let is_declared = self
            .declared
            .is_none_or(|tables| tables.iter().any(|table| table == name));
        if !is_declared || self.is_undeclared_in_rebuild(name) {
            return Err(Error::invalid(
                format!("table \"{name}\""),
                "the projection has not declared it: list it in SqlProjection::tables",
            ));
        }
        Ok(identifier::qualify(
            &self.scope().schema,
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

    /// Returns whether this worker owns the key: a document id or a stream name.
    ///
    /// Always true for a single worker. If several workers share the projection, each message is sent to every worker
    /// that owns one of its [keys](crate::projection::Projection::keys). Each worker writes only the keys that it owns.
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

    /// Returns a collection in this transaction. During a rebuild it is the collection of the new read model.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        let table = self.resolve(name).to_owned();
        Collection::in_table(
            Executor::transaction(self.transaction.reborrow()),
            name,
            table,
        )
    }

    /// Returns the table of a collection.
    pub(super) fn documents(&self, collection: &str) -> Result<DocumentTable> {
        let Scope { schema, partition } = self.scope();
        let table = self.resolve(collection);
        Ok(DocumentTable::new(schema, partition, collection, table)?.held())
    }
}
