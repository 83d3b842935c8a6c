//! Requested replays and discards of parked messages.

use super::call::refused_commit;
use super::{BatchError, Worker};
use crate::consumer::batch_transaction::BatchTransaction;
use crate::error::Result;
use crate::events::{RecordedMessage, feed};
use crate::slots::{Replay, parking};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Worker {
    /// Discards and replays parked messages as requested.
    pub(super) fn run_requests(&mut self) -> Result<(), BatchError> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let key = shared.key(&mailbox.processor);
        shared.run(|sql| parking::discard(sql, key, &self.held))?;
        while let Some(replay) = shared.run(|sql| parking::next_replay(sql, key, &self.held))? {
            if shared.stop.is_stopped() {
                break;
            }
            self.replay(&replay)?;
        }
        let parked = shared.run(|sql| parking::streams(sql, key, &self.held))?;
        self.parked = parked.into_iter().collect();
        Ok(())
    }

    pub(super) fn replay(&mut self, replay: &Replay) -> Result<(), BatchError> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let (key, holder) = (shared.key(&mailbox.processor), shared.holder(&mailbox));
        let Some(slot) = self
            .held
            .iter()
            .find(|held| held.slot == replay.slot)
            .copied()
        else {
            return Err(BatchError::Lost);
        };
        let position = replay.position;
        let message = shared.run(|sql| feed::message_at(sql, key.partition, position))?;
        let messages: Vec<&RecordedMessage> = message.iter().collect();
        let mut transaction = BatchTransaction::new(&shared.store, shared.settings.lease);
        let called = mailbox
            .while_busy(|| self.call(&mut transaction, &messages, &[replay.slot]))
            .map_err(|(_, error)| error);
        let unparked = called.and_then(|()| {
            let was_unwell = transaction.take_unwell();
            transaction.sql()?;
            transaction
                .commit(|sql| parking::unpark(sql, key, holder, slot, position))
                .map_err(|error| refused_commit(error, was_unwell, &messages))
        });
        match unparked {
            Ok(true) => {}
            Ok(false) => return Err(BatchError::Lost),
            Err(error @ BatchError::Handler(_)) => {
                let BatchError::Handler(error) = self.unless_lost(error)? else {
                    return Err(BatchError::Lost);
                };
                self.report_handler(&error);
                let error = format!("{:#}", error.cause);
                shared.run(|sql| parking::replay_failed(sql, key, replay, &error))?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.mailbox
            .handled
            .fetch_add(messages.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
