//! Where a document projection keeps its documents while it handles messages.

use super::ProjectionContext;
use crate::pongo::{DocumentTable, Put};
use serde::de::DeserializeOwned;

/// The documents of a projection: rows of a collection's table, or the memory of a specification.
pub(crate) trait Documents {
    /// Returns the collection's table, which encodes documents.
    fn table(&self) -> &DocumentTable;

    /// Returns whether this worker writes the document of this id.
    fn owns(&self, id: &str) -> bool;

    /// Locks the documents of these ids, which must be sorted, and reads the existing ones.
    fn lock<D: DeserializeOwned>(
        &mut self,
        ids: &[&str],
        without_ids: bool,
    ) -> anyhow::Result<Vec<(String, Option<D>)>>;

    /// Writes locked documents, each with its JSON, and deletes others.
    fn write(&mut self, written: &[(&str, Vec<u8>)], deleted: &[&str]) -> anyhow::Result<()>;
}

/// The documents in their table, in the transaction of the projection.
pub(super) struct DocumentRows<'a, 'c> {
    table: DocumentTable,
    context: &'a mut ProjectionContext<'c>,
}

impl<'a, 'c> DocumentRows<'a, 'c> {
    pub(super) fn new(table: DocumentTable, context: &'a mut ProjectionContext<'c>) -> Self {
        Self { table, context }
    }
}

impl Documents for DocumentRows<'_, '_> {
    fn table(&self) -> &DocumentTable {
        &self.table
    }

    fn owns(&self, id: &str) -> bool {
        self.context.owns(id)
    }

    fn lock<D: DeserializeOwned>(
        &mut self,
        ids: &[&str],
        without_ids: bool,
    ) -> anyhow::Result<Vec<(String, Option<D>)>> {
        Ok(self.table.lock(self.context.sql()?, ids, without_ids)?)
    }

    fn write(&mut self, written: &[(&str, Vec<u8>)], deleted: &[&str]) -> anyhow::Result<()> {
        let written: Vec<(&str, &[u8])> = written
            .iter()
            .map(|(id, json)| (*id, json.as_slice()))
            .collect();
        let sql = self.context.sql()?;
        self.table.put(sql, &written, Put::Locked)?;
        self.table.delete(sql, deleted)?;
        Ok(())
    }
}
