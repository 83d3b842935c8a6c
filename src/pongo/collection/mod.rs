//! Collections: a name, and the executor of their statements.

mod definition;
mod evolution;
mod indexes;
mod lifecycle;

pub use definition::CollectionDefinition;
pub(crate) use definition::{CollectionDefinitions, collections_among, old_collections};
pub use evolution::DocumentEvolution;

use crate::database::Sql;
use crate::pongo::document::{DocumentTable, EncodedDocument, StoredDocument};
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::Executor;
use crate::pongo::statement::ReadGuard;
use postgres::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

/// Checks the row of a write before the commit.
type LooksAtRow<'l> = &'l dyn Fn(&Row) -> Result<()>;

/// A collection of documents of type `T`. `serde_json::Value` accepts any document.
///
/// A document is a JSON object. Its field `_id`, a string, is its id. Its field `_version`, a number, counts its changes.
/// Documents are read with both fields. Use [`without_ids`](Collection::without_ids) for maps and types that refuse unknown
/// fields. Writes ignore the field `_version` of a document.
///
/// The table stores both fields as columns, not in the JSON of the column `data`.
pub struct Collection<'a, T> {
    pub(crate) executor: Executor<'a>,
    pub(crate) name: String,
    /// The table's name, if a rebuild keeps the documents in a different table.
    table: Option<String>,
    /// The quoted names are computed once, not once per document.
    documents: OnceLock<Arc<DocumentTable>>,
    evolution: DocumentEvolution,
    without_ids: bool,
    /// The guard that permits reads.
    pub(crate) guard: Option<ReadGuard>,
    _document: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Collection<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Collection")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Collection<'a, T> {
    pub(crate) fn new(executor: Executor<'a>, name: &str) -> Self {
        Self {
            executor,
            name: name.to_owned(),
            table: None,
            documents: OnceLock::new(),
            evolution: DocumentEvolution::new(),
            without_ids: false,
            guard: None,
            _document: PhantomData,
        }
    }

    /// Returns a collection whose documents are in a table of another name.
    pub(crate) fn in_table(executor: Executor<'a>, name: &str, table: String) -> Self {
        Self {
            table: Some(table),
            ..Self::new(executor, name)
        }
    }

    /// Returns the collection's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn table(&self) -> Result<&Arc<DocumentTable>> {
        if let Some(documents) = self.documents.get() {
            return Ok(documents);
        }
        let table = self.table.as_deref().unwrap_or(&self.name);
        let (schema, partition) = (self.executor.schema(), self.executor.partition());
        let documents = DocumentTable::new(schema, partition, &self.name, table)?;
        Ok(self.documents.get_or_init(|| Arc::new(documents)))
    }

    /// Returns the same collection under its new name.
    pub(crate) fn renamed(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            documents: OnceLock::new(),
            ..self
        }
    }

    /// Sets the evolution that converts documents when they are read and written. Defaults to none.
    #[must_use]
    pub fn evolving(mut self, evolution: DocumentEvolution) -> Self {
        self.evolution = evolution;
        self
    }

    /// Reads documents without their fields `_id` and `_version`. Defaults to documents with both.
    ///
    /// Use it for maps, for types that refuse unknown fields, and for externally tagged enums (serde's default representation).
    /// A type that refuses unknown fields but has a field for the id needs a field for the version instead.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize, Debug, PartialEq)]
    /// #[serde(deny_unknown_fields)]
    /// struct Cart { items: u32 }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let carts = client.collection::<Cart>("carts").without_ids();
    /// let cart = carts.insert_one(&Cart { items: 2 })?;
    /// assert_eq!(carts.find_by_id(&cart.id)?, Some(Cart { items: 2 }));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn without_ids(mut self) -> Self {
        self.without_ids = true;
        self
    }

    /// Returns the same collection; reads require the guard's permission.
    pub(crate) fn guarded(mut self, guard: ReadGuard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Runs a statement that writes. It is not retried after a lost connection, because it may have been executed.
    pub(crate) fn write<R>(&self, run: impl Fn(&mut dyn Sql) -> Result<R>) -> Result<R> {
        self.executor.run(&self.name, false, run)
    }

    /// Runs a statement that reads.
    pub(crate) fn read<R>(&self, run: impl Fn(&mut dyn Sql) -> Result<R>) -> Result<R> {
        self.executor.run(&self.name, true, run)
    }

    /// Returns the JSON to store for a document, and its id.
    pub(crate) fn encode<D: Serialize>(&self, document: &D) -> Result<EncodedDocument> {
        self.stored_form(self.table()?.encode(document)?)
    }

    /// The same for a document that is already serialized.
    pub(crate) fn stored_form(&self, json: Vec<u8>) -> Result<EncodedDocument> {
        let table = self.table()?;
        let Some(downcast) = &self.evolution.downcast else {
            return table.identify(json);
        };
        let stored = downcast(table.decode(None, &json)?)
            .map_err(|source| self.hook_failed(None, source))?;
        table.identify(table.encode(&stored)?)
    }

    /// Returns the document of a row.
    pub(crate) fn decode<D: DeserializeOwned>(&self, stored: &StoredDocument<'_>) -> Result<D> {
        let (table, id, mut json) = (self.table()?, stored.id, stored.json());
        if let Some(upcast) = &self.evolution.upcast {
            let document = upcast(table.decode(Some(id), &json)?)
                .map_err(|source| self.hook_failed(Some(id), source))?;
            json = table.encode(&document)?;
        }
        table.read(id, json, self.without_ids)
    }

    /// Returns selected fields of the document of a row. Hooks do not see them.
    pub(crate) fn decode_selected<D: DeserializeOwned>(
        &self,
        stored: &StoredDocument<'_>,
    ) -> Result<D> {
        let json = stored.data.to_vec();
        self.table()?.read(stored.id, json, self.without_ids)
    }

    /// Runs a statement that writes one document. `before_commit` can refuse its row; then nothing is written.
    pub(crate) fn write_row(
        &self,
        run: impl Fn(&mut dyn Sql) -> Result<Vec<Row>>,
        before_commit: Option<LooksAtRow<'_>>,
    ) -> Result<Option<Row>> {
        let first_row = |sql: &mut dyn Sql| run(sql).map(|rows| rows.into_iter().next());
        let Some(before_commit) = before_commit else {
            return self.write(first_row);
        };
        self.executor.atomically(&self.name, |sql| {
            let row = first_row(sql)?;
            row.as_ref().map(before_commit).transpose()?;
            Ok(row)
        })
    }

    fn hook_failed(&self, id: Option<&str>, source: anyhow::Error) -> Error {
        Error::Hook {
            collection: self.name.clone(),
            id: id.map(str::to_owned),
            source,
        }
    }
}
