//! A look at what a store relies on, before the first write over a connection: its server may be another one than before.

use super::error::{DatabaseError, Result};
use super::schema::function_error;
use super::sql::{Sql, param, scalar};
use parking_lot::Mutex;
use postgres::types::Type;
use std::collections::HashSet;
use std::sync::Arc;

/// A statement that tells what is wrong with a part of a store, or NULL. It takes the part's name.
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

    /// Fails with what is wrong.
    pub(crate) fn run(&self, sql: &mut dyn Sql) -> Result<()> {
        let part = &*self.part;
        let rows = sql
            .query_unnamed(&self.statement, &[param(&part, Type::TEXT)])
            .map_err(|source| function_error("look at what the store relies on", source))?;
        let wrong: Option<String> = scalar(&rows)?.flatten();
        wrong.map_or(Ok(()), |message| {
            Err(DatabaseError::Inconsistent { message })
        })
    }
}

/// The parts that were found to be in order over a connection.
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
