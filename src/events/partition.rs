//! One tenant's share of the tables, and their names.

use crate::database::identifier;
use crate::database::scope::Scope;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// `emt_messages_` and `_archived` leave 41 of the 63 bytes that a table's name may have.
const LONGEST_SUFFIX: usize = 41;

/// A partition, and the statements that touch its own tables only.
///
/// A statement on the parent tables with the partition as a parameter would lock the tables of every tenant.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: String,
    scope: Scope,
    tables: Tables,
    /// By the address of the template: a look-up costs less than reading it.
    statements: RwLock<HashMap<(usize, usize), Arc<str>>>,
}

impl Partition {
    pub(crate) fn new(schema: &Arc<str>, name: &str) -> Result<Self> {
        let tables = Tables {
            schema: identifier::quote(schema),
            suffix: table_suffix(name)?,
        };
        Ok(Self {
            name: name.to_owned(),
            scope: Scope {
                schema: Arc::clone(schema),
                partition: name.into(),
            },
            tables,
            statements: RwLock::default(),
        })
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn schema(&self) -> &Arc<str> {
        &self.scope.schema
    }

    /// A statement with the partition's table names in the place of `{schema}`, `{streams}`, `{messages}` and their leaf
    /// tables `{streams_active}`, `{streams_archived}`, `{messages_active}`, and its functions `{append}` and `{feed}`.
    pub(crate) fn sql(&self, template: &'static str) -> Arc<str> {
        let key = (template.as_ptr() as usize, template.len());
        let statements = self
            .statements
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = statements.get(&key) {
            return Arc::clone(statement);
        }
        drop(statements);
        let statement: Arc<str> = self.tables.write_into(template).into();
        let mut statements = self
            .statements
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        statements.insert(key, Arc::clone(&statement));
        statement
    }
}

/// The names of a partition's tables.
#[derive(Debug)]
struct Tables {
    schema: String,
    suffix: String,
}

impl Tables {
    fn write_into(&self, sql: &str) -> String {
        let Self { schema, suffix } = self;
        let table = |name: &str, leaf: &str| format!("{{schema}}.\"emt_{name}_{suffix}{leaf}\"");
        // The schema last: its name may have braces.
        sql.replace("{streams_active}", &table("streams", "_active"))
            .replace("{streams_archived}", &table("streams", "_archived"))
            .replace("{messages_active}", &table("messages", "_active"))
            .replace("{streams}", &table("streams", ""))
            .replace("{messages}", &table("messages", ""))
            .replace("{feed}", &format!("{{schema}}.\"emt_feed_in_{suffix}\""))
            .replace(
                "{append}",
                &format!("{{schema}}.\"emt_append_in_{suffix}\""),
            )
            .replace("{schema}", schema)
    }
}

/// The part of the table names that tells partitions apart; the same as `emt_partition_suffix` in the schema.
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
    // They would be the names of another tenant's leaf tables.
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
