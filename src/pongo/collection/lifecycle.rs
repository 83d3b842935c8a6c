//! Creating, dropping and renaming collections.

use super::Collection;
use crate::database::schema::{create_collection, function_error};
use crate::database::{SchemaSql, param, scalar};
use crate::pongo::document::check_name;
use crate::pongo::error::{Error, Result};
use crate::pongo::index::Catalog;
use postgres::types::Type;

const DROP: SchemaSql = SchemaSql::new(
    "
    SELECT {schema}.emt_collection_drop($1) WHERE {schema}.emt_document_hold_tenant($2) IS NOT NULL",
);

const RENAME: SchemaSql = SchemaSql::new(
    "
    SELECT {schema}.emt_collection_rename($1, $3) WHERE {schema}.emt_document_hold_tenant($2) IS NOT NULL",
);

impl<T> Collection<'_, T> {
    /// Creates the collection. Returns false if it already exists. The first use of a collection also creates it, if migrations
    /// are allowed.
    ///
    /// An unregistered table of the same name becomes a collection, if it has a collection's columns and primary key. A table
    /// of Pongo for Node is adopted, so that both libraries can use it. Its ids are unique across all tenants. A trigger keeps
    /// the id and the version in its JSON, because Node's library reads them there.
    ///
    /// # Errors
    /// [`DatabaseError::Statement`](crate::database::DatabaseError::Statement) if a different object has the collection's name.
    /// The message names the mismatch.
    pub fn create(&self) -> Result<bool> {
        check_name(&self.name)?;
        let (schema, partition) = (self.executor.schema(), self.executor.partition());
        let created = self
            .executor
            .in_one_transaction(|sql| Ok(create_collection(sql, schema, partition, &self.name)?))?;
        self.executor.forget(&self.name);
        Ok(created)
    }

    /// Drops the collection with the documents of all tenants. Returns false if it does not exist. The name can be used again,
    /// for an empty collection.
    ///
    /// The call waits for transactions that use the collection. It never returns if the same thread holds an open
    /// [`cursor`](crate::pongo::read::Find::cursor).
    ///
    /// # Errors
    /// [`Error::ReadModel`] for the read model of a projection.
    pub fn drop(self) -> Result<bool> {
        check_name(&self.name)?;
        let (text, partition) = (
            DROP.in_schema(self.executor.schema()),
            self.executor.partition(),
        );
        let dropped = self.executor.in_one_transaction(|sql| {
            let names = [param(&self.name, Type::TEXT), param(&partition, Type::TEXT)];
            let rows = sql
                .query(&text, &names)
                .map_err(|source| refused("drop a collection", &self.name, source))?;
            Ok(scalar(&rows)?.unwrap_or_default())
        })?;
        self.executor.forget(&self.name);
        Ok(dropped)
    }

    /// Renames the collection with its documents and indexes. The old name can be used again, for an empty collection.
    ///
    /// The call waits for transactions that use the collection. It never returns if the same thread holds an open
    /// [`cursor`](crate::pongo::read::Find::cursor).
    ///
    /// # Errors
    /// - [`DatabaseError::Statement`](crate::database::DatabaseError::Statement): the new name is taken.
    /// - [`Error::UnknownCollection`]: the collection does not exist.
    /// - [`Error::ReadModel`]: the collection is the read model of a projection.
    pub fn rename(self, new_name: &str) -> Result<Self> {
        check_name(&self.name)?;
        check_name(new_name)?;
        let (schema, partition) = (self.executor.schema(), self.executor.partition());
        let text = RENAME.in_schema(schema);
        self.executor.in_one_transaction(|sql| {
            let names = [
                param(&self.name, Type::TEXT),
                param(&partition, Type::TEXT),
                param(&new_name, Type::TEXT),
            ];
            sql.query(&text, &names)
                .map_err(|source| refused("rename a collection", &self.name, source))?;
            Catalog::new(sql, schema, new_name).rename_all(&self.name)
        })?;
        self.executor.forget(&self.name);
        Ok(self.renamed(new_name))
    }
}

fn refused(doing: &'static str, collection: &str, source: postgres::Error) -> Error {
    let message = || {
        source
            .as_db_error()
            .map_or_else(String::new, |error| error.message().to_owned())
    };
    match source.code().map(postgres::error::SqlState::code) {
        Some("SE032") => Error::ReadModel {
            message: message(),
            source,
        },
        Some("SE033") => Error::UnknownCollection {
            collection: collection.to_owned(),
            source,
        },
        _ => function_error(doing, source).into(),
    }
}
