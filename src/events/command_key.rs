//! The key under which a command is carried out once. Owns the statements on `emt_command_keys`, except for those of appends.

use super::partition::{Partition, PartitionSql};
use crate::database::position::from_sql;
use crate::database::{Sql, TextDigest, check_key, param, scalar};
use crate::error::{Error, Result};
use crate::json::{JsonError, from_stored, to_json};
use postgres::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

const COUNT: PartitionSql = PartitionSql::new(
    "
    SELECT pg_catalog.count(*) AS count
      FROM {schema}.emt_command_keys
     WHERE partition = $1 AND created <= pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2)",
);

/// A part at a time, so that a call that comes under one of the keys does not wait for all.
const DELETE: PartitionSql = PartitionSql::new(
    "
    DELETE FROM {schema}.emt_command_keys
     WHERE partition = $1 AND command_key = ANY (ARRAY(
           SELECT old.command_key FROM {schema}.emt_command_keys AS old
            WHERE old.partition = $1
              AND old.created <= pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2)
            ORDER BY old.created
            LIMIT 1000))",
);

/// Returns the number of keys that are at least so old, by the clock of the server.
pub(crate) fn count(sql: &mut dyn Sql, partition: &Partition, age: Duration) -> Result<u64> {
    let seconds = age.as_secs_f64();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&seconds, Type::FLOAT8),
    ];
    let rows = sql
        .query(&partition.sql(COUNT), &parameters)
        .map_err(|source| Error::in_partition("count command keys", &partition.name, source))?;
    let count: Option<i64> = scalar(&rows)?;
    Ok(from_sql(count.unwrap_or_default())?)
}

/// Deletes up to 1,000 keys that are at least so old, and returns their number.
pub(crate) fn delete_some(sql: &mut dyn Sql, partition: &Partition, age: Duration) -> Result<u64> {
    let seconds = age.as_secs_f64();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&seconds, Type::FLOAT8),
    ];
    sql.execute(&partition.sql(DELETE), &parameters)
        .map_err(|source| Error::in_partition("delete command keys", &partition.name, source))
}

/// The key of a command, and the digest of its content.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct CommandKey {
    pub(crate) key: String,
    /// Empty where the caller named no content.
    pub(crate) digest: String,
}

impl CommandKey {
    pub(crate) fn new(key: String) -> Self {
        Self {
            key,
            digest: String::new(),
        }
    }

    pub(crate) fn with_content(mut self, content: &impl Serialize) -> Result<Self> {
        let refused = |source| self.json_error("content", source);
        let json = to_json(content).map_err(refused)?;
        let mut content: Value =
            serde_json::from_slice(&json).map_err(|source| refused(JsonError::Unfit(source)))?;
        // A map may give its keys in another order each time.
        content.sort_all_objects();
        self.digest = TextDigest::from(&*content.to_string()).text();
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<()> {
        Ok(check_key("the command key", &self.key)?)
    }

    pub(crate) fn write_reply(&self, reply: &impl Serialize) -> Result<Vec<u8>> {
        to_json(reply).map_err(|source| self.json_error("reply", source))
    }

    pub(crate) fn read_reply<R: DeserializeOwned>(&self, reply: &[u8]) -> Result<R> {
        from_stored(reply).map_err(|source| self.json_error("reply", source))
    }

    /// Where the key was found with a digest.
    pub(super) fn check_digest(&self, stored: &str) -> Result<()> {
        if stored == self.digest {
            return Ok(());
        }
        Err(self.reused())
    }

    pub(super) fn reused(&self) -> Error {
        Error::CommandKeyReused {
            key: self.key.clone(),
        }
    }

    fn json_error(&self, part: &'static str, source: JsonError) -> Error {
        Error::CommandJson {
            key: self.key.clone(),
            part,
            source,
        }
    }
}
