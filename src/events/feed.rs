//! The feed: all messages of a partition in global order, as far as nothing can be added below. Reads `emt_messages`.

use crate::database::position::{from_sql, get_u64, to_sql};
use crate::database::{Connections, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::epoch;
use crate::events::event::Event;
use crate::events::handled_events::{FeedFilter, HandledEvents};
use crate::events::message::{Recorded, RecordedMessage};
use crate::events::partition::{Partition, PartitionSql};
use crate::events::stream::MessageRow;
use postgres::Row;
use postgres::types::Type;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rare events are looked for in steps of so many positions, so that no statement takes long.
pub(crate) const LONGEST_STEP: u64 = 50_000;

const HORIZON: PartitionSql = PartitionSql::new("SELECT {schema}.emt_horizon($1, $2)");

const READ: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created, message_data, message_metadata, horizon, head
      FROM {feed}($1, $2, $3, $4, $5, $6, $7)",
);

const AT: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created, message_data, message_metadata
      FROM {messages}
     WHERE global_position = ANY($1)
     ORDER BY global_position",
);

/// By its number, because the rows are many. The columns of the message come after it.
const STREAM_ID: usize = 0;

const HEAD: PartitionSql = PartitionSql::new("SELECT {schema}.emt_position_head() AS head");

/// The streams and types of messages only.
const NAMES: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, message_type, global_position
      FROM {feed}($1, $2, $3, TRUE, NULL, $4, $5)",
);

/// A message without its content.
pub(crate) struct MessageName {
    pub(crate) stream: String,
    pub(crate) message_type: String,
    pub(crate) position: u64,
}

/// The messages of a page, however many, without their content.
pub(crate) fn names(
    sql: &mut dyn Sql,
    partition: &Partition,
    after: u64,
    up_to: u64,
    filter: &FeedFilter,
) -> Result<Vec<MessageName>> {
    let (after, up_to) = (to_sql(after), to_sql(up_to));
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&filter.types, Type::TEXT_ARRAY),
        param(&filter.categories, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(NAMES), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(MessageName {
                stream: get(row, "stream_id")?,
                message_type: get(row, "message_type")?,
                position: get_u64(row, "global_position")?,
            })
        })
        .collect()
}

/// How far the feed can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Horizon {
    /// No message will ever be added at or below this position.
    pub position: u64,
    /// The last position that any append has drawn; above `position` while appends are open.
    pub head: u64,
}

/// Asks how far the feed can be read by somebody who has read up to `after`.
pub(crate) fn horizon(sql: &mut dyn Sql, partition: &Partition, after: u64) -> Result<Horizon> {
    let after = to_sql(after);
    let rows = sql
        .query(
            &partition.sql(HORIZON),
            &[
                param(&partition.name, Type::TEXT),
                param(&after, Type::INT8),
            ],
        )
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    let result: Vec<i64> = scalar(&rows)?.unwrap_or_default();
    match result[..] {
        [position, head] => Ok(Horizon {
            position: from_sql(position)?,
            head: from_sql(head)?,
        }),
        _ => Err(Error::schema(format!(
            "the function emt_horizon answered {result:?}"
        ))),
    }
}

/// The last position that was drawn.
pub(crate) fn head(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query(&partition.sql(HEAD), &[])
        .map_err(|source| Error::database("read the last position", source))?;
    Ok(rows.first().map_or(Ok(0), |row| get_u64(row, "head"))?)
}

/// The messages at these positions, which must be at or below a horizon.
pub(crate) fn at(
    sql: &mut dyn Sql,
    partition: &Partition,
    positions: &[i64],
) -> Result<Vec<RecordedMessage>> {
    let rows = sql
        .query(&partition.sql(AT), &[param(&positions, Type::INT8_ARRAY)])
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    rows.iter().map(to_message).collect()
}

/// Messages after one position, up to another, which must be at or below a horizon.
pub(crate) fn page(
    sql: &mut dyn Sql,
    partition: &Partition,
    after: u64,
    up_to: u64,
    limit: usize,
    filter: &FeedFilter,
) -> Result<Vec<RecordedMessage>> {
    let rows = read(sql, partition, after, up_to, true, limit, filter)?;
    rows.iter().map(to_message).collect()
}

/// Messages after one position, up to another, but no further than the horizon, which is asked in the same round trip.
pub(crate) fn poll(
    sql: &mut dyn Sql,
    partition: &Partition,
    after: u64,
    most: u64,
    limit: usize,
    filter: &FeedFilter,
) -> Result<(Horizon, Vec<RecordedMessage>)> {
    let rows = read(sql, partition, after, most, false, limit, filter)?;
    let Some((first, messages)) = rows.split_first() else {
        return Err(Error::schema(
            "the function of the feed did not tell its horizon".to_owned(),
        ));
    };
    let horizon = Horizon {
        position: get_u64(first, "horizon")?,
        head: get_u64(first, "head")?,
    };
    let messages = messages.iter().map(to_message).collect::<Result<_>>()?;
    Ok((horizon, messages))
}

fn read(
    sql: &mut dyn Sql,
    partition: &Partition,
    after: u64,
    up_to: u64,
    is_readable: bool,
    limit: usize,
    filter: &FeedFilter,
) -> Result<Vec<Row>> {
    let (after, up_to) = (to_sql(after), to_sql(up_to));
    let limit = to_sql(limit);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&is_readable, Type::BOOL),
        param(&limit, Type::INT8),
        param(&filter.types, Type::TEXT_ARRAY),
        param(&filter.categories, Type::TEXT_ARRAY),
    ];
    sql.query(&partition.sql(READ), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))
}

fn to_message(row: &Row) -> Result<RecordedMessage> {
    let stream: Arc<str> = get::<&str>(row, STREAM_ID)?.into();
    MessageRow {
        row,
        first_column: STREAM_ID + 1,
        stream: &stream,
    }
    .to_message()
}

/// Where to begin in the feed, and where to stop.
///
/// ```
/// use emmett_postgresql::FeedOptions;
/// let news = FeedOptions::new().after(1_000).batch_size(100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedOptions {
    after: u64,
    categories: Option<Vec<String>>,
    batch_size: usize,
    epoch: Option<u64>,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            after: 0,
            categories: None,
            batch_size: 1_000,
            epoch: None,
        }
    }
}

impl FeedOptions {
    /// The whole feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins behind this global position. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// Fails with [`Error::StoreEpoch`] when the store is at another [epoch](crate::EventStore::epoch): it was restored since
    /// the position was kept. Costs one more round trip a batch. Defaults to not looking.
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

    /// Reads streams of these [categories](crate::Event::CATEGORY) only. Defaults to those of the event type.
    ///
    /// The feed begins with an error where no stream can have such a category. An event of a category that its type does not
    /// have is an error, too.
    #[must_use]
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.categories = Some(categories.iter().map(|&name| name.to_owned()).collect());
        self
    }

    /// How many messages are held in memory at a time. Defaults to 1,000.
    #[must_use]
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.batch_size = messages.max(1);
        self
    }
}

/// The stored messages in global order, up to where the feed can be read when the iterator gets there.
///
/// Ends at the horizon; [`position`](Feed::position) says where to go on later. Holds no connection between two batches.
#[must_use]
pub struct Feed<E> {
    connections: Connections,
    partition: Arc<Partition>,
    handled: HandledEvents,
    filter: FeedFilter,
    options: FeedOptions,
    /// How far the feed was found to be readable.
    horizon: u64,
    waiting: VecDeque<RecordedMessage>,
    ended: bool,
    _event: std::marker::PhantomData<fn() -> E>,
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
            options,
            waiting: VecDeque::new(),
            ended: false,
            _event: std::marker::PhantomData,
        }
    }

    /// The position up to which everything has been handed out: where a later reader goes on. Moves over messages of types
    /// and categories that `E` does not have, too.
    pub fn position(&self) -> u64 {
        match self.waiting.front() {
            Some(next) => next.global_position - 1,
            None => self.options.after,
        }
    }

    fn fetch(&mut self) -> Result<()> {
        self.handled.check("the feed")?;
        let (after, size) = (self.options.after, self.options.batch_size);
        let (partition, filter, known) = (&self.partition, &self.filter, self.horizon);
        let expected = self.options.epoch;
        let fetched = self.connections.run(true, |sql| {
            let horizon = if known > after {
                known
            } else {
                self::horizon(sql, partition, after)?.position
            };
            let up_to = step(filter, after, horizon);
            let messages = if up_to <= after {
                Vec::new()
            } else {
                page(sql, partition, after, up_to, size, filter)?
            };
            // After the page: an epoch that begins between the two must be noticed.
            expected.map_or(Ok(()), |epoch| epoch::check(sql, partition, epoch))?;
            Ok::<_, Error>((horizon.max(after), up_to.max(after), messages))
        });
        let (horizon, up_to, messages) = fetched?;
        self.horizon = horizon;
        self.options.after = match messages.last() {
            Some(last) if messages.len() == size => last.global_position,
            _ => up_to,
        };
        self.ended = messages.is_empty() && up_to == horizon;
        self.waiting = messages.into();
        Ok(())
    }
}

/// Where a page ends at the latest.
fn step(filter: &FeedFilter, after: u64, horizon: u64) -> u64 {
    if filter.is_selective() {
        horizon.min(after.saturating_add(LONGEST_STEP))
    } else {
        horizon
    }
}

impl<E: Event> Feed<E> {
    /// The next message, not decoded yet.
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
        self.next_message().map(|message| message?.decode())
    }
}
