//! Reads of any number of documents in bounded memory.

use super::find::Find;
use crate::database::{PooledTransaction, Sql};
use crate::pongo::document::StoredDocument;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::Executor;
use crate::pongo::statement::Statement;
use postgres::Row;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicU64, Ordering};

/// `FETCH` takes an `INTEGER`.
const MOST_FETCHED: u32 = i32::MAX.unsigned_abs();

/// Cursors of one transaction need different names.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The documents of a query, fetched in batches; see [`Find::cursor`]. The iterator ends after an error.
#[must_use = "an iterator does nothing until it is asked for documents"]
pub struct Cursor<'c, 'a, T, D = T> {
    find: Find<'c, 'a, T, D>,
    place: CursorPlace<'c, 'a>,
    statement: Statement,
    name: String,
    fetched: std::vec::IntoIter<Row>,
    is_at_end: bool,
}

enum CursorPlace<'c, 'a> {
    /// The cursor's own transaction, which ends with the iterator.
    Own(PooledTransaction),
    /// The collection's transaction.
    Borrowed(&'c Executor<'a>),
}

impl<T, D> std::fmt::Debug for Cursor<'_, '_, T, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cursor")
            .field("find", &self.find)
            .finish_non_exhaustive()
    }
}

impl<'c, 'a, T, D: DeserializeOwned> Find<'c, 'a, T, D> {
    /// Runs the query and returns an iterator over its documents in bounded memory. The documents are fetched in batches, from
    /// one snapshot of the collection.
    ///
    /// If the collection is not in a transaction, the iterator holds a connection with an open transaction until it is dropped.
    /// Reads and writes of documents continue meanwhile. Changes of the collection itself wait until the iterator is dropped.
    /// These are [`drop`](crate::pongo::Collection::drop), [`rename`](crate::pongo::Collection::rename),
    /// [`drop_index`](crate::pongo::Collection::drop_index) and [concurrent](crate::pongo::index::Index::concurrently) index
    /// builds. Called in the iterator's own thread, they never return.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// # let carts = client.collection::<Value>("carts");
    /// for cart in carts.find(json!({"paid": false})).batch_size(100).cursor()? {
    ///     println!("{}", cart?["_id"]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`to_vec`](Find::to_vec). The iterator returns the errors of single documents.
    pub fn cursor(self) -> Result<Cursor<'c, 'a, T, D>> {
        Cursor::open(self)
    }
}

impl<'c, 'a, T, D: DeserializeOwned> Cursor<'c, 'a, T, D> {
    fn open(find: Find<'c, 'a, T, D>) -> Result<Self> {
        let statement = find.statement()?;
        let name = format!("emt_find_{}", OPENED.fetch_add(1, Ordering::Relaxed));
        let collection = find.collection;
        let place = collection.executor.on_table(&collection.name, || {
            let mut place = match collection.executor.begin()? {
                Some(transaction) => CursorPlace::Own(transaction),
                None => CursorPlace::Borrowed(&collection.executor),
            };
            place.run(|sql| statement.declare(&name, sql))?;
            Ok(place)
        })?;
        Ok(Self {
            find,
            place,
            statement,
            name,
            fetched: Vec::new().into_iter(),
            is_at_end: false,
        })
    }

    fn fetch(&mut self) -> Result<()> {
        let batch_size = self.find.batch_size.min(MOST_FETCHED);
        let fetch = format!("FETCH {batch_size} FROM {}", self.name);
        let statement = &self.statement;
        let rows = self.place.run(|sql| {
            sql.query_unnamed(&fetch, &[])
                .map_err(|source| statement.error("find documents", source))
        })?;
        self.is_at_end = (rows.len() as u64) < u64::from(batch_size);
        self.fetched = rows.into_iter();
        Ok(())
    }

    fn next_document(&mut self) -> Result<Option<D>> {
        if self.fetched.len() == 0 && !self.is_at_end {
            self.fetch()?;
        }
        let Some(row) = self.fetched.next() else {
            return Ok(None);
        };
        self.find.decode(&StoredDocument::of_row(&row)?).map(Some)
    }
}

impl CursorPlace<'_, '_> {
    fn run<R>(&mut self, run: impl Fn(&mut dyn Sql) -> Result<R>) -> Result<R> {
        match self {
            Self::Own(transaction) => run(transaction.sql()),
            Self::Borrowed(executor) => executor.run_inside(run),
        }
    }
}

impl<T, D: DeserializeOwned> Iterator for Cursor<'_, '_, T, D> {
    type Item = Result<D>;

    fn next(&mut self) -> Option<Result<D>> {
        let next = self.next_document();
        if next.is_err() {
            self.is_at_end = true;
            self.fetched = Vec::new().into_iter();
        }
        next.transpose()
    }
}

impl<T, D> Drop for Cursor<'_, '_, T, D> {
    fn drop(&mut self) {
        if let CursorPlace::Borrowed(executor) = &self.place {
            let close = format!("CLOSE {}", self.name);
            // If this fails, the transaction has ended, and the cursor with it.
            let _ = executor.run_inside(|sql| {
                sql.execute_unnamed(&close, &[])
                    .map_err(|source| Error::database("close a cursor", source))
            });
        }
    }
}
