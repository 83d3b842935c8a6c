//! Projections of every kind on a throwaway server.

use super::engine::{Engine, document_place};
use crate::consumer::Projector;
use crate::database::{PooledTransaction, check_key, identifier};
use crate::error::{Error, Result};
use crate::events::stream::StreamAppend;
use crate::events::{BatchLimits, feed};
use crate::pongo::collections_among;
use crate::projection::{InlineProjections, Projection};
use crate::store::EventStore;
use crate::testing::Database;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The rows of a table, in an order that depends on them only.
const TABLE_ROWS: &str = "
    SELECT pg_catalog.to_jsonb(written) FROM {table} AS written
     ORDER BY pg_catalog.row_to_json(written)::TEXT COLLATE \"C\"";

/// The rows of a query, in its order.
const QUERY_ROWS: &str = "SELECT pg_catalog.to_jsonb(found) FROM ({query}\n) AS found";

/// Runs a projection in a database. See [`ProjectionSpec::inline`](super::ProjectionSpec::inline) and
/// [`ProjectionSpec::asynchronous`](super::ProjectionSpec::asynchronous).
pub struct OnServer<'a> {
    database: &'a Database,
    store: EventStore,
    projection: Arc<dyn Projection>,
    is_inline: bool,
    collection: String,
}

impl fmt::Debug for OnServer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OnServer")
            .field("database", &self.database)
            .field("projection", &self.projection.name())
            .field("is_inline", &self.is_inline)
            .finish_non_exhaustive()
    }
}

impl<'a> OnServer<'a> {
    pub(super) fn open(
        database: &'a Database,
        projection: Arc<dyn Projection>,
        is_inline: bool,
    ) -> Result<Self> {
        let mut builder = EventStore::builder(database.url()).notifications(false);
        if is_inline {
            builder = builder.inline_projection(Arc::clone(&projection));
        }
        let engine = Self {
            database,
            store: builder.open()?,
            collection: projection.name().to_owned(),
            projection,
            is_inline,
        };
        engine.run()?;
        Ok(engine)
    }

    pub(super) fn read_from(&mut self, collection: &str) -> Result<()> {
        check_key("the collection name", collection)?;
        collection.clone_into(&mut self.collection);
        Ok(())
    }

    /// Returns the rows of the caller's query.
    pub(super) fn rows(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let query = query.trim_end().trim_end_matches(';');
        self.query(&QUERY_ROWS.replace("{query}", query))
    }

    fn query(&self, statement: &str) -> anyhow::Result<Vec<Value>> {
        let rows = self.database.client()?.query(statement, &[])?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Lets a consumer handle what is there. An inline projection has handled it.
    fn run(&self) -> Result<()> {
        if self.is_inline {
            return Ok(());
        }
        let projector = Projector::new(Arc::clone(&self.projection));
        let consumer = self.store.consumer().projector(projector);
        // Nobody stops the run: it has caught up, or failed.
        consumer.run_until_caught_up().map(drop)
    }

    /// Handles the messages of an append again, in a transaction of their own.
    fn repeat_inline(&self, positions: &[u64]) -> Result<()> {
        let positions: Vec<i64> = positions
            .iter()
            .map(|position| position.cast_signed())
            .collect();
        let partition = self.store.partition();
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        let messages = feed::at(
            transaction.sql(),
            partition,
            &positions,
            BatchLimits::default(),
        )?;
        let messages = messages.iter().collect();
        InlineProjections::run(
            self.projection.as_ref(),
            transaction.sql(),
            partition,
            messages,
        )?;
        Ok(transaction.commit()?)
    }

    /// Returns which of the projection's tables are collections.
    fn collections(&self) -> Result<Vec<String>> {
        let schema = self.store.partition().schema();
        let tables = self.projection.tables();
        self.store
            .connections()
            .run(true, |sql| Ok(collections_among(sql, schema, tables)?))
    }

    fn documents_of(&self, collection: &str) -> Result<BTreeMap<String, Value>> {
        let documents = self
            .store
            .collection::<Value>(collection)
            .find(json!({}))
            .to_vec()?;
        let with_id = |document: Value| {
            (
                document["_id"].as_str().unwrap_or_default().to_owned(),
                document,
            )
        };
        Ok(documents.into_iter().map(with_id).collect())
    }

    fn table_rows(&self, table: &str) -> Result<Vec<Value>> {
        let table = identifier::qualify(self.store.partition().schema(), table);
        let rows = self.query(&TABLE_ROWS.replace("{table}", &table));
        rows.map_err(Error::of_closure)
    }
}

impl Engine for OnServer<'_> {
    fn append(&mut self, append: StreamAppend) -> Result<Vec<u64>> {
        let appended = self.store.append_prepared(&[append])?;
        self.run()?;
        Ok(appended
            .into_iter()
            .flat_map(|one| one.global_positions)
            .collect())
    }

    fn repeat(&mut self, appends: &[Vec<u64>]) -> Result<()> {
        if self.is_inline {
            return appends
                .iter()
                .try_for_each(|positions| self.repeat_inline(positions));
        }
        let first = appends.iter().flatten().min().copied().unwrap_or(1);
        self.store
            .processors()
            .reset(self.projection.name(), first - 1)?;
        self.run()
    }

    fn state(&mut self) -> Result<BTreeMap<String, Value>> {
        let tables = self.projection.tables();
        if tables.is_empty() {
            return Err(Error::invalid(
                format!("projection \"{}\"", self.projection.name()),
                "declares no tables to compare after a repeated delivery: list them in SqlProjection::tables",
            ));
        }
        let collections = self.collections()?;
        let mut state = BTreeMap::new();
        for table in tables {
            if !collections.contains(table) {
                let rows = self.table_rows(table)?.into_iter().zip(1..);
                state.extend(rows.map(|(row, number)| (format!("row {number} of {table:?}"), row)));
                continue;
            }
            for (id, mut document) in self.documents_of(table)? {
                if let Some(fields) = document.as_object_mut() {
                    fields.retain(|name, _| name != "_id" && name != "_version");
                }
                state.insert(format!("{} of {table:?}", document_place(&id)), document);
            }
        }
        Ok(state)
    }

    fn documents(&mut self) -> Result<BTreeMap<String, Value>> {
        if !self.collections()?.contains(&self.collection) {
            return Err(Error::invalid(
                format!("collection \"{}\"", self.collection),
                format!(
                    "is not written by the projection \"{}\", which declares the tables {:?}: name one by collection(), or read rows()",
                    self.projection.name(),
                    self.projection.tables()
                ),
            ));
        }
        self.documents_of(&self.collection)
    }
}
