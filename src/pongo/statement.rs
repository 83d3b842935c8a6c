//! Statements with a filter in them.

use super::document::DocumentTable;
use crate::connection::{Parameter, Sql};
use crate::error::{Error, Result};
use crate::filter::{SqlParameters, SqlValue, filter_condition, pinned_id};
use crate::json::JsonError;
use crate::update::{Update, UpdatePhase, update_expression};
use postgres::Row;
use postgres::types::Json;
use serde_json::Value;
use serde_json::value::RawValue;

/// Collects what a statement's template leaves open, and the values.
///
/// `$1` is the partition. Parts stand in the template as `{name}`, and what is filled in is not looked at again: a field's
/// name may be `{table}`.
pub(super) struct StatementBuilder<'t> {
    table: &'t DocumentTable,
    parameters: SqlParameters,
    parts: Vec<(&'static str, String)>,
    /// Its plan is the same whatever the values are.
    prepared: bool,
}

impl<'t> StatementBuilder<'t> {
    pub(super) fn new(table: &'t DocumentTable) -> Self {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        let parts = vec![
            ("table", table.table.clone()),
            ("schema", table.schema.clone()),
        ];
        Self {
            table,
            parameters,
            parts,
            prepared: true,
        }
    }

    /// Fills in `{filter}`: the condition on the documents.
    ///
    /// A statement whose filter gives the id is prepared. Any other is planned with its values, which finds the index that
    /// serves them.
    pub(super) fn filter(mut self, filter: &Value) -> Result<Self> {
        let condition = filter_condition(filter, &mut self.parameters).map_err(Error::Filter)?;
        self.prepared &= pinned_id(filter).is_some();
        Ok(self.part("filter", format!("({condition})")))
    }

    /// Fills in `{name}`.
    pub(super) fn part(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.parts.push((name, text.into()));
        self
    }

    /// Fills in `{name}` with a parameter.
    pub(super) fn value(mut self, name: &'static str, value: SqlValue) -> Self {
        let parameter = self.parameters.push(value);
        self.part(name, parameter)
    }

    /// Adds a parameter, and returns how the statement mentions it.
    pub(super) fn push(&mut self, value: SqlValue) -> String {
        self.parameters.push(value)
    }

    /// Adds a document's JSON, which is sent as it is.
    pub(super) fn push_json(&mut self, json: &[u8]) -> Result<String> {
        let raw = serde_json::from_slice::<Box<RawValue>>(json);
        let raw = raw.map_err(|source| self.table.refused(JsonError::Serde(source)))?;
        Ok(self.push(SqlValue::RawJson(Json(raw))))
    }

    /// The SQL of what an update makes of `document`.
    pub(super) fn updated(
        &mut self,
        update: &Update,
        document: &str,
        phase: UpdatePhase,
    ) -> Result<String> {
        let update = update.document().map_err(Error::Update)?;
        let expression = update_expression(update, document, phase, &mut self.parameters)
            .map_err(Error::Update)?;
        // Only the first: a field may be named like this, too.
        Ok(expression.replacen("{schema}", &self.table.schema, 1))
    }

    pub(super) fn build(&self, template: &str) -> Statement {
        Statement {
            text: filled(template, &self.parts),
            parameters: self.parameters.clone(),
            prepared: self.prepared,
        }
    }
}

/// A statement with its values.
pub(super) struct Statement {
    text: String,
    parameters: SqlParameters,
    prepared: bool,
}

impl Statement {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn typed(&self) -> Vec<Parameter<'_>> {
        self.parameters.typed()
    }

    pub(super) fn query(&self, sql: &mut dyn Sql) -> Result<Vec<Row>, postgres::Error> {
        if self.prepared {
            return sql.query(&self.text, &self.typed());
        }
        sql.query_unnamed(&self.text, &self.typed())
    }

    pub(super) fn execute(&self, sql: &mut dyn Sql) -> Result<u64, postgres::Error> {
        if self.prepared {
            return sql.execute(&self.text, &self.typed());
        }
        sql.execute_unnamed(&self.text, &self.typed())
    }
}

/// The template with the parts in the places of their names.
fn filled(template: &str, parts: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
        text.push_str(before);
        if let Some((_, part)) = parts.iter().find(|(known, _)| *known == name) {
            text.push_str(part);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        let parts = [
            ("table", "\"{filter}\"".to_owned()),
            ("filter", "a = '{table}'".to_owned()),
        ];
        assert_eq!(
            filled("SELECT FROM {table} WHERE {filter} {order}", &parts),
            "SELECT FROM \"{filter}\" WHERE a = '{table}' "
        );
    }
}
