//! The database schema: the content of `schema.sql`, the part that a database has, and the migration.

mod adoption;
mod applied;
mod auto_migration;
mod declared;
mod files;
mod functions;
mod migrate;
mod migration;
mod report;
mod server;
mod state;
mod statement;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use adoption::is_replaced;
pub use auto_migration::AutoMigration;
pub(crate) use declared::Declared;
pub(crate) use functions::{create_collection, function_error};
pub(crate) use migration::SchemaPart;
#[cfg(feature = "cli")]
pub(crate) use migration::needed;
pub use report::MigrationReport;
pub use state::SchemaState;
pub(crate) use text::{check_name, sql};

use crate::database::error::{DatabaseError, Result};
use crate::database::{Connections, PooledTransaction};
use migrate::apply;
use state::state;
use std::fmt;
use std::sync::Arc;

/// The schema of one store: its SQL, its state, and its migration.
///
/// ```no_run
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// use emmett_postgresql::{EventStore, database::AutoMigration};
/// let store = EventStore::builder("postgresql://localhost/shop")
///     .auto_migration(AutoMigration::None)
///     .open_unchecked()?;
/// println!("{}", store.schema().dry_run()?.applied.join(", "));
/// store.schema().migrate()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schema {
    connections: Connections,
    name: Arc<str>,
    part: SchemaPart,
    declared: Arc<dyn Declared>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Schema")
            .field("name", &self.name)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

impl Schema {
    pub(crate) fn new(
        connections: Connections,
        name: Arc<str>,
        part: SchemaPart,
        declared: Arc<dyn Declared>,
    ) -> Self {
        Self {
            connections,
            name,
            part,
            declared,
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the SQL of the schema and of the declared collections. Apply it with `psql -v ON_ERROR_STOP=1 -1 -f`.
    pub fn sql(&self) -> String {
        sql(&self.name, self.part) + &self.declared.sql(&self.name)
    }

    /// Returns how much of the schema the database has.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`] if the schema is newer than this library, was changed, or belongs to another program.
    pub fn state(&self) -> Result<SchemaState, DatabaseError> {
        self.connections
            .run(true, |sql| state(sql, &self.name, self.part))
    }

    /// Creates the missing objects, in one transaction. Several processes may do so at once.
    ///
    /// # Errors
    /// Like [`state`](Schema::state), and any error of the database. [`DatabaseError::Declared`] for a declared collection
    /// or index.
    pub fn migrate(&self) -> Result<MigrationReport, DatabaseError> {
        let mut transaction = PooledTransaction::begin(&self.connections)?;
        let mut report = apply(transaction.sql(), &self.name, self.part)?;
        self.declared
            .create(transaction.sql(), &self.name, &mut report)?;
        transaction.commit()?;
        self.declared
            .create_outside(&self.connections, &self.name, &mut report)?;
        Ok(report)
    }

    /// Runs [`migrate`](Schema::migrate) and rolls it back, so that nothing is changed. Missing collections and indexes are
    /// reported, not created.
    ///
    /// # Errors
    /// Like [`migrate`](Schema::migrate).
    pub fn dry_run(&self) -> Result<MigrationReport, DatabaseError> {
        let mut transaction = PooledTransaction::begin(&self.connections)?;
        let mut report = apply(transaction.sql(), &self.name, self.part)?;
        let declared = self.declared.look(transaction.sql(), &self.name)?;
        report.applied.extend(declared.applied);
        report.skipped.extend(declared.skipped);
        transaction.rollback()?;
        Ok(report)
    }

    pub(crate) fn prepare(&self, auto_migration: AutoMigration) -> Result<()> {
        let state = self.state()?;
        match (auto_migration, state) {
            (AutoMigration::None, SchemaState::Current { .. } | SchemaState::Replaced { .. }) => {
                match self.missing()?.as_slice() {
                    [] => Ok(()),
                    missing => Err(DatabaseError::schema(format!(
                        "{} missing: run the migration of the program that declares them",
                        missing.join(", ")
                    ))),
                }
            }
            (AutoMigration::CreateOrUpdate, SchemaState::Current { .. })
                if self.missing()?.is_empty() =>
            {
                Ok(())
            }
            (AutoMigration::CreateOrUpdate, _) => self.migrate().map(|_| ()),
            (AutoMigration::None, state) => Err(DatabaseError::schema(state.to_string())),
        }
    }

    /// Returns the declared collections and indexes that a database with the schema lacks.
    pub(crate) fn missing(&self) -> Result<Vec<String>> {
        let report = self
            .connections
            .run(true, |sql| self.declared.look(sql, &self.name))?;
        Ok(report.applied)
    }
}
