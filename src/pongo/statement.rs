//! Statements with a filter in them.

use super::document::DocumentTable;
use super::error::{Error, Result};
use crate::database::position::to_sql;
use crate::database::{Parameter, Sql};
use crate::pongo::document_version::ExpectedDocument;
use crate::pongo::filter::{
    SortOrder, SqlParameters, SqlValue, filter_condition, is_plain_equality, pinned_id,
};
use crate::pongo::update::{Update, UpdatePhase, update_expression};
use postgres::Row;
use postgres::error::SqlState;
use serde_json::Value;
use std::sync::Arc;

/// PostgreSQL's protocol counts the parameters of a statement in 16 bits.
const MOST_PARAMETERS: usize = 65_535;

/// How a statement begins that writes the first document which matches: it locks the document before it looks at anything of
/// it, so nothing can come between what it reads and what it writes.
pub(super) const PICK: &str = "
    WITH picked AS (
        SELECT _id, _version, data
          FROM {table}
         WHERE _partition = $1 AND {filter}
         {order}
         LIMIT 1
           FOR UPDATE
    )";

/// Collects what a statement's template leaves open, and the values.
///
/// `$1` is the partition. Parts stand in the template as `{name}`, and what is filled in is not looked at again: a field's
/// name may be `{table}`.
pub(super) struct StatementBuilder {
    table: Arc<DocumentTable>,
    parameters: SqlParameters,
    parts: Vec<(&'static str, String)>,
    /// Its plan is the same whatever the values are.
    prepared: bool,
}

impl StatementBuilder {
    pub(super) fn new(table: &Arc<DocumentTable>) -> Self {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        Self {
            table: Arc::clone(table),
            parameters,
            parts: Vec::with_capacity(4),
            prepared: true,
        }
    }

    /// Fills in `{filter}`: the condition on the documents.
    ///
    /// A statement whose filter gives the id, or compares fields by equality, is prepared: its plan hardly depends on the
    /// values. Any other is planned with its values, which finds the index that serves them.
    pub(super) fn filter(mut self, filter: &Value) -> Result<Self> {
        let condition = filter_condition(filter, &self.table.schema, &mut self.parameters)
            .map_err(Error::Filter)?;
        self.prepared &= pinned_id(filter).is_some() || is_plain_equality(filter);
        Ok(self.part("filter", ["(", &condition, ")"].concat()))
    }

    /// Fills in `{order}`: by a sort document; not at all where there is none.
    pub(super) fn order(self, sort: Option<&Value>) -> Result<Self> {
        let Some(sort) = sort else {
            return Ok(self);
        };
        let order = SortOrder::parse(sort, &self.table.schema).map_err(Error::Filter)?;
        Ok(self.part("order", format!("ORDER BY {}", order.clause())))
    }

    /// Fills in `{expected}`: the condition on the document that was picked.
    pub(super) fn expected(mut self, expected: ExpectedDocument) -> Self {
        let condition = match expected {
            ExpectedDocument::Any | ExpectedDocument::Exists => "TRUE".to_owned(),
            ExpectedDocument::DoesNotExist => "FALSE".to_owned(),
            ExpectedDocument::Version(version) => {
                let version = self.push(SqlValue::Bigint(to_sql(version)));
                format!("picked._version = {version}")
            }
        };
        self.part("expected", condition)
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

    pub(super) fn parameters(&mut self) -> &mut SqlParameters {
        &mut self.parameters
    }

    /// Adds a parameter, and returns how the statement mentions it.
    pub(super) fn push(&mut self, value: SqlValue) -> String {
        self.parameters.push(value)
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

    pub(super) fn build(self, template: &str) -> Statement {
        let [statement] = self.build_each([template]);
        statement
    }

    /// Several statements with the same values.
    pub(super) fn build_each<const N: usize>(self, templates: [&str; N]) -> [Statement; N] {
        let parameters = Arc::new(self.parameters);
        templates.map(|template| Statement {
            table: Arc::clone(&self.table),
            text: filled(template, |name| match name {
                "table" => Some(&self.table.table),
                "schema" => Some(&self.table.schema),
                _ => self
                    .parts
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, part)| part),
            }),
            parameters: Arc::clone(&parameters),
            prepared: self.prepared,
        })
    }
}

/// A statement with its values.
pub(super) struct Statement {
    table: Arc<DocumentTable>,
    text: String,
    parameters: Arc<SqlParameters>,
    prepared: bool,
}

impl Statement {
    fn parameters(&self) -> Result<Vec<Parameter<'_>>> {
        let parameters = self.parameters.typed();
        if parameters.len() > MOST_PARAMETERS {
            let reason = format!(
                "compares with {} values one by one, and a statement takes {MOST_PARAMETERS} at the most: `$in` takes any number",
                parameters.len()
            );
            return Err(Error::invalid("the filter", reason));
        }
        Ok(parameters)
    }

    pub(super) fn query(&self, doing: &'static str, sql: &mut dyn Sql) -> Result<Vec<Row>> {
        let parameters = self.parameters()?;
        let rows = if self.prepared {
            sql.query(&self.text, &parameters)
        } else {
            sql.query_unnamed(&self.text, &parameters)
        };
        rows.map_err(|source| self.error(doing, source))
    }

    pub(super) fn execute(&self, doing: &'static str, sql: &mut dyn Sql) -> Result<u64> {
        let parameters = self.parameters()?;
        let count = if self.prepared {
            sql.execute(&self.text, &parameters)
        } else {
            sql.execute_unnamed(&self.text, &parameters)
        };
        count.map_err(|source| self.error(doing, source))
    }

    /// The server's plan of the statement, made with its values.
    pub(super) fn explain(&self, options: &str, sql: &mut dyn Sql) -> Result<Vec<Row>> {
        let text = format!("EXPLAIN {options} {}", self.text);
        sql.query_unnamed(&text, &self.parameters()?)
            .map_err(|source| self.error("explain a query", source))
    }

    /// Opens a cursor for the statement.
    pub(super) fn declare(&self, cursor: &str, sql: &mut dyn Sql) -> Result<()> {
        let text = format!("DECLARE {cursor} NO SCROLL CURSOR FOR {}", self.text);
        sql.execute_unnamed(&text, &self.parameters()?)
            .map_err(|source| self.error("find documents", source))?;
        Ok(())
    }

    /// The error of a cursor of the statement, too: a regular expression is only looked at when a document is.
    pub(super) fn error(&self, doing: &'static str, source: postgres::Error) -> Error {
        let is_regex = source.code() == Some(&SqlState::INVALID_REGULAR_EXPRESSION);
        let message = source.as_db_error().map_or("", |error| error.message());
        match self.parameters.invalid_regex(message) {
            Some(error) if is_regex => Error::Filter(error),
            _ => self.table.write_error(doing, source),
        }
    }
}

/// The template with the parts in the places of their names; nothing in the place of a part that there is not.
fn filled<'p>(template: &str, part: impl Fn(&str) -> Option<&'p String>) -> String {
    let mut text = String::with_capacity(template.len() + 600);
    let mut rest = template;
    while let Some((before, behind)) = split_at(rest, b'{') {
        let (name, after) = split_at(behind, b'}').unwrap_or((behind, ""));
        text.push_str(before);
        text.push_str(part(name).map_or("", String::as_str));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// What stands before the first such character, and what behind it.
fn split_at(text: &str, ascii: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(ascii, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        let (table, filter) = ("\"{filter}\"".to_owned(), "a = '{table}'".to_owned());
        let part = |name: &str| match name {
            "table" => Some(&table),
            "filter" => Some(&filter),
            _ => None,
        };
        assert_eq!(
            filled("SELECT FROM {table} WHERE {filter} {order}", part),
            "SELECT FROM \"{filter}\" WHERE a = '{table}' "
        );
    }
}
