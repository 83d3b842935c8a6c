//! Statements of the user's, inside a transaction that is not theirs to end.

use super::error::{DatabaseError, Result};
use super::sql::Sql;
use super::transaction::abort;
use super::transaction_control::refuse_transaction_control;
use postgres::Row;
use postgres::types::ToSql;

pub(crate) fn execute(
    sql: &mut dyn Sql,
    text: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    refuse(sql, text)?;
    sql.execute_untyped(text, values)
        .map_err(|source| DatabaseError::statement("run a statement", source))
}

pub(crate) fn query(
    sql: &mut dyn Sql,
    text: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    refuse(sql, text)?;
    sql.query_untyped(text, values)
        .map_err(|source| DatabaseError::statement("run a query", source))
}

pub(crate) fn batch_execute(sql: &mut dyn Sql, text: &str) -> Result<()> {
    refuse(sql, text)?;
    sql.batch(text)
        .map_err(|source| DatabaseError::statement("run statements", source))
}

/// Refuses SQL that would end the transaction. Whoever tries that cannot commit any more, even by ignoring the refusal.
fn refuse(sql: &mut dyn Sql, text: &str) -> Result<()> {
    refuse_transaction_control(text).inspect_err(|_| abort(sql))
}
