//! The tables of one tenant, and their names.

use crate::database::{Scope, SqlNames, SqlTemplate, Verification, identifier};
use crate::error::{Error, Result};
use parking_lot::RwLock;
use postgres::error::SqlState;
use std::collections::HashMap;
use std::sync::Arc;

/// `emt_messages_` and `_archived` leave 41 of the 63 bytes of a table's name.
const LONGEST_SUFFIX: usize = 41;

/// Checks what writers rely on and the tables cannot guard: the sequences.
const CHECK: PartitionSql = PartitionSql::new("SELECT {schema}.emt_store_check($1)");

/// A partition, and the statements on its own tables.
///
/// A statement on the parent tables with the partition as a parameter would lock the tables of every tenant.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: String,
    scope: Scope,
    names: PartitionNames,
    verification: Verification,
    /// Keyed by the address of the template.
    statements: RwLock<HashMap<(usize, usize), Arc<str>>>,
}

impl Partition {
    pub(crate) fn new(schema: &Arc<str>, name: &str) -> Result<Self> {
        let names = PartitionNames::new(schema, &table_suffix(name)?);
        Ok(Self {
            name: name.to_owned(),
            scope: Scope {
                schema: Arc::clone(schema),
                partition: name.into(),
            },
            verification: Verification::new(name, CHECK.with(&names)),
            names,
            statements: RwLock::default(),
        })
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn schema(&self) -> &Arc<str> {
        &self.scope.schema
    }

    /// Returns the check that runs before the first write over a connection.
    pub(crate) fn verification(&self) -> &Verification {
        &self.verification
    }

    /// Returns the statement with the names of the partition.
    pub(crate) fn sql(&self, template: PartitionSql) -> Arc<str> {
        let address = template.address();
        let statements = self.statements.read();
        if let Some(statement) = statements.get(&address) {
            return Arc::clone(statement);
        }
        drop(statements);
        let statement: Arc<str> = template.with(&self.names).into();
        self.statements
            .write()
            .insert(address, Arc::clone(&statement));
        statement
    }
}

/// The names of a partition's tables, of their leaf tables, and of its functions.
#[derive(Debug)]
pub(crate) struct PartitionNames {
    schema: String,
    streams: String,
    streams_active: String,
    streams_archived: String,
    messages: String,
    messages_active: String,
    append: String,
    append_keyed: String,
    append_several: String,
    feed: String,
}

/// A statement on the tables of a partition.
pub(crate) type PartitionSql = SqlTemplate<PartitionNames>;

impl PartitionNames {
    fn new(schema: &str, suffix: &str) -> Self {
        let name = |name: String| identifier::qualify(schema, &name);
        Self {
            schema: identifier::quote(schema),
            streams: name(format!("emt_streams_{suffix}")),
            streams_active: name(format!("emt_streams_{suffix}_active")),
            streams_archived: name(format!("emt_streams_{suffix}_archived")),
            messages: name(format!("emt_messages_{suffix}")),
            messages_active: name(format!("emt_messages_{suffix}_active")),
            append: name(format!("emt_append_in_{suffix}")),
            append_keyed: name(format!("emt_append_keyed_in_{suffix}")),
            append_several: name(format!("emt_append_several_in_{suffix}")),
            feed: name(format!("emt_feed_in_{suffix}")),
        }
    }
}

impl SqlNames for PartitionNames {
    const OPEN: &'static [&'static str] = &[
        "schema",
        "streams",
        "streams_active",
        "streams_archived",
        "messages",
        "messages_active",
        "append",
        "append_keyed",
        "append_several",
        "feed",
    ];

    fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "schema" => &self.schema,
            "streams" => &self.streams,
            "streams_active" => &self.streams_active,
            "streams_archived" => &self.streams_archived,
            "messages" => &self.messages,
            "messages_active" => &self.messages_active,
            "append" => &self.append,
            "append_keyed" => &self.append_keyed,
            "append_several" => &self.append_several,
            "feed" => &self.feed,
            _ => return None,
        })
    }
}

/// Returns the part of the table names that tells partitions apart, as `emt_partition_suffix` does in the schema.
fn table_suffix(partition: &str) -> Result<String> {
    let suffix: String = partition
        .chars()
        .map(|character| if is_plain(character) { character } else { '_' })
        .collect();
    if partition.contains('\0') {
        return Err(Error::invalid(
            format!("tenant {partition:?}"),
            "must not contain the character U+0000",
        ));
    }
    if suffix.is_empty() || suffix.len() > LONGEST_SUFFIX {
        let reason = format!(
            "must have 1 to {LONGEST_SUFFIX} characters, has {}",
            suffix.len()
        );
        return Err(Error::invalid(format!("tenant {partition:?}"), reason));
    }
    // Such names would be the leaf tables of another tenant.
    if suffix.ends_with("_active") || suffix.ends_with("_archived") {
        return Err(Error::invalid(
            format!("tenant {partition:?}"),
            "must not end with _active or _archived",
        ));
    }
    Ok(suffix)
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

impl Error {
    /// Returns the error of a statement on a partition's tables. If the tables are missing, so is the tenant.
    pub(crate) fn in_partition(
        doing: &'static str,
        partition: &str,
        source: postgres::Error,
    ) -> Self {
        let missing = [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::CHECK_VIOLATION,
        ];
        let is_unknown = source.code().is_some_and(|code| code.code() == "SE005");
        let is_missing = source.code().is_some_and(|code| missing.contains(code));
        if is_unknown || is_missing && names_partition(&source) {
            return Self::UnknownTenant {
                tenant: partition.to_owned(),
            };
        }
        Self::database(doing, source)
    }
}

fn names_partition(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let message = error.message();
        message.contains("emt_streams")
            || message.contains("emt_messages")
            || message.contains("emt_projections")
            || message.contains("emt_append_in_")
            || message.contains("emt_append_keyed_in_")
            || message.contains("emt_append_several_in_")
            || message.contains("emt_feed_in_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_each_name_that_its_statements_leave_open() {
        let names = PartitionNames::new("public", "emt_default");
        for name in PartitionNames::OPEN {
            assert!(names.get(name).is_some(), "{name}");
        }
    }
}
