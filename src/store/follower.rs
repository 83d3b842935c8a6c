//! The thread that handles the events that inline projections have missed, in all partitions, with this program's code.
//!
//! An event and the row that records it are committed together. The transaction that handles the event deletes the row. So
//! no event is missed or handled twice, without a checkpoint.

use crate::database::{BackOff, Connections, PooledTransaction, Sql};
use crate::error::{Error, ProjectionError, Result, caught, chain};
use crate::events::{BatchLimits, Page, Partition, RecordedMessage, feed};
use crate::projection::missed::{self, MissedProjection};
use crate::projection::{InlineProjections, Projection, registry};
use crate::trace;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Few messages, because a batch locks documents that appends may wait for.
const LIMITS: BatchLimits = BatchLimits {
    messages: 200,
    bytes: BatchLimits::DEFAULT_BYTES,
};
/// Pause while events are missed, and while none are.
const BUSY: Duration = Duration::from_millis(25);
const IDLE: Duration = Duration::from_secs(1);
/// Longest pause after database errors.
const LONGEST_ERROR_PAUSE: Duration = Duration::from_secs(10);

/// Shorter than the server's deadlock timeout: in a conflict, the follower gives way.
const WAIT_FOR_ROWS: &str =
    "SET LOCAL lock_timeout = '500ms'; SET LOCAL idle_in_transaction_session_timeout = '60s'";
/// Appends queue while the last batch waits for the open ones.
const WAIT_FOR_APPENDS: &str =
    "SET LOCAL lock_timeout = '100ms'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Pause before the next attempt to end a repeated period of missed events, while other programs may still cause it.
const SHORTEST_RELAPSE_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_RELAPSE_PAUSE: Duration = Duration::from_secs(600);
/// Pause before a failing event is tried again.
const SHORTEST_FAILURE_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// Pause between attempts that open appends have blocked.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// A projection without a follower becomes stale above this number of events or this age.
const MOST_ORPHANED: i64 = 100_000;
const LONGEST_ORPHANED: &str = "1 day";
/// Time between checks for projections without a follower.
const BETWEEN_EXPIRIES: Duration = Duration::from_secs(60);

pub(super) struct Follower {
    pub(super) connections: Connections,
    pub(super) schema: Arc<str>,
    /// Without a bell, which would keep the store alive.
    pub(super) projections: InlineProjections,
    /// Rings when an append has left an event to the follower. Disconnected when the store is dropped.
    pub(super) rings: Receiver<()>,
}

impl Follower {
    /// Starts the thread. Without it, nothing is followed, and the status of the read models shows so.
    pub(super) fn start(self) -> Result<()> {
        std::thread::Builder::new()
            .name("emt:follow".into())
            .spawn(move || self.run())
            .map(drop)
            .map_err(|source| Error::Thread { source })
    }

    fn run(self) {
        let mut rounds = Rounds {
            follower: self,
            partitions: HashMap::new(),
            followed: HashMap::new(),
            expires_at: Instant::now() + BETWEEN_EXPIRIES,
        };
        let mut errors = BackOff::new(IDLE, LONGEST_ERROR_PAUSE);
        let mut pause = IDLE;
        loop {
            match rounds.follower.rings.recv_timeout(pause) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = match rounds.look() {
                Ok(true) => BUSY,
                Ok(false) => {
                    errors.reset();
                    IDLE
                }
                Err(error) => {
                    trace::failed("follower", &error);
                    errors.next()
                }
            };
        }
    }
}

struct Rounds {
    follower: Follower,
    partitions: HashMap<String, Arc<Partition>>,
    followed: HashMap<MissedProjection, Following>,
    expires_at: Instant,
}

/// Amount of work in one transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// One event, to find the failing one.
    Single,
    Batch,
    /// All remaining events, while no append runs a projection.
    Last,
}

impl Pace {
    fn limits(self) -> BatchLimits {
        if self == Self::Single {
            BatchLimits::one_message()
        } else {
            LIMITS
        }
    }
}

/// Result of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// The remaining events belong to another program or are above the horizon.
    Handled,
    /// More events are left.
    HandledSome,
    /// Another program follows, or the version is not active.
    NotOurs,
}

impl Rounds {
    /// Handles missed events. Returns whether any are left for this program.
    fn look(&mut self) -> Result<bool> {
        let Follower {
            connections,
            schema,
            projections,
            ..
        } = &self.follower;
        let missed = connections.run(true, |sql| missed::projections(sql, schema))?;
        let projections = projections.clone();
        let mut is_left = false;
        for (known, following) in &mut self.followed {
            if !missed.contains(known) {
                following.has_ended();
            }
        }
        let partitions: HashSet<&str> = missed.iter().map(|missed| &*missed.partition).collect();
        self.partitions
            .retain(|name, _| partitions.contains(&**name));
        for missed in missed {
            match projections.find_version(&missed.name, missed.version) {
                Some(projection) => is_left |= self.follow(&missed, projection.as_ref())?,
                None => self.expire(&missed)?,
            }
        }
        if Instant::now() >= self.expires_at {
            self.expires_at = Instant::now() + BETWEEN_EXPIRIES;
        }
        Ok(is_left)
    }

    fn partition(&mut self, name: &str) -> Result<Arc<Partition>> {
        if let Some(partition) = self.partitions.get(name) {
            return Ok(Arc::clone(partition));
        }
        let partition = Arc::new(Partition::new(&self.follower.schema, name)?);
        self.partitions
            .insert(name.to_owned(), Arc::clone(&partition));
        Ok(partition)
    }

    fn connections_of(&self, partition: &Partition) -> Connections {
        let name = &partition.scope().partition;
        self.follower.connections.of_partition(name)
    }

    /// Marks a projection stale if no program has followed it for a while.
    fn expire(&mut self, missed: &MissedProjection) -> Result<()> {
        if Instant::now() < self.expires_at {
            return Ok(());
        }
        let partition = self.partition(&missed.partition)?;
        let bounds = (MOST_ORPHANED, LONGEST_ORPHANED);
        self.connections_of(&partition)
            .run(true, |sql| {
                registry::expire(sql, &partition, &missed.name, missed.version, bounds)
            })
            .map(drop)
    }

    /// Handles the missed events of one projection. Returns whether any are left.
    fn follow(&mut self, missed: &MissedProjection, projection: &dyn Projection) -> Result<bool> {
        let partition = self.partition(&missed.partition)?;
        let connections = self.connections_of(&partition);
        let following = self.followed.entry(missed.clone()).or_default();
        following.has_begun();
        let batches = Batches {
            connections: &connections,
            partition: &partition,
            projection,
            version: missed.version,
        };
        batches.renew()?;
        if !following.may_follow() {
            return Ok(false);
        }
        match batches.handle_all(following) {
            Ok(is_left) => {
                following.has_followed();
                Ok(is_left)
            }
            // A temporary conflict: a lock, a deadlock, a lost connection.
            Err(error) if error.is_retryable() => Ok(true),
            Err(_) => match batches.find_failing()? {
                None => Ok(true),
                Some(error) => {
                    following.has_failed();
                    trace::failed(&missed.name, &error);
                    Ok(false)
                }
            },
        }
    }
}

struct Batches<'f> {
    connections: &'f Connections,
    partition: &'f Partition,
    projection: &'f dyn Projection,
    version: i32,
}

impl Batches<'_> {
    fn key(&self) -> (&str, i32) {
        (self.projection.name(), self.version)
    }

    fn renew(&self) -> Result<()> {
        self.connections.run(true, |sql| {
            registry::renew(sql, self.partition, self.projection.name(), self.version)
        })
    }

    fn handle_all(&self, following: &mut Following) -> Result<bool> {
        loop {
            match self.run(Pace::Batch)? {
                Batch::NotOurs => return Ok(false),
                Batch::Handled => break,
                Batch::HandledSome => self.renew()?,
            }
        }
        if self.has_missed()? && following.may_end() {
            following.has_tried();
            self.run(Pace::Last)?;
        }
        if self.has_missed()? {
            return Ok(true);
        }
        following.has_ended();
        self.connections
            .run(true, |sql| missed::advance(sql, self.partition))?;
        Ok(false)
    }

    /// Handles events one by one after a failed batch, up to the failing one. Records and returns its error; `None` if no
    /// event fails by itself.
    fn find_failing(&self) -> Result<Option<Error>> {
        loop {
            match self.run(Pace::Single) {
                Ok(Batch::Handled | Batch::NotOurs) => return Ok(None),
                Ok(Batch::HandledSome) => {}
                Err(error) if error.is_retryable() => return Ok(None),
                Err(error) => {
                    let text = text_of(&error);
                    self.connections.run(true, |sql| {
                        missed::fail(sql, self.partition, self.key(), &text)
                    })?;
                    return Ok(Some(error));
                }
            }
        }
    }

    fn has_missed(&self) -> Result<bool> {
        self.connections.run(true, |sql| {
            missed::exists(sql, self.partition, self.key(), u64::MAX)
        })
    }

    /// Handles a batch. During the last one, no append runs a projection. Appends record their events as long as any are
    /// recorded, so under constant appends the list would otherwise never become empty.
    fn run(&self, pace: Pace) -> Result<Batch> {
        let is_last = pace == Pace::Last;
        let mut transaction = PooledTransaction::begin(self.connections)?;
        let sql = transaction.sql();
        set(
            sql,
            if is_last {
                WAIT_FOR_APPENDS
            } else {
                WAIT_FOR_ROWS
            },
        )?;
        if !missed::try_follow(sql, self.partition, self.projection.name())? {
            return Ok(Batch::NotOurs);
        }
        // Held until the end: a switch must not replace the documents between the read of the events and the writes.
        if is_last {
            registry::lock(sql, self.partition)?;
            set(sql, WAIT_FOR_ROWS)?;
        } else {
            registry::share(sql, self.partition)?;
        }
        // Read after the lock, in a separate statement: the version may have changed during the wait.
        let (name, version) = self.key();
        if registry::status(sql, self.partition, name, version)?.as_deref() != Some("active") {
            return Ok(Batch::NotOurs);
        }
        let horizon = feed::horizon(sql, self.partition, 0)?.position;
        let (mut handled, mut position) = (0, 0);
        while position < horizon {
            let batch = missed::read(sql, self.partition, self.key(), horizon, pace.limits())?;
            self.handle(sql, &batch)?;
            handled += batch.messages.len();
            position = batch.position;
            if !is_last {
                break;
            }
        }
        transaction.commit()?;
        trace::followed(name, handled);
        Ok(if position < horizon {
            Batch::HandledSome
        } else {
            Batch::Handled
        })
    }

    fn handle(&self, sql: &mut dyn Sql, page: &Page) -> Result<()> {
        if !page.messages.is_empty() {
            self.call(sql, &page.messages)?;
        }
        missed::delete(sql, self.partition, self.key(), page.position)
    }

    /// A panic must not end the thread: nothing would be followed any more.
    fn call(&self, sql: &mut dyn Sql, messages: &[RecordedMessage]) -> Result<()> {
        let (projection, all) = (self.projection, messages.iter().collect());
        caught("the projection", || {
            InlineProjections::run(projection, sql, self.partition, all)
        })
        .unwrap_or_else(|panic| Err(Error::projection(projection.name(), panic)))
        .map_err(|error| match (error, messages) {
            (Error::Projection(ProjectionError::Failed { source, .. }), [message]) => {
                Error::projection(projection.name(), source.context(message.place()))
            }
            (error, _) => error,
        })
    }
}

/// Returns the text for the operator: for a projection's own error, the cause.
fn text_of(error: &Error) -> String {
    match error {
        Error::Projection(ProjectionError::Failed { source, .. }) => format!("{source:#}"),
        error => chain(error),
    }
}

fn set(sql: &mut dyn Sql, settings: &str) -> Result<()> {
    sql.batch(settings)
        .map_err(|source| Error::database("follow a projection", source))
}

/// Times of the next attempts: to retry after a failure, and to end a period of missed events. The first attempt to end is
/// made at once, repeated ones after a pause, because each makes appends wait briefly.
struct Following {
    has_missed: bool,
    ended_at: Option<Instant>,
    may_end_at: Instant,
    relapses: BackOff,
    may_follow_at: Instant,
    failures: BackOff,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            has_missed: false,
            ended_at: None,
            may_end_at: Instant::now(),
            relapses: BackOff::new(SHORTEST_RELAPSE_PAUSE, LONGEST_RELAPSE_PAUSE),
            may_follow_at: Instant::now(),
            failures: BackOff::new(SHORTEST_FAILURE_PAUSE, LONGEST_FAILURE_PAUSE),
        }
    }
}

impl Following {
    fn has_begun(&mut self) {
        if self.has_missed {
            return;
        }
        self.has_missed = true;
        let is_relapse = self
            .ended_at
            .is_some_and(|ended| ended.elapsed() < LONGEST_RELAPSE_PAUSE);
        self.may_end_at = Instant::now();
        if is_relapse {
            self.may_end_at += self.relapses.next();
        } else {
            self.relapses.reset();
        }
    }

    fn may_follow(&self) -> bool {
        Instant::now() >= self.may_follow_at
    }

    fn has_failed(&mut self) {
        self.may_follow_at = Instant::now() + self.failures.next();
    }

    fn has_followed(&mut self) {
        self.failures.reset();
    }

    fn may_end(&self) -> bool {
        Instant::now() >= self.may_end_at
    }

    fn has_tried(&mut self) {
        self.may_end_at = Instant::now() + BETWEEN_ATTEMPTS;
    }

    fn has_ended(&mut self) {
        if self.has_missed {
            self.has_missed = false;
            self.ended_at = Some(Instant::now());
        }
    }
}
