//! The rows of a collection's table: projections lock, read and write whole documents.

use super::stored::{StoredDocument, fields, without_columns};
use crate::database::{
    DEFAULT_PARTITION, Sql, SqlNames, SqlTemplate, check_key, identifier, param,
};
use crate::json::{self, JsonError};
use crate::pongo::error::{Error, Result};
use postgres::types::Type;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use std::collections::HashSet;
use uuid::Uuid;

/// Locks documents and reads their newest rows. A placeholder of version 0 stands for a missing document, because a missing row
/// cannot be locked. If two transactions create one document, the second waits here, and then sees the first one's row. The ids
/// must be sorted, so that all transactions lock in one order.
const LOCK: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data, _version)
    SELECT id, $1, '{}', 0 FROM pg_catalog.unnest($2) AS id
    ON CONFLICT (_id, _partition) DO UPDATE SET _version = document._version
    RETURNING data, _id, _version",
);

/// The same for one document, the most frequent case of an append. Without an array it costs a fifth less.
const LOCK_ONE: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data, _version) VALUES ($2, $1, '{}', 0)
    ON CONFLICT (_id, _partition) DO UPDATE SET _version = document._version
    RETURNING data, _id, _version",
);

const DELETE: CollectionSql =
    CollectionSql::new("DELETE FROM {table} WHERE _id = ANY($2) AND _partition = $1");

const TRUNCATE: CollectionSql = CollectionSql::new("DELETE FROM {table} WHERE _partition = $1");

/// The hint for a type that refuses these fields.
const WITH_IDS: &str = "documents are read with `_id` and `_version`: give the type both fields, or call `without_ids()` on the \
                        collection or the projection";

/// The prefix of the library's own tables.
const RESERVED: &str = "emt_";

/// A document's JSON in stored form: the id and the version are in columns only.
pub(crate) struct EncodedDocument {
    pub(crate) json: Vec<u8>,
    /// The id in the document, if it has one.
    pub(crate) id: Option<String>,
}

impl EncodedDocument {
    /// Returns the id and the JSON. Creates a new id if the document has none.
    pub(crate) fn for_insert(self) -> (String, Vec<u8>) {
        (self.id.unwrap_or_else(new_id), self.json)
    }

    /// Returns the JSON for the document of this id.
    pub(crate) fn for_id(self, id: &str) -> Result<Vec<u8>> {
        match self.id.filter(|own| own != id) {
            Some(own) => Err(other_id(&own, id)),
            None => Ok(self.json),
        }
    }

    /// Refuses a document that was probably meant as an update. In a filter, such a field would be an operator, too.
    pub(crate) fn refuse_operators(self) -> Result<Self> {
        // Most documents contain no such name. The JSON to write is valid.
        let may_have_one = memchr::memchr2(b'$', b'\\', &self.json).is_some();
        let operator = may_have_one
            .then(|| fields(&self.json).unwrap_or_default().into_keys())
            .and_then(|mut names| names.find(|name| name.starts_with('$')));
        let Some(operator) = operator else {
            return Ok(self);
        };
        Err(Error::invalid(
            format!("the field `{operator}` of a document"),
            "is named like an operator: update_one and update_many take operators",
        ))
    }
}

pub(crate) fn other_id(own: &str, found: &str) -> Error {
    Error::invalid(
        format!("the document id \"{own}\""),
        format!("is not that of the document to be written, \"{found}\": an id never changes"),
    )
}

/// Creates an id for a document without one. Later ids sort after earlier ones.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The table of a collection, as one partition sees it.
#[derive(Debug, Clone)]
pub(crate) struct DocumentTable {
    pub(crate) collection: String,
    pub(crate) partition: String,
    /// The quoted name of the PostgreSQL schema.
    pub(crate) schema: String,
    /// The quoted name with its schema.
    pub(crate) table: String,
    /// The SQL of the partition of an inserted row; the partition is `$1`. A tenant must exist, and cannot be removed until the
    /// transaction ends.
    inserted_partition: String,
    /// The same as a condition of a statement that changes rows.
    is_known: String,
}

/// A statement on the table of a collection.
pub(crate) type CollectionSql = SqlTemplate<DocumentTable>;

impl SqlNames for DocumentTable {
    const OPEN: &'static [&'static str] = &["schema", "table", "partition", "known"];

    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "schema" => Some(&self.schema),
            "table" => Some(&self.table),
            "partition" => Some(&self.inserted_partition),
            "known" => Some(&self.is_known),
            _ => None,
        }
    }
}

/// Refuses invalid names of collections. `emt_collection_check_name` in the schema makes the same check.
pub(crate) fn check_name(collection: &str) -> Result<()> {
    identifier::check("the collection name", collection)?;
    if collection.starts_with(RESERVED) {
        return Err(Error::invalid(
            format!("the collection name {collection:?}"),
            format!("must not begin with {RESERVED}"),
        ));
    }
    Ok(())
}

/// Refuses invalid ids, and an id that is given twice.
pub(crate) fn check_ids<'i>(ids: impl IntoIterator<Item = &'i String>) -> Result<()> {
    let mut seen = HashSet::new();
    for id in ids {
        check_key("the document id", id)?;
        if !seen.insert(id) {
            return Err(Error::invalid(
                format!("the document id \"{id}\""),
                "is given twice",
            ));
        }
    }
    Ok(())
}

/// Adds a hint to the error of a type that does not accept `_id` and `_version`. Such a type fails differently, or not at all,
/// without these fields.
fn about_ids<D: DeserializeOwned>(error: Error, json: Vec<u8>) -> Error {
    let reason = |error: &serde_json::Error| {
        error
            .to_string()
            .split(" at line ")
            .next()
            .map(str::to_owned)
    };
    let Error::Json {
        collection,
        id,
        source: JsonError::Unfit(refused),
    } = error
    else {
        return error;
    };
    let without_ids = without_columns(json).map(|(json, _)| json::from_stored::<D>(&json));
    let refused = match without_ids {
        Ok(Err(JsonError::Unfit(same))) if reason(&same) == reason(&refused) => refused,
        _ => serde_json::Error::custom(format!("{refused}; {WITH_IDS}")),
    };
    Error::Json {
        collection,
        id,
        source: JsonError::Unfit(refused),
    }
}

impl DocumentTable {
    /// Returns the table of a collection's documents, which has the collection's name or another one.
    pub(crate) fn new(
        schema: &str,
        partition: &str,
        collection: &str,
        table: &str,
    ) -> Result<Self> {
        check_name(collection)?;
        let schema_name = identifier::quote(schema);
        // A subquery without a row reference is evaluated once per statement. A condition of such subqueries alone is evaluated
        // before the first row.
        let (inserted_partition, is_known) = if partition == DEFAULT_PARTITION {
            ("$1".to_owned(), "TRUE".to_owned())
        } else {
            let held = format!("(SELECT {schema_name}.emt_document_hold_tenant($1))");
            let is_known = format!("{held} IS NOT NULL");
            (held, is_known)
        };
        Ok(Self {
            collection: collection.to_owned(),
            partition: partition.to_owned(),
            table: identifier::qualify(schema, table),
            schema: schema_name,
            inserted_partition,
            is_known,
        })
    }

    /// The same in a transaction that already holds the tenant.
    pub(crate) fn held(self) -> Self {
        Self {
            inserted_partition: "$1".to_owned(),
            is_known: "TRUE".to_owned(),
            ..self
        }
    }

    /// Returns the condition that a read evaluates once, before its first row: whether the tenant exists. The partition is
    /// `$1`. Returns `None` for the store without tenants.
    pub(crate) fn read_condition(&self) -> Option<String> {
        (self.partition != DEFAULT_PARTITION)
            .then(|| format!("{}.emt_document_require_tenant($1)", self.schema))
    }

    /// Deserializes a document, or a part of one. The id is for the error.
    pub(crate) fn decode<D: DeserializeOwned>(&self, id: Option<&str>, data: &[u8]) -> Result<D> {
        json::from_stored(data).map_err(|source| Error::Json {
            collection: self.collection.clone(),
            id: id.map(str::to_owned),
            source,
        })
    }

    /// Deserializes a document with or without its id and version.
    pub(crate) fn read<D: DeserializeOwned>(
        &self,
        id: &str,
        json: Vec<u8>,
        without_ids: bool,
    ) -> Result<D> {
        let json = if without_ids {
            self.without_columns(json)?.0
        } else {
            json
        };
        let document = self.decode(Some(id), &json);
        document.map_err(|error| {
            if without_ids {
                error
            } else {
                about_ids::<D>(error, json)
            }
        })
    }

    /// Returns the error of a document that cannot be serialized.
    pub(crate) fn refused(&self, source: JsonError) -> Error {
        Error::Json {
            collection: self.collection.clone(),
            id: None,
            source,
        }
    }

    /// Returns a document's JSON, which must be an object.
    pub(crate) fn encode<D: Serialize>(&self, document: &D) -> Result<Vec<u8>> {
        let data = json::to_json(document).map_err(|source| self.refused(source))?;
        if data.first() == Some(&b'{') {
            return Ok(data);
        }
        Err(Error::invalid(
            format!("a document of collection \"{}\"", self.collection),
            "must be a JSON object",
        ))
    }

    /// Returns the stored form of a document's JSON, and its id.
    pub(crate) fn identify(&self, json: Vec<u8>) -> Result<EncodedDocument> {
        let (json, id) = self.without_columns(json)?;
        let id = id.map(|id| serde_json::from_str(&id)).transpose();
        let id = match id.map_err(|source| self.refused(JsonError::Serde(source)))? {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => {
                check_key("the document id", &id)?;
                Some(id)
            }
            Some(other) => {
                return Err(Error::invalid(
                    format!("the document id {other}"),
                    "must be a string",
                ));
            }
        };
        Ok(EncodedDocument { json, id })
    }

    /// Returns the stored form of a document whose id is known. An id in its JSON is ignored.
    pub(crate) fn encode_without_id<D: Serialize>(&self, document: &D) -> Result<Vec<u8>> {
        Ok(self.without_columns(self.encode(document)?)?.0)
    }

    fn without_columns(&self, json: Vec<u8>) -> Result<(Vec<u8>, Option<String>)> {
        without_columns(json).map_err(|source| self.refused(JsonError::Serde(source)))
    }

    /// Locks the documents of these ids, which must be sorted, and reads the existing ones.
    pub(crate) fn lock<D: DeserializeOwned>(
        &self,
        sql: &mut dyn Sql,
        ids: &[&str],
        without_ids: bool,
    ) -> Result<Vec<(String, Option<D>)>> {
        let partition = param(&self.partition, Type::TEXT);
        let locked = match ids {
            [id] => sql.query(&LOCK_ONE.with(self), &[partition, param(id, Type::TEXT)]),
            _ => sql.query(
                &LOCK.with(self),
                &[partition, param(&ids, Type::TEXT_ARRAY)],
            ),
        };
        let rows = locked.map_err(|source| Error::database("lock documents", source))?;
        rows.iter()
            .map(|row| {
                let stored = StoredDocument::of_row(row)?;
                let document = self.read_locked(&stored, without_ids)?;
                Ok((stored.id.to_owned(), document))
            })
            .collect()
    }

    /// Returns a locked document; `None` for the placeholder of a missing one.
    pub(crate) fn read_locked<D: DeserializeOwned>(
        &self,
        stored: &StoredDocument<'_>,
        without_ids: bool,
    ) -> Result<Option<D>> {
        (stored.version > 0)
            .then(|| self.read(stored.id, stored.json(), without_ids))
            .transpose()
    }

    /// Deletes documents, and the placeholders of missing ones.
    pub(crate) fn delete(&self, sql: &mut dyn Sql, ids: &[&str]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        sql.execute_unnamed(
            &DELETE.with(self),
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
        sql.execute(&TRUNCATE.with(self), &[param(&self.partition, Type::TEXT)])
            .map_err(|source| Error::database("empty a collection", source))?;
        Ok(())
    }
}
