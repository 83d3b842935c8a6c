//! Writes of documents by id: one or many, at any version or at an expected one.

use super::conflict::DocumentConflict;
use super::table::{CollectionSql, DocumentTable};
use crate::database::position::{get_u64, to_sql};
use crate::database::{ExpectedVersion, Jsonb, Sql, get, param};
use crate::pongo::error::Result;
use postgres::Row;
use postgres::types::Type;
use std::collections::HashMap;

const PUT_ONE: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data) VALUES ($2, {partition}, $3)",
);

/// In the order of the ids, so that two writes of the same documents cannot deadlock.
const PUT_MANY: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data)
    SELECT written.id, {partition}, written.data
      FROM unnest($2, $3) AS written (id, data)
     ORDER BY written.id COLLATE \"C\"",
);

/// Makes an upsert find documents by the primary key, regardless of the planner's estimates. An UPDATE that joins an array
/// would scan the table, if its generic plan was made while the table was small.
const REPLACING: &str = "
    ON CONFLICT (_id, _partition) DO UPDATE
        SET data = EXCLUDED.data, _version = document._version + 1, _updated = now()";

const KEEPING: &str = "
    ON CONFLICT (_id, _partition) DO NOTHING";

const TELLING: &str = "
    RETURNING _id, _version";

/// The way in which documents are put into the collection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Put {
    /// Inserts new documents. Fails if an id is taken. Reports no versions.
    Insert,
    /// Inserts new documents. Skips documents whose ids are taken, and does not report them.
    InsertMissing,
    /// Inserts documents, or replaces those with the same ids.
    Upsert,
    /// Replaces documents that the transaction has locked. Reports no versions.
    Locked,
}

impl Put {
    fn clauses(self) -> [&'static str; 2] {
        match self {
            Self::Insert => ["", ""],
            Self::InsertMissing => [KEEPING, TELLING],
            Self::Upsert => [REPLACING, TELLING],
            Self::Locked => [REPLACING, ""],
        }
    }
}

const REPLACE_ONE: CollectionSql = CollectionSql::new(
    "
    UPDATE {table}
       SET data = $3, _version = _version + 1, _updated = now()
     WHERE _id = $2 AND _partition = $1 AND {known} AND _version = $4",
);

/// Prepared, because an upsert finds documents by the primary key in every plan. It tries to insert each document with its
/// expected version. So a missing document comes back with that version, and one of another version does not come back.
const REPLACE_MANY: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data, _version)
    SELECT written.id, {partition}, written.data, written.version
      FROM unnest($2, $3, $4) AS written (id, data, version)
     ORDER BY written.id COLLATE \"C\"
    ON CONFLICT (_id, _partition) DO UPDATE
        SET data = EXCLUDED.data, _version = document._version + 1, _updated = now()
      WHERE document._version = EXCLUDED._version
    RETURNING _version",
);

/// Locks the documents in the order of their ids before it reads them, so nothing can change between check and write. A
/// document without data is deleted. `checked` is MATERIALIZED, because it is both compared and stored. `$5`: whether the other
/// documents are written after a conflict. `$6`: whether unchanged documents are written, too.
const WRITE: CollectionSql = CollectionSql::new("
    WITH picked AS (
        SELECT _id, _version, data
          FROM {table}
         WHERE _partition = $1 AND {known} AND _id = ANY($2)
         ORDER BY _id COLLATE \"C\"
           FOR UPDATE
    ), checked AS MATERIALIZED (
        SELECT written.id, written.data, picked.data AS before, coalesce(picked._version, 0) AS version,
               written.expected IS NULL
                   OR written.expected = coalesce(picked._version, 0)
                   OR written.expected = -1 AND picked._id IS NOT NULL AS met
          FROM unnest($2, $3, $4) AS written (id, data, expected)
          LEFT JOIN picked ON picked._id = written.id
    ), changed AS MATERIALIZED (
        SELECT id, data, version
          FROM checked
         WHERE met AND before IS NOT NULL AND ($5 OR NOT EXISTS (SELECT FROM checked WHERE NOT met))
           AND ($6 OR data IS NULL OR data <> before - '{_id,_version}'::text[])
    ), replaced AS (
        UPDATE {table} AS document
           SET data = changed.data, _version = changed.version + 1, _updated = now()
          FROM changed
         WHERE document._id = changed.id AND document._partition = $1 AND changed.data IS NOT NULL
    ), deleted AS (
        DELETE FROM {table} AS document
         USING changed
         WHERE document._id = changed.id AND document._partition = $1 AND changed.data IS NULL
    )
    SELECT checked.id, checked.version, checked.met, changed.id IS NOT NULL AS modified
      FROM checked LEFT JOIN changed ON changed.id = checked.id");

/// A document to replace or delete.
pub(crate) struct DocumentWrite<'w> {
    pub(crate) id: &'w str,
    /// The stored form. `None` deletes the document.
    pub(crate) json: Option<&'w [u8]>,
    pub(crate) expected: ExpectedVersion,
}

/// The rules that apply to all documents of a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteRules {
    /// Whether the other documents are written after a conflict of one.
    pub(crate) despite_conflicts: bool,
    /// Whether an unchanged document counts as changed.
    pub(crate) unchanged_too: bool,
}

/// The result of a document's write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenDocument {
    /// The version before the write; 0 if the document did not exist.
    pub(crate) before: u64,
    pub(crate) is_expected: bool,
    pub(crate) is_modified: bool,
}

impl DocumentTable {
    /// Puts documents into the collection. Returns the versions of the written documents, if `Put` reports them.
    pub(crate) fn put(
        &self,
        sql: &mut dyn Sql,
        documents: &[(&str, &[u8])],
        put: Put,
    ) -> Result<HashMap<String, u64>> {
        let text = |source: CollectionSql| source.with(self) + &put.clauses().concat();
        let partition = param(&self.partition, Type::TEXT);
        let rows = match documents {
            [] => return Ok(HashMap::new()),
            [(id, json)] => {
                let json = Jsonb(json);
                let document = [partition, param(id, Type::TEXT), param(&json, Type::JSONB)];
                sql.query(&text(PUT_ONE), &document)
            }
            many => {
                let (ids, data): (Vec<&str>, Vec<Jsonb<'_>>) =
                    many.iter().map(|(id, json)| (*id, Jsonb(json))).unzip();
                let ids = param(&ids, Type::TEXT_ARRAY);
                let documents = [partition, ids, param(&data, Type::JSONB_ARRAY)];
                sql.query(&text(PUT_MANY), &documents)
            }
        };
        let rows = rows.map_err(|source| self.write_error("write documents", source))?;
        rows.iter()
            .map(|row| Ok((get(row, "_id")?, get_u64(row, "_version")?)))
            .collect()
    }

    /// Replaces and deletes documents that meet their expectations: all, or none if one does not. Returns the result of each
    /// document, in the same order.
    pub(crate) fn write(
        &self,
        sql: &mut dyn Sql,
        writes: &[DocumentWrite<'_>],
        rules: WriteRules,
    ) -> Result<Vec<WrittenDocument>> {
        if let [write] = writes
            && let Some(replaced) = self.replace_version(sql, write, rules)?
        {
            return Ok(vec![replaced]);
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = writes.iter().map(|write| write.id).collect();
        let data: Vec<Option<Jsonb<'_>>> =
            writes.iter().map(|write| write.json.map(Jsonb)).collect();
        let expected: Vec<Option<i64>> =
            writes.iter().map(|write| write.expected.as_sql()).collect();
        let parameters = [
            param(&self.partition, Type::TEXT),
            param(&ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
            param(&expected, Type::INT8_ARRAY),
            param(&rules.despite_conflicts, Type::BOOL),
            param(&rules.unchanged_too, Type::BOOL),
        ];
        // Unnamed: a generic plan that was made while the table was small would scan the whole table later.
        let rows = sql
            .query_unnamed(&WRITE.with(self), &parameters)
            .map_err(|source| self.write_error("write documents", source))?;
        let mut written: HashMap<&str, &Row> = HashMap::with_capacity(rows.len());
        for row in &rows {
            written.insert(get(row, "id")?, row);
        }
        ids.iter()
            .filter_map(|id| written.get(id))
            .map(|row| WrittenDocument::of_row(row))
            .collect()
    }

    /// Replaces several documents at exact versions: the id, the stored form and the version before. Returns false if a document
    /// does not have its version. The transaction must be rolled back then.
    pub(crate) fn replace_versions(
        &self,
        sql: &mut dyn Sql,
        replaced: &[(&str, &[u8], u64)],
    ) -> Result<bool> {
        let ids: Vec<&str> = replaced.iter().map(|(id, ..)| *id).collect();
        let data: Vec<Jsonb<'_>> = replaced.iter().map(|(_, json, _)| Jsonb(json)).collect();
        let before: Vec<i64> = replaced
            .iter()
            .map(|(.., version)| to_sql(*version))
            .collect();
        let parameters = [
            param(&self.partition, Type::TEXT),
            param(&ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
            param(&before, Type::INT8_ARRAY),
        ];
        let rows = sql
            .query(&REPLACE_MANY.with(self), &parameters)
            .map_err(|source| self.write_error("write documents", source))?;
        let mut difference: i128 = before.iter().map(|version| i128::from(*version)).sum();
        for row in &rows {
            difference -= i128::from(get::<i64>(row, "_version")?) - 1;
        }
        // Each document that was not replaced adds to it: its version, or 1 if it was inserted.
        Ok(difference == 0)
    }

    /// Handles the most frequent case, a replacement at an expected version, without a prior read. Returns `None` if the write
    /// is a different one, or the version does not match.
    fn replace_version(
        &self,
        sql: &mut dyn Sql,
        write: &DocumentWrite<'_>,
        rules: WriteRules,
    ) -> Result<Option<WrittenDocument>> {
        let (Some(json), ExpectedVersion::Exact(before), true) =
            (write.json.map(Jsonb), write.expected, rules.unchanged_too)
        else {
            return Ok(None);
        };
        let version = to_sql(before);
        let parameters = [
            param(&self.partition, Type::TEXT),
            param(&write.id, Type::TEXT),
            param(&json, Type::JSONB),
            param(&version, Type::INT8),
        ];
        let replaced = sql
            .execute(&REPLACE_ONE.with(self), &parameters)
            .map_err(|source| self.write_error("write documents", source))?;
        Ok((replaced > 0).then_some(WrittenDocument {
            before,
            is_expected: true,
            is_modified: true,
        }))
    }

    /// Returns the conflict of a write with a document of this version.
    pub(crate) fn conflict(
        &self,
        id: Option<String>,
        expected: ExpectedVersion,
        actual: u64,
    ) -> DocumentConflict {
        DocumentConflict {
            collection: self.collection.clone(),
            id,
            expected,
            actual,
        }
    }
}

impl WrittenDocument {
    fn of_row(row: &Row) -> Result<Self> {
        Ok(Self {
            before: get_u64(row, "version")?,
            is_expected: get(row, "met")?,
            is_modified: get(row, "modified")?,
        })
    }
}
