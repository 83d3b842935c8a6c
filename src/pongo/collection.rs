//! Collections: inserting and finding documents.

use super::document::DocumentTable;
use crate::connection::{Connections, Jsonb, Parameter, Sql, get, param};
use crate::error::{Error, Result};
use crate::filter::{SqlParameters, SqlValue, filter_condition, sort_order};
use crate::message::check_key;
use crate::partition::Partition;
use crate::position::{from_sql, to_sql};
use crate::schema::create_collection;
use postgres::error::SqlState;
use postgres::types::Type;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

const FIND: &str = "
    SELECT data || jsonb_build_object('_id', _id, '_version', _version)
      FROM {table}
     WHERE _partition = $1 AND ";

const COUNT: &str = "SELECT count(*) FROM {table} WHERE _partition = $1 AND ";

const DELETE: &str = "DELETE FROM {table} WHERE _partition = $1 AND ";

const INSERT: &str = "
    INSERT INTO {table} (_id, _partition, data)
    SELECT document.id, $1, document.data || jsonb_build_object('_id', document.id)
      FROM unnest($2, $3) AS document (id, data)";

/// Creates the tables of collections when they are first used, once per process.
pub(crate) struct CollectionTables {
    may_create: bool,
    created: Mutex<HashSet<String>>,
}

impl CollectionTables {
    pub(crate) fn new(may_create: bool) -> Self {
        Self {
            may_create,
            created: Mutex::default(),
        }
    }

    fn ensure(&self, connections: &Connections, schema: &str, name: &str) -> Result<()> {
        if !self.may_create || self.created().contains(name) {
            return Ok(());
        }
        connections.run(true, |sql| create_collection(sql, schema, name))?;
        self.created().insert(name.to_owned());
        Ok(())
    }

    fn created(&self) -> MutexGuard<'_, HashSet<String>> {
        // The set is never left half changed, so a panic of another thread has not spoilt it.
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a collection runs its statements on.
pub(crate) enum CollectionHome<'a> {
    /// Each operation on a connection of its own.
    Connections {
        connections: Connections,
        partition: Arc<Partition>,
        tables: Arc<CollectionTables>,
    },
    /// A transaction.
    Transaction {
        sql: RefCell<&'a mut dyn Sql>,
        partition: &'a Partition,
    },
}

impl<'a> CollectionHome<'a> {
    pub(crate) fn transaction(sql: &'a mut dyn Sql, partition: &'a Partition) -> Self {
        Self::Transaction {
            sql: RefCell::new(sql),
            partition,
        }
    }

    fn partition(&self) -> &Partition {
        match self {
            Self::Connections { partition, .. } => partition,
            Self::Transaction { partition, .. } => partition,
        }
    }

    fn run<T>(
        &self,
        collection: &str,
        repeatable: bool,
        run: impl Fn(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Connections {
                connections,
                partition,
                tables,
            } => {
                tables.ensure(connections, &partition.schema, collection)?;
                connections.run(repeatable, run)
            }
            Self::Transaction { sql, .. } => run(&mut **sql.borrow_mut()),
        }
    }
}

/// A collection of documents of type `T`; `serde_json::Value` takes any.
///
/// A document is a JSON object. Its id is the field `_id`, a string; the field `_version` counts its changes. A type that
/// has these fields gets them when it is read.
pub struct Collection<'a, T> {
    home: CollectionHome<'a>,
    name: String,
    /// The table's name, where a rebuild keeps the documents in another one.
    table: Option<String>,
    _document: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Collection<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Collection")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Collection<'a, T> {
    pub(crate) fn new(home: CollectionHome<'a>, name: &str) -> Self {
        Self {
            home,
            name: name.to_owned(),
            table: None,
            _document: PhantomData,
        }
    }

    /// A collection whose documents are in a table of another name.
    pub(crate) fn in_table(home: CollectionHome<'a>, name: &str, table: String) -> Self {
        Self {
            table: Some(table),
            ..Self::new(home, name)
        }
    }

    /// The collection's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn table(&self) -> Result<DocumentTable> {
        let partition = self.home.partition();
        let table = self.table.as_deref().unwrap_or(&self.name);
        DocumentTable::new(&partition.schema, &partition.name, &self.name, table)
    }

    /// How many documents match the filter; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn count_documents(&self, filter: Value) -> Result<u64> {
        let statement = Statement::new(&self.table()?, COUNT, &filter)?;
        self.home.run(&self.name, true, |sql| {
            let rows = statement.query(sql)?;
            rows.first().map_or(Ok(0), |row| get(row, 0).map(from_sql))
        })
    }

    /// Deletes the documents that match the filter, and returns how many; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn delete_many(&self, filter: Value) -> Result<u64> {
        let statement = Statement::new(&self.table()?, DELETE, &filter)?;
        self.home
            .run(&self.name, true, |sql| statement.execute(sql))
    }
}

impl<'a, T: DeserializeOwned> Collection<'a, T> {
    /// A document that matches the filter, or `None`.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid, [`Error::Document`] when the document does not fit `T`.
    pub fn find_one(&self, filter: Value) -> Result<Option<T>> {
        Ok(self.find(filter).limit(1).to_vec()?.pop())
    }

    /// Begins a query of the documents that match the filter; `json!({})` matches all.
    pub fn find(&self, filter: Value) -> Find<'_, 'a, T> {
        Find {
            collection: self,
            filter,
            sort: None,
            limit: None,
            skip: 0,
        }
    }
}

impl<T: Serialize> Collection<'_, T> {
    /// Inserts a document and returns its id: that of its field `_id`, or a new UUID where it has none.
    ///
    /// # Errors
    /// [`Error::DocumentExists`] when the id is taken, [`Error::Document`] when the document cannot be written as JSON.
    pub fn insert_one(&self, document: &T) -> Result<String> {
        let ids = self.insert_many(std::slice::from_ref(document))?;
        Ok(ids.into_iter().next().unwrap_or_default())
    }

    /// Inserts documents and returns their ids: all of them or none.
    ///
    /// # Errors
    /// Like [`insert_one`](Collection::insert_one).
    pub fn insert_many(&self, documents: &[T]) -> Result<Vec<String>> {
        let table = self.table()?;
        let documents = documents
            .iter()
            .map(|document| table.encode(document))
            .collect::<Result<Vec<_>>>()?;
        let ids = documents
            .iter()
            .map(|document| self.id_of(document))
            .collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let data: Vec<Jsonb<'_>> = documents.iter().map(|document| Jsonb(document)).collect();
        let text = table.write_into(INSERT);
        self.home.run(&self.name, false, |sql| {
            let parameters = [
                param(&table.partition, Type::TEXT),
                param(&ids, Type::TEXT_ARRAY),
                param(&data, Type::JSONB_ARRAY),
            ];
            sql.execute(&text, &parameters)
                .map_err(|source| self.insert_error(&ids, source))
        })?;
        Ok(ids)
    }

    fn id_of(&self, document: &[u8]) -> Result<String> {
        #[derive(Deserialize)]
        struct Identified {
            #[serde(rename = "_id")]
            id: Option<Value>,
        }
        let refused = |source: serde_json::Error| Error::Document {
            collection: self.name.clone(),
            source: crate::json::JsonError::Serde(source),
        };
        match serde_json::from_slice::<Identified>(document)
            .map_err(refused)?
            .id
        {
            None | Some(Value::Null) => Ok(Uuid::now_v7().to_string()),
            Some(Value::String(id)) => check_key("the document id", &id).map(|()| id),
            Some(other) => Err(Error::invalid(
                format!("the document id {other}"),
                "must be a string",
            )),
        }
    }

    fn insert_error(&self, ids: &[String], source: postgres::Error) -> Error {
        if source.code() != Some(&SqlState::UNIQUE_VIOLATION) {
            return Error::database("insert documents", source);
        }
        let detail = source
            .as_db_error()
            .and_then(|error| error.detail())
            .unwrap_or_default();
        let taken = ids
            .iter()
            .find(|id| detail.contains(id.as_str()))
            .or(ids.first());
        Error::DocumentExists {
            collection: self.name.clone(),
            id: taken.cloned().unwrap_or_default(),
        }
    }
}

/// A statement with a filter in it. It runs unnamed: planned with its values, it finds the index that serves them.
struct Statement {
    text: String,
    parameters: SqlParameters,
}

impl Statement {
    fn new(table: &DocumentTable, text: &str, filter: &Value) -> Result<Self> {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        let condition = filter_condition(filter, &mut parameters).map_err(Error::Filter)?;
        Ok(Self {
            text: format!("{}({condition})", table.write_into(text)),
            parameters,
        })
    }

    fn add(&mut self, clause: &str, what: &str) {
        for part in [" ", clause, " ", what] {
            self.text.push_str(part);
        }
    }

    fn typed(&self) -> Vec<Parameter<'_>> {
        self.parameters.typed()
    }

    fn query(&self, sql: &mut dyn Sql) -> Result<Vec<postgres::Row>> {
        sql.query_unnamed(&self.text, &self.typed())
            .map_err(|source| Error::database("query a collection", source))
    }

    fn execute(&self, sql: &mut dyn Sql) -> Result<u64> {
        sql.execute_unnamed(&self.text, &self.typed())
            .map_err(|source| Error::database("change a collection", source))
    }
}

/// A query of a collection.
#[must_use = "a query does nothing until to_vec is called"]
pub struct Find<'c, 'a, T> {
    collection: &'c Collection<'a, T>,
    filter: Value,
    sort: Option<Value>,
    limit: Option<u64>,
    skip: u64,
}

impl<T> std::fmt::Debug for Find<'_, '_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Find")
            .field("filter", &self.filter)
            .field("sort", &self.sort)
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Find<'_, '_, T> {
    /// The order: field names with 1 for ascending and -1 for descending, the most important first where several are given as
    /// an array of objects. Defaults to no order.
    pub fn sort(mut self, order: Value) -> Self {
        self.sort = Some(order);
        self
    }

    /// The largest number of documents. Defaults to no limit.
    pub fn limit(mut self, documents: u64) -> Self {
        self.limit = Some(documents);
        self
    }

    /// How many documents to leave out at the beginning. Defaults to 0.
    pub fn skip(mut self, documents: u64) -> Self {
        self.skip = documents;
        self
    }

    /// Runs the query.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter or the order is not valid, [`Error::Document`] when a document does not fit `T`.
    pub fn to_vec(self) -> Result<Vec<T>> {
        let table = self.collection.table()?;
        let mut statement = Statement::new(&table, FIND, &self.filter)?;
        if let Some(sort) = &self.sort {
            let order = sort_order(sort).map_err(Error::Filter)?;
            if !order.is_empty() {
                statement.add("ORDER BY", &order);
            }
        }
        if let Some(limit) = self.limit {
            let limit = statement.parameters.push(SqlValue::Bigint(to_sql(limit)));
            statement.add("LIMIT", &limit);
        }
        if self.skip > 0 {
            let skip = statement
                .parameters
                .push(SqlValue::Bigint(to_sql(self.skip)));
            statement.add("OFFSET", &skip);
        }
        let rows = self
            .collection
            .home
            .run(&self.collection.name, true, |sql| statement.query(sql))?;
        rows.iter()
            .map(|row| table.decode(get::<Jsonb<'_>>(row, 0)?.0))
            .collect()
    }
}
