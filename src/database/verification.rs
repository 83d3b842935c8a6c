//! A check of the store's requirements before the first write over a connection, because it may lead to another server.

use super::error::{DatabaseError, Result};
use super::schema::function_error;
use super::sql::{Sql, param, scalar};
use parking_lot::Mutex;
use postgres::types::Type;
use std::collections::HashSet;
use std::sync::Arc;

/// A statement that returns the problem with a part of a store, or NULL. Its parameter is the part's name.
#[derive(Debug, Clone)]
pub(crate) struct Verification {
    part: Arc<str>,
    statement: Arc<str>,
}

impl Verification {
    pub(crate) fn new(part: &str, statement: String) -> Self {
        Self {
            part: part.into(),
            statement: statement.into(),
        }
    }

    /// Fails with the problem that the statement returns.
    pub(crate) fn run(&self, sql: &mut dyn Sql) -> Result<()> {
        let part = &*self.part;
        let rows = sql
            .query_unnamed(&self.statement, &[param(&part, Type::TEXT)])
            .map_err(|source| function_error("check the store's requirements", source))?;
        let wrong: Option<String> = scalar(&rows)?.flatten();
        wrong.map_or(Ok(()), |message| {
            Err(DatabaseError::Inconsistent { message })
        })
    }
}

/// The parts that were verified over a connection.
#[derive(Clone, Default)]
pub(crate) struct VerifiedParts(Arc<Mutex<HashSet<Arc<str>>>>);

impl VerifiedParts {
    pub(super) fn contains(&self, verification: &Verification) -> bool {
        self.0.lock().contains(&verification.part)
    }

    pub(super) fn insert(&self, verification: &Verification) {
        self.0.lock().insert(Arc::clone(&verification.part));
    }

    pub(super) fn remove(&self, part: &str) {
        self.0.lock().remove(part);
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
