//! Savepoints: parts of a transaction that are taken back alone, and questions that only a savepoint answers.

use super::error::{DatabaseError, Result};
use super::sql::Sql;

const CHECK_OPEN: &str = "SAVEPOINT emt_open; RELEASE SAVEPOINT emt_open";

/// Fails where the transaction was aborted or ended.
pub(crate) fn check_open(sql: &mut dyn Sql) -> Result<()> {
    sql.batch(CHECK_OPEN)
        .map_err(|error| DatabaseError::statement("go on with the transaction", error))
}

/// Leaves nothing of the transaction to commit, back to the last savepoint: a statement fails in it.
pub(crate) fn abort(sql: &mut dyn Sql) {
    // Over a lost connection this fails for another reason, and there is nothing to commit either.
    let _ = sql.batch("ROLLBACK TO SAVEPOINT emt_none");
}

/// A savepoint that is rolled back to unless it is released.
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
        // Savepoints of one name hide each other, so nesting needs no numbers.
        let released = self.sql.batch("RELEASE SAVEPOINT emt_nested");
        self.open = released.is_err();
        released.map_err(|error| DatabaseError::statement("release the savepoint", error))
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if self.open {
            // Where this fails, so does the commit of the transaction around it.
            let _ = self
                .sql
                .batch("ROLLBACK TO SAVEPOINT emt_nested; RELEASE SAVEPOINT emt_nested");
        }
    }
}

/// What the present part of a batch can be taken back to.
#[derive(PartialEq, Clone, Copy)]
pub(super) enum Savepoint {
    /// The part has done nothing yet; there may be a savepoint of the part before.
    None {
        earlier: bool,
    },
    /// The part has begun the transaction.
    Begin,
    Set,
}

impl Savepoint {
    /// That of the next part.
    pub(super) fn next(self) -> Self {
        let earlier = match self {
            Self::None { earlier } => earlier,
            Self::Begin => false,
            Self::Set => true,
        };
        Self::None { earlier }
    }

    /// Has a part that uses the transaction for the first time begin with a savepoint, which takes the earlier one's place.
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

/// Takes back what was done since the savepoint was set.
pub(super) fn roll_back_part(sql: &mut dyn Sql) -> Result<()> {
    sql.batch("ROLLBACK TO SAVEPOINT emt_part")
        .map_err(|source| DatabaseError::statement("take back a part of a batch", source))
}
