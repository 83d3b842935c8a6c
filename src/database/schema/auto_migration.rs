/// Whether opening a store may change the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AutoMigration {
    /// Creates missing objects and applies new migrations. The default.
    #[default]
    CreateOrUpdate,
    /// Never changes the schema. Opening a store whose schema is missing or old fails.
    None,
}
