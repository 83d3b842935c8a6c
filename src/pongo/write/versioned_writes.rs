//! Writing documents that have the versions they were read with.

use crate::database::position::{get_u64, to_sql};
use crate::database::{Jsonb, Sql, get, param};
use crate::pongo::document::{CollectionSql, DocumentTable};
use crate::pongo::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use std::collections::HashMap;

const INSERT_ONE: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} (_id, _partition, data)
    VALUES ($2, {partition}, $3)
    ON CONFLICT (_id, _partition) DO NOTHING
    RETURNING _id, _version",
);

const REPLACE_ONE: CollectionSql = CollectionSql::new(
    "
    UPDATE {table}
       SET data = $3, _version = _version + 1, _updated = now()
     WHERE _id = $2 AND _partition = $1 AND {known} AND _version = $4
    RETURNING _id, _version",
);

const DELETE_ONE: CollectionSql = CollectionSql::new("
    DELETE FROM {table} WHERE _id = $2 AND _partition = $1 AND {known} AND _version = $3 RETURNING _id, _version");

const INSERT: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} (_id, _partition, data)
    SELECT written.id, {partition}, written.data
      FROM unnest($2, $3) AS written (id, data)
     ORDER BY written.id COLLATE \"C\"
    ON CONFLICT (_id, _partition) DO NOTHING
    RETURNING _id, _version",
);

/// An upsert finds the documents by the primary key whatever the planner believes, and locks them in the order of their ids, so
/// that two that write the same ones do not wait for each other. The version that is expected is what it would insert with:
/// a row that comes back with it was inserted, because the document was not there, and has to be taken back.
const REPLACE: CollectionSql = CollectionSql::new(
    "
    INSERT INTO {table} AS document (_id, _partition, data, _version)
    SELECT written.id, {partition}, written.data, written.version
      FROM unnest($2, $3, $4) AS written (id, data, version)
     ORDER BY written.id COLLATE \"C\"
    ON CONFLICT (_id, _partition) DO UPDATE
        SET data = EXCLUDED.data, _version = document._version + 1, _updated = now()
      WHERE document._version = EXCLUDED._version
    RETURNING _id, _version",
);

const TAKE_BACK: CollectionSql =
    CollectionSql::new("DELETE FROM {table} WHERE _partition = $1 AND _id = ANY($2)");

/// Locks the documents in the order of their ids first. Unnamed: a plan that was made while the table was small would look
/// through all of it once it is large.
const DELETE: CollectionSql = CollectionSql::new("
    WITH picked AS (
        SELECT _id, _version
          FROM {table}
         WHERE _partition = $1 AND {known} AND _id = ANY($2)
         ORDER BY _id COLLATE \"C\"
           FOR UPDATE
    )
    DELETE FROM {table} AS document
     USING picked JOIN unnest($2, $3) AS deleted (id, version) ON deleted.id = picked._id
     WHERE document._id = picked._id AND document._partition = $1 AND picked._version = deleted.version
    RETURNING document._id, document._version");

/// Documents to be written, by what is to happen to them: each kind is one statement.
#[derive(Default)]
pub(crate) struct VersionedWrites<'w> {
    inserted: Vec<(&'w str, &'w [u8])>,
    /// With the version that is replaced.
    replaced: Vec<(&'w str, &'w [u8], u64)>,
    deleted: Vec<(&'w str, u64)>,
}

impl<'w> VersionedWrites<'w> {
    pub(crate) fn insert(&mut self, id: &'w str, json: &'w [u8]) {
        self.inserted.push((id, json));
    }

    pub(crate) fn replace(&mut self, id: &'w str, json: &'w [u8], version: u64) {
        self.replaced.push((id, json, version));
    }

    pub(crate) fn delete(&mut self, id: &'w str, version: u64) {
        self.deleted.push((id, version));
    }

    pub(crate) fn len(&self) -> usize {
        self.inserted.len() + self.replaced.len() + self.deleted.len()
    }

    /// Runs at most three statements. Returns the versions of the documents that were written; those that were not what was
    /// expected are missing.
    pub(crate) fn send(
        &self,
        table: &DocumentTable,
        sql: &mut dyn Sql,
    ) -> Result<HashMap<String, u64>> {
        let mut written = HashMap::with_capacity(self.len());
        for rows in [
            self.send_inserted(table, sql),
            if self.replaced.is_empty() {
                Ok(Vec::new())
            } else {
                self.send_replaced(table, sql)
            },
            self.send_deleted(table, sql),
        ] {
            let rows = rows.map_err(|source| table.write_error("write documents", source))?;
            for row in &rows {
                written.insert(get(row, "_id")?, get_u64(row, "_version")?);
            }
        }
        self.take_back(table, sql, &mut written)?;
        Ok(written)
    }

    /// Takes back what was inserted in the place of documents that were not there.
    fn take_back(
        &self,
        table: &DocumentTable,
        sql: &mut dyn Sql,
        written: &mut HashMap<String, u64>,
    ) -> Result<()> {
        let missing: Vec<&str> = self
            .replaced
            .iter()
            .filter(|(id, _, version)| written.get(*id) == Some(version))
            .map(|(id, _, _)| *id)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let parameters = [
            param(&table.partition, Type::TEXT),
            param(&missing, Type::TEXT_ARRAY),
        ];
        sql.execute_unnamed(&TAKE_BACK.with(table), &parameters)
            .map_err(|source| table.write_error("write documents", source))?;
        for id in missing {
            written.remove(id);
        }
        Ok(())
    }

    fn send_inserted(
        &self,
        table: &DocumentTable,
        sql: &mut dyn Sql,
    ) -> Result<Vec<Row>, postgres::Error> {
        let partition = param(&table.partition, Type::TEXT);
        match self.inserted.as_slice() {
            [] => Ok(Vec::new()),
            [(id, json)] => sql.query(
                &INSERT_ONE.with(table),
                &[
                    partition,
                    param(id, Type::TEXT),
                    param(&Jsonb(json), Type::JSONB),
                ],
            ),
            many => {
                let (ids, data): (Vec<&str>, Vec<Jsonb<'_>>) =
                    many.iter().map(|(id, json)| (*id, Jsonb(json))).unzip();
                sql.query(
                    &INSERT.with(table),
                    &[
                        partition,
                        param(&ids, Type::TEXT_ARRAY),
                        param(&data, Type::JSONB_ARRAY),
                    ],
                )
            }
        }
    }

    fn send_replaced(
        &self,
        table: &DocumentTable,
        sql: &mut dyn Sql,
    ) -> Result<Vec<Row>, postgres::Error> {
        let partition = param(&table.partition, Type::TEXT);
        if let [(id, json, version)] = self.replaced.as_slice() {
            let (json, version) = (Jsonb(json), to_sql(*version));
            let parameters = [
                partition,
                param(id, Type::TEXT),
                param(&json, Type::JSONB),
                param(&version, Type::INT8),
            ];
            return sql.query(&REPLACE_ONE.with(table), &parameters);
        }
        let many = &self.replaced;
        let ids: Vec<&str> = many.iter().map(|(id, _, _)| *id).collect();
        let data: Vec<Jsonb<'_>> = many.iter().map(|(_, json, _)| Jsonb(json)).collect();
        let versions: Vec<i64> = many
            .iter()
            .map(|(_, _, version)| to_sql(*version))
            .collect();
        let parameters = [
            partition,
            param(&ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
            param(&versions, Type::INT8_ARRAY),
        ];
        sql.query(&REPLACE.with(table), &parameters)
    }

    fn send_deleted(
        &self,
        table: &DocumentTable,
        sql: &mut dyn Sql,
    ) -> Result<Vec<Row>, postgres::Error> {
        let partition = param(&table.partition, Type::TEXT);
        match self.deleted.as_slice() {
            [] => Ok(Vec::new()),
            [(id, version)] => sql.query(
                &DELETE_ONE.with(table),
                &[
                    partition,
                    param(id, Type::TEXT),
                    param(&to_sql(*version), Type::INT8),
                ],
            ),
            many => {
                let (ids, versions): (Vec<&str>, Vec<i64>) = many
                    .iter()
                    .map(|(id, version)| (*id, to_sql(*version)))
                    .unzip();
                sql.query_unnamed(
                    &DELETE.with(table),
                    &[
                        partition,
                        param(&ids, Type::TEXT_ARRAY),
                        param(&versions, Type::INT8_ARRAY),
                    ],
                )
            }
        }
    }
}

const VERSIONS: CollectionSql =
    CollectionSql::new("SELECT _id, _version FROM {table} WHERE _partition = $1 AND _id = ANY($2)");

/// The versions of those of the documents that exist.
pub(crate) fn versions(
    table: &DocumentTable,
    sql: &mut dyn Sql,
    ids: &[&str],
) -> Result<HashMap<String, u64>> {
    let parameters = [
        param(&table.partition, Type::TEXT),
        param(&ids, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query_unnamed(&VERSIONS.with(table), &parameters)
        .map_err(|source| Error::database("look at versions", source))?;
    rows.iter()
        .map(|row| Ok((get(row, "_id")?, get_u64(row, "_version")?)))
        .collect()
}
