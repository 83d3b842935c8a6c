//! Statements with a filter.

use super::error::{Error, Result};
use crate::database::position::to_sql;
use crate::database::{ExpectedVersion, Parameter, Sql, SqlNames, SqlTemplate};
use crate::pongo::document::DocumentTable;
use crate::pongo::filter::{Filter, SortOrder, SqlParameters, SqlValue};
use crate::pongo::update::{Update, UpdatePhase, update_expression};
use postgres::Row;
use postgres::error::SqlState;
use serde_json::Value;
use std::sync::Arc;

/// PostgreSQL's protocol counts the parameters of a statement in 16 bits.
const MOST_PARAMETERS: usize = 65_535;

/// The name of a database function that guards reads. Each read calls it with the partition and the collection's name. It
/// returns TRUE or raises an error. It must be STABLE, to see the statement's snapshot.
#[derive(Clone, Copy)]
pub(crate) struct ReadGuard(pub(crate) &'static str);

impl ReadGuard {
    fn condition(self, schema: &str, collection: &str) -> String {
        format!("{schema}.{}($1, {collection})", self.0)
    }
}

/// Returns the LIMIT clause of a read: the number of rows, and the conditions that permit the read. `collection` is the SQL
/// expression of the collection's name for the guard.
///
/// The conditions are part of the limit, because every plan evaluates the limit once, before the first row. The planner would
/// drop a condition on the rows if it knows that no row matches the filter.
pub(super) fn limit_clause(
    table: &DocumentTable,
    guard: Option<(ReadGuard, &str)>,
    rows: Option<&str>,
) -> String {
    let guard = guard.map(|(guard, collection)| guard.condition(&table.schema, collection));
    let conditions: Vec<String> = table.read_condition().into_iter().chain(guard).collect();
    if conditions.is_empty() {
        return rows.map_or_else(String::new, |rows| format!("LIMIT {rows}"));
    }
    format!(
        "LIMIT CASE WHEN {} THEN {}::BIGINT ELSE 0 END",
        conditions.join(" AND "),
        rows.unwrap_or("NULL")
    )
}

/// A part of a statement with a filter.
pub(super) type StatementSql = SqlTemplate<StatementParts>;

/// The values of a template's placeholders.
pub(crate) struct StatementParts {
    table: Arc<DocumentTable>,
    parts: Vec<(&'static str, String)>,
}

impl SqlNames for StatementParts {
    const OPEN: &'static [&'static str] = &[
        "table",
        "partition",
        "known",
        "filter",
        "order",
        "limit",
        "skip",
        "document",
        "values",
        "place",
        "behind",
        "expected",
        "changed",
        "before",
        "keeps_id",
        "returned",
        "id",
        "inserted",
        "may_insert",
        "returned_inserted",
    ];

    fn get(&self, name: &str) -> Option<&str> {
        self.table.get(name).or_else(|| {
            let part = self.parts.iter().find(|(known, _)| *known == name);
            part.map(|(_, text)| text.as_str())
        })
    }
}

/// Collects the values of the templates' placeholders, and the parameters. `$1` is the partition.
pub(crate) struct StatementBuilder {
    parts: StatementParts,
    parameters: SqlParameters,
    /// Whether one plan fits all values.
    prepared: bool,
}

impl StatementBuilder {
    pub(super) fn new(table: &Arc<DocumentTable>) -> Self {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        Self {
            parts: StatementParts {
                table: Arc::clone(table),
                parts: Vec::with_capacity(4),
            },
            parameters,
            prepared: true,
        }
    }

    /// Fills in `{filter}`: the condition on the documents.
    ///
    /// A statement whose filter gives the id, or compares fields by equality, is prepared: its plan hardly depends on the
    /// values. Any other statement is planned with its values, so that the planner finds the right index.
    pub(super) fn filter(mut self, filter: &Filter) -> Result<Self> {
        let condition = filter
            .condition(&self.parts.table.schema, &mut self.parameters)
            .map_err(Error::Filter)?;
        self.prepared &= filter.has_one_plan();
        Ok(self.part("filter", ["(", &condition, ")"].concat()))
    }

    /// Fills in `{order}`: the order of a sort document, or nothing.
    pub(super) fn order(self, sort: Option<&Value>) -> Result<Self> {
        let Some(sort) = sort else {
            return Ok(self.part("order", ""));
        };
        let order = SortOrder::parse(sort, &self.parts.table.schema).map_err(Error::Filter)?;
        Ok(self.part("order", format!("ORDER BY {}", order.clause())))
    }

    /// Fills in `{limit}`: the maximum number of rows, and the guard.
    pub(super) fn limit(mut self, guard: Option<ReadGuard>, rows: Option<u64>) -> Self {
        let rows = rows.map(|rows| self.push(SqlValue::Bigint(to_sql(rows))));
        let table = Arc::clone(&self.parts.table);
        let collection = guard.map(|_| self.push(SqlValue::Text(table.collection.clone())));
        let guard = guard.zip(collection.as_deref());
        self.part("limit", limit_clause(&table, guard, rows.as_deref()))
    }

    /// Fills in `{expected}`: the condition on the picked document.
    pub(super) fn expected(mut self, expected: ExpectedVersion) -> Self {
        let condition = match expected {
            ExpectedVersion::Any | ExpectedVersion::Exists => "TRUE".to_owned(),
            ExpectedVersion::DoesNotExist => "FALSE".to_owned(),
            ExpectedVersion::Exact(version) => {
                let version = self.push(SqlValue::Bigint(to_sql(version)));
                format!("picked._version = {version}")
            }
        };
        self.part("expected", condition)
    }

    /// Fills in `{name}`.
    pub(super) fn part(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.parts.parts.push((name, text.into()));
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

    /// Adds a parameter. Returns its SQL placeholder.
    pub(super) fn push(&mut self, value: SqlValue) -> String {
        self.parameters.push(value)
    }

    /// Returns the SQL of the update of `document`.
    pub(super) fn updated(
        &mut self,
        update: &Update,
        document: &str,
        phase: UpdatePhase,
    ) -> Result<String> {
        let schema = &self.parts.table.schema;
        update_expression(update, document, phase, schema, &mut self.parameters)
            .map_err(Error::Update)
    }

    pub(super) fn build(self, templates: &[StatementSql]) -> Statement {
        let [statement] = self.build_each([templates]);
        statement
    }

    /// Returns several statements with the same values.
    pub(super) fn build_each<const N: usize>(
        self,
        statements: [&[StatementSql]; N],
    ) -> [Statement; N] {
        let parameters = Arc::new(self.parameters);
        statements.map(|templates| Statement {
            table: Arc::clone(&self.parts.table),
            text: self.parts.write_into(templates),
            parameters: Arc::clone(&parameters),
            prepared: self.prepared,
        })
    }
}

impl StatementParts {
    fn write_into(&self, templates: &[StatementSql]) -> String {
        let length: usize = templates.iter().map(|template| template.length()).sum();
        let mut text = String::with_capacity(length + 600);
        for template in templates {
            template.write_to(&mut text, self);
        }
        text
    }
}

/// A statement with its values.
pub(crate) struct Statement {
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

    /// Returns the server's plan of the statement, made with its values.
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

    /// Returns the error of the statement, or of its cursor. A regular expression is only compiled when a document is tested.
    pub(super) fn error(&self, doing: &'static str, source: postgres::Error) -> Error {
        let is_regex = source.code() == Some(&SqlState::INVALID_REGULAR_EXPRESSION);
        let message = source.as_db_error().map_or("", |error| error.message());
        match self.parameters.invalid_regex(message) {
            Some(error) if is_regex => Error::Filter(error),
            _ => self.table.write_error(doing, source),
        }
    }
}
