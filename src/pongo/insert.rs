//! Inserting documents.

use super::collection::Collection;
use crate::connection::{Jsonb, param};
use crate::error::{Error, Result};
use crate::message::check_key;
use postgres::error::SqlState;
use postgres::types::Type;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

const INSERT: &str = "
    INSERT INTO {table} (_id, _partition, data)
    SELECT document.id, $1, document.data || jsonb_build_object('_id', document.id)
      FROM unnest($2, $3) AS document (id, data)";

impl<T: Serialize> Collection<'_, T> {
    /// Inserts a document and returns its id: that of its field `_id`, or a new UUID where it has none.
    ///
    /// # Errors
    /// [`Error::DocumentExists`] when the id is taken, [`Error::Document`] when the document cannot be written as JSON.
    pub fn insert_one(&self, document: &T) -> Result<String> {
        let ids = self.insert_many(std::slice::from_ref(document))?;
        Ok(ids.into_iter().next().unwrap_or_default())
    }

    /// Inserts documents and returns their ids: all of them or none.
    ///
    /// # Errors
    /// Like [`insert_one`](Collection::insert_one).
    pub fn insert_many(&self, documents: &[T]) -> Result<Vec<String>> {
        let table = self.table()?;
        let documents = documents
            .iter()
            .map(|document| table.encode(document))
            .collect::<Result<Vec<_>>>()?;
        let ids = documents
            .iter()
            .map(|document| self.id_of(document))
            .collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let data: Vec<Jsonb<'_>> = documents.iter().map(|document| Jsonb(document)).collect();
        let text = table.write_into(INSERT);
        self.home.run(&self.name, false, |sql| {
            let parameters = [
                param(&table.partition, Type::TEXT),
                param(&ids, Type::TEXT_ARRAY),
                param(&data, Type::JSONB_ARRAY),
            ];
            sql.execute(&text, &parameters)
                .map_err(|source| self.insert_error(&ids, source))
        })?;
        Ok(ids)
    }

    fn id_of(&self, document: &[u8]) -> Result<String> {
        #[derive(Deserialize)]
        struct Identified {
            #[serde(rename = "_id")]
            id: Option<Value>,
        }
        let refused = |source: serde_json::Error| Error::Document {
            collection: self.name.clone(),
            source: crate::json::JsonError::Serde(source),
        };
        match serde_json::from_slice::<Identified>(document)
            .map_err(refused)?
            .id
        {
            None | Some(Value::Null) => Ok(Uuid::now_v7().to_string()),
            Some(Value::String(id)) => check_key("the document id", &id).map(|()| id),
            Some(other) => Err(Error::invalid(
                format!("the document id {other}"),
                "must be a string",
            )),
        }
    }

    fn insert_error(&self, ids: &[String], source: postgres::Error) -> Error {
        if source.code() != Some(&SqlState::UNIQUE_VIOLATION) {
            return Error::database("insert documents", source);
        }
        let detail = source
            .as_db_error()
            .and_then(|error| error.detail())
            .unwrap_or_default();
        let taken = ids
            .iter()
            .find(|id| detail.contains(id.as_str()))
            .or(ids.first());
        Error::DocumentExists {
            collection: self.name.clone(),
            id: taken.cloned().unwrap_or_default(),
        }
    }
}
