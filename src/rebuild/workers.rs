//! Workers of a rebuild. Each handles some of the streams, or of the documents.

use super::job::Job;
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::events::Page;
use crate::events::RecordedMessage;
use crate::slots::{OwnedSlots, slot_of};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::thread;

/// Maximum number of batches that wait for a slow worker.
const WAITING: usize = 2;

/// A worker's share of a page, as indexes of messages.
struct Batch {
    page: Arc<Page>,
    chosen: Vec<usize>,
}

/// Handles the feed up to a position. Returns when all workers are done.
pub(super) fn handle_up_to(job: &Job<'_>, up_to: u64, progress: &mut Progress<'_>) -> Result<()> {
    thread::scope(|scope| {
        let (mut senders, mut workers) = (Vec::new(), Vec::new());
        for worker in 0..job.workers {
            let (sender, batches) = bounded(WAITING);
            let worker = thread::Builder::new()
                .name(format!("emt:rebuild-{worker}"))
                .spawn_scoped(scope, move || work(job, worker, &batches))
                .map_err(|source| Error::Thread { source })?;
            senders.push(sender);
            workers.push(worker);
        }
        let distributed = distribute(job, up_to, progress, &senders);
        drop(senders);
        // Wait for all workers, then return the first error.
        let worked: Vec<Result<()>> = workers
            .into_iter()
            .map(|worker| match worker.join() {
                Ok(worked) => worked,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect();
        worked.into_iter().collect::<Result<()>>()?;
        distributed
    })
}

fn work(job: &Job<'_>, worker: u32, batches: &Receiver<Batch>) -> Result<()> {
    let owned = OwnedSlots::new(job.workers, [worker]);
    batches.iter().try_for_each(|batch| {
        let messages: Vec<&RecordedMessage> = batch
            .chosen
            .iter()
            .filter_map(|index| batch.page.messages.get(*index))
            .collect();
        job.handle_batch(&messages, Some(&owned))
    })
}

fn distribute(
    job: &Job<'_>,
    up_to: u64,
    progress: &mut Progress<'_>,
    workers: &[Sender<Batch>],
) -> Result<()> {
    while progress.position < up_to {
        let page = Arc::new(job.read_page(progress.position, up_to)?);
        for (worker, chosen) in workers.iter().zip(share_out(job, &page.messages)?) {
            let batch = Batch {
                page: Arc::clone(&page),
                chosen,
            };
            if !batch.chosen.is_empty() && worker.send(batch).is_err() {
                // The worker has failed; joining it returns its error.
                return Ok(());
            }
        }
        job.advance(progress, &page)?;
    }
    Ok(())
}

/// Returns the indexes of each worker's messages, in order.
fn share_out(job: &Job<'_>, messages: &[RecordedMessage]) -> Result<Vec<Vec<usize>>> {
    let mut shares: Vec<Vec<usize>> = (0..job.workers).map(|_| Vec::new()).collect();
    for (index, message) in messages.iter().enumerate() {
        let keys = job
            .projection
            .keys(message)
            .map_err(|source| job.failed_at(message, source))?;
        let mut give_to = |key: &str| {
            let share = shares.get_mut(slot_of(key, job.workers) as usize);
            if let Some(share) = share.filter(|share| share.last() != Some(&index)) {
                share.push(index);
            }
        };
        match &keys {
            None => give_to(&message.stream_name),
            Some(keys) => keys.iter().for_each(|key| give_to(key)),
        }
    }
    Ok(shares)
}
