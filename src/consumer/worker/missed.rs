//! Events that older code has passed over. The policy is applied when slots are taken.

use super::batch::Task;
use super::{BatchError, Replaying, Worker};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::consumer::new_types::{count, refused};
use crate::consumer::on_new_types::OnNewTypes;
use crate::error::Result as StoreResult;
use crate::events::RecordedMessage;
use crate::events::feed::{self, Part};
use crate::slots::{Coverage, HeldSlot, Missed};
use crate::trace;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Maximum number of streams that a warning names.
const NAMED_STREAMS: usize = 20;

impl Worker {
    /// Applies the policy to events that older code has passed over in the slots just taken.
    pub(super) fn decide_about_new_types(&mut self) -> Result<(), BatchError> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let key = shared.key(&mailbox.processor);
        let code = &mailbox.processor.handled;
        for coverage in shared.run(|sql| key.coverage(sql, Some(&self.held)))? {
            if coverage.is_of(code) {
                continue;
            }
            if let Some(missed) = coverage.missed_by(code) {
                self.decide(&coverage, missed)?;
            }
            let held = self.held_of(&coverage);
            let (holder, taken) = (shared.holder(&mailbox), coverage.taken_by(code));
            if !shared.run(|sql| key.note_coverage(sql, holder, &held, &taken))? {
                return Err(BatchError::Lost);
            }
        }
        Ok(())
    }

    fn decide(&mut self, coverage: &Coverage, missed: Missed) -> Result<(), BatchError> {
        let policy = self.processor().options.on_new_types;
        if policy == OnNewTypes::Replay {
            return self.replay_missed(coverage, missed);
        }
        let processor = self.processor();
        let Some(count) = count(&self.shared, processor, coverage, &missed)? else {
            return Err(BatchError::Lost);
        };
        if count.messages == 0 {
            return Ok(());
        }
        if policy == OnNewTypes::Refuse {
            let error = refused(processor, count, coverage.position);
            return Err(BatchError::Handler(anyhow::Error::new(error).into()));
        }
        let position = coverage.position;
        trace::passed_over(&processor.name, &count.types, count.messages, position);
        Ok(())
    }

    fn replay_missed(&mut self, coverage: &Coverage, missed: Missed) -> Result<(), BatchError> {
        let (mut after, up_to) = (missed.after, missed.up_to);
        self.replaying = Some(Replaying {
            coverage: coverage.clone(),
            missed,
        });
        let mut outcome = Ok(());
        while after < up_to && outcome.is_ok() {
            outcome = self.replay_page(after).map(|reached| after = reached);
        }
        self.replaying = None;
        self.reached = self.checkpoint();
        outcome
    }

    /// Handles missed events after a position. Returns the position that was reached.
    fn replay_page(&mut self, after: u64) -> Result<u64, BatchError> {
        let shared = Arc::clone(&self.shared);
        let Some(Replaying { coverage, missed }) = &self.replaying else {
            return Err(BatchError::Lost);
        };
        if shared.stop.is_stopped() {
            return Err(BatchError::Lost);
        }
        let (partition, limits) = (shared.store.partition(), shared.settings.limits);
        let part = Part {
            after,
            up_to: missed.up_to.min(after.saturating_add(feed::LONGEST_STEP)),
            filter: &missed.filter(),
        };
        let page = shared.run(|sql| feed::page(sql, partition, part, limits))?;
        let reached = page.position;
        let is_missed = |message: &&RecordedMessage| {
            let (stream, message_type) = (message.stream_name(), message.message_type());
            coverage.has_missed(missed, stream, message_type, message.global_position())
        };
        let missed = page.messages.iter().filter(is_missed);
        let tasks: Vec<Task<'_>> = missed.filter_map(|message| self.task(message)).collect();
        if tasks.is_empty() {
            return Ok(reached);
        }
        let streams: BTreeSet<&str> = tasks
            .iter()
            .map(|task| task.message.stream_name())
            .collect();
        let streams: Vec<&str> = streams.into_iter().take(NAMED_STREAMS).collect();
        trace::made_up_for(&self.processor().name, &streams, tasks.len(), reached);
        self.run_tasks(&tasks, reached)?;
        Ok(reached)
    }

    /// Returns the slots whose checkpoints move: all slots, unless some replay missed events.
    pub(super) fn moving(&self) -> Vec<HeldSlot> {
        match &self.replaying {
            Some(replaying) => self.held_of(&replaying.coverage),
            None => self.held.clone(),
        }
    }

    /// Notes the progress of a replay, in the transaction that handles it.
    pub(super) fn note_caught_up(
        &self,
        transaction: &mut BatchTransaction<'_>,
        held: &[HeldSlot],
        up_to: u64,
    ) -> StoreResult<()> {
        let Some(Replaying { coverage, missed }) = &self.replaying else {
            return Ok(());
        };
        let key = self.shared.key(&self.mailbox.processor);
        let holder = self.shared.holder(&self.mailbox);
        let caught_up = coverage.caught_up(missed, up_to);
        // If a slot is lost, the checkpoint detects it.
        key.note_coverage(transaction.sql()?, holder, held, &caught_up)?;
        Ok(())
    }

    fn held_of(&self, coverage: &Coverage) -> Vec<HeldSlot> {
        let held = self.held.iter();
        held.filter(|held| coverage.slots.contains(&held.slot))
            .copied()
            .collect()
    }
}
