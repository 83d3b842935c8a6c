//! Queries and counts of documents.

use crate::database::position::{from_sql, to_sql};
use crate::database::{Jsonb, check_key, param, scalar, scalars};
use crate::pongo::collection::Collection;
use crate::pongo::document::{CollectionSql, DOCUMENT, DocumentTable, StoredDocument};
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::{FieldSelection, Filter, SqlValue, Target};
use crate::pongo::statement::{Statement, StatementBuilder, StatementSql, limit_clause};
use postgres::types::Type;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::marker::PhantomData;

const FIND_BY_ID: CollectionSql = CollectionSql::new(
    "
    SELECT data, _id, _version FROM {table} WHERE _partition = $1 AND _id = $2 ",
);

const FIND: StatementSql = StatementSql::new(
    "
    SELECT {document}
      FROM {table}
     WHERE _partition = $1 AND {filter}
     {order} {limit} {skip}",
);

const COUNT: StatementSql =
    StatementSql::new("SELECT count(*) FROM {table} WHERE _partition = $1 AND {filter} {limit}");

const EXISTS: StatementSql = StatementSql::new(
    "SELECT EXISTS (SELECT FROM {table} WHERE _partition = $1 AND {filter}) {limit}",
);

const DISTINCT: StatementSql = StatementSql::new(
    "
    SELECT DISTINCT found.value
      FROM {table}, {values}
     WHERE _partition = $1 AND {filter}
     ORDER BY found.value
     {limit}",
);

/// The default batch size.
const BATCH_SIZE: u32 = 500;

impl<T> Collection<'_, T> {
    /// Returns the number of documents that match the filter. `json!({})` matches all documents.
    ///
    /// # Errors
    /// [`Error::Filter`] if the filter is invalid.
    pub fn count_documents(&self, filter: impl Into<Filter>) -> Result<u64> {
        let statement = self.filtered(COUNT, &filter.into())?;
        let rows = self.read(|sql| statement.query("count documents", sql))?;
        Ok(scalar(&rows)?.map_or(Ok(0), from_sql)?)
    }

    /// Returns whether a document matches the filter.
    ///
    /// # Errors
    /// [`Error::Filter`] if the filter is invalid.
    pub fn exists(&self, filter: impl Into<Filter>) -> Result<bool> {
        let statement = self.filtered(EXISTS, &filter.into())?;
        let rows = self.read(|sql| statement.query("look for a document", sql))?;
        Ok(scalar(&rows)?.unwrap_or_default())
    }

    /// Returns the distinct values of a field in the matching documents, sorted. An array contributes its elements.
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
    /// - [`Error::Filter`]: the filter or the path is invalid.
    /// - [`Error::Json`]: a value does not fit `V`.
    pub fn distinct<V: DeserializeOwned>(
        &self,
        path: &str,
        filter: impl Into<Filter>,
    ) -> Result<Vec<V>> {
        let (table, filter) = (self.table()?, filter.into());
        let values = Target::parse(path).map_err(Error::Filter)?;
        let statement = StatementBuilder::new(table)
            .filter(&filter)?
            .part("values", values.found_values())
            .limit(self.guard, None)
            .build(&[DISTINCT]);
        let rows = self.read(|sql| statement.query("list values", sql))?;
        scalars::<Jsonb<'_>>(&rows)?
            .iter()
            .map(|value| table.decode(None, value.0))
            .collect()
    }

    fn filtered(&self, template: StatementSql, filter: &Filter) -> Result<Statement> {
        let builder = StatementBuilder::new(self.table()?).filter(filter)?;
        Ok(builder.limit(self.guard, None).build(&[template]))
    }
}

impl<'a, T: DeserializeOwned> Collection<'a, T> {
    /// Returns the document of this id, or `None`.
    ///
    /// # Errors
    /// - [`Error::Json`]: the document does not fit `T`.
    /// - [`Error::InvalidInput`]: the id is invalid.
    pub fn find_by_id(&self, id: &str) -> Result<Option<T>> {
        check_key("the document id", id)?;
        let table = self.table()?;
        let mut text = FIND_BY_ID.with(table);
        let mut parameters = vec![param(&table.partition, Type::TEXT), param(&id, Type::TEXT)];
        text.push_str(&limit_clause(table, self.guard.zip(Some("$3")), None));
        if self.guard.is_some() {
            parameters.push(param(&table.collection, Type::TEXT));
        }
        let rows = self.read(|sql| {
            sql.query(&text, &parameters)
                .map_err(|source| Error::database("find a document", source))
        })?;
        rows.first()
            .map(|row| self.decode(&StoredDocument::of_row(row)?))
            .transpose()
    }

    /// Returns one document that matches the filter, or `None`. It is the first match that the server finds.
    ///
    /// # Errors
    /// - [`Error::Filter`]: the filter is invalid.
    /// - [`Error::Json`]: the document does not fit `T`.
    pub fn find_one(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        Ok(self.find(filter).limit(1).to_vec()?.pop())
    }

    /// Begins a query of the documents that match the filter. `json!({})` matches all documents.
    pub fn find(&self, filter: impl Into<Filter>) -> Find<'_, 'a, T> {
        Find {
            collection: self,
            filter: filter.into(),
            selection: None,
            sort: None,
            limit: None,
            skip: 0,
            after: None,
            batch_size: BATCH_SIZE,
            _document: PhantomData,
        }
    }
}

/// A query of a collection.
#[must_use = "a query does nothing until it is run"]
pub struct Find<'c, 'a, T, D = T> {
    pub(crate) collection: &'c Collection<'a, T>,
    filter: Filter,
    selection: Option<FieldSelection>,
    pub(crate) sort: Option<Value>,
    pub(crate) limit: Option<u64>,
    pub(crate) skip: u64,
    pub(crate) after: Option<String>,
    pub(crate) batch_size: u32,
    _document: PhantomData<fn() -> D>,
}

impl<T, D> std::fmt::Debug for Find<'_, '_, T, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Find")
            .field("filter", &self.filter)
            .field("selection", &self.selection)
            .field("sort", &self.sort)
            .field("limit", &self.limit)
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

impl<'c, 'a, T, D: DeserializeOwned> Find<'c, 'a, T, D> {
    /// Sort order: field names with 1 for ascending and -1 for descending, the most important first. Defaults to no order.
    ///
    /// The order is total. Ascending, it is: `[]`, null and missing, strings (byte by byte), numbers, booleans, all other
    /// arrays, objects. Documents with equal fields are ordered by id. Non-empty arrays are equal to each other, and so are
    /// objects. MongoDB compares arrays by their least or greatest element instead.
    ///
    /// An object made with `json!` keeps the order of its keys. If the keys come from an unordered source, pass an array of
    /// objects: `[{"total": -1}, {"name": 1}]`.
    pub fn sort(mut self, order: Value) -> Self {
        self.sort = Some(order);
        self
    }

    /// Maximum number of documents. 0 returns none; in MongoDB, 0 means no limit. Defaults to no limit.
    pub fn limit(mut self, documents: u64) -> Self {
        self.limit = Some(documents);
        self
    }

    /// Number of documents to skip at the beginning. To read page by page, prefer [`page`](Find::page). Defaults to 0.
    pub fn skip(mut self, documents: u64) -> Self {
        self.skip = documents;
        self
    }

    /// Begins a [`page`](Find::page) after the page that returned this [`next`](crate::pongo::Page::next) token. Defaults to
    /// the first page.
    pub fn after(mut self, next: &str) -> Self {
        self.after = Some(next.to_owned());
        self
    }

    /// Number of documents that [`cursor`](Find::cursor) fetches at once, at least 1. Defaults to 500.
    pub fn batch_size(mut self, documents: u32) -> Self {
        self.batch_size = documents;
        self
    }

    /// Reads selected fields only, as a type of their own. The fields have their stored form: upcasts run on whole documents
    /// only.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde::Deserialize;
    /// # use serde_json::{Value, json};
    /// #[derive(Deserialize, Debug, PartialEq)]
    /// struct Name { name: String }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let customers = client.collection::<Value>("customers");
    /// customers.insert_one(&json!({"name": "Anna", "letters": ["a long one"]}))?;
    /// let names: Vec<Name> = customers.find(json!({})).select(["name"]).to_vec()?;
    /// assert_eq!(names, [Name { name: "Anna".into() }]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn select<S: DeserializeOwned>(
        self,
        selection: impl Into<FieldSelection>,
    ) -> Find<'c, 'a, T, S> {
        Find {
            collection: self.collection,
            filter: self.filter,
            selection: Some(selection.into()),
            sort: self.sort,
            limit: self.limit,
            skip: self.skip,
            after: self.after,
            batch_size: self.batch_size,
            _document: PhantomData,
        }
    }

    /// Runs the query. Returns its documents.
    ///
    /// # Errors
    /// - [`Error::Filter`]: the filter, the order or the selection is invalid.
    /// - [`Error::Json`]: a document does not fit the type.
    pub fn to_vec(self) -> Result<Vec<D>> {
        let statement = self.statement()?;
        let rows = self
            .collection
            .read(|sql| statement.query("find documents", sql))?;
        rows.iter()
            .map(|row| self.decode(&StoredDocument::of_row(row)?))
            .collect()
    }

    /// Returns PostgreSQL's plan of the query, as from `EXPLAIN`: the index that serves it, and the estimated cost.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// # let carts = client.collection::<Value>("carts");
    /// println!("{}", carts.find(json!({"customer": "anna"})).explain()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`to_vec`](Find::to_vec).
    pub fn explain(self) -> Result<String> {
        self.plan("")
    }

    /// Runs the query, and returns its plan with the actual costs. Otherwise like [`explain`](Find::explain).
    ///
    /// # Errors
    /// Those of [`to_vec`](Find::to_vec).
    pub fn explain_analyze(self) -> Result<String> {
        self.plan("(ANALYZE, BUFFERS)")
    }

    fn plan(&self, options: &str) -> Result<String> {
        let statement = self.statement()?;
        let rows = self
            .collection
            .read(|sql| statement.explain(options, sql))?;
        Ok(scalars::<String>(&rows)?.join("\n"))
    }

    pub(crate) fn statement(&self) -> Result<Statement> {
        if self.after.is_some() {
            return Err(Error::invalid("after", "is for pages only: see Find::page"));
        }
        let mut builder = self.builder()?.order(self.sort.as_ref())?;
        let skip = if self.skip > 0 {
            let skip = builder.push(SqlValue::Bigint(to_sql(self.skip)));
            format!("OFFSET {skip}")
        } else {
            String::new()
        };
        let builder = builder.limit(self.collection.guard, self.limit);
        Ok(builder.part("skip", skip).build(&[FIND]))
    }

    /// Returns a statement with the filter and the selected fields.
    pub(crate) fn builder(&self) -> Result<StatementBuilder> {
        if self.batch_size == 0 {
            return Err(Error::invalid("the batch size", "must be at least 1"));
        }
        let table = self.collection.table()?;
        let mut builder = StatementBuilder::new(table).filter(&self.filter)?;
        let document = match &self.selection {
            None => DOCUMENT.to_owned(),
            Some(selection) => selected(table, selection, &mut builder)?,
        };
        Ok(builder.part("document", document))
    }

    pub(crate) fn decode(&self, document: &StoredDocument<'_>) -> Result<D> {
        if self.selection.is_some() {
            return self.collection.decode_selected(document);
        }
        self.collection.decode(document)
    }
}

/// Returns the SQL of the fields of a selection.
fn selected(
    table: &DocumentTable,
    selection: &FieldSelection,
    builder: &mut StatementBuilder,
) -> Result<String> {
    let fields = selection.fields().map_err(Error::Filter)?;
    let tree = builder.push(SqlValue::Json(fields.tree));
    let schema = &table.schema;
    let mut document = format!(
        "{schema}.emt_document_select(data - '{{_id,_version}}'::text[], {tree}, {})",
        fields.is_inclusive
    );
    if fields.has_id {
        document.push_str(" || pg_catalog.jsonb_build_object('_id', _id)");
    }
    if fields.has_version {
        document.push_str(" || pg_catalog.jsonb_build_object('_version', _version)");
    }
    document.push_str(", _id, _version");
    Ok(document)
}
