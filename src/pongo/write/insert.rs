//! Inserting documents, and writing them whether they exist or not.

use super::outcome::{Inserted, Updated};
use crate::database::position::get_u64;
use crate::database::{Jsonb, get, param};
use crate::pongo::collection::Collection;
use crate::pongo::document::{CollectionSql, DocumentTable, EncodedDocument, check_ids};
use crate::pongo::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use serde::Serialize;

const INSERT_ONE: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} (_id, _partition, data)
    VALUES ($2, {partition}, $3)",
);

const INSERT: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} (_id, _partition, data)
    SELECT document.id, {partition}, document.data
      FROM unnest($2, $3) AS document (id, data)",
);

/// In the order of the ids, so that two that write the same documents do not wait for each other.
const UPSERT: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data)
    SELECT written.id, {partition}, written.data
      FROM unnest($2, $3) AS written (id, data)
     ORDER BY written.id COLLATE \"C\"
    ON CONFLICT (_id, _partition) DO UPDATE
        SET data = EXCLUDED.data, _version = document._version + 1, _updated = now()
    RETURNING _id, _version",
);

impl<T: Serialize> Collection<'_, T> {
    /// Inserts a document. Its id is that of its field `_id`, or a new UUID (version 7) where it has none.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken, [`Error::NotUnique`] when a unique index stands against it,
    /// [`Error::Json`] when it cannot be written as JSON.
    pub fn insert_one(&self, document: &T) -> Result<Inserted> {
        let table = self.table()?;
        let (id, json) = self.encode(document)?.for_insert();
        let text = INSERT_ONE.with(table);
        let json = Jsonb(&json);
        self.executor.run(&self.name, false, |sql| {
            let parameters = [
                param(&table.partition, Type::TEXT),
                param(&id, Type::TEXT),
                param(&json, Type::JSONB),
            ];
            sql.execute(&text, &parameters)
                .map_err(|source| table.insert_error(std::slice::from_ref(&id), source))
        })?;
        Ok(Inserted { id, version: 1 })
    }

    /// Inserts documents and returns their ids in the same order: all of them or none.
    ///
    /// # Errors
    /// Like [`insert_one`](Collection::insert_one); [`Error::InvalidInput`] when two documents have one id.
    pub fn insert_many(&self, documents: &[T]) -> Result<Vec<String>> {
        let table = self.table()?;
        let documents = NewDocuments::of(documents, |document| self.encode(document))?;
        check_ids(&documents.ids)?;
        if documents.ids.is_empty() {
            return Ok(documents.ids);
        }
        self.executor.run(&self.name, false, |sql| {
            documents
                .send(table, |parameters| {
                    sql.execute(&INSERT.with(table), parameters)
                })
                .map_err(|source| table.insert_error(&documents.ids, source))
        })?;
        Ok(documents.ids)
    }

    /// Inserts a document, or replaces the one that has its id.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when a unique index stands against it, [`Error::Json`] when it cannot be written as JSON.
    pub fn upsert_one(&self, document: &T) -> Result<Updated> {
        let written = self.upsert_many(std::slice::from_ref(document))?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// Inserts documents, or replaces those that have their ids: all of them or none.
    ///
    /// # Errors
    /// Like [`upsert_one`](Collection::upsert_one); [`Error::InvalidInput`] when two documents have one id or one has operators
    /// for fields.
    pub fn upsert_many(&self, documents: &[T]) -> Result<Vec<Updated>> {
        let table = self.table()?;
        let documents = NewDocuments::of(documents, |document| {
            self.encode(document)?.refuse_operators()
        })?;
        check_ids(&documents.ids)?;
        if documents.ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.executor.run(&self.name, false, |sql| {
            documents
                .send(table, |parameters| {
                    sql.query(&UPSERT.with(table), parameters)
                })
                .map_err(|source| table.insert_error(&documents.ids, source))
        })?;
        documents.in_order(&rows)
    }
}

/// Documents and their ids, in the order in which they were given.
struct NewDocuments {
    ids: Vec<String>,
    documents: Vec<Vec<u8>>,
}

impl NewDocuments {
    fn of<T>(documents: &[T], encode: impl Fn(&T) -> Result<EncodedDocument>) -> Result<Self> {
        let (mut ids, mut encoded) = (Vec::new(), Vec::new());
        for document in documents {
            let (id, json) = encode(document)?.for_insert();
            ids.push(id);
            encoded.push(json);
        }
        Ok(Self {
            ids,
            documents: encoded,
        })
    }

    fn send<R>(
        &self,
        table: &DocumentTable,
        send: impl FnOnce(&[crate::database::Parameter<'_>]) -> Result<R, postgres::Error>,
    ) -> Result<R, postgres::Error> {
        let data: Vec<Jsonb<'_>> = self.documents.iter().map(|json| Jsonb(json)).collect();
        send(&[
            param(&table.partition, Type::TEXT),
            param(&self.ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
        ])
    }

    /// What was written, in the order in which it was given.
    fn in_order(&self, rows: &[Row]) -> Result<Vec<Updated>> {
        let mut versions = std::collections::HashMap::new();
        for row in rows {
            versions.insert(get::<String>(row, "_id")?, get_u64(row, "_version")?);
        }
        let written = self.ids.iter().map(|id| {
            let version = versions.get(id).copied().unwrap_or(1);
            Updated {
                matched: version > 1,
                modified: version > 1,
                inserted: version == 1,
                id: Some(id.clone()),
                version: Some(version),
                conflict: None,
            }
        });
        Ok(written.collect())
    }
}

impl DocumentTable {
    fn insert_error(&self, ids: &[String], source: postgres::Error) -> Error {
        match self.write_error("insert documents", source) {
            Error::Exists { collection, id } if id.is_empty() => Error::Exists {
                collection,
                id: ids.first().cloned().unwrap_or_default(),
            },
            other => other,
        }
    }
}
