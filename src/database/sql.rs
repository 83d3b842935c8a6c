//! Running statements: prepared once per connection, or unnamed in one round trip.

use super::driver_error::{is_retryable, is_stale_plan, is_wrong_server};
use postgres::fallible_iterator::FallibleIterator;
use postgres::row::RowIndex;
use postgres::types::private::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Row, Statement, Transaction};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt::Display;

/// A value and its SQL type in the statement.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(crate) fn param(value: &(dyn ToSql + Sync), kind: Type) -> Parameter<'_> {
    (value, kind)
}

/// Reads a column by its name. Statements with many rows read it by its number: a struct lists the numbers beside the
/// statement. A type that does not match is an error, not a panic.
pub(crate) fn get<'a, T: FromSql<'a>>(
    row: &'a Row,
    column: impl RowIndex + Display,
) -> super::error::Result<T> {
    row.try_get(column)
        .map_err(|source| super::error::DatabaseError::statement("read a row", source))
}

/// Returns the value of a statement with one row and one column; `None` without a row.
pub(crate) fn scalar<'a, T: FromSql<'a>>(rows: &'a [Row]) -> super::error::Result<Option<T>> {
    rows.first().map(|row| get(row, 0)).transpose()
}

/// Returns the values of a statement with one column.
pub(crate) fn scalars<'a, T: FromSql<'a>>(rows: &'a [Row]) -> super::error::Result<Vec<T>> {
    rows.iter().map(|row| get(row, 0)).collect()
}

/// A connection or a transaction that runs statements.
///
/// This crate's statements name the types of their parameters, so that an unnamed statement also takes one round trip.
pub(crate) trait Sql: Send {
    fn query(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, postgres::Error>;

    fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, postgres::Error>;

    /// Like `query`, but never prepared: planned with the actual values.
    fn query_unnamed(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, postgres::Error>;

    /// Like `execute`, but never prepared: planned with the actual values.
    fn execute_unnamed(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, postgres::Error>;

    /// Passes the rows to `each` as they arrive, until it returns false.
    fn query_each(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> Result<(), postgres::Error>;

    /// Runs a user's statement, whose types only the server knows.
    fn query_untyped(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error>;

    /// Like `query_untyped`, for statements without rows.
    fn execute_untyped(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, postgres::Error>;

    /// Runs several statements without parameters, in one round trip.
    fn batch(&mut self, sql: &str) -> Result<(), postgres::Error>;

    /// Copies rows in PostgreSQL's binary format.
    fn copy_in<'a>(&'a mut self, sql: &str) -> Result<postgres::CopyInWriter<'a>, postgres::Error>;
}

/// Statements that a connection has prepared.
///
/// Limited in number: many tenants or many filters would otherwise grow it without bound.
#[derive(Default)]
struct PreparedStatements(HashMap<String, Statement>);

const MOST_PREPARED: usize = 256;

impl PreparedStatements {
    fn get(
        &mut self,
        client: &mut Client,
        sql: &str,
        types: &[Type],
    ) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        if self.0.len() == MOST_PREPARED {
            self.0.clear();
        }
        let statement = client.prepare_typed(sql, types)?;
        self.0.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// A migration can make a plan stale. The next use prepares the statement again.
    fn forget_if_stale(&mut self, sql: &str, error: &postgres::Error) {
        if is_stale_plan(error) {
            self.0.remove(sql);
        }
    }
}

/// A client with its prepared statements, if it may keep any.
pub(crate) struct PreparingClient {
    pub(crate) client: Client,
    statements: Option<PreparedStatements>,
    /// The connection leads to a standby: the server refused a write.
    pub(crate) is_wrong_server: bool,
    /// A statement failed because of a temporary database failure, since the last check.
    pub(crate) was_unwell: bool,
}

impl PreparingClient {
    pub(crate) fn new(client: Client, prepares: bool) -> Self {
        Self {
            client,
            statements: prepares.then(PreparedStatements::default),
            is_wrong_server: false,
            was_unwell: false,
        }
    }

    /// Runs a statement in its prepared form, or unnamed if none can be kept.
    fn run<T>(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        run: impl FnOnce(&mut Client, &Statement, &[&(dyn ToSql + Sync)]) -> Result<T, postgres::Error>,
        run_unnamed: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, postgres::Error> {
        let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        self.run_prepared(
            sql,
            &types,
            |client, statement| run(client, statement, &values),
            run_unnamed,
        )
    }

    fn run_prepared<T>(
        &mut self,
        sql: &str,
        types: &[Type],
        run: impl FnOnce(&mut Client, &Statement) -> Result<T, postgres::Error>,
        run_unnamed: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, postgres::Error> {
        let Some(statements) = &mut self.statements else {
            return self.run_noting(run_unnamed);
        };
        let result = statements
            .get(&mut self.client, sql, types)
            .and_then(|statement| run(&mut self.client, &statement));
        if let Err(error) = &result {
            statements.forget_if_stale(sql, error);
        }
        self.noted(result)
    }

    fn run_noting<T>(
        &mut self,
        run: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, postgres::Error> {
        let result = run(&mut self.client);
        self.noted(result)
    }

    /// Examines every error of the connection, also of users' statements, so that the pool learns of it.
    fn noted<T>(&mut self, result: Result<T, postgres::Error>) -> Result<T, postgres::Error> {
        if let Err(error) = &result {
            self.is_wrong_server |= is_wrong_server(error);
            self.was_unwell |= is_retryable(error);
        }
        result
    }
}

impl Sql for PreparingClient {
    fn query(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, postgres::Error> {
        self.run(
            sql,
            parameters,
            |client, statement, values| client.query(statement, values),
            |client| client.query_typed(sql, parameters),
        )
    }

    fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, postgres::Error> {
        self.run(
            sql,
            parameters,
            |client, statement, values| client.execute(statement, values),
            |client| client.execute_typed(sql, parameters),
        )
    }

    fn query_unnamed(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, postgres::Error> {
        self.run_noting(|client| client.query_typed(sql, parameters))
    }

    fn execute_unnamed(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, postgres::Error> {
        self.run_noting(|client| client.execute_typed(sql, parameters))
    }

    fn query_each(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> Result<(), postgres::Error> {
        let Some(statements) = &mut self.statements else {
            return self.run_noting(|client| client.query_each(sql, parameters, each));
        };
        let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let result = statements
            .get(&mut self.client, sql, &types)
            .and_then(|statement| {
                let values = parameters.iter().map(|(value, _)| *value);
                hand_over(self.client.query_raw(&statement, values)?, each)
            });
        if let Err(error) = &result {
            statements.forget_if_stale(sql, error);
        }
        self.noted(result)
    }

    fn query_untyped(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error> {
        self.run_prepared(
            sql,
            &[],
            |client, statement| client.query(statement, values),
            |client| client.query(sql, values),
        )
    }

    fn execute_untyped(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, postgres::Error> {
        self.run_prepared(
            sql,
            &[],
            |client, statement| client.execute(statement, values),
            |client| client.execute(sql, values),
        )
    }

    fn batch(&mut self, sql: &str) -> Result<(), postgres::Error> {
        self.run_noting(|client| client.batch_execute(sql))
    }

    fn copy_in<'a>(&'a mut self, sql: &str) -> Result<postgres::CopyInWriter<'a>, postgres::Error> {
        self.client.copy_in(sql)
    }
}

fn hand_over(
    mut rows: postgres::RowIter<'_>,
    each: &mut dyn FnMut(&Row) -> bool,
) -> Result<(), postgres::Error> {
    while let Some(row) = rows.next()? {
        if !each(&row) {
            break;
        }
    }
    Ok(())
}

/// The unnamed form: one round trip without a prepared statement, for connections that cannot keep any.
macro_rules! unnamed_sql {
    ($($kind:ty),*) => {$(
        impl Sql for $kind {
            fn query(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, postgres::Error> {
                self.query_typed(sql, parameters)
            }

            fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, postgres::Error> {
                self.execute_typed(sql, parameters)
            }

            fn query_unnamed(
                &mut self,
                sql: &str,
                parameters: &[Parameter<'_>],
            ) -> Result<Vec<Row>, postgres::Error> {
                self.query_typed(sql, parameters)
            }

            fn execute_unnamed(
                &mut self,
                sql: &str,
                parameters: &[Parameter<'_>],
            ) -> Result<u64, postgres::Error> {
                self.execute_typed(sql, parameters)
            }

            fn query_each(
                &mut self,
                sql: &str,
                parameters: &[Parameter<'_>],
                each: &mut dyn FnMut(&Row) -> bool,
            ) -> Result<(), postgres::Error> {
                let parameters = parameters.iter().map(|(value, kind)| (*value, kind.clone()));
                hand_over(self.query_typed_raw(sql, parameters)?, each)
            }

            fn query_untyped(
                &mut self,
                sql: &str,
                values: &[&(dyn ToSql + Sync)],
            ) -> Result<Vec<Row>, postgres::Error> {
                self.query(sql, values)
            }

            fn execute_untyped(
                &mut self,
                sql: &str,
                values: &[&(dyn ToSql + Sync)],
            ) -> Result<u64, postgres::Error> {
                self.execute(sql, values)
            }

            fn batch(&mut self, sql: &str) -> Result<(), postgres::Error> {
                self.batch_execute(sql)
            }

            fn copy_in<'a>(&'a mut self, sql: &str) -> Result<postgres::CopyInWriter<'a>, postgres::Error> {
                self.copy_in(sql)
            }
        }
    )*};
}

unnamed_sql!(Client, Transaction<'_>);

/// JSON text as a `jsonb` value, in both directions, without an intermediate `Value`.
#[derive(Debug)]
pub(crate) struct Jsonb<'a>(pub(crate) &'a [u8]);

/// The version byte of jsonb's binary format.
const JSONB_FORMAT: u8 = 1;

impl ToSql for Jsonb<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&[JSONB_FORMAT]);
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSONB
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Jsonb<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        match raw.split_first() {
            Some((&JSONB_FORMAT, json)) => Ok(Self(json)),
            _ => Err("the server sent jsonb in an unknown format version".into()),
        }
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSONB
    }
}
