use super::report::MigrationReport;
use crate::database::error::Result;
use crate::database::{Connections, Sql};

/// What a program declares beside the schema itself: its collections and their indexes.
pub(crate) trait Declared: Send + Sync {
    fn sql(&self, schema: &str) -> String;

    /// Says what [`create`](Declared::create) and [`create_outside`](Declared::create_outside) would do.
    fn look(&self, sql: &mut dyn Sql, schema: &str) -> Result<MigrationReport>;

    /// Creates what belongs into the transaction of the migration.
    fn create(&self, sql: &mut dyn Sql, schema: &str, report: &mut MigrationReport) -> Result<()>;

    /// Creates after that transaction what can be in none.
    fn create_outside(
        &self,
        connections: &Connections,
        schema: &str,
        report: &mut MigrationReport,
    ) -> Result<()>;
}
