//! Finding documents.

use super::collection::Collection;
use super::statement::Statement;
use crate::connection::{Jsonb, get};
use crate::error::{Error, Result};
use crate::filter::{SqlValue, sort_order};
use crate::position::to_sql;
use serde::de::DeserializeOwned;
use serde_json::Value;

const FIND: &str = "
    SELECT data || jsonb_build_object('_id', _id, '_version', _version)
      FROM {table}
     WHERE _partition = $1 AND ";

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
