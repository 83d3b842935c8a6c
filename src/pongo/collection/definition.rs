//! Collections that a program declares, with their indexes.

use crate::database::schema::create_collection;
use crate::database::{
    Connections, DEFAULT_PARTITION, DatabaseError, Declared, MigrationReport, SchemaSql, Sql, get,
    identifier, param, scalar, scalars,
};
use crate::pongo::document::check_name;
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::sql_literal;
use crate::pongo::index::build::create_concurrently;
use crate::pongo::index::{Catalog, Found, Index};
use postgres::types::Type;
use std::fmt::Write;

/// Whether a collection is registered and has its table.
const IS_COLLECTION: SchemaSql = SchemaSql::new(
    "
    SELECT EXISTS (SELECT FROM {schema}.emt_collections WHERE name = $2)
       AND pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1, $2)) IS NOT NULL",
);

/// Returns the given names that are collections, except kept old ones.
const COLLECTIONS_AMONG: SchemaSql = SchemaSql::new(
    "SELECT name FROM {schema}.emt_collections WHERE name = ANY($1) AND old_of IS NULL",
);

/// Returns the collections that keep the documents a rebuild has replaced.
const OLD_COLLECTIONS: SchemaSql = SchemaSql::new(
    "SELECT name, old_of FROM {schema}.emt_collections WHERE old_of IS NOT NULL ORDER BY old_of COLLATE \"C\", name COLLATE \"C\"",
);

/// Checks whether a table can become a collection.
const CHECK_LAYOUT: SchemaSql = SchemaSql::new(
    "
    SELECT {schema}.emt_collection_check_layout($2) WHERE pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1, $2)) IS NOT NULL",
);

/// Returns the collections with old documents, each with the name of the collection that replaced it.
pub(crate) fn old_collections(sql: &mut dyn Sql, schema: &str) -> Result<Vec<(String, String)>> {
    let rows = sql
        .query(&OLD_COLLECTIONS.in_schema(schema), &[])
        .map_err(|source| Error::database("list old read models", source))?;
    rows.iter()
        .map(|row| Ok((get(row, "name")?, get(row, "old_of")?)))
        .collect()
}

/// A declared collection with its indexes. The migration creates it.
///
/// Pass it to [`PongoClientBuilder::collection`](crate::pongo::client::PongoClientBuilder::collection), or to
/// [`EventStoreBuilder::collection`](crate::EventStoreBuilder::collection) for the read model of a projection. Opening creates
/// missing tables and indexes, if migrations are allowed. Nothing is ever dropped.
///
/// ```
/// use emmett_postgresql::pongo::{CollectionDefinition, Index, PongoClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// let users = CollectionDefinition::new("users")
///     .index(Index::unique("email").sparse())
///     .index(Index::fields(["city", "age"]));
/// let client = PongoClient::builder(database.url()).collection(users).connect()?;
/// # assert_eq!(client.collection::<serde_json::Value>("users").indexes()?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct CollectionDefinition {
    name: String,
    indexes: Vec<Index>,
}

impl CollectionDefinition {
    /// Creates a definition without indexes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            indexes: Vec::new(),
        }
    }

    /// Adds an index.
    pub fn index(mut self, index: Index) -> Self {
        self.indexes.push(index);
        self
    }
}

/// The collections that a program declares.
#[derive(Debug, Clone, Default)]
pub(crate) struct CollectionDefinitions(Vec<CollectionDefinition>);

impl CollectionDefinitions {
    pub(crate) fn add(&mut self, definition: CollectionDefinition) {
        self.0.push(definition);
    }

    /// Refuses invalid definitions before any statement is sent.
    pub(crate) fn check(&self) -> Result<()> {
        for definition in &self.0 {
            check_name(&definition.name)?;
            for index in &definition.indexes {
                index.check(&definition.name)?;
            }
        }
        Ok(())
    }

    fn indexes(&self) -> impl Iterator<Item = (&str, &Index)> {
        self.0.iter().flat_map(|definition| {
            definition
                .indexes
                .iter()
                .map(|index| (definition.name.as_str(), index))
        })
    }
}

fn collection_item(collection: &str) -> String {
    format!("collection {collection}")
}

fn index_item(collection: &str, index: &Index) -> String {
    format!("index {}", index.name(collection))
}

impl Declared for CollectionDefinitions {
    fn sql(&self, schema: &str) -> String {
        let mut sql = String::new();
        let quoted = identifier::quote(schema);
        for definition in &self.0 {
            let name = sql_literal(&definition.name);
            // Writing into a string cannot fail.
            let _ = writeln!(sql, "\nSELECT {quoted}.emt_collection_create({name});");
            for index in &definition.indexes {
                // `check` has refused indexes without a name.
                let index_name = index.name(&definition.name);
                let Ok(statement) = index.statement(schema, &definition.name, &index_name, false)
                else {
                    continue;
                };
                let _ = writeln!(
                    sql,
                    "{statement};\nSELECT {quoted}.emt_index_note({name}, {}, {});",
                    sql_literal(&index_name),
                    sql_literal(&index.comment())
                );
            }
        }
        sql
    }

    fn look(&self, sql: &mut dyn Sql, schema: &str) -> Result<MigrationReport, DatabaseError> {
        let mut report = MigrationReport::default();
        for definition in &self.0 {
            let is_there = is_collection(sql, schema, &definition.name)?;
            if !is_there {
                check_layout(sql, schema, &definition.name)?;
            }
            report.add(collection_item(&definition.name), !is_there);
        }
        for (collection, index) in self.indexes() {
            let found = Catalog::new(sql, schema, collection).look(index);
            let found = found.map_err(Error::into_declared)?;
            report.add(index_item(collection, index), found != Found::Index);
        }
        Ok(report)
    }

    fn create(
        &self,
        sql: &mut dyn Sql,
        schema: &str,
        report: &mut MigrationReport,
    ) -> Result<(), DatabaseError> {
        for definition in &self.0 {
            let is_there = is_collection(sql, schema, &definition.name)?;
            if !is_there {
                create_collection(sql, schema, DEFAULT_PARTITION, &definition.name)?;
            }
            report.add(collection_item(&definition.name), !is_there);
        }
        for (collection, index) in self.indexes().filter(|(_, index)| !index.is_concurrent()) {
            let is_new = Catalog::new(sql, schema, collection).create(index);
            let is_new = is_new.map_err(Error::into_declared)?;
            report.add(index_item(collection, index), is_new);
        }
        Ok(())
    }

    fn create_outside(
        &self,
        connections: &Connections,
        schema: &str,
        report: &mut MigrationReport,
    ) -> Result<(), DatabaseError> {
        for (collection, index) in self.indexes().filter(|(_, index)| index.is_concurrent()) {
            let is_new = create_concurrently(connections, schema, collection, index)
                .map_err(Error::into_declared)?;
            report.add(index_item(collection, index), is_new);
        }
        Ok(())
    }
}

fn is_collection(sql: &mut dyn Sql, schema: &str, collection: &str) -> Result<bool, DatabaseError> {
    let names = [param(&schema, Type::TEXT), param(&collection, Type::TEXT)];
    let rows = sql
        .query(&IS_COLLECTION.in_schema(schema), &names)
        .map_err(unlooked)?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Returns the given tables that are collections of documents.
pub(crate) fn collections_among(
    sql: &mut dyn Sql,
    schema: &str,
    tables: &[String],
) -> Result<Vec<String>> {
    let rows = sql
        .query(
            &COLLECTIONS_AMONG.in_schema(schema),
            &[param(&tables, Type::TEXT_ARRAY)],
        )
        .map_err(unlooked)?;
    Ok(scalars(&rows)?)
}

fn check_layout(sql: &mut dyn Sql, schema: &str, collection: &str) -> Result<(), DatabaseError> {
    let names = [param(&schema, Type::TEXT), param(&collection, Type::TEXT)];
    sql.query(&CHECK_LAYOUT.in_schema(schema), &names)
        .map_err(unlooked)?;
    Ok(())
}

fn unlooked(source: postgres::Error) -> DatabaseError {
    DatabaseError::statement("look at collections", source)
}
