//! The feed: all messages of a partition in global order, up to the horizon. Reads `emt_messages`.

use crate::database::position::{from_sql, get_u64, to_sql};
use crate::database::{Connections, Parameter, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::batch_limits::{BatchFill, BatchLimits, Page, with_room};
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

/// Searches for rare events advance by at most this many positions a statement, so that no statement takes long.
pub(crate) const LONGEST_STEP: u64 = 50_000;

const HORIZON: PartitionSql = PartitionSql::new("SELECT {schema}.emt_horizon($1, $2)");

/// Leaves out the content of large messages: see `emt_stream_read_page`.
const READ_SMALL: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created,
           CASE WHEN pg_catalog.pg_column_size(message_data) <= $8
                  OR (pg_catalog.pg_column_size(message_data) <= $9 AND pg_catalog.pg_column_size(ARRAY[message_data]) <= $9)
                THEN message_data END AS message_data,
           CASE WHEN pg_catalog.pg_column_size(message_metadata) <= $8
                  OR (pg_catalog.pg_column_size(message_metadata) <= $9 AND pg_catalog.pg_column_size(ARRAY[message_metadata]) <= $9)
                THEN message_metadata END AS message_metadata,
           horizon, head
      FROM {feed}($1, $2, $3, $4, $5, $6, $7)",
);

/// The same for a few positions, without the function, which stores a page before it sends it. It is planned anew each time: a
/// plan that was made while a table was small could read all of it later.
const READ_FEW: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created,
           CASE WHEN pg_catalog.pg_column_size(message_data) <= $6
                  OR (pg_catalog.pg_column_size(message_data) <= $7 AND pg_catalog.pg_column_size(ARRAY[message_data]) <= $7)
                THEN message_data END AS message_data,
           CASE WHEN pg_catalog.pg_column_size(message_metadata) <= $6
                  OR (pg_catalog.pg_column_size(message_metadata) <= $7 AND pg_catalog.pg_column_size(ARRAY[message_metadata]) <= $7)
                THEN message_metadata END AS message_metadata
      FROM {messages}
     WHERE global_position > $1 AND global_position <= $2
       AND ($4::TEXT[] IS NULL OR message_type = ANY ($4))
       AND ($5::TEXT[] IS NULL OR {schema}.emt_stream_category(stream_id) = ANY ($5))
     ORDER BY global_position
     LIMIT $3",
);

const READ_LARGE: PartitionSql = PartitionSql::new(concat!(
    "SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
            message_schema_version, created, message_data, message_metadata",
    with_room!("{feed}($1, $2, $3, TRUE, $4, $5, $6)", "$7")
));

const AT: PartitionSql = PartitionSql::new(concat!(
    "SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
            message_schema_version, created, message_data, message_metadata",
    with_room!(
        "(SELECT * FROM {messages} WHERE global_position = ANY($1) ORDER BY global_position)",
        "$2"
    )
));

/// Read by number, because there are many rows. The columns of the message follow.
const STREAM_ID: usize = 0;

const HEAD: PartitionSql = PartitionSql::new("SELECT {schema}.emt_position_head() AS head");

/// Leaves out the content of the messages.
const NAMES: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, stream_position, message_type, global_position
      FROM {feed}($1, $2, $3, TRUE, $4, $5, $6)",
);

/// A range of the feed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) after: u64,
    pub(crate) up_to: u64,
    pub(crate) filter: &'a FeedFilter,
}

impl Part<'_> {
    /// The first positions of the part.
    fn at_most(self, positions: u64) -> Self {
        let up_to = self.up_to.min(self.after.saturating_add(positions));
        Self { up_to, ..self }
    }
}

/// A message without its content.
pub(crate) struct MessageName {
    pub(crate) stream_name: Arc<str>,
    pub(crate) stream_position: u64,
    pub(crate) message_type: String,
    pub(crate) global_position: u64,
}

/// Returns the messages of a part that ends at or below a horizon, without their content. A limit returns the first ones.
pub(crate) fn names(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limit: Option<usize>,
) -> Result<Vec<MessageName>> {
    let (after, up_to, limit) = (to_sql(part.after), to_sql(part.up_to), limit.map(to_sql));
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&limit, Type::INT8),
        param(&part.filter.types, Type::TEXT_ARRAY),
        param(&part.filter.categories, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(NAMES), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(MessageName {
                stream_name: get::<&str>(row, "stream_id")?.into(),
                stream_position: get_u64(row, "stream_position")?,
                message_type: get(row, "message_type")?,
                global_position: get_u64(row, "global_position")?,
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
    /// The last position that any append has drawn. It is above `position` while appends are open.
    pub head: u64,
}

/// Raised by `emt_horizon`.
const BEYOND_HEAD: &str = "SE003";

/// Returns how far a reader at position `after` can read.
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
            "the function emt_horizon returned {result:?}, which this library does not know: update the library or migrate the schema"
        ))),
    }
}

/// Returns the last position that was drawn.
pub(crate) fn head(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query(&partition.sql(HEAD), &[])
        .map_err(|source| Error::database("read the last position", source))?;
    Ok(rows.first().map_or(Ok(0), |row| get_u64(row, "head"))?)
}

/// Returns the messages at these positions, as many as fit. All positions must be at or below a horizon.
pub(crate) fn at(
    sql: &mut dyn Sql,
    partition: &Partition,
    positions: &[i64],
    limits: BatchLimits,
) -> Result<Vec<RecordedMessage>> {
    let bytes = to_sql(limits.bytes);
    let parameters = [
        param(&positions, Type::INT8_ARRAY),
        param(&bytes, Type::INT8),
    ];
    let mut filling = Filling::new(limits);
    filling.read_each(sql, partition, AT, &parameters)?;
    Ok(filling.messages)
}

/// Returns the messages of a part, as many as fit. The part must end at or below a horizon.
pub(crate) fn page(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limits: BatchLimits,
) -> Result<Page> {
    let rows = read_small(sql, partition, part, true, limits)?;
    let mut filling = Filling::new(limits);
    filling.take_all(&rows)?;
    filling.complete(sql, partition, part)
}

/// Reads the feed page by page, each up to a horizon that is known. Where the messages are close together, a page asks for as
/// many positions as will fill it.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The number of positions that the next page probably takes.
    span: Option<u64>,
}

impl Pages {
    /// Returns the messages of a part, as many as fit. The part must end at or below a horizon.
    pub(crate) fn next(
        &mut self,
        sql: &mut dyn Sql,
        partition: &Partition,
        part: Part<'_>,
        limits: BatchLimits,
    ) -> Result<Page> {
        let page = match self.span {
            Some(span) => few(sql, partition, part.at_most(span), limits)?,
            None => page(sql, partition, part, limits)?,
        };
        self.span = span(&page, part.after, limits);
        Ok(page)
    }
}

/// Below this number of messages, planning a page takes longer than the function.
const WORTH_PLANNING: usize = 500;

/// Messages are close together if a page has one in this number of positions.
const CLOSE: u64 = 4;

/// Returns the number of positions that fill the page after this one; `None` if the messages are far apart.
fn span(page: &Page, after: u64, limits: BatchLimits) -> Option<u64> {
    let (positions, found) = (
        page.position.saturating_sub(after),
        page.messages.len() as u64,
    );
    let is_close = limits.rows() >= WORTH_PLANNING && found > 0 && positions <= found * CLOSE;
    is_close.then(|| {
        let rows = limits.rows() as u64;
        rows.saturating_mul(positions).div_ceil(found)
    })
}

/// Like [`page`], for a part with few positions.
fn few(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limits: BatchLimits,
) -> Result<Page> {
    let (after, up_to, rows) = (
        to_sql(part.after),
        to_sql(part.up_to),
        to_sql(limits.rows()),
    );
    let (stored, real) = (to_sql(limits.small_stored()), to_sql(limits.small()));
    let parameters = [
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&rows, Type::INT8),
        param(&part.filter.types, Type::TEXT_ARRAY),
        param(&part.filter.categories, Type::TEXT_ARRAY),
        param(&stored, Type::INT8),
        param(&real, Type::INT8),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(READ_FEW), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    let mut filling = Filling::new(limits);
    filling.take_all(&rows)?;
    filling.complete(sql, partition, part)
}

/// Returns the messages of a part up to the horizon, which the same round trip determines.
pub(crate) fn poll(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limits: BatchLimits,
) -> Result<(Horizon, Page)> {
    let rows = read_small(sql, partition, part, false, limits)?;
    let Some((first, messages)) = rows.split_first() else {
        return Err(Error::schema(
            "the feed's function returned no horizon: update the library or migrate the schema"
                .to_owned(),
        ));
    };
    let horizon = Horizon {
        position: get_u64(first, "horizon")?,
        head: get_u64(first, "head")?,
    };
    let up_to = part.up_to.min(horizon.position);
    let mut filling = Filling::new(limits);
    filling.take_all(messages)?;
    let page = filling.complete(sql, partition, Part { up_to, ..part })?;
    Ok((horizon, page))
}

/// Returns the message at a position, of any size.
pub(crate) fn message_at(
    sql: &mut dyn Sql,
    partition: &Partition,
    position: u64,
) -> Result<Option<RecordedMessage>> {
    let part = Part {
        after: position.saturating_sub(1),
        up_to: position,
        filter: &FeedFilter::ALL,
    };
    let page = page(sql, partition, part, BatchLimits::one_message())?;
    Ok(page.messages.into_iter().next())
}

/// Reads all rows at once: one by one, each row costs a tenth more.
fn read_small(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    is_readable: bool,
    limits: BatchLimits,
) -> Result<Vec<Row>> {
    let (after, up_to, rows) = (
        to_sql(part.after),
        to_sql(part.up_to),
        to_sql(limits.rows()),
    );
    let (stored, real) = (to_sql(limits.small_stored()), to_sql(limits.small()));
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&is_readable, Type::BOOL),
        param(&rows, Type::INT8),
        param(&part.filter.types, Type::TEXT_ARRAY),
        param(&part.filter.categories, Type::TEXT_ARRAY),
        param(&stored, Type::INT8),
        param(&real, Type::INT8),
    ];
    sql.query(&partition.sql(READ_SMALL), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))
}

/// A page while it is being filled.
struct Filling {
    fill: BatchFill,
    limits: BatchLimits,
    messages: Vec<RecordedMessage>,
    /// A further message did not fit.
    is_cut: bool,
}

impl Filling {
    fn new(limits: BatchLimits) -> Self {
        Self {
            fill: BatchFill::new(limits),
            limits,
            messages: Vec::new(),
            is_cut: false,
        }
    }

    fn take_all(&mut self, rows: &[Row]) -> Result<()> {
        self.messages.reserve(rows.len());
        for row in rows {
            if !self.take(row)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes a row. Returns false if it does not fit.
    fn take(&mut self, row: &Row) -> Result<bool> {
        let stream: Arc<str> = get::<&str>(row, STREAM_ID)?.into();
        let row = MessageRow {
            row,
            first_column: STREAM_ID + 1,
            stream: &stream,
            backwards: false,
        };
        let content = row.sent_content()?;
        let Some(content) = content.filter(|content| self.fill.add(content.size())) else {
            self.is_cut = true;
            return Ok(false);
        };
        self.messages.push(row.to_message(content)?);
        Ok(true)
    }

    /// Reads rows one by one, so that no more large messages are in memory than fit.
    fn read_each(
        &mut self,
        sql: &mut dyn Sql,
        partition: &Partition,
        statement: PartitionSql,
        parameters: &[Parameter<'_>],
    ) -> Result<()> {
        let mut outcome = Ok(());
        let mut take = |row: &Row| match self.take(row) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                outcome = Err(error);
                false
            }
        };
        sql.query_each(&partition.sql(statement), parameters, &mut take)
            .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
        outcome
    }

    /// Finishes the page. If its first message is a large one, reads from there. Determines the position that the page has
    /// reached.
    fn complete(
        mut self,
        sql: &mut dyn Sql,
        partition: &Partition,
        part: Part<'_>,
    ) -> Result<Page> {
        if self.is_cut && self.fill.is_empty() {
            self.read_large(sql, partition, part)?;
        }
        let position = match self.messages.last() {
            Some(last) if self.is_cut || self.fill.is_full() => last.global_position,
            None if self.is_cut => part.after,
            _ => part.up_to,
        };
        Ok(Page {
            messages: self.messages,
            position,
        })
    }

    fn read_large(
        &mut self,
        sql: &mut dyn Sql,
        partition: &Partition,
        part: Part<'_>,
    ) -> Result<()> {
        let (after, up_to) = (to_sql(part.after), to_sql(part.up_to));
        let (rows, bytes) = (to_sql(self.limits.rows()), to_sql(self.limits.bytes));
        let parameters = [
            param(&partition.name, Type::TEXT),
            param(&after, Type::INT8),
            param(&up_to, Type::INT8),
            param(&rows, Type::INT8),
            param(&part.filter.types, Type::TEXT_ARRAY),
            param(&part.filter.categories, Type::TEXT_ARRAY),
            param(&bytes, Type::INT8),
        ];
        self.read_each(sql, partition, READ_LARGE, &parameters)
    }
}

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
                self::horizon(sql, partition, after)?.position
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
