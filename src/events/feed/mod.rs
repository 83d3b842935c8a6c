//! The feed: all messages of a partition in global order, up to the horizon. Reads `emt_messages`.

use crate::database::position::{from_sql, get_u64, to_sql};
use crate::database::{Parameter, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::batch_limits::{BatchFill, BatchLimits, Page, with_room};
use crate::events::handled_events::FeedFilter;
use crate::events::message::RecordedMessage;
use crate::events::partition::{Partition, PartitionSql};
use crate::events::stream::MessageRow;
use postgres::Row;
use postgres::types::Type;
use std::sync::Arc;

mod iteration;
mod pages;

pub use iteration::{Feed, FeedOptions};
pub(crate) use pages::Pages;

/// Searches for rare events advance by at most this many positions a statement, so that no statement takes long.
pub(crate) const LONGEST_STEP: u64 = 50_000;

const HORIZON: PartitionSql = PartitionSql::new("SELECT {schema}.emt_horizon($1, $2)");

/// The columns of messages, without the content of large ones: see `emt_stream_read_page`.
macro_rules! small_content {
    ($stored:literal, $real:literal) => {
        concat!(
            "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created,",
            small_content!("message_data", $stored, $real),
            ",",
            small_content!("message_metadata", $stored, $real)
        )
    };
    ($column:literal, $stored:literal, $real:literal) => {
        concat!(
            "
           CASE WHEN pg_catalog.pg_column_size(",
            $column,
            ") <= ",
            $stored,
            "
                  OR (pg_catalog.pg_column_size(",
            $column,
            ") <= ",
            $real,
            "
                      AND pg_catalog.pg_column_size(ARRAY[",
            $column,
            "]) <= ",
            $real,
            ")
                THEN ",
            $column,
            " END AS ",
            $column
        )
    };
}

use small_content;

const READ_SMALL: PartitionSql = PartitionSql::new(concat!(
    small_content!("$8", "$9"),
    ", horizon, head
      FROM {feed}($1, $2, $3, $4, $5, $6, $7)"
));

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
    filled(sql, partition, part, limits, &rows)
}

/// Makes a page of the rows of a part.
fn filled(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limits: BatchLimits,
    rows: &[Row],
) -> Result<Page> {
    let mut filling = Filling::new(limits);
    filling.take_all(rows)?;
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
    let part = Part { up_to, ..part };
    let page = filled(sql, partition, part, limits, messages)?;
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
