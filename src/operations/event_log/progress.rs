//! The progress of imports. Owns the statements on `emt_imports`.

use crate::database::position::{get_u64, to_sql};
use crate::database::{Sql, TextDigest, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::types::Type;

const FIND: PartitionSql = PartitionSql::new(
    "SELECT lines, digest FROM {schema}.emt_imports WHERE partition = $1 AND name = $2",
);

/// Changes nothing if another import of the same log has advanced.
const STORE: PartitionSql = PartitionSql::new("
    INSERT INTO {schema}.emt_imports AS import (partition, name, lines, digest) VALUES ($1, $2, $4, $5)
    ON CONFLICT (partition, name) DO UPDATE
        SET lines = EXCLUDED.lines, digest = EXCLUDED.digest, updated_at = now()
        WHERE import.lines = $3");

/// The first lines of a log, with their number and digest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ImportedPart {
    pub(super) lines: u64,
    pub(super) digest: String,
}

impl ImportedPart {
    pub(super) fn find(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<Self> {
        let rows = sql
            .query(
                &partition.sql(FIND),
                &[param(&partition.name, Type::TEXT), param(&name, Type::TEXT)],
            )
            .map_err(|source| Error::database("find an earlier import", source))?;
        match rows.first() {
            Some(row) => Ok(Self {
                lines: get_u64(row, "lines")?,
                digest: get(row, "digest")?,
            }),
            None => Ok(Self::default()),
        }
    }

    pub(super) fn store(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        name: &str,
        before: u64,
    ) -> Result<()> {
        let (lines, before) = (to_sql(self.lines), to_sql(before));
        let parameters = [
            param(&partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&before, Type::INT8),
            param(&lines, Type::INT8),
            param(&self.digest, Type::TEXT),
        ];
        let stored = sql
            .execute(&partition.sql(STORE), &parameters)
            .map_err(|source| Error::database("note the progress of an import", source))?;
        if stored == 1 {
            return Ok(());
        }
        Err(Error::invalid(
            "the event log",
            "is being imported by another program at the same time",
        ))
    }
}

/// The digest of the lines so far.
#[derive(Clone, Default)]
pub(super) struct LinesDigest(TextDigest);

impl LinesDigest {
    /// Adds a line without its line break, so that a log whose last line gains one stays the same.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.0.add(line);
        self.0.add(b"\n");
    }

    pub(super) fn text(&self) -> String {
        self.0.text()
    }
}
