//! A running rebuild: it catches up with the feed in batches, then switches.

use super::claim::Claim;
use super::failure::failed;
use super::progress::{Progress, RebuildReport};
use super::shadow::Shadow;
use crate::database::{DatabaseError, PooledTransaction, RetryPolicy, Sql, retry};
use crate::error::{Error, ProjectionError, Result};
use crate::events::feed::Part;
use crate::events::{BatchLimits, Page};
use crate::events::{Partition, RecordedMessage, feed};
use crate::projection::{Projection, ProjectionContext, ProjectionType};
use crate::slots::OwnedSlots;
use crate::store::EventStore;
use std::sync::Arc;
use std::time::Duration;

/// Retries of a batch after a deadlock or a lost connection.
const REPETITIONS: RetryPolicy = RetryPolicy::times(3);

/// A worker of a program that hangs must not hold its tables for ever. Handlers may pause for some time.
const WORKER_TIMEOUT: &str = "SET LOCAL idle_in_transaction_session_timeout = '5min'";

pub(super) struct Job<'s> {
    pub(super) store: &'s EventStore,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) projection_type: ProjectionType,
    pub(super) version: i32,
    pub(super) shadow: Shadow,
    pub(super) workers: u32,
    pub(super) limits: BatchLimits,
    pub(super) keep_old: bool,
    pub(super) switch_timeout: Duration,
}

impl Job<'_> {
    pub(super) fn run(&self, claim: &Claim, mut progress: Progress<'_>) -> Result<RebuildReport> {
        self.shadow.truncate(self.store, self.projection.as_ref())?;
        self.catch_up(&mut progress)?;
        let (locked, kept) = self.arm_and_switch(claim, &mut progress)?;
        Ok(RebuildReport {
            handled: progress.handled,
            position: progress.position,
            took: progress.started.elapsed(),
            locked,
            kept,
        })
    }

    pub(super) fn partition(&self) -> &Partition {
        self.store.partition()
    }

    /// Drops the tables of a failed rebuild. If that fails, the next rebuild drops them.
    pub(super) fn clean_up(&self) {
        let _ = self
            .store
            .connections()
            .run(true, |sql| self.shadow.end(sql, self.partition()));
    }

    pub(super) fn read_page(&self, after: u64, up_to: u64) -> Result<Page> {
        self.store
            .connections()
            .run(true, |sql| self.page(sql, after, up_to))
    }

    pub(super) fn page(&self, sql: &mut dyn Sql, after: u64, up_to: u64) -> Result<Page> {
        let handled = self.projection.handles();
        let part = Part {
            after,
            up_to: up_to.min(after.saturating_add(feed::LONGEST_STEP)),
            filter: &handled.filter(),
        };
        let mut page = feed::page(sql, self.partition(), part, self.limits)?;
        page.messages.retain(|message| handled.has_message(message));
        Ok(page)
    }

    /// Counts a page, and records the progress in the database at intervals.
    pub(super) fn advance(&self, progress: &mut Progress<'_>, page: &Page) -> Result<()> {
        progress.advance(page.messages.len(), page.position);
        if !progress.has_to_be_recorded() {
            return Ok(());
        }
        let is_ours = self.store.connections().run(true, |sql| {
            self.shadow.record(sql, self.partition(), page.position)
        })?;
        if is_ours {
            Ok(())
        } else {
            Err(self.superseded())
        }
    }

    pub(super) fn superseded(&self) -> Error {
        Error::Projection(ProjectionError::RebuildRunning {
            projection: self.projection.name().to_owned(),
        })
    }

    /// Handles messages in a transaction of their own, restricted to the given slots.
    pub(super) fn handle_batch(
        &self,
        messages: &[&RecordedMessage],
        owned: Option<&OwnedSlots>,
    ) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let handle_once = || -> Result<Result<()>> {
            let mut transaction = self.begin()?;
            let handled = self.handle(transaction.sql(), messages, owned);
            Ok(handled.and_then(|()| Ok(transaction.commit()?)))
        };
        let handled = retry(
            &REPETITIONS,
            |_| handle_once(),
            |handled| matches!(handled, Ok(Err(error)) if error.is_retryable()),
        );
        handled?.map_err(|error| self.name_message(error, messages, owned))
    }

    fn begin(&self) -> Result<PooledTransaction> {
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        transaction
            .sql()
            .batch(WORKER_TIMEOUT)
            .map_err(|source| Error::database("begin a batch", source))?;
        Ok(transaction)
    }

    pub(super) fn handle(
        &self,
        sql: &mut dyn Sql,
        messages: &[&RecordedMessage],
        owned: Option<&OwnedSlots>,
    ) -> Result<()> {
        let mut context = ProjectionContext::new(sql, self.partition())
            .with_shadow(&self.shadow.tables)
            .with_slots(owned);
        self.projection
            .handle(messages, &mut context)
            .map_err(|source| failed(self.projection.as_ref(), source))?;
        self.shadow
            .refuse_other_tables(sql, self.projection.as_ref())
    }

    /// Names the message at which a batch fails: handles the messages one by one and rolls back.
    fn name_message(
        &self,
        error: Error,
        messages: &[&RecordedMessage],
        owned: Option<&OwnedSlots>,
    ) -> Error {
        let source = match error {
            Error::Projection(ProjectionError::Failed { source, .. }) => source,
            Error::Database(DatabaseError::TransactionAborted { .. }) => error.into(),
            other => return other,
        };
        if let [message] = messages {
            return self.failed_at(message, source);
        }
        let Ok(mut transaction) = self.begin() else {
            return failed(self.projection.as_ref(), source);
        };
        for message in messages {
            match self.handle(transaction.sql(), &[message], owned) {
                Ok(()) => {}
                Err(Error::Projection(ProjectionError::Failed { source, .. })) => {
                    return self.failed_at(message, source);
                }
                Err(error) => return self.failed_at(message, error.into()),
            }
        }
        let range = messages.first().zip(messages.last());
        let range = range.map_or((0, 0), |(first, last)| {
            (first.global_position, last.global_position)
        });
        let source = source.context(format!(
            "handling the messages at the global positions {} to {} together failed",
            range.0, range.1
        ));
        failed(self.projection.as_ref(), source)
    }

    pub(super) fn failed_at(&self, message: &RecordedMessage, source: anyhow::Error) -> Error {
        failed(self.projection.as_ref(), source.context(message.place()))
    }
}
