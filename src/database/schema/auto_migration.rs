/// Whether opening a store may change the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AutoMigration {
    /// Creates what is missing and applies new migrations. The default.
    #[default]
    CreateOrUpdate,
    /// Never touches the schema; opening a store whose schema is missing or old fails.
    None,
}
