//! The rows of a collection's table: how projections lock, read and write whole documents.

use crate::connection::{Jsonb, Sql, get, param};
use crate::error::{Error, Result};
use crate::identifier;
use crate::json;
use postgres::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Locks documents and reads their newest rows. A placeholder of version 0 stands for a document that does not exist,
/// because there is no other way to lock one: of two transactions that create it, the second waits here and sees the
/// first one's. The ids must be sorted: everybody locks in one order.
const LOCK: &str = "
    INSERT INTO {table} AS document (_id, _partition, data, _version)
    SELECT id, $1, '{}', 0 FROM unnest($2) AS id
    ON CONFLICT (_id, _partition) DO UPDATE SET _version = document._version
    RETURNING _id, data, _version";

const WRITE: &str = "
    UPDATE {table} AS document
       SET data = written.data || jsonb_build_object('_id', written.id),
           _version = document._version + 1,
           _updated = now()
      FROM unnest($2, $3) AS written (id, data)
     WHERE document._id = written.id AND document._partition = $1";

const DELETE: &str = "DELETE FROM {table} WHERE _id = ANY($2) AND _partition = $1";

const TRUNCATE: &str = "DELETE FROM {table} WHERE _partition = $1";

/// The table of a collection, as one partition sees it.
#[derive(Debug, Clone)]
pub(crate) struct DocumentTable {
    pub(crate) collection: String,
    pub(crate) partition: String,
    /// The quoted name with its schema.
    pub(crate) table: String,
}

impl DocumentTable {
    pub(crate) fn new(schema: &str, partition: &str, collection: &str) -> Result<Self> {
        identifier::check("the collection name", collection)?;
        Ok(Self {
            collection: collection.to_owned(),
            partition: partition.to_owned(),
            table: format!(
                "{}.{}",
                identifier::quote(schema),
                identifier::quote(collection)
            ),
        })
    }

    pub(crate) fn write_into(&self, sql: &str) -> String {
        sql.replace("{table}", &self.table)
    }

    pub(crate) fn decode<D: DeserializeOwned>(&self, data: &[u8]) -> Result<D> {
        serde_json::from_slice(data).map_err(|source| Error::Document {
            collection: self.collection.clone(),
            source: json::JsonError::Serde(source),
        })
    }

    /// A document's JSON, which must be an object.
    pub(crate) fn encode<D: Serialize>(&self, document: &D) -> Result<Vec<u8>> {
        let data = json::to_json(document).map_err(|source| Error::Document {
            collection: self.collection.clone(),
            source,
        })?;
        if data.first() == Some(&b'{') {
            return Ok(data);
        }
        Err(Error::invalid(
            format!("a document of collection \"{}\"", self.collection),
            "must be a JSON object",
        ))
    }

    /// Locks the documents of these ids, which must be sorted, and reads those that exist.
    pub(crate) fn lock<D: DeserializeOwned>(
        &self,
        sql: &mut dyn Sql,
        ids: &[&str],
    ) -> Result<Vec<(String, Option<D>)>> {
        let rows = sql
            .query(
                &self.write_into(LOCK),
                &[
                    param(&self.partition, Type::TEXT),
                    param(&ids, Type::TEXT_ARRAY),
                ],
            )
            .map_err(|source| Error::database("lock documents", source))?;
        rows.iter()
            .map(|row| {
                let exists = get::<i64>(row, 2)? > 0;
                let document = if exists {
                    Some(self.decode(get::<Jsonb<'_>>(row, 1)?.0)?)
                } else {
                    None
                };
                Ok((get(row, 0)?, document))
            })
            .collect()
    }

    /// Writes documents that are locked.
    pub(crate) fn write(
        &self,
        sql: &mut dyn Sql,
        ids: &[&str],
        documents: &[Vec<u8>],
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let data: Vec<Jsonb<'_>> = documents.iter().map(|document| Jsonb(document)).collect();
        let parameters = [
            param(&self.partition, Type::TEXT),
            param(&ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
        ];
        sql.execute(&self.write_into(WRITE), &parameters)
            .map_err(|source| Error::database("write documents", source))?;
        Ok(())
    }

    /// Deletes documents, and the placeholders of those that did not exist.
    pub(crate) fn delete(&self, sql: &mut dyn Sql, ids: &[&str]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        sql.execute(
            &self.write_into(DELETE),
            &[
                param(&self.partition, Type::TEXT),
                param(&ids, Type::TEXT_ARRAY),
            ],
        )
        .map_err(|source| Error::database("delete documents", source))?;
        Ok(())
    }

    /// Deletes all documents of the partition.
    pub(crate) fn truncate(&self, sql: &mut dyn Sql) -> Result<()> {
        sql.execute(
            &self.write_into(TRUNCATE),
            &[param(&self.partition, Type::TEXT)],
        )
        .map_err(|source| Error::database("empty a collection", source))?;
        Ok(())
    }
}
