//! Inserts and upserts of whole documents.

use super::outcome::{Inserted, Updated};
use crate::pongo::collection::Collection;
use crate::pongo::document::{Put, check_ids};
use crate::pongo::error::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;

impl<T: Serialize> Collection<'_, T> {
    /// Inserts a document. Its field `_id` is its id. Without this field, its id is a new UUID (version 7).
    ///
    /// # Errors
    /// - [`Error::Exists`]: the id is taken.
    /// - [`Error::NotUnique`]: a unique index already has the document's values.
    /// - [`Error::Json`]: the document cannot be serialized as JSON.
    pub fn insert_one(&self, document: &T) -> Result<Inserted> {
        let documents = [self.encode(document)?.for_insert()];
        self.put(&documents, Put::Insert)?;
        let [(id, _)] = documents;
        Ok(Inserted { id, version: 1 })
    }

    /// Inserts documents: all of them, or none. Returns their ids in the same order.
    ///
    /// # Errors
    /// Those of [`insert_one`](Collection::insert_one). [`Error::InvalidInput`] if two documents have the same id.
    pub fn insert_many(&self, documents: &[T]) -> Result<Vec<String>> {
        let documents = documents
            .iter()
            .map(|document| Ok(self.encode(document)?.for_insert()))
            .collect::<Result<Vec<_>>>()?;
        self.put(&documents, Put::Insert)?;
        Ok(documents.into_iter().map(|(id, _)| id).collect())
    }

    /// Inserts a document, or replaces the document with the same id.
    ///
    /// # Errors
    /// - [`Error::NotUnique`]: a unique index already has the document's values.
    /// - [`Error::Json`]: the document cannot be serialized as JSON.
    pub fn upsert_one(&self, document: &T) -> Result<Updated> {
        let written = self.upsert_many(std::slice::from_ref(document))?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// Inserts documents, or replaces the documents with the same ids: all of them, or none.
    ///
    /// # Errors
    /// Those of [`upsert_one`](Collection::upsert_one). [`Error::InvalidInput`] if two documents have the same id, or a
    /// document has operators as fields.
    pub fn upsert_many(&self, documents: &[T]) -> Result<Vec<Updated>> {
        let documents = documents
            .iter()
            .map(|document| Ok(self.encode(document)?.refuse_operators()?.for_insert()))
            .collect::<Result<Vec<_>>>()?;
        let versions = self.put(&documents, Put::Upsert)?;
        Ok(documents
            .into_iter()
            .map(|(id, _)| {
                let version = versions.get(&id).copied().unwrap_or(1);
                upserted(id, version)
            })
            .collect())
    }

    fn put(&self, documents: &[(String, Vec<u8>)], put: Put) -> Result<HashMap<String, u64>> {
        check_ids(documents.iter().map(|(id, _)| id))?;
        let Some((first, _)) = documents.first() else {
            return Ok(HashMap::new());
        };
        let table = self.table()?;
        let borrowed: Vec<(&str, &[u8])> = documents
            .iter()
            .map(|(id, json)| (id.as_str(), json.as_slice()))
            .collect();
        self.write(|sql| table.put(sql, &borrowed, put))
            .map_err(|error| match error {
                // A role without the right to read the columns does not get the id.
                Error::Exists { collection, id } if id.is_empty() => Error::Exists {
                    collection,
                    id: first.clone(),
                },
                other => other,
            })
    }
}

fn upserted(id: String, version: u64) -> Updated {
    Updated {
        matched: version > 1,
        modified: version > 1,
        inserted: version == 1,
        id: Some(id),
        version: Some(version),
        conflict: None,
    }
}
