//! The switch, in which the new read model replaces the live one.

use super::claim::Claim;
use super::job::Job;
use super::progress::Progress;
use super::shadow::replace_documents;
use crate::database::{PooledTransaction, RetryPolicy, Sql, pause, retry};
use crate::error::{Error, ProjectionError, Result};
use crate::events::{Horizon, RecordedMessage, feed};
use crate::projection::{ProjectionType, missed, registry};
use crate::slots::KeptProjection;
use crate::slots::progress::refuse_beyond;
use std::time::{Duration, Instant};

/// While the switch waits for open appends, later appends queue after it. The switch therefore gives up early and
/// retries. Nor may a program that hangs delay appends.
pub(super) const WAIT_FOR_APPENDS: &str =
    "SET LOCAL lock_timeout = '100ms'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Timeout for locked rows. It is shorter than the server's deadlock timeout.
const WAIT_FOR_ROWS: &str = "SET LOCAL lock_timeout = '500ms'";

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Maximum time that the switch waits for the feed while it holds up appends with the projection.
const WAIT_FOR_FEED: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The reason why an attempt to switch failed. A later one may succeed.
pub(super) struct Blocked(pub(super) String);

impl Job<'_> {
    /// Retries the switch until it succeeds. Returns the time for which appends had to wait. Events above `noted_after`
    /// are noted if the version is not active.
    pub(super) fn switch(
        &self,
        claim: &Claim,
        progress: &mut Progress<'_>,
        noted_after: u64,
    ) -> Result<(Duration, Vec<String>)> {
        let policy = RetryPolicy::without_end()
            .pausing(PAUSE, PAUSE)
            .until(Instant::now() + self.switch_timeout);
        let kept = self.keep_documents()?;
        let switched = retry(
            &policy,
            |attempt| {
                if attempt.number > 0 {
                    self.catch_up(progress)?;
                }
                // Without the claim, the tables may have lost rows.
                claim.check()?;
                self.switch_unless_blocked(progress, &kept, noted_after)
            },
            |switched| matches!(switched, Ok(Err(_))),
        );
        let locked = switched?.map_err(|Blocked(reason)| {
            Error::Projection(ProjectionError::RebuildBlocked {
                projection: self.projection.name().to_owned(),
                reason,
            })
        })?;
        Ok((locked, kept.into_iter().map(|(_, old)| old).collect()))
    }

    fn switch_unless_blocked(
        &self,
        progress: &mut Progress<'_>,
        kept: &[(String, String)],
        noted_after: u64,
    ) -> Result<Result<Duration, Blocked>> {
        match self.try_switch(progress, kept, noted_after) {
            Ok(Some(locked)) => Ok(Ok(locked)),
            Ok(None) => Ok(Err(Blocked(
                "an open transaction with an append holds the feed back".to_owned(),
            ))),
            Err(error) if error.is_retryable() => {
                Ok(Err(Blocked(format!("{:#}", anyhow::Error::from(error)))))
            }
            Err(error @ Error::Projection(ProjectionError::Failed { .. })) => {
                // The failure repeats outside the switch, which names the message.
                self.catch_up(progress)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn try_switch(
        &self,
        progress: &mut Progress<'_>,
        kept: &[(String, String)],
        noted_after: u64,
    ) -> Result<Option<Duration>> {
        match self.projection_type {
            ProjectionType::Inline => self.try_switch_inline(progress, kept, noted_after),
            ProjectionType::Asynchronous => {
                let (owner, connections) = (self.shadow.owner(), self.store.connections());
                let kept_projection = connections.run(true, |sql| self.kept_projection(sql))?;
                let processor = &kept_projection;
                // Hold the slots before the switch locks anything. A running batch has locked documents. It would wait
                // for its slot, and the switch for the documents.
                connections.run(true, |sql| processor.hold(sql, &owner))?;
                let switched = self.try_switch_asynchronous(progress, kept, processor, &owner);
                if matches!(switched, Ok(Some(_))) {
                    return switched;
                }
                let released = connections.run(true, |sql| processor.release_hold(sql, &owner));
                switched.and_then(|held| released.map(|()| held))
            }
        }
    }

    fn kept_projection(&self, sql: &mut dyn Sql) -> Result<KeptProjection<'_>> {
        let name = self.projection.name();
        KeptProjection::find(sql, self.partition(), name, self.version)
    }

    fn try_switch_inline(
        &self,
        progress: &mut Progress<'_>,
        kept: &[(String, String)],
        noted_after: u64,
    ) -> Result<Option<Duration>> {
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        let sql = transaction.sql();
        set(sql, WAIT_FOR_APPENDS)?;
        let begun = Instant::now();
        registry::lock(sql, self.partition())?;
        set(sql, WAIT_FOR_ROWS)?;
        // All appends with the projection are committed now. Other appends may still be open.
        let Some(head) = self.find_end(sql, progress.position, noted_after)? else {
            return Ok(None);
        };
        let handled = self.handle_in(sql, progress.position, head)?;
        self.replace(sql, kept)?;
        let key = (self.projection.name(), self.version);
        missed::delete_other_versions(sql, self.partition(), key)?;
        missed::delete(sql, self.partition(), key, head)?;
        self.commit(transaction)?;
        let locked = begun.elapsed();
        progress.advance(handled, head);
        Ok(Some(locked))
    }

    fn try_switch_asynchronous(
        &self,
        progress: &mut Progress<'_>,
        kept: &[(String, String)],
        processor: &KeptProjection<'_>,
        owner: &str,
    ) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        let sql = transaction.sql();
        set(sql, WAIT_FOR_APPENDS)?;
        set(sql, WAIT_FOR_ROWS)?;
        let Some(highest) = processor.lock_hold(sql, owner)? else {
            return Ok(None);
        };
        let Horizon {
            position: horizon,
            head,
        } = feed::horizon(sql, self.partition(), progress.position)?;
        refuse_beyond(processor.processor_name(), highest, head)?;
        // All three were horizons once, and a horizon stays valid.
        let position = horizon.max(highest).max(progress.position);
        let handled = self.handle_in(sql, progress.position, position)?;
        self.replace(sql, kept)?;
        processor.resume_after(sql, owner, position, self.projection.handles())?;
        self.commit(transaction)?;
        let locked = begun.elapsed();
        progress.advance(handled, position);
        Ok(Some(locked))
    }

    /// Returns the position up to which the switch has to handle the feed. All later events are noted. Returns `None`
    /// if the feed cannot be read that far.
    fn find_end(&self, sql: &mut dyn Sql, after: u64, noted_after: u64) -> Result<Option<u64>> {
        let (name, version) = (self.projection.name(), self.version);
        match registry::status(sql, self.partition(), name, version)?.as_deref() {
            // Appends have run the active version, so none of their events is noted.
            Some("active") => self.wait_for_head(sql, after),
            Some("arming") => {
                let horizon = feed::horizon(sql, self.partition(), after)?.position;
                Ok((horizon >= noted_after).then_some(horizon))
            }
            _ => Err(self.superseded()),
        }
    }

    /// Waits until the feed can be read up to its current head. Returns `None` on timeout.
    fn wait_for_head(&self, sql: &mut dyn Sql, after: u64) -> Result<Option<u64>> {
        let deadline = Instant::now() + WAIT_FOR_FEED;
        let first = feed::horizon(sql, self.partition(), after)?;
        let mut horizon = first.position;
        while horizon < first.head {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            pause(LOOK_AGAIN);
            horizon = feed::horizon(sql, self.partition(), after)?.position;
        }
        Ok(Some(first.head))
    }

    /// Handles the rest in the transaction of the switch. Returns the number of messages.
    fn handle_in(&self, sql: &mut dyn Sql, mut after: u64, up_to: u64) -> Result<usize> {
        let mut handled = 0;
        while after < up_to {
            let page = self.page(sql, after, up_to)?;
            let messages: Vec<&RecordedMessage> = page.messages.iter().collect();
            if !messages.is_empty() {
                self.handle(sql, &messages, None)?;
            }
            handled += messages.len();
            after = page.position;
        }
        Ok(handled)
    }

    fn replace(&self, sql: &mut dyn Sql, kept: &[(String, String)]) -> Result<()> {
        for (live, old) in kept {
            replace_documents(sql, self.partition(), live, old, true)?;
        }
        self.shadow
            .replace(sql, self.partition(), self.projection.as_ref())?;
        registry::activate(sql, self.partition(), self.projection.name(), self.version)
    }

    /// Commits, unless another rebuild has taken over and dropped the tables.
    fn commit(&self, mut transaction: PooledTransaction) -> Result<()> {
        if !self.shadow.end(transaction.sql(), self.partition())? {
            return Err(self.superseded());
        }
        Ok(transaction.commit()?)
    }

    /// Copies the live documents if they are to be kept. The switch then copies only later changes.
    fn keep_documents(&self) -> Result<Vec<(String, String)>> {
        if !self.keep_old {
            return Ok(Vec::new());
        }
        let kept = self
            .shadow
            .create_old(self.store, self.projection.as_ref())?;
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        for (live, old) in &kept {
            replace_documents(transaction.sql(), self.partition(), live, old, true)?;
        }
        transaction.commit()?;
        Ok(kept)
    }
}

pub(super) fn set(sql: &mut dyn Sql, settings: &str) -> Result<()> {
    sql.batch(settings)
        .map_err(|source| Error::database("begin the switch", source))
}
