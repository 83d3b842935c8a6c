//! Savepoints: parts of a transaction that can be undone separately, and checks that only a savepoint allows.

use super::error::{DatabaseError, Result};
use super::sql::Sql;

const CHECK_OPEN: &str = "SAVEPOINT emt_open; RELEASE SAVEPOINT emt_open";

/// Fails if the transaction was aborted or ended.
pub(crate) fn check_open(sql: &mut dyn Sql) -> Result<()> {
    sql.batch(CHECK_OPEN)
        .map_err(|error| DatabaseError::statement("continue the transaction", error))
}

/// Aborts the transaction back to the last savepoint, by a statement that fails.
pub(crate) fn abort(sql: &mut dyn Sql) {
    // Over a lost connection, the statement fails for that reason, and nothing can be committed either.
    let _ = sql.batch("ROLLBACK TO SAVEPOINT emt_none");
}

/// A savepoint that is rolled back to on drop unless it is released.
pub(crate) struct Nested<'a> {
    sql: &'a mut dyn Sql,
    open: bool,
}

impl<'a> Nested<'a> {
    pub(crate) fn begin(sql: &'a mut dyn Sql) -> Result<Self> {
        sql.batch("SAVEPOINT emt_nested")
            .map_err(|error| DatabaseError::statement("set a savepoint", error))?;
        Ok(Self { sql, open: true })
    }

    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        self.sql
    }

    pub(crate) fn release(mut self) -> Result<()> {
        // Savepoints with the same name hide each other, so nesting needs no numbers.
        let released = self.sql.batch("RELEASE SAVEPOINT emt_nested");
        self.open = released.is_err();
        released.map_err(|error| DatabaseError::statement("release the savepoint", error))
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if self.open {
            // If this fails, so does the commit of the surrounding transaction.
            let _ = self
                .sql
                .batch("ROLLBACK TO SAVEPOINT emt_nested; RELEASE SAVEPOINT emt_nested");
        }
    }
}

/// The state to which the current part of a batch can be undone.
#[derive(PartialEq, Clone, Copy)]
pub(super) enum Savepoint {
    /// The part has run no statement yet. The previous part may have left a savepoint.
    None {
        earlier: bool,
    },
    /// The part began the transaction.
    Begin,
    Set,
}

impl Savepoint {
    /// Returns the savepoint of the next part.
    pub(super) fn next(self) -> Self {
        let earlier = match self {
            Self::None { earlier } => earlier,
            Self::Begin => false,
            Self::Set => true,
        };
        Self::None { earlier }
    }

    /// Sets the savepoint before the part's first statement, in place of the previous part's.
    pub(super) fn set(&mut self, sql: &mut dyn Sql) -> Result<()> {
        let Self::None { earlier } = *self else {
            return Ok(());
        };
        let set = if earlier {
            "RELEASE SAVEPOINT emt_part; SAVEPOINT emt_part"
        } else {
            "SAVEPOINT emt_part"
        };
        sql.batch(set)
            .map_err(|source| DatabaseError::statement("begin a part of a batch", source))?;
        *self = Self::Set;
        Ok(())
    }
}

/// Undoes everything since the savepoint.
pub(super) fn roll_back_part(sql: &mut dyn Sql) -> Result<()> {
    sql.batch("ROLLBACK TO SAVEPOINT emt_part")
        .map_err(|source| DatabaseError::statement("undo a part of a batch", source))
}
