//! The thread that handles messages: one batch, one transaction, one checkpoint.

use super::backoff::Backoff;
use super::lease::HeldSlot;
use super::parking::{self, Replay};
use super::processor::{Handler, Processor};
use super::reactor::ReactorContext;
use super::seat::{Batch, Seat, Shared};
use super::work::Work;
use crate::error::{Error, Result, is_transient_cause};
use crate::feed;
use crate::message::RecordedMessage;
use crate::projection::ProjectionContext;
use crate::slot::{OwnedSlots, slot_of};
use crate::trace;
use crossbeam_channel::{RecvTimeoutError, select};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where nothing has to be handled, the checkpoint follows after this time.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// How often a message may end the process before it is parked.
const DEADLY_ATTEMPTS: i32 = 5;

/// Why a worker has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The consumer was stopped.
    Stopped,
    /// A message met the condition to stop after.
    Condition,
    /// The processor failed.
    Failed(Error),
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    /// How many slots the processor has.
    all_slots: u32,
    held: Vec<HeldSlot>,
    /// Everything up to here is done, if not yet stored.
    reached: u64,
    stored_at: Instant,
    /// Streams of which something is parked.
    parked: HashSet<(i32, String)>,
    /// Holders of these slots have died here: one message at a time.
    careful: bool,
    lost_database: Backoff,
}

/// Why messages could not be handled.
enum Trouble {
    /// The handler has failed.
    Handler(anyhow::Error),
    /// The slots were lost to somebody else, or reset.
    Lost,
    /// The database has failed.
    Database(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// A message, and the slots of this worker that it is for. Most are for one; a message of a multi-stream document may be
/// for several.
struct Task<'b> {
    message: &'b RecordedMessage,
    /// Where it has to be handled.
    open: Vec<i32>,
    /// Where it waits behind parked ones of its stream.
    parked: Vec<i32>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, seat: Arc<Seat>, all_slots: u32) -> Self {
        Self {
            shared,
            seat,
            all_slots,
            held: Vec::new(),
            reached: 0,
            stored_at: Instant::now(),
            parked: HashSet::new(),
            careful: false,
            lost_database: Backoff::new(Duration::from_millis(20), Duration::from_secs(2)),
        }
    }

    pub(super) fn run(mut self) -> Ended {
        if let Some(hook) = &self.processor().options.on_start {
            hook(());
        }
        let ended = self.work();
        if let Ended::Failed(error) = &ended {
            self.note_failure(error);
        }
        self.leave();
        if let Some(hook) = &self.processor().options.on_stop {
            hook(());
        }
        ended
    }

    fn processor(&self) -> &Processor {
        &self.seat.processor
    }

    fn work(&mut self) -> Ended {
        loop {
            match self.tick() {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(Trouble::Lost) => {
                    self.seat.leases_changed.store(true, Ordering::SeqCst);
                    self.forget();
                }
                Err(Trouble::Database(error)) if survives(&error) => {
                    self.seat.report(&error);
                    // What was committed is only known from the table.
                    self.seat.leases_changed.store(true, Ordering::SeqCst);
                    self.forget();
                    let pause = self.lost_database.next();
                    self.shared.stop.pause(pause);
                }
                Err(Trouble::Database(error)) => return Ended::Failed(self.failed(error.into())),
                Err(Trouble::Handler(error)) => return Ended::Failed(self.failed(error)),
            }
        }
    }

    /// Does one thing: looks at the leases, works off requests, handles a batch, or waits for one of these.
    fn tick(&mut self) -> Result<Option<Ended>, Trouble> {
        if self.shared.stop.is_stopped() {
            return Ok(Some(Ended::Stopped));
        }
        if self.seat.leases_changed.swap(false, Ordering::SeqCst) {
            self.look_at_leases()?;
        }
        if self.seat.requested.swap(false, Ordering::SeqCst) && !self.held.is_empty() {
            self.work_off_requests()?;
        }
        let batch = if self.held.is_empty() || self.reached == self.stored() {
            select! {
                recv(self.seat.inbox.1) -> batch => batch.ok(),
                recv(self.seat.bell.1) -> _ => None,
            }
        } else {
            self.wait_to_store()?
        };
        let Some(batch) = batch else {
            return Ok(None);
        };
        self.shared.ring_poller();
        if batch.generation != self.seat.demand().generation || self.held.is_empty() {
            return Ok(None);
        }
        let (head, up_to) = (batch.head, batch.up_to);
        if let Some(ended) = self.digest(&batch)? {
            return Ok(Some(ended));
        }
        self.lost_database.reset();
        let is_target = self
            .shared
            .settings
            .until
            .is_some_and(|until| up_to >= until);
        if is_target {
            self.store()?;
        }
        if up_to >= head
            && self.seat.inbox.1.is_empty()
            && let Some(hook) = &self.processor().options.on_caught_up
        {
            hook(up_to);
        }
        Ok(None)
    }

    /// Waits for a batch, but not longer than the checkpoint may be behind.
    fn wait_to_store(&mut self) -> Result<Option<Batch>, Trouble> {
        let patience = FLUSH_AFTER.saturating_sub(self.stored_at.elapsed());
        match self.seat.inbox.1.recv_timeout(patience) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.store()?;
                Ok(None)
            }
        }
    }

    /// The checkpoint of the hindmost slot.
    fn stored(&self) -> u64 {
        self.held
            .iter()
            .map(|slot| slot.position)
            .min()
            .unwrap_or_default()
    }

    /// Stops asking for messages, until the leases were looked at.
    fn forget(&mut self) {
        self.held.clear();
        let mut demand = self.seat.demand();
        demand.generation += 1;
        demand.after = None;
        drop(demand);
        while self.seat.inbox.1.try_recv().is_ok() {}
    }

    /// Gives up and takes slots, and begins at the hindmost of those that it has then.
    fn look_at_leases(&mut self) -> Result<(), Trouble> {
        self.store()?;
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let (key, holder) = (shared.key(&seat.processor), shared.holder(&seat));
        let held = shared.run(|sql| key.take(sql, holder))?;
        if held == self.held {
            return Ok(());
        }
        let failure = if held.is_empty() {
            shared.run(|sql| key.failure(sql))?
        } else {
            None
        };
        if let Some(failure) = failure {
            return Err(Trouble::Handler(anyhow::Error::msg(failure)));
        }
        let parked = shared.run(|sql| parking::streams(sql, key, &held))?;
        self.parked = parked.into_iter().collect();
        self.careful = held.iter().any(|slot| slot.crashes > 0);
        *self.seat.held() = held.iter().map(|slot| (slot.slot, slot.epoch)).collect();
        self.forget();
        self.held = held;
        self.reached = self.stored();
        self.stored_at = Instant::now();
        if !self.held.is_empty() {
            let mut demand = self.seat.demand();
            demand.after = Some(self.reached);
            demand.greeted = false;
            drop(demand);
            self.shared.ring_poller();
        }
        Ok(())
    }

    /// Handles a batch; all of it is done then, or the error says why not.
    fn digest(&mut self, batch: &Batch) -> Result<Option<Ended>, Trouble> {
        while self.reached < batch.up_to {
            // Slots that are ahead have seen what comes next already; they join when the others have come to them.
            let ahead = self.held.iter().map(|slot| slot.position);
            let next = ahead.filter(|position| *position > self.reached).min();
            let up_to = next.unwrap_or(batch.up_to).min(batch.up_to);
            if let Some(ended) = self.digest_up_to(batch, up_to)? {
                return Ok(Some(ended));
            }
            if self.shared.stop.is_stopped() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn digest_up_to(&mut self, batch: &Batch, up_to: u64) -> Result<Option<Ended>, Trouble> {
        let (reached, messages) = (self.reached, batch.messages.iter());
        let is_next = |message: &&RecordedMessage| {
            message.global_position() > reached && message.global_position() <= up_to
        };
        let mut tasks: Vec<Task<'_>> = messages
            .filter(is_next)
            .filter_map(|message| self.task(message))
            .collect();
        let (up_to, is_last) = self.cut_at_condition(&mut tasks, up_to);
        if tasks.is_empty() {
            self.reached = up_to;
        } else if self.careful {
            self.one_by_one(&tasks, up_to)?;
            self.careful = false;
        } else if let Err(trouble) = self.handle_together(&tasks, up_to) {
            let Trouble::Handler(error) = trouble else {
                return Err(trouble);
            };
            self.report_handler(&error, tasks.first().map(|task| task.message));
            self.one_by_one(&tasks, up_to)?;
        }
        Ok(is_last.then_some(Ended::Condition))
    }

    /// What this worker has to do with a message, if anything.
    fn task<'b>(&self, message: &'b RecordedMessage) -> Option<Task<'b>> {
        if !self.processor().handles(message) {
            return None;
        }
        let (parked, open): (Vec<i32>, Vec<i32>) = self
            .slots_of(message)
            .into_iter()
            .partition(|slot| self.is_parked(*slot, message));
        (!open.is_empty() || !parked.is_empty()).then_some(Task {
            message,
            open,
            parked,
        })
    }

    fn is_parked(&self, slot: i32, message: &RecordedMessage) -> bool {
        !self.parked.is_empty()
            && self
                .parked
                .contains(&(slot, message.stream_name().to_owned()))
    }

    /// The slots that this worker holds of those that a message is for, as far as they have not seen it.
    fn slots_of(&self, message: &RecordedMessage) -> Vec<i32> {
        let position = message.global_position();
        let is_open = |slot: &i32| {
            let held = self.held.iter().find(|held| held.slot == *slot);
            held.is_some_and(|held| held.position < position)
        };
        let slot = |key: &str| i32::try_from(slot_of(key, self.all_slots)).unwrap_or(i32::MAX);
        let keys = match &self.processor().handler {
            Handler::Projector(projection) if self.all_slots > 1 => projection.keys(message),
            _ => Ok(None),
        };
        let mut slots: Vec<i32> = match keys {
            Ok(Some(keys)) => keys.iter().map(|key| slot(key)).collect(),
            // What cannot be read is for the handler to complain about, in one of the slots.
            Ok(None) | Err(_) => vec![slot(message.stream_name())],
        };
        slots.sort_unstable();
        slots.dedup();
        slots.retain(is_open);
        slots
    }

    /// Leaves out what comes behind the message that meets the condition to stop after; tells up to where there is something
    /// to do then, and whether there is such a message.
    fn cut_at_condition(&self, tasks: &mut Vec<Task<'_>>, up_to: u64) -> (u64, bool) {
        let Some(condition) = &self.processor().options.stop_after else {
            return (up_to, false);
        };
        let meets = |task: &Task<'_>| !task.open.is_empty() && condition(task.message);
        let Some(index) = tasks.iter().position(meets) else {
            return (up_to, false);
        };
        tasks.truncate(index + 1);
        (tasks[index].message.global_position(), true)
    }

    /// Handles messages in one transaction; those that wait behind parked ones are parked in it.
    fn handle_together(&mut self, tasks: &[Task<'_>], up_to: u64) -> Result<(), Trouble> {
        let is_mixed = |task: &&Task<'_>| !task.open.is_empty() && !task.parked.is_empty();
        if tasks.iter().find(is_mixed).is_some() {
            // To be handled for some documents, and parked for others.
            return self.one_by_one(tasks, up_to);
        }
        let handled: Vec<&RecordedMessage> = tasks
            .iter()
            .filter(|task| !task.open.is_empty())
            .map(|task| task.message)
            .collect();
        let parked: Vec<(i32, &RecordedMessage)> = tasks
            .iter()
            .flat_map(|task| task.parked.iter().map(|slot| (*slot, task.message)))
            .collect();
        let slots: Vec<i32> = self
            .held
            .iter()
            .filter(|held| held.position < up_to)
            .map(|held| held.slot)
            .collect();
        self.handle(&handled, &slots, &parked, up_to)
    }

    /// Handles messages for some slots, parks others, and moves the checkpoint, in one transaction.
    fn handle(
        &mut self,
        messages: &[&RecordedMessage],
        slots: &[i32],
        parked: &[(i32, &RecordedMessage)],
        up_to: u64,
    ) -> Result<(), Trouble> {
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let mut work = Work::new(&shared.store, shared.settings.lease);
        let span = trace::batch(&seat.processor.name, messages.len());
        let done = self.call(&mut work, messages, slots);
        let (handled, up_to, failure) = match done {
            Ok(()) => (messages.len(), up_to, None),
            // What was done before the message that failed counts.
            Err((done @ 1.., Trouble::Handler(error))) => {
                let last = messages[done - 1].global_position();
                (done, last, Some(Trouble::Handler(error)))
            }
            Err((_, trouble)) => return Err(trouble),
        };
        let appends = work.appends();
        let (key, holder) = (shared.key(&seat.processor), shared.holder(&seat));
        for (slot, message) in parked {
            if message.global_position() <= up_to {
                parking::park(work.sql()?, key, *slot, message, 0, None)?;
            }
        }
        if !work.commit(|sql| key.checkpoint(sql, holder, &self.held, up_to))? {
            return Err(Trouble::Lost);
        }
        if appends {
            shared.store.appended();
        }
        self.stored_up_to(up_to);
        seat.handled.fetch_add(handled as u64, Ordering::Relaxed);
        trace::handled(&seat.processor.name, handled, up_to);
        drop(span);
        failure.map_or(Ok(()), Err)
    }

    fn stored_up_to(&mut self, position: u64) {
        for slot in &mut self.held {
            slot.position = slot.position.max(position);
        }
        self.reached = self.reached.max(position);
        self.stored_at = Instant::now();
    }

    /// What a projection may write: all, unless others hold the other slots.
    fn owned(&self, slots: &[i32]) -> Option<OwnedSlots> {
        let slots = slots.iter().filter_map(|slot| u32::try_from(*slot).ok());
        (self.all_slots > 1).then(|| OwnedSlots::new(self.all_slots, slots))
    }

    /// Calls the handler; says how many messages were handled before it failed.
    fn call(
        &self,
        work: &mut Work,
        messages: &[&RecordedMessage],
        slots: &[i32],
    ) -> Result<(), (usize, Trouble)> {
        let Some(last) = messages.last() else {
            return Ok(());
        };
        match &self.processor().handler {
            Handler::Projector(projection) => {
                let sql = work.sql().map_err(|error| (0, error.into()))?;
                let partition = self.shared.store.partition();
                let owned = self.owned(slots);
                let mut context = ProjectionContext::new(sql, partition).with_slots(owned.as_ref());
                guarded(|| projection.handle(messages, &mut context))
                    .map_err(|trouble| (0, trouble))
            }
            Handler::Batch(batch) => {
                guarded(|| batch(messages, &mut ReactorContext::new(work, last)))
                    .map_err(|trouble| (0, trouble))
            }
            Handler::Each(each) => {
                for (done, message) in messages.iter().enumerate() {
                    work.begin_part();
                    let handled =
                        guarded(|| each(message, &mut ReactorContext::new(work, message)));
                    if let Err(trouble) = handled {
                        work.undo_part().map_err(|error| (done, error.into()))?;
                        return Err((done, trouble));
                    }
                }
                Ok(())
            }
        }
    }

    /// Handles the messages each alone, so that the one that cannot be handled is known, and parks it or stops there.
    fn one_by_one(&mut self, tasks: &[Task<'_>], up_to: u64) -> Result<(), Trouble> {
        for task in tasks {
            if self.shared.stop.is_stopped() {
                return Ok(());
            }
            // The state of a moment ago: some were handled before the one that failed, or were parked since.
            let Some(task) = self.task(task.message) else {
                continue;
            };
            if task.open.is_empty() {
                self.put_behind(&task)?;
            } else {
                self.settle(&task)?;
            }
        }
        self.reached = up_to;
        self.store()
    }

    /// Parks a message behind the parked ones of its stream.
    fn put_behind(&mut self, task: &Task<'_>) -> Result<(), Trouble> {
        let parked: Vec<(i32, &RecordedMessage)> = task
            .parked
            .iter()
            .map(|slot| (*slot, task.message))
            .collect();
        self.handle(&[], &[], &parked, task.message.global_position())
    }

    /// Handles one message, again and again as the policy says, and parks it in the end.
    fn settle(&mut self, task: &Task<'_>) -> Result<(), Trouble> {
        let message = task.message;
        if self.careful && self.is_deadly(task)? {
            let reason = "the process ended while it was handled, each time";
            return self.park(task, DEADLY_ATTEMPTS.unsigned_abs(), reason);
        }
        let behind: Vec<(i32, &RecordedMessage)> =
            task.parked.iter().map(|slot| (*slot, message)).collect();
        let mut failed = 0;
        loop {
            let handled = self.handle(&[message], &task.open, &behind, message.global_position());
            let Err(Trouble::Handler(error)) = handled else {
                return handled;
            };
            failed += 1;
            self.report_handler(&error, Some(message));
            match self.processor().options.on_failure.delay(failed) {
                Some(delay) => self.shared.stop.pause(delay),
                None if self.processor().options.on_failure.parks() => {
                    return self.park(task, failed, &format!("{error:#}"));
                }
                None => return Err(Trouble::Handler(error.context(cannot_handle(message)))),
            }
            if self.shared.stop.is_stopped() {
                return Err(Trouble::Lost);
            }
        }
    }

    /// Notes an attempt before it is made, and tells whether too many holders have died of it.
    fn is_deadly(&self, task: &Task<'_>) -> Result<bool, Trouble> {
        let first = task.open.first();
        let Some(held) = self.held.iter().find(|held| Some(&held.slot) == first) else {
            return Err(Trouble::Lost);
        };
        let (key, holder) = (
            self.shared.key(&self.seat.processor),
            self.shared.holder(&self.seat),
        );
        let position = task.message.global_position();
        match self
            .shared
            .run(|sql| key.attempt(sql, holder, *held, position))?
        {
            Some(attempts) => Ok(attempts > DEADLY_ATTEMPTS),
            None => Err(Trouble::Lost),
        }
    }

    fn park(&mut self, task: &Task<'_>, attempts: u32, error: &str) -> Result<(), Trouble> {
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let (key, holder) = (shared.key(&seat.processor), shared.holder(&seat));
        let message = task.message;
        let mut work = Work::new(&shared.store, shared.settings.lease);
        for slot in &task.open {
            parking::park(work.sql()?, key, *slot, message, attempts, Some(error))?;
        }
        for slot in &task.parked {
            parking::park(work.sql()?, key, *slot, message, 0, None)?;
        }
        let up_to = message.global_position();
        if !work.commit(|sql| key.checkpoint(sql, holder, &self.held, up_to))? {
            return Err(Trouble::Lost);
        }
        self.stored_up_to(up_to);
        let stream = message.stream_name();
        self.parked
            .extend(task.open.iter().map(|slot| (*slot, stream.to_owned())));
        Ok(())
    }

    /// Stores how far the worker has come where there was nothing to handle.
    fn store(&mut self) -> Result<(), Trouble> {
        if self.held.is_empty() || self.reached == self.stored() {
            return Ok(());
        }
        let reached = self.reached;
        self.handle(&[], &[], &[], reached)
    }

    /// Discards and replays what somebody has asked for.
    fn work_off_requests(&mut self) -> Result<(), Trouble> {
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let key = shared.key(&seat.processor);
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

    fn replay(&mut self, replay: &Replay) -> Result<(), Trouble> {
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let (key, holder) = (shared.key(&seat.processor), shared.holder(&seat));
        let Some(slot) = self
            .held
            .iter()
            .find(|held| held.slot == replay.slot)
            .copied()
        else {
            return Err(Trouble::Lost);
        };
        let (before, position) = (replay.position - 1, replay.position);
        let page = shared.run(|sql| feed::page(sql, key.partition, before, position, 1, None))?;
        let messages: Vec<&RecordedMessage> = page.iter().collect();
        let mut work = Work::new(&shared.store, shared.settings.lease);
        match self.call(&mut work, &messages, &[replay.slot]) {
            Ok(()) => {}
            Err((_, Trouble::Handler(error))) => {
                self.report_handler(&error, messages.first().copied());
                drop(work);
                let error = format!("{error:#}");
                shared.run(|sql| parking::replay_failed(sql, key, replay, &error))?;
                return Ok(());
            }
            Err((_, trouble)) => return Err(trouble),
        }
        work.sql()?;
        if !work.commit(|sql| parking::unpark(sql, key, holder, slot, position))? {
            return Err(Trouble::Lost);
        }
        self.seat
            .handled
            .fetch_add(messages.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn report_handler(&self, error: &anyhow::Error, message: Option<&RecordedMessage>) {
        let what = message.map_or_else(String::new, cannot_handle);
        let error = anyhow::anyhow!("{error:#}").context(what);
        self.seat.report(&self.failed(error));
    }

    fn failed(&self, source: anyhow::Error) -> Error {
        Error::ProcessorFailed {
            processor: self.processor().name.clone(),
            source,
        }
    }

    /// Lets everybody see why the processor has stopped.
    fn note_failure(&self, error: &Error) {
        self.seat.report(error);
        let Error::ProcessorFailed { source, .. } = error else {
            return;
        };
        let (key, text) = (self.shared.key(&self.seat.processor), format!("{source:#}"));
        if let Err(error) = self.shared.run(|sql| key.fail(sql, &text)) {
            self.seat.report(&error);
        }
    }

    /// Stores what is done and gives the leases back.
    fn leave(&mut self) {
        let stored = self.store();
        let (key, holder) = (
            self.shared.key(&self.seat.processor),
            self.shared.holder(&self.seat),
        );
        let released = self.shared.run(|sql| key.release(sql, holder));
        // Where this fails, the leases run out by themselves; nothing is lost.
        let errors = stored
            .err()
            .and_then(Trouble::into_error)
            .into_iter()
            .chain(released.err());
        errors.for_each(|error| self.seat.report(&error));
        self.forget();
        self.seat.held().clear();
    }
}

impl Trouble {
    fn into_error(self) -> Option<Error> {
        match self {
            Self::Database(error) => Some(error),
            Self::Handler(_) | Self::Lost => None,
        }
    }
}

/// Whether the worker goes on after such an error of the database: it will pass, or only its outcome is unknown.
fn survives(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::UnknownOutcome { .. })
}

fn cannot_handle(message: &RecordedMessage) -> String {
    format!(
        "the handler failed at position {}: message {} of stream \"{}\", type \"{}\"",
        message.global_position(),
        message.stream_position(),
        message.stream_name(),
        message.message_type()
    )
}

/// Runs user code: a panic in it is its error, and an error of the database is none of its own.
fn guarded(run: impl FnOnce() -> anyhow::Result<()>) -> Result<(), Trouble> {
    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(anyhow::anyhow!("the handler panicked: {text}"))
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if is_transient_cause(&error) => Err(Trouble::Database(database_error(error))),
        Err(error) => Err(Trouble::Handler(error)),
    }
}

fn database_error(error: anyhow::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) if survives(&error) => error,
        Ok(error) => Error::Session {
            source: error.into(),
        },
        Err(source) => Error::Session { source },
    }
}
