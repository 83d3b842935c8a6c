//! The state of the schema in a database.

use super::adoption::{is_emmetts, is_replaced};
use super::applied::{applied, check_history};
use super::migration::SchemaPart;
use super::server::check_server;
use crate::database::Sql;
use crate::database::error::Result;
use std::fmt;

/// The state of the schema in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaState {
    /// The schema is missing.
    Missing,
    /// The schema was created or upgraded by Emmett 0.42 or newer. Migrating adopts it and keeps every message. Emmett's
    /// clients can continue to use it, with their own migrations switched off.
    Emmett,
    /// The schema has an older version.
    Old {
        /// The database's version.
        found: u32,
        /// The version that this library needs.
        needed: u32,
    },
    /// The schema is complete, but Emmett's own migrations replaced functions that Emmett's clients call. Programs of this
    /// library work; the processors of such a client do not. Migrating restores the functions.
    Replaced {
        /// The version.
        version: u32,
    },
    /// The schema is complete and up to date.
    Current {
        /// The version.
        version: u32,
    },
}

impl fmt::Display for SchemaState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("the schema is missing: run `emmett migrate run`"),
            Self::Emmett => formatter.write_str(
                "the schema is Emmett's: `emmett migrate run` adopts it and keeps every message",
            ),
            Self::Old { found, needed } => write!(
                formatter,
                "the schema has version {found}, this library needs {needed}: run `emmett migrate run`"
            ),
            Self::Replaced { version } => write!(
                formatter,
                "the schema has version {version}, but Emmett's migrations have replaced functions of it: run \
                 `emmett migrate run`, and switch off the migrations of the Node service"
            ),
            Self::Current { version } => {
                write!(formatter, "the schema is up to date (version {version})")
            }
        }
    }
}

pub(super) fn state(sql: &mut dyn Sql, schema: &str, part: SchemaPart) -> Result<SchemaState> {
    check_server(sql)?;
    let applied = applied(sql, schema)?;
    check_history(&applied)?;
    if part == SchemaPart::EventStore && is_emmetts(sql, schema, &applied)? {
        return Ok(SchemaState::Emmett);
    }
    let newest = part
        .migrations()
        .map(|migration| migration.version)
        .take_while(|version| applied.iter().any(|found| found.version == *version))
        .last();
    Ok(match newest {
        None => SchemaState::Missing,
        Some(found) if found < part.latest() => SchemaState::Old {
            found: found.unsigned_abs(),
            needed: part.latest().unsigned_abs(),
        },
        Some(found) if part == SchemaPart::EventStore && is_replaced(sql, schema)? => {
            SchemaState::Replaced {
                version: found.unsigned_abs(),
            }
        }
        Some(found) => SchemaState::Current {
            version: found.unsigned_abs(),
        },
    })
}
