//! Finding and counting documents.

use super::change::order;
use super::collection::Collection;
use super::statement::{Statement, StatementBuilder};
use crate::connection::{Jsonb, get, param};
use crate::error::{Error, Result};
use crate::filter::{Filter, SqlValue, found_values};
use crate::position::{from_sql, to_sql};
use postgres::types::Type;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document with what its columns say; they win over what its JSON says.
pub(super) const DOCUMENT: &str = "data || jsonb_build_object('_id', _id, '_version', _version)";

const FIND_BY_ID: &str = "
    SELECT data || jsonb_build_object('_id', _id, '_version', _version)
      FROM {table} WHERE _partition = $1 AND _id = $2";

const FIND: &str = "
    SELECT {document}
      FROM {table}
     WHERE _partition = $1 AND {filter}
     {order} {limit} {skip}";

const COUNT: &str = "SELECT count(*) FROM {table} WHERE _partition = $1 AND {filter}";

const EXISTS: &str = "SELECT EXISTS (SELECT FROM {table} WHERE _partition = $1 AND {filter})";

const DISTINCT: &str = "
    SELECT DISTINCT found.value
      FROM {table}, {values}
     WHERE _partition = $1 AND {filter}
     ORDER BY found.value";

impl<T> Collection<'_, T> {
    /// How many documents match the filter; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn count_documents(&self, filter: impl Into<Filter>) -> Result<u64> {
        let statement = self.filtered(COUNT, &filter.into())?;
        let rows = self.read("count documents", |sql| statement.query(sql))?;
        rows.first().map_or(Ok(0), |row| get(row, 0).map(from_sql))
    }

    /// Whether a document matches the filter.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn exists(&self, filter: impl Into<Filter>) -> Result<bool> {
        let statement = self.filtered(EXISTS, &filter.into())?;
        let rows = self.read("look for a document", |sql| statement.query(sql))?;
        rows.first().map_or(Ok(false), |row| get(row, 0))
    }

    /// The different values of a field in the documents that match the filter, in order; an array gives its elements.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let posts = client.collection::<Value>("posts");
    /// posts.insert_many(&[json!({"tags": ["b", "a"]}), json!({"tags": "b"}), json!({})])?;
    /// let tags: Vec<String> = posts.distinct("tags", json!({}))?;
    /// assert_eq!(tags, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter or the path is not valid, [`Error::Document`] when a value does not fit `V`.
    pub fn distinct<V: DeserializeOwned>(
        &self,
        path: &str,
        filter: impl Into<Filter>,
    ) -> Result<Vec<V>> {
        let (table, filter) = (self.table()?, filter.into());
        let statement = StatementBuilder::new(&table)
            .filter(filter.document().map_err(Error::Filter)?)?
            .part("values", found_values(path).map_err(Error::Filter)?)
            .build(DISTINCT);
        let rows = self.read("list values", |sql| statement.query(sql))?;
        rows.iter()
            .map(|row| table.decode(get::<Jsonb<'_>>(row, 0)?.0))
            .collect()
    }

    fn filtered(&self, template: &str, filter: &Filter) -> Result<Statement> {
        let table = self.table()?;
        let builder =
            StatementBuilder::new(&table).filter(filter.document().map_err(Error::Filter)?)?;
        Ok(builder.build(template))
    }
}

impl<'a, T: DeserializeOwned> Collection<'a, T> {
    /// The document of this id, or `None`.
    ///
    /// # Errors
    /// [`Error::Document`] when the document does not fit `T`.
    pub fn find_by_id(&self, id: &str) -> Result<Option<T>> {
        let table = self.table()?;
        let text = table.write_into(FIND_BY_ID);
        let parameters = [param(&table.partition, Type::TEXT), param(&id, Type::TEXT)];
        let rows = self.read("find a document", |sql| sql.query(&text, &parameters))?;
        rows.first()
            .map(|row| self.decode(get::<Jsonb<'_>>(row, 0)?.0))
            .transpose()
    }

    /// A document that matches the filter, whichever the server finds first, or `None`.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid, [`Error::Document`] when the document does not fit `T`.
    pub fn find_one(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        Ok(self.find(filter).limit(1).to_vec()?.pop())
    }

    /// Begins a query of the documents that match the filter; `json!({})` matches all.
    pub fn find(&self, filter: impl Into<Filter>) -> Find<'_, 'a, T> {
        Find {
            collection: self,
            filter: filter.into(),
            sort: None,
            limit: None,
            skip: 0,
        }
    }
}

/// A query of a collection.
#[must_use = "a query does nothing until it is run"]
pub struct Find<'c, 'a, T> {
    pub(super) collection: &'c Collection<'a, T>,
    pub(super) filter: Filter,
    pub(super) sort: Option<Value>,
    pub(super) limit: Option<u64>,
    pub(super) skip: u64,
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
        let statement = self.statement()?;
        let rows = self
            .collection
            .read("find documents", |sql| statement.query(sql))?;
        rows.iter()
            .map(|row| self.collection.decode(get::<Jsonb<'_>>(row, 0)?.0))
            .collect()
    }

    fn statement(&self) -> Result<Statement> {
        let table = self.collection.table()?;
        let filter = self.filter.document().map_err(Error::Filter)?;
        let mut builder = StatementBuilder::new(&table)
            .filter(filter)?
            .part("document", DOCUMENT)
            .part("order", order(self.sort.as_ref())?);
        if let Some(limit) = self.limit {
            let limit = builder.push(SqlValue::Bigint(to_sql(limit)));
            builder = builder.part("limit", format!("LIMIT {limit}"));
        }
        if self.skip > 0 {
            let skip = builder.push(SqlValue::Bigint(to_sql(self.skip)));
            builder = builder.part("skip", format!("OFFSET {skip}"));
        }
        Ok(builder.build(FIND))
    }
}
