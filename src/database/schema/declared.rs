use super::report::MigrationReport;
use crate::database::error::Result;
use crate::database::{Connections, Sql};

/// Objects that a program declares beside the schema: its collections and their indexes.
pub(crate) trait Declared: Send + Sync {
    fn sql(&self, schema: &str) -> String;

    /// Reports what [`create`](Declared::create) and [`create_outside`](Declared::create_outside) would do.
    fn look(&self, sql: &mut dyn Sql, schema: &str) -> Result<MigrationReport>;

    /// Creates the objects that belong into the transaction of the migration.
    fn create(&self, sql: &mut dyn Sql, schema: &str, report: &mut MigrationReport) -> Result<()>;

    /// Creates, after that transaction, the objects that cannot be created in one.
    fn create_outside(
        &self,
        connections: &Connections,
        schema: &str,
        report: &mut MigrationReport,
    ) -> Result<()>;
}
