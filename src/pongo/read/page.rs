//! Pages of a query. Each page begins after the last document of the previous one, even if that document has moved since.

use super::find::Find;
use crate::database::get;
use crate::pongo::document::StoredDocument;
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::SortOrder;
use crate::pongo::statement::StatementSql;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const PAGE: StatementSql = StatementSql::new(
    "
    SELECT {document}, {place} AS place
      FROM {table}
     WHERE _partition = $1 AND {filter} AND {behind}
     ORDER BY {order}
     {limit}",
);

/// A page of documents; see [`Find::page`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<D> {
    /// The documents.
    pub documents: Vec<D>,
    /// Token of the next page, for [`Find::after`]; `None` after the last page. It consists of letters, digits, `-` and `_`, so
    /// it can be part of a URL. It contains the values of the sort fields.
    pub next: Option<String>,
}

/// A position in an order.
#[derive(Serialize, Deserialize)]
struct Place {
    /// The sort document of the order.
    sort: Value,
    /// The values of the last document, as texts.
    keys: Vec<String>,
}

impl Place {
    fn to_token(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn from_token(token: &str) -> Result<Self> {
        let refused = |reason: String| Error::invalid("the page token", reason);
        let json = BASE64_URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|error| refused(format!("is not one: {error}")))?;
        serde_json::from_slice(&json).map_err(|error| refused(format!("is not one: {error}")))
    }
}

impl<T, D: DeserializeOwned> Find<'_, '_, T, D> {
    /// Runs the query for one page of at most `size` documents. This is the first page, or the page [`after`](Find::after)
    /// another. The order is the [`sort`](Find::sort) order, with the id as the last key.
    ///
    /// A page begins after a document, not after a number of documents. Concurrent inserts and deletes therefore move no
    /// document to another page. If an index serves the order, the thousandth page costs as much as the first.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// # let carts = client.collection::<Value>("carts");
    /// # carts.insert_many(&[json!({"total": 1}), json!({"total": 2}), json!({"total": 3})])?;
    /// let largest = || carts.find(json!({})).sort(json!({"total": -1}));
    /// let first = largest().page(2)?;
    /// let second = largest().after(&first.next.ok_or("there are three")?).page(2)?;
    /// assert_eq!(second.documents[0]["total"], 1);
    /// assert_eq!(second.next, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidInput`]: the size is 0, or the token is invalid or belongs to another order.
    /// - [`Error::InvalidInput`]: the query has a [`limit`](Find::limit) or [`skip`](Find::skip).
    /// - Those of [`to_vec`](Find::to_vec).
    pub fn page(self, size: u32) -> Result<Page<D>> {
        self.check_page(size)?;
        let sort = self.sort.clone().unwrap_or_else(|| json!({}));
        let order =
            SortOrder::parse(&sort, &self.collection.table()?.schema).map_err(Error::Filter)?;
        let mut builder = self.builder()?;
        let behind = match &self.after {
            None => "TRUE".to_owned(),
            Some(token) => {
                let place = Place::from_token(token)?;
                let behind = (place.sort == sort)
                    .then(|| order.behind(&place.keys, builder.parameters()))
                    .flatten();
                behind.ok_or_else(|| {
                    Error::invalid(
                        "the page token",
                        format!("belongs to the order {}, not to {sort}", place.sort),
                    )
                })?
            }
        };
        let statement = builder
            .part("place", order.place())
            .part("behind", behind)
            .part("order", order.clause())
            // Reads one more document, to know whether there is a next page.
            .limit(self.collection.guard, Some(u64::from(size) + 1))
            .build(&[PAGE]);
        let mut rows = self
            .collection
            .read(|sql| statement.query("find a page of documents", sql))?;
        let has_next = rows.len() as u64 > u64::from(size);
        if has_next {
            // Removes the extra document.
            rows.pop();
        }
        let documents = rows
            .iter()
            .map(|row| self.decode(&StoredDocument::of_row(row)?))
            .collect::<Result<Vec<D>>>()?;
        let next = match rows.last() {
            Some(row) if has_next => Some(
                Place {
                    sort,
                    keys: get(row, "place")?,
                }
                .to_token(),
            ),
            _ => None,
        };
        Ok(Page { documents, next })
    }

    fn check_page(&self, size: u32) -> Result<()> {
        if size == 0 {
            return Err(Error::invalid("the page size", "must be at least 1"));
        }
        if self.limit.is_some() || self.skip > 0 {
            let reason =
                "has no place beside limit or skip: a page has a size and begins after another";
            return Err(Error::invalid("a page", reason));
        }
        Ok(())
    }
}
