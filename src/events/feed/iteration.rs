//! The feed as an iterator over events.

use super::{BEYOND_HEAD, LONGEST_STEP, Pages, Part};
use crate::database::Connections;
use crate::error::{Error, Result};
use crate::events::batch_limits::{BatchLimits, Page};
use crate::events::epoch;
use crate::events::event::Event;
use crate::events::handled_events::{FeedFilter, HandledEvents};
use crate::events::message::{Recorded, RecordedMessage};
use crate::events::partition::Partition;
use std::collections::VecDeque;
use std::sync::Arc;

/// Start, selection and batch limits of a read of the feed.
///
/// ```
/// use emmett_postgresql::FeedOptions;
/// let news = FeedOptions::new().after(1_000).batch_size(100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedOptions {
    after: u64,
    categories: Option<Vec<String>>,
    limits: BatchLimits,
    epoch: Option<u64>,
}

impl FeedOptions {
    /// Options for the whole feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts after this global position (exclusive). Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// Fails with [`Error::StoreEpoch`] if the store's [epoch](crate::EventStore::epoch) differs: the store was restored
    /// after the position was saved. Costs one more round trip a batch. Defaults to no check.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, FeedOptions, RawEvent};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::open("postgresql://localhost/shop")?;
    /// # let (position, epoch) = (1_000, 0);
    /// let news = FeedOptions::new().after(position).epoch(epoch);
    /// for message in store.read_all::<RawEvent>(news) {
    ///     println!("{}", message?.global_position);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Reads only streams of these [categories](crate::Event::CATEGORY). Defaults to the categories of the event type.
    ///
    /// The feed starts with an error if no stream can have such a category. An event whose category its type does not have
    /// is also an error.
    #[must_use]
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.categories = Some(categories.iter().map(|&name| name.to_owned()).collect());
        self
    }

    /// Maximum number of messages that are held in memory at a time. Must be at least 1; with 0, the first item is
    /// [`Error::InvalidInput`]. Defaults to 1,000.
    #[must_use]
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.limits.messages = messages;
        self
    }

    /// Maximum number of message bytes that are held in memory at a time: JSON plus 256 bytes a message. A single larger
    /// message is read alone. Must be at least 1; with 0, the first item is [`Error::InvalidInput`]. Defaults to 16 MiB.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }
}

/// Iterator over the stored messages in global order, up to the horizon at the time of each batch.
///
/// Ends at the horizon. [`position`](Feed::position) returns where a later read can continue. Holds no connection between
/// batches.
#[must_use]
pub struct Feed<E> {
    connections: Connections,
    partition: Arc<Partition>,
    handled: HandledEvents,
    filter: FeedFilter,
    options: FeedOptions,
    /// The feed is known to be readable up to here.
    horizon: u64,
    pages: Pages,
    waiting: VecDeque<RecordedMessage>,
    /// Events of the message that was taken last.
    decoded: VecDeque<Recorded<E>>,
    ended: bool,
}

impl<E> std::fmt::Debug for Feed<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Feed")
            .field("after", &self.options.after)
            .finish_non_exhaustive()
    }
}

impl<E: Event> Feed<E> {
    pub(crate) fn new(
        connections: Connections,
        partition: Arc<Partition>,
        options: FeedOptions,
    ) -> Self {
        let mut handled = HandledEvents::of::<E>();
        if let Some(categories) = &options.categories {
            handled.only_categories(categories);
        }
        Self {
            connections,
            partition,
            filter: handled.filter(),
            handled,
            horizon: options.after,
            pages: Pages::default(),
            options,
            waiting: VecDeque::new(),
            decoded: VecDeque::new(),
            ended: false,
        }
    }

    /// Returns the position up to which all messages were returned; a later reader continues after it. It also advances over
    /// messages whose type or category `E` does not have. A message that is [split](Event::upcast) counts after its last event.
    pub fn position(&self) -> u64 {
        let decoded = self.decoded.front().map(|event| event.global_position);
        let next = decoded.or_else(|| self.waiting.front().map(|next| next.global_position));
        next.map_or(self.options.after, |next| next - 1)
    }

    /// Whether the messages that were read at once have all been handed out.
    pub(crate) fn is_between_pages(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How far the feed could be read when that was last asked.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    fn fetch(&mut self) -> Result<()> {
        self.handled.check("the feed")?;
        let (after, limits) = (self.options.after, self.options.limits.check()?);
        let (partition, filter, known) = (&self.partition, &self.filter, self.horizon);
        let (expected, pages) = (self.options.epoch, &mut self.pages);
        let read = self.connections.run(true, |sql| {
            let horizon = if known > after {
                known
            } else {
                super::horizon(sql, partition, after)?.position
            };
            let up_to = step(filter, after, horizon);
            let read = if up_to <= after {
                (after, Page::end(after))
            } else {
                let part = Part {
                    after,
                    up_to,
                    filter,
                };
                (horizon, pages.next(sql, partition, part, limits)?)
            };
            // Checked after the page, so that an epoch that begins between the two is noticed.
            expected.map_or(Ok(()), |epoch| epoch::check(sql, partition, epoch))?;
            Ok::<_, Error>(read)
        });
        if read.as_ref().is_err_and(is_beyond_head)
            && let Some(epoch) = expected
        {
            self.connections
                .run(true, |sql| epoch::check(sql, partition, epoch))?;
        }
        let (horizon, page) = read?;
        self.horizon = horizon;
        self.options.after = page.position;
        self.ended = page.messages.is_empty() && page.position == horizon;
        self.waiting = page.messages.into();
        Ok(())
    }
}

/// Whether the reader's position is beyond the last one drawn.
fn is_beyond_head(error: &Error) -> bool {
    matches!(error, Error::Database(source)
        if source.sqlstate().is_some_and(|code| code.code() == BEYOND_HEAD))
}

/// Returns the last position that a page may reach.
fn step(filter: &FeedFilter, after: u64, horizon: u64) -> u64 {
    if filter.is_selective() {
        horizon.min(after.saturating_add(LONGEST_STEP))
    } else {
        horizon
    }
}

impl<E: Event> Feed<E> {
    /// Returns the next message, not yet decoded.
    pub(crate) fn next_message(&mut self) -> Option<Result<RecordedMessage>> {
        while self.waiting.is_empty() {
            if self.ended {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

impl<E: Event> Iterator for Feed<E> {
    type Item = Result<Recorded<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.decoded.is_empty() {
            match self.next_message()?.and_then(|message| message.decode()) {
                Ok(events) => self.decoded.extend(events),
                Err(error) => return Some(Err(error)),
            }
        }
        self.decoded.pop_front().map(Ok)
    }
}
