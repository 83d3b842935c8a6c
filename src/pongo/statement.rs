//! Statements with a filter in them.

use super::document::DocumentTable;
use crate::connection::{Parameter, Sql};
use crate::error::{Error, Result};
use crate::filter::{SqlParameters, SqlValue, filter_condition};
use serde_json::Value;

/// A statement with a filter in it. It runs unnamed: planned with its values, it finds the index that serves them.
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) parameters: SqlParameters,
}

impl Statement {
    pub(super) fn new(table: &DocumentTable, text: &str, filter: &Value) -> Result<Self> {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        let condition = filter_condition(filter, &mut parameters).map_err(Error::Filter)?;
        Ok(Self {
            text: format!("{}({condition})", table.write_into(text)),
            parameters,
        })
    }

    pub(super) fn add(&mut self, clause: &str, what: &str) {
        for part in [" ", clause, " ", what] {
            self.text.push_str(part);
        }
    }

    fn typed(&self) -> Vec<Parameter<'_>> {
        self.parameters.typed()
    }

    pub(super) fn query(&self, sql: &mut dyn Sql) -> Result<Vec<postgres::Row>> {
        sql.query_unnamed(&self.text, &self.typed())
            .map_err(|source| Error::database("query a collection", source))
    }

    pub(super) fn execute(&self, sql: &mut dyn Sql) -> Result<u64> {
        sql.execute_unnamed(&self.text, &self.typed())
            .map_err(|source| Error::database("change a collection", source))
    }
}
