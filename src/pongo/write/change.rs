//! Changes of the first matching document, in one statement.

use super::options::{ReturnDocument, UpdateOptions};
use super::outcome::Updated;
use super::upsert::upsert_seed;
use crate::database::position::{from_sql, get_u64};
use crate::database::{ExpectedVersion, Jsonb, RetryPolicy, Sql, check_key, get, retry};
use crate::pongo::collection::Collection;
use crate::pongo::document::{EncodedDocument, StoredDocument, new_id, other_id};
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::{Filter, SqlValue};
use crate::pongo::statement::{Statement, StatementBuilder, StatementSql};
use crate::pongo::update::{Update, UpdatePhase};
use postgres::Row;
use serde::de::DeserializeOwned;
use std::cell::RefCell;

/// Locks the document before any of its data is read, so nothing can change between the read and the write.
pub(super) const PICK: StatementSql = StatementSql::new(
    "
    WITH picked AS (
        SELECT _id, _version, data
          FROM {table}
         WHERE _partition = $1 AND {known} AND {filter}
         {order}
         {limit}
           FOR UPDATE
    )",
);

/// `computed` is MATERIALIZED, because it is both compared and stored. An unchanged document keeps its version.
pub(super) const CHANGE: StatementSql = StatementSql::new(", computed AS MATERIALIZED (
        SELECT picked._id, picked._version, picked.data, {changed} AS changed
          FROM picked
         WHERE {expected} AND {keeps_id}
    ), changed AS (
        UPDATE {table} AS document
           SET data = computed.changed, _version = computed._version + 1, _updated = now()
          FROM computed
         WHERE document._id = computed._id AND document._partition = $1 AND computed.changed <> {before}");

/// The columns that a write of one document returns.
const RETURNING: StatementSql = StatementSql::new(
    "
        RETURNING document._id, document.data, document._version
    )",
);

const DELETE: StatementSql = StatementSql::new(
    ", changed AS (
        DELETE FROM {table} AS document
         USING picked
         WHERE document._id = picked._id AND document._partition = $1 AND {expected}",
);

const FOUND: StatementSql = StatementSql::new(
    "
    SELECT picked._id, picked._version AS before, changed._version AS after, {returned} AS document
      FROM picked LEFT JOIN changed ON changed._id = picked._id",
);

/// A plain UPDATE, for a filter that matches at most one document, and an update that always changes it. No pick and no
/// comparison are necessary. UPDATE waits for concurrent writers, then checks the filter and computes the change again
/// (PostgreSQL's manual, 13.2.1). The most frequent update is of this kind. Returns the same columns as FOUND.
const COUNT: StatementSql = StatementSql::new(
    "
    UPDATE {table} AS picked
       SET data = {changed}, _version = picked._version + 1, _updated = now()
     WHERE _partition = $1 AND {known} AND {filter}
    RETURNING picked._id, picked._version - 1 AS before, picked._version AS after, {returned} AS document",
);

/// Inserts if nothing was picked. If a concurrent statement inserts the same document first, this one inserts nothing and
/// raises no error. It is then retried, and picks the other's document.
const INSERTING: StatementSql = StatementSql::new(
    ", inserted AS (
        INSERT INTO {table} AS document (_id, _partition, data)
        SELECT {id}, {partition}, {inserted}
         WHERE NOT EXISTS (SELECT FROM picked) AND {may_insert}",
);

/// Without this clause, a conflicting row raises an error.
const YIELDING: StatementSql = StatementSql::new(
    "
        ON CONFLICT DO NOTHING",
);

const INSERTED: StatementSql = StatementSql::new(
    "
     UNION ALL
    SELECT inserted._id, 0, inserted._version, {returned_inserted} FROM inserted",
);

const NOTHING: &str = "NULL::jsonb";
const BEFORE: &str = "picked.data";
const AFTER: &str = "coalesce(changed.data, picked.data)";
const DELETED: &str = "changed.data";
const INSERTED_AFTER: &str = "inserted.data";

/// The stored form that an updated document is compared with.
pub(super) const UPDATED_BEFORE: &str = "computed.data";

/// Maximum number of retries of an upsert that lost a race. Each lost race means that another session inserted and deleted the
/// same document meanwhile. If the cause is a unique index, the last attempt returns its error.
const UPSERT_AGAIN: RetryPolicy = RetryPolicy::times(4);

/// Receives a document that a write returns, before the commit. If it cannot be read, nothing is written.
type Take<'t> = &'t dyn Fn(&StoredDocument<'_>) -> Result<()>;

/// A change of one document.
pub(super) struct Change<'c> {
    doing: &'static str,
    filter: Filter,
    options: &'c UpdateOptions,
    returned: Option<Returned<'c>>,
    new: NewDocument<'c>,
}

/// The form of the document to return, and its receiver. If the receiver fails, nothing is changed.
#[derive(Clone, Copy)]
struct Returned<'c> {
    form: ReturnDocument,
    take: Take<'c>,
}

/// The new state of the document.
pub(super) enum NewDocument<'c> {
    Updated(&'c Update),
    Replaced(EncodedDocument),
    Deleted,
}

#[derive(Default)]
struct Expressions {
    changed: String,
    inserted: Option<String>,
}

impl Returned<'_> {
    /// Passes the document of a row to the receiver, if the row contains one.
    fn take_of(&self, row: &Row) -> Result<()> {
        let Some(Jsonb(data)) = get(row, "document")? else {
            return Ok(());
        };
        let after = match self.form {
            ReturnDocument::Before => None,
            ReturnDocument::After => get::<Option<i64>>(row, "after")?,
        };
        let before: i64 = get(row, "before")?;
        (self.take)(&StoredDocument {
            data,
            id: get(row, "_id")?,
            version: from_sql(after.unwrap_or(before))?,
        })
    }
}

impl<'c> Change<'c> {
    pub(super) fn new(
        doing: &'static str,
        filter: Filter,
        new: NewDocument<'c>,
        options: &'c UpdateOptions,
    ) -> Self {
        Self {
            doing,
            filter,
            options,
            returned: None,
            new,
        }
    }

    /// The same, but returns the document in this form. `operation` is the name of the public method.
    pub(super) fn find_and_run<T: DeserializeOwned>(
        self,
        operation: &str,
        form: ReturnDocument,
        collection: &Collection<'_, T>,
    ) -> Result<Option<T>> {
        self.options.refuse_report(operation)?;
        let taken = RefCell::new(None);
        let take = |stored: &StoredDocument<'_>| {
            taken.replace(Some(collection.decode(stored)?));
            Ok(())
        };
        let returned = Some(Returned { form, take: &take });
        Change { returned, ..self }.run(collection)?;
        Ok(taken.into_inner())
    }

    pub(super) fn run<T>(&self, collection: &Collection<'_, T>) -> Result<Updated> {
        let table = collection.table()?;
        let filter = &self.filter;
        let mut builder = StatementBuilder::new(table).filter(filter)?;
        let expressions = self.expressions(&mut builder, filter)?;
        let id = self.id(filter)?.map(SqlValue::Text);
        let keeps_id = match &id {
            Some(id) if self.own_id().is_some() => {
                format!("picked._id = {}", builder.push(id.clone()))
            }
            _ => "TRUE".to_owned(),
        };
        let builder = builder
            .order(self.options.sort.as_ref())?
            .part("limit", "LIMIT 1")
            .expected(self.options.expected)
            .part("changed", expressions.changed)
            .part("before", self.before())
            .part("keeps_id", keeps_id)
            .part("returned", self.returned());
        let (Some(inserted), Some(id)) = (expressions.inserted, id) else {
            let statement = match self.new {
                NewDocument::Deleted => builder.build(&[PICK, DELETE, RETURNING, FOUND]),
                _ if self.only_counts(filter) => builder.build(&[COUNT]),
                _ => builder.build(&[PICK, CHANGE, RETURNING, FOUND]),
            };
            let row = self.first_row(collection, &statement)?;
            return self.outcome(collection, filter, row.as_ref());
        };
        let may_insert = self.options.expected.is_met_by(0);
        let builder = builder
            .value("id", id)
            .part("may_insert", may_insert.to_string())
            .part("inserted", inserted)
            .part("returned_inserted", self.returned_inserted());
        self.upsert(collection, filter, builder)
    }

    /// Returns the SQL of the new document, for a change and for an upsert's insertion.
    fn expressions(&self, builder: &mut StatementBuilder, filter: &Filter) -> Result<Expressions> {
        match &self.new {
            NewDocument::Deleted => Ok(Expressions::default()),
            NewDocument::Replaced(document) => {
                let document = builder
                    .parameters()
                    .push_json_text(document.json.as_slice());
                Ok(Expressions {
                    inserted: self.options.upsert.then(|| document.clone()),
                    changed: document,
                })
            }
            NewDocument::Updated(update) => {
                let changed = builder.updated(update, "picked.data", UpdatePhase::Change)?;
                if !self.options.upsert {
                    return Ok(Expressions {
                        changed,
                        inserted: None,
                    });
                }
                let seed = SqlValue::Json(upsert_seed(filter)?);
                let seed = builder.push(seed);
                let inserted = builder.updated(update, &seed, UpdatePhase::Insert)?;
                Ok(Expressions {
                    changed,
                    inserted: Some(inserted),
                })
            }
        }
    }

    /// Returns the id that the new document names. The document to replace must have the same id.
    fn own_id(&self) -> Option<&String> {
        match &self.new {
            NewDocument::Replaced(document) => document.id.as_ref(),
            NewDocument::Updated(_) | NewDocument::Deleted => None,
        }
    }

    fn upsert<T>(
        &self,
        collection: &Collection<'_, T>,
        filter: &Filter,
        builder: StatementBuilder,
    ) -> Result<Updated> {
        let [statement, telling] = builder.build_each([
            &[
                PICK, CHANGE, RETURNING, INSERTING, YIELDING, RETURNING, FOUND, INSERTED,
            ],
            &[
                PICK, CHANGE, RETURNING, INSERTING, RETURNING, FOUND, INSERTED,
            ],
        ]);
        let row = retry(
            &UPSERT_AGAIN,
            |attempt| {
                let statement = if attempt.is_last {
                    &telling
                } else {
                    &statement
                };
                self.first_row(collection, statement)
            },
            |row| matches!(row, Ok(None)) && self.options.expected.is_met_by(0),
        )?;
        self.outcome(collection, filter, row.as_ref())
    }

    /// Returns the SQL that the new document is compared with. The JSON of another library contains columns, which no
    /// replacement does.
    fn before(&self) -> &'static str {
        match self.new {
            NewDocument::Updated(_) | NewDocument::Deleted => UPDATED_BEFORE,
            NewDocument::Replaced(_) => "computed.data - '{_id,_version}'::text[]",
        }
    }

    /// Returns whether the filter matches at most one document, the update always changes it, and no document is returned.
    fn only_counts(&self, filter: &Filter) -> bool {
        let NewDocument::Updated(update) = &self.new else {
            return false;
        };
        filter.pinned_id().is_some()
            && self.returned.is_none()
            && self.options.expected == ExpectedVersion::Any
            && update.counts()
    }

    /// Returns the id of an inserted document.
    fn id(&self, filter: &Filter) -> Result<Option<String>> {
        let pinned = filter.pinned_id().map(str::to_owned);
        if let Some(pinned) = pinned.as_ref().filter(|_| self.options.upsert) {
            check_key("the document id", pinned)?;
        }
        match (self.own_id(), pinned) {
            (Some(own), Some(pinned)) if *own != pinned => Err(other_id(own, &pinned)),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, None) if self.options.upsert => Ok(Some(new_id())),
            (None, pinned) => Ok(pinned),
        }
    }

    fn returned(&self) -> &'static str {
        match self.returned.map(|returned| returned.form) {
            None => NOTHING,
            Some(_) if matches!(self.new, NewDocument::Deleted) => DELETED,
            Some(ReturnDocument::Before) => BEFORE,
            Some(ReturnDocument::After) => AFTER,
        }
    }

    fn returned_inserted(&self) -> &'static str {
        match self.returned.map(|returned| returned.form) {
            Some(ReturnDocument::After) => INSERTED_AFTER,
            _ => NOTHING,
        }
    }

    fn first_row<T>(
        &self,
        collection: &Collection<'_, T>,
        statement: &Statement,
    ) -> Result<Option<Row>> {
        let run = |sql: &mut dyn Sql| statement.query(self.doing, sql);
        match &self.returned {
            None => collection.write_row(run, None),
            Some(returned) => collection.write_row(run, Some(&|row| returned.take_of(row))),
        }
    }

    fn outcome<T>(
        &self,
        collection: &Collection<'_, T>,
        filter: &Filter,
        row: Option<&Row>,
    ) -> Result<Updated> {
        let Some(row) = row else {
            return self.unmatched(collection, filter);
        };
        let id: String = get(row, "_id")?;
        let before = get_u64(row, "before")?;
        let after = get::<Option<i64>>(row, "after")?
            .map(from_sql)
            .transpose()?;
        if after.is_none() {
            if !self.options.expected.is_met_by(before) {
                return self.conflict(collection, Some(id), before);
            }
            if let Some(own) = self.own_id().filter(|own| **own != id) {
                return Err(other_id(own, &id));
            }
        }
        Ok(Updated {
            matched: before > 0,
            modified: before > 0 && after.is_some(),
            inserted: before == 0,
            id: Some(id),
            version: Some(after.unwrap_or(before)),
            conflict: None,
        })
    }

    fn unmatched<T>(&self, collection: &Collection<'_, T>, filter: &Filter) -> Result<Updated> {
        if self.options.expected.is_met_by(0) {
            return Ok(Updated::default());
        }
        self.conflict(collection, filter.pinned_id().map(str::to_owned), 0)
    }

    fn conflict<T>(
        &self,
        collection: &Collection<'_, T>,
        id: Option<String>,
        actual: u64,
    ) -> Result<Updated> {
        let table = collection.table()?;
        let conflict = table.conflict(id, self.options.expected, actual);
        if !self.options.reports_conflict {
            return Err(Error::Conflict(conflict));
        }
        Ok(Updated {
            matched: actual > 0,
            id: conflict.id.clone(),
            version: (actual > 0).then_some(actual),
            conflict: Some(conflict),
            ..Updated::default()
        })
    }
}
