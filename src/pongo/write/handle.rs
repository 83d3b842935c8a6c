//! Load, decide, store.

use crate::database::{ExpectedVersion, RetryPolicy, Sql, param, retry};
use crate::pongo::collection::Collection;
use crate::pongo::document::{
    CollectionSql, DocumentConflict, DocumentTable, DocumentWrite, Put, StoredDocument, WriteRules,
    check_ids,
};
use crate::pongo::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;

const READ_ONE: CollectionSql = CollectionSql::new(
    "
    SELECT data, _id, _version FROM {table} WHERE _partition = $1 AND {known} AND _id = $2",
);

const READ: CollectionSql = CollectionSql::new(
    "
    SELECT data, _id, _version FROM {table} WHERE _partition = $1 AND {known} AND _id = ANY($2)",
);

/// Bounds of the pause between attempts. The first retry has no pause, because the concurrent write is finished by then.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const RETRIES_WITHOUT_PAUSE: u32 = 3;

/// The id of a document to handle, and the expectation of its version.
///
/// ```
/// use emmett_postgresql::ExpectedVersion;
/// use emmett_postgresql::pongo::HandleId;
/// let any: HandleId = "cart-1".into();
/// let second: HandleId = ("cart-1", 2).into();
/// let new = HandleId::new("cart-1").expect(ExpectedVersion::DoesNotExist);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleId {
    id: String,
    expected: ExpectedVersion,
}

impl HandleId {
    /// Expects nothing: the document may have any version, or not exist.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            expected: ExpectedVersion::Any,
        }
    }

    /// Expectation of the document before the handler is called. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl From<&str> for HandleId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<&String> for HandleId {
    fn from(id: &String) -> Self {
        Self::new(id)
    }
}

impl From<String> for HandleId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl<I: Into<String>> From<(I, u64)> for HandleId {
    fn from((id, version): (I, u64)) -> Self {
        Self::new(id).expect(version)
    }
}

/// Options of `handle`: the reaction to a concurrent change between the read and the write.
#[derive(Debug, Clone, Copy, Default)]
pub struct HandleOptions {
    retries: u32,
    reports_conflict: bool,
}

impl HandleOptions {
    /// Creates options without retries, and with an error for a conflict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maximum number of retries after a conflict, a deadlock or a lost connection. Each retry loads and decides again. A
    /// document that does not meet its [`HandleId`]'s expectation is not retried. Defaults to 0.
    #[must_use]
    pub fn retry(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Reports conflicts in the results instead of as an error. Of several documents, those without a conflict are written.
    /// Defaults to an error.
    #[must_use]
    pub fn report_conflict(mut self) -> Self {
        self.reports_conflict = true;
        self
    }
}

/// The outcome of a handled document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleOutcome {
    /// The document did not exist; the handler created it.
    Inserted,
    /// The handler changed the document.
    Replaced,
    /// The handler returned `None` for an existing document.
    Deleted,
    /// The handler did not change the document, or the document did not exist and still does not.
    Unchanged,
    /// The document did not meet its expectation, or was changed concurrently. Nothing was written. Only with
    /// [`HandleOptions::report_conflict`].
    Conflict(DocumentConflict),
}

/// The result of a handled document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled<T> {
    /// The document's id.
    pub id: String,
    /// The outcome.
    pub outcome: HandleOutcome,
    /// The document that the handler returned; `None` if it returned `None` or was not called.
    pub document: Option<T>,
    /// The document's version now; `None` if it does not exist.
    pub version: Option<u64>,
}

impl<T: Serialize + DeserializeOwned> Collection<'_, T> {
    /// Loads a document, calls `decide`, and stores the result. A new document is inserted, and a changed one replaced. `None`
    /// deletes the document. An unchanged document is not written.
    ///
    /// The write expects the version that was read, so concurrent changes are never lost.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize, Default)]
    /// struct Cart { items: u32 }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let carts = client.collection::<Cart>("carts");
    /// let handled = carts.handle("cart-1", |cart| {
    ///     let mut cart = cart.unwrap_or_default();
    ///     cart.items += 1;
    ///     Ok(Some(cart))
    /// })?;
    /// assert_eq!(handled.version, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Conflict`]: the document does not meet its expectation, or was changed concurrently.
    /// - [`Error::Handler`]: `decide` failed.
    ///
    /// Nothing is written then.
    pub fn handle(
        &self,
        id: impl Into<HandleId>,
        decide: impl FnMut(Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Handled<T>> {
        self.handle_with(id, HandleOptions::new(), decide)
    }

    /// Handles a document like [`handle`](Collection::handle), with options.
    ///
    /// # Errors
    /// Those of [`handle`](Collection::handle).
    pub fn handle_with(
        &self,
        id: impl Into<HandleId>,
        options: HandleOptions,
        mut decide: impl FnMut(Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Handled<T>> {
        let handled = self.handle_many_with([id], options, |_, document| decide(document))?;
        handled
            .into_iter()
            .next()
            .ok_or_else(|| Error::invalid("handle", "gave no result"))
    }

    /// Handles several documents with one read and at most two writes. All of them are written, or none. The closure receives
    /// each id and its document, or `None`. The results are in the order of the ids.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let accounts = client.collection::<Value>("accounts");
    /// accounts.insert_many(&[json!({"_id": "anna", "balance": 50}), json!({"_id": "bob", "balance": 0})])?;
    /// accounts.handle_many(["anna", "bob"], |id, document| {
    ///     let mut account = document.unwrap_or_else(|| json!({"balance": 0}));
    ///     let change = if id == "anna" { -20 } else { 20 };
    ///     account["balance"] = json!(account["balance"].as_i64().unwrap_or(0) + change);
    ///     Ok(Some(account))
    /// })?;
    /// assert_eq!(accounts.find_by_id("bob")?.unwrap()["balance"], 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`handle`](Collection::handle). [`Error::InvalidInput`] if an id is given twice.
    pub fn handle_many<I: Into<HandleId>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        decide: impl FnMut(&str, Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Vec<Handled<T>>> {
        self.handle_many_with(ids, HandleOptions::new(), decide)
    }

    /// Handles several documents like [`handle_many`](Collection::handle_many), with options.
    ///
    /// # Errors
    /// Those of [`handle_many`](Collection::handle_many).
    pub fn handle_many_with<I: Into<HandleId>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        options: HandleOptions,
        mut decide: impl FnMut(&str, Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Vec<Handled<T>>> {
        let ids: Vec<HandleId> = ids.into_iter().map(Into::into).collect();
        check_ids(ids.iter().map(|id| &id.id))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let policy = RetryPolicy::times(options.retries)
            .pausing(SHORTEST_PAUSE, LONGEST_PAUSE)
            .pausing_after(RETRIES_WITHOUT_PAUSE);
        let handled = retry(
            &policy,
            |attempt| {
                let reports = options.reports_conflict && attempt.is_last;
                self.handle_once(&ids, reports, &mut decide)
            },
            |handled| matches!(handled, Err(Failure::Repeatable(_))),
        );
        handled.map_err(Failure::into_error)
    }

    fn handle_once(
        &self,
        ids: &[HandleId],
        reports: bool,
        decide: &mut impl FnMut(&str, Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Vec<Handled<T>>, Failure> {
        let table = self.table()?;
        let rows = self.load(table, ids)?;
        let stored = by_id(&rows)?;
        let mut decisions = Vec::with_capacity(ids.len());
        for id in ids {
            let decision = self.decide(id, stored.get(id.id.as_str()), reports, decide)?;
            decisions.push(decision);
        }
        let conflicts = self.store(table, &decisions, reports)?;
        Ok(decisions
            .into_iter()
            .map(|decision| decision.into_handled(&conflicts))
            .collect())
    }

    fn load(&self, table: &DocumentTable, ids: &[HandleId]) -> Result<Vec<Row>> {
        let partition = param(&table.partition, Type::TEXT);
        self.read(|sql| {
            let rows = if let [id] = ids {
                let parameters = [partition.clone(), param(&id.id, Type::TEXT)];
                sql.query(&READ_ONE.with(table), &parameters)
            } else {
                let ids: Vec<&str> = ids.iter().map(|id| id.id.as_str()).collect();
                let parameters = [partition.clone(), param(&ids, Type::TEXT_ARRAY)];
                sql.query_unnamed(&READ.with(table), &parameters)
            };
            rows.map_err(|source| Error::database("load documents", source))
        })
    }

    fn decide(
        &self,
        id: &HandleId,
        stored: Option<&StoredDocument<'_>>,
        reports: bool,
        decide: &mut impl FnMut(&str, Option<T>) -> anyhow::Result<Option<T>>,
    ) -> Result<Decision<T>, Failure> {
        let actual = stored.map_or(0, |stored| stored.version);
        if !id.expected.is_met_by(actual) {
            let conflict = self
                .table()?
                .conflict(Some(id.id.clone()), id.expected, actual);
            if reports {
                return Ok(Decision::conflict(conflict));
            }
            return Err(Failure::unmet(conflict));
        }
        let document: Option<T> = stored.map(|stored| self.decode(stored)).transpose()?;
        let table = self.table()?;
        let before = document
            .as_ref()
            .map(|document| table.encode(document))
            .transpose()?;
        let document = decide(&id.id, document).map_err(|source| Error::Handler {
            collection: self.name.clone(),
            id: id.id.clone(),
            source,
        })?;
        let change = self.change(id, actual, before.as_deref(), document.as_ref())?;
        Ok(Decision {
            id: id.id.clone(),
            document,
            change,
        })
    }

    /// Returns the change that the decision makes, from the document's JSON before and after it.
    fn change(
        &self,
        id: &HandleId,
        version: u64,
        before: Option<&[u8]>,
        after: Option<&T>,
    ) -> Result<Change> {
        let Some(after) = after else {
            return Ok(before.map_or(Change::None(None), |_| Change::Delete(version)));
        };
        let json = self.table()?.encode(after)?;
        if before == Some(json.as_slice()) {
            return Ok(Change::None(Some(version)));
        }
        let json = self.stored_form(json)?.for_id(&id.id)?;
        Ok(match before {
            None => Change::Insert(json),
            Some(_) => Change::Replace(json, version),
        })
    }

    /// Writes the decisions. Returns the conflicts to report.
    fn store(
        &self,
        table: &DocumentTable,
        decisions: &[Decision<T>],
        reports: bool,
    ) -> Result<HashMap<String, DocumentConflict>, Failure> {
        let writes = || decisions.iter().filter_map(Decision::write);
        let replaced: Vec<_> = decisions.iter().filter_map(Decision::replaced).collect();
        if replaced.len() == writes().count() && self.replace_together(table, &replaced)? {
            return Ok(HashMap::new());
        }
        let inserted: Vec<(&str, &[u8])> = writes().filter_map(|write| inserted(&write)).collect();
        let run = |sql: &mut dyn Sql| {
            let inserted = table.put(sql, &inserted, Put::InsertMissing)?;
            // A concurrently inserted document conflicts, and its conflict contains its version.
            let others: Vec<_> = writes()
                .filter(|write| !inserted.contains_key(write.id))
                .collect();
            let conflicts = write_others(table, sql, &others, reports)?;
            match conflicts.values().next() {
                Some(conflict) if !reports => Err(Error::Conflict(conflict.clone())),
                _ => Ok(conflicts),
            }
        };
        let stored = match (inserted.len(), writes().count()) {
            (_, 0) => return Ok(HashMap::new()),
            // A single statement is already a transaction.
            (0, _) | (_, 1) => self.write(run),
            _ => self.executor.atomically(&self.name, run),
        };
        stored.map_err(|error| {
            if error.is_conflict() || error.is_retryable() {
                Failure::Repeatable(error)
            } else {
                Failure::Final(error)
            }
        })
    }
}

impl<T> Collection<'_, T> {
    /// Handles the most frequent case of several writes: all are replacements, and nothing has changed since the read. Returns
    /// false if that does not hold. Then nothing was written.
    fn replace_together(
        &self,
        table: &DocumentTable,
        replaced: &[(&str, &[u8], u64)],
    ) -> Result<bool> {
        if replaced.len() < 2 {
            return Ok(false);
        }
        // A transaction of the caller's could not be rolled back alone.
        let Some(mut transaction) = self.executor.begin()? else {
            return Ok(false);
        };
        let replaced = table.replace_versions(transaction.sql(), replaced);
        // Nothing is committed, so the ordinary statements can repeat the attempt, and find the cause of an error.
        if !replaced.unwrap_or(false) {
            return Ok(false);
        }
        transaction.commit()?;
        Ok(true)
    }
}

/// Returns the id and the JSON of a write that expects no document.
fn inserted<'w>(write: &DocumentWrite<'w>) -> Option<(&'w str, &'w [u8])> {
    let json = write.json?;
    (write.expected == ExpectedVersion::DoesNotExist).then_some((write.id, json))
}

/// Replaces and deletes. Returns the conflicts.
fn write_others(
    table: &DocumentTable,
    sql: &mut dyn Sql,
    writes: &[DocumentWrite<'_>],
    reports: bool,
) -> Result<HashMap<String, DocumentConflict>> {
    let rules = WriteRules {
        despite_conflicts: reports,
        unchanged_too: true,
    };
    let written = table.write(sql, writes, rules)?;
    let lost = writes
        .iter()
        .zip(written)
        .filter(|(_, written)| !written.is_expected || written.before == 0);
    let conflicts = lost.map(|(write, written)| {
        let id = write.id.to_owned();
        let conflict = table.conflict(Some(id.clone()), write.expected, written.before);
        (id, conflict)
    });
    Ok(conflicts.collect())
}

/// The failure of an attempt.
enum Failure {
    /// The documents have changed since the read.
    Repeatable(Error),
    Final(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Repeatable(error) | Self::Final(error) => error,
        }
    }

    /// The caller expects a version that the document does not have. A retry cannot change that.
    fn unmet(conflict: DocumentConflict) -> Self {
        Self::Final(Error::Conflict(conflict))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

fn by_id(rows: &[Row]) -> Result<HashMap<&str, StoredDocument<'_>>> {
    rows.iter()
        .map(|row| {
            let stored = StoredDocument::of_row(row)?;
            Ok((stored.id, stored))
        })
        .collect()
}

enum Change {
    Insert(Vec<u8>),
    Replace(Vec<u8>, u64),
    Delete(u64),
    /// No change; with the version of the document, if it exists.
    None(Option<u64>),
    Conflict(DocumentConflict),
}

struct Decision<T> {
    id: String,
    document: Option<T>,
    change: Change,
}

impl<T> Decision<T> {
    fn conflict(conflict: DocumentConflict) -> Self {
        Self {
            id: conflict.id.clone().unwrap_or_default(),
            document: None,
            change: Change::Conflict(conflict),
        }
    }

    fn replaced(&self) -> Option<(&str, &[u8], u64)> {
        match &self.change {
            Change::Replace(json, version) => Some((&self.id, json, *version)),
            _ => None,
        }
    }

    /// Returns the write of the document, if there is one.
    fn write(&self) -> Option<DocumentWrite<'_>> {
        let (json, expected) = match &self.change {
            Change::Insert(json) => (Some(json), ExpectedVersion::DoesNotExist),
            Change::Replace(json, version) => (Some(json), ExpectedVersion::Exact(*version)),
            Change::Delete(version) => (None, ExpectedVersion::Exact(*version)),
            Change::None(_) | Change::Conflict(_) => return None,
        };
        Some(DocumentWrite {
            id: &self.id,
            json: json.map(Vec::as_slice),
            expected,
        })
    }

    fn into_handled(self, conflicts: &HashMap<String, DocumentConflict>) -> Handled<T> {
        let Self {
            id,
            document,
            change,
        } = self;
        if let Some(conflict) = conflicts.get(&id) {
            return Handled::conflict(id, conflict.clone());
        }
        let (outcome, version) = match change {
            Change::Insert(_) => (HandleOutcome::Inserted, Some(1)),
            Change::Replace(_, version) => (HandleOutcome::Replaced, Some(version + 1)),
            Change::Delete(_) => (HandleOutcome::Deleted, None),
            Change::None(version) => (HandleOutcome::Unchanged, version),
            Change::Conflict(conflict) => return Handled::conflict(id, conflict),
        };
        Handled {
            id,
            outcome,
            document,
            version,
        }
    }
}

impl<T> Handled<T> {
    fn conflict(id: String, conflict: DocumentConflict) -> Self {
        Self {
            id,
            version: (conflict.actual > 0).then_some(conflict.actual),
            outcome: HandleOutcome::Conflict(conflict),
            document: None,
        }
    }
}
