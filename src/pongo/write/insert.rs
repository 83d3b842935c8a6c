//! Inserting documents, and writing them whether they exist or not.

use super::outcome::{Inserted, Updated};
use crate::pongo::collection::Collection;
use crate::pongo::document::{Put, check_ids};
use crate::pongo::error::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;

impl<T: Serialize> Collection<'_, T> {
    /// Inserts a document. Its id is that of its field `_id`, or a new UUID (version 7) where it has none.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken, [`Error::NotUnique`] when a unique index stands against it,
    /// [`Error::Json`] when it cannot be written as JSON.
    pub fn insert_one(&self, document: &T) -> Result<Inserted> {
        let documents = [self.encode(document)?.for_insert()];
        self.put(&documents, Put::Insert)?;
        let [(id, _)] = documents;
        Ok(Inserted { id, version: 1 })
    }

    /// Inserts documents and returns their ids in the same order: all of them or none.
    ///
    /// # Errors
    /// Like [`insert_one`](Collection::insert_one); [`Error::InvalidInput`] when two documents have one id.
    pub fn insert_many(&self, documents: &[T]) -> Result<Vec<String>> {
        let documents = documents
            .iter()
            .map(|document| Ok(self.encode(document)?.for_insert()))
            .collect::<Result<Vec<_>>>()?;
        self.put(&documents, Put::Insert)?;
        Ok(documents.into_iter().map(|(id, _)| id).collect())
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
                // A role that may not read the columns is not told the id.
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
