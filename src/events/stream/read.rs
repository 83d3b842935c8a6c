//! Reading the rows of a stream, and their messages.

use super::name::check_stream_name;
use super::read_options::ReadOptions;
use super::versions::Versions;
use crate::database::position::{from_sql, get_u64, to_sql};
use crate::database::{Jsonb, Sql, get, param};
use crate::error::{DecodeError, Error, Result};
use crate::events::batch_limits::{BatchFill, with_room};
use crate::events::event::Event;
use crate::events::message::{
    MessageKind, Metadata, Recorded, RecordedMessage, parse_schema_version,
};
use crate::events::partition::{Partition, PartitionSql};
use crate::events::upcast::Encoded;
use postgres::Row;
use postgres::types::Type;
use std::collections::VecDeque;
use std::sync::Arc;

/// The stream's row comes first and is a single row, so messages arrive in the order of the inner query. The partition is
/// compared because two names can give the same table names.
macro_rules! read_statement {
    ($streams:literal, $messages:literal, $order:literal) => {
        concat!(
            "
    SELECT stream.stream_position AS stream_version, message.*
      FROM ",
            $streams,
            " AS stream
      LEFT JOIN LATERAL (
               SELECT stream_position, global_position, message_id, message_type, message_kind,
                      message_schema_version, created, message_data, message_metadata
                 FROM ",
            $messages,
            "
                WHERE stream_id = stream.stream_id AND stream_position BETWEEN $3 AND $4
                ORDER BY stream_position ",
            $order,
            "
           ) AS message ON TRUE
     WHERE stream.stream_id = $2 AND stream.partition = $1"
        )
    };
}

const READ: PartitionSql = PartitionSql::new(read_statement!(
    "{streams_active}",
    "{messages_active}",
    "ASC"
));
const READ_BACKWARDS: PartitionSql = PartitionSql::new(read_statement!(
    "{streams_active}",
    "{messages_active}",
    "DESC"
));
const READ_ARCHIVED_TOO: PartitionSql =
    PartitionSql::new(read_statement!("{streams}", "{messages}", "ASC"));
const READ_ARCHIVED_TOO_BACKWARDS: PartitionSql =
    PartitionSql::new(read_statement!("{streams}", "{messages}", "DESC"));

/// Passes every argument: an overload of that name without defaults would otherwise be the better match.
const READ_PAGE: PartitionSql = PartitionSql::new(
    "
    SELECT stream_version, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created, message_data, message_metadata
      FROM {schema}.emt_stream_read_page($1, $2, $3, $4, $5, $6, $7, 9223372036854775807, 9223372036854775807)",
);

/// Leaves out the content of large messages.
const READ_SMALL: PartitionSql = PartitionSql::new(
    "
    SELECT stream_version, stream_position, global_position, message_id, message_type, message_kind,
           message_schema_version, created, message_data, message_metadata
      FROM {schema}.emt_stream_read_page($1, $2, $3, $4, $5, $6, $7, $8, $9)",
);

const READ_LARGE: PartitionSql = PartitionSql::new(concat!(
    "SELECT stream_version, stream_position, global_position, message_id, message_type, message_kind,
            message_schema_version, created, message_data, message_metadata",
    with_room!(
        "{schema}.emt_stream_read_page($1, $2, $3, $4, $5, $6, $7, 9223372036854775807, 9223372036854775807)",
        "$8"
    )
));

/// Passes the messages of a stream to the caller as they arrive. Returns the stream's version; 0 if it does not exist. Fails
/// if a version is missing.
pub(crate) fn read(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &Arc<str>,
    options: &ReadOptions,
    each: &mut dyn FnMut(MessageRow<'_>) -> Result<()>,
) -> Result<u64> {
    let statement = match (
        options.max_count,
        options.include_archived,
        options.backwards,
    ) {
        (Some(_), ..) => READ_PAGE,
        (None, false, false) => READ,
        (None, false, true) => READ_BACKWARDS,
        (None, true, false) => READ_ARCHIVED_TOO,
        (None, true, true) => READ_ARCHIVED_TOO_BACKWARDS,
    };
    let mut each = |row: MessageRow<'_>| each(row).map(|()| true);
    let statement = SizedStatement {
        statement,
        sizes: &[],
        may_be_cut: false,
    };
    read_rows(sql, partition, stream, options, statement, &mut each)
}

/// A page of a stream, within the limits of a batch.
pub(crate) struct StreamPage<E> {
    pub(crate) version: u64,
    pub(crate) events: VecDeque<Recorded<E>>,
    /// Number of messages; each has one event, unless it is upcast.
    pub(crate) messages: u64,
    /// Version of the last message.
    pub(crate) last: u64,
    /// No page follows.
    pub(crate) is_last: bool,
}

impl<E: Event> StreamPage<E> {
    /// Takes a row. Returns false if it does not fit.
    fn take(&mut self, fill: &mut BatchFill, row: MessageRow<'_>) -> Result<bool> {
        let content = row.sent_content()?;
        let Some(content) = content.filter(|content| fill.add(content.size())) else {
            self.is_last = false;
            return Ok(false);
        };
        self.messages += 1;
        self.last = row.position(MessageColumn::StreamPosition)?;
        row.decode_content(content, |recorded| self.events.push_back(recorded))?;
        Ok(true)
    }
}

/// Reads a page of a stream.
pub(crate) fn read_page<E: Event>(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &Arc<str>,
    options: &ReadOptions,
) -> Result<StreamPage<E>> {
    let limits = options.limits;
    let mut fill = BatchFill::new(limits);
    let mut page = StreamPage {
        version: 0,
        events: VecDeque::new(),
        messages: 0,
        last: 0,
        is_last: true,
    };
    let options = options.limited_to(limits.rows() as u64);
    let mut read = |statement: SizedStatement<'_>, page: &mut StreamPage<E>| {
        let mut take = |row: MessageRow<'_>| page.take(&mut fill, row);
        read_rows(sql, partition, stream, &options, statement, &mut take)
    };
    let small = SizedStatement {
        statement: READ_SMALL,
        sizes: &[limits.small_stored(), limits.small()],
        may_be_cut: false,
    };
    page.version = read(small, &mut page)?;
    if !page.is_last && page.messages == 0 {
        let large = SizedStatement {
            statement: READ_LARGE,
            sizes: &[limits.bytes],
            may_be_cut: true,
        };
        page.version = read(large, &mut page)?;
    }
    // A page without messages means that the stream was archived between the two statements.
    page.is_last = page.messages == 0 || page.is_last && !fill.is_full();
    Ok(page)
}

/// A statement that reads a range of a stream.
#[derive(Clone, Copy)]
struct SizedStatement<'a> {
    statement: PartitionSql,
    /// Its last parameters: the size limits.
    sizes: &'a [usize],
    /// The result may end before a message that does not fit, without a sign of it.
    may_be_cut: bool,
}

fn read_rows(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &Arc<str>,
    options: &ReadOptions,
    SizedStatement {
        statement,
        sizes,
        may_be_cut,
    }: SizedStatement<'_>,
    each: &mut dyn FnMut(MessageRow<'_>) -> Result<bool>,
) -> Result<u64> {
    check_stream_name(stream)?;
    let (name, from, to) = (&**stream, to_sql(options.from), to_sql(options.to));
    let limit = options.max_count.map(to_sql);
    let sizes: Vec<i64> = sizes.iter().copied().map(to_sql).collect();
    let mut version = 0;
    let mut outcome = Ok(());
    let mut versions = Versions::new(options, 0);
    let mut is_cut = may_be_cut;
    let mut read_row = |row: &Row| -> Result<bool> {
        if version == 0 {
            version = get_u64(row, "stream_version")?;
            options.expected.check(stream, version)?;
            versions = Versions::new(options, version);
        }
        let message = MessageRow {
            row,
            first_column: 1,
            stream,
            backwards: options.backwards,
        };
        // The stream exists, but the range has no message.
        let Some(found) = message.stream_position()? else {
            return Ok(true);
        };
        versions.found(stream, found)?;
        each(message)
    };
    let mut parameters = vec![
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&from, Type::INT8),
        param(&to, Type::INT8),
    ];
    if limit.is_some() {
        parameters.extend([
            param(&limit, Type::INT8),
            param(&options.backwards, Type::BOOL),
            param(&options.include_archived, Type::BOOL),
        ]);
    }
    parameters.extend(sizes.iter().map(|size| param(size, Type::INT8)));
    sql.query_each(
        &partition.sql(statement),
        &parameters,
        &mut |row| match read_row(row) {
            Ok(goes_on) => {
                is_cut |= !goes_on;
                goes_on
            }
            Err(error) => {
                outcome = Err(error);
                false
            }
        },
    )
    .map_err(|source| Error::in_partition("read a stream", &partition.name, source))?;
    outcome?;
    if version == 0 {
        options.expected.check(stream, 0)?;
    }
    if !is_cut {
        versions.end(stream)?;
    }
    Ok(version)
}

/// The columns of a message, in the order of the statements here and in the feed. Read by number, because there are many
/// rows.
#[derive(Clone, Copy)]
enum MessageColumn {
    StreamPosition,
    GlobalPosition,
    MessageId,
    MessageType,
    MessageKind,
    SchemaVersion,
    Created,
    MessageData,
    MessageMetadata,
}

/// A row of a message: `stream_position` and the columns that follow it, in the statements here and in the feed.
#[doc(hidden)]
#[derive(Debug)]
pub struct MessageRow<'a> {
    pub(crate) row: &'a Row,
    pub(crate) first_column: usize,
    pub(crate) stream: &'a Arc<str>,
    /// Whether the rows arrive from the highest version down.
    pub(crate) backwards: bool,
}

/// The JSON of a message.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    data: &'a [u8],
    metadata: &'a [u8],
}

impl Content<'_> {
    pub(crate) fn size(self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

impl MessageRow<'_> {
    fn get<'a, T: postgres::types::FromSql<'a>>(&'a self, column: MessageColumn) -> Result<T> {
        Ok(get(self.row, self.first_column + column as usize)?)
    }

    /// `None` in a row without a message.
    pub(super) fn stream_position(&self) -> Result<Option<u64>> {
        let position: Option<i64> = self.get(MessageColumn::StreamPosition)?;
        Ok(position.map(from_sql).transpose()?)
    }

    pub(crate) fn message_id(&self) -> Result<&str> {
        self.get(MessageColumn::MessageId)
    }

    fn content(&self) -> Result<Content<'_>> {
        let data: Jsonb<'_> = self.get(MessageColumn::MessageData)?;
        let metadata: Jsonb<'_> = self.get(MessageColumn::MessageMetadata)?;
        Ok(Content {
            data: data.0,
            metadata: metadata.0,
        })
    }

    /// Returns `None` if the statement left out a part of the content because it is large.
    pub(crate) fn sent_content(&self) -> Result<Option<Content<'_>>> {
        let data: Option<Jsonb<'_>> = self.get(MessageColumn::MessageData)?;
        let metadata: Option<Jsonb<'_>> = self.get(MessageColumn::MessageMetadata)?;
        Ok(data.zip(metadata).map(|(data, metadata)| Content {
            data: data.0,
            metadata: metadata.0,
        }))
    }

    fn position(&self, column: MessageColumn) -> Result<u64> {
        Ok(from_sql(self.get(column)?)?)
    }

    pub(crate) fn to_message(&self, content: Content<'_>) -> Result<RecordedMessage> {
        let kind = MessageKind::from_sql(self.get(MessageColumn::MessageKind)?);
        let schema_version = parse_schema_version(self.get(MessageColumn::SchemaVersion)?);
        let damage = kind.as_ref().err().or(schema_version.as_ref().err());
        Ok(RecordedMessage {
            stream_name: Arc::clone(self.stream),
            stream_position: self.position(MessageColumn::StreamPosition)?,
            global_position: self.position(MessageColumn::GlobalPosition)?,
            message_id: self.get(MessageColumn::MessageId)?,
            message_type: self.get(MessageColumn::MessageType)?,
            damage: damage.cloned(),
            // `damage` is set: decoding fails before these values are used.
            kind: kind.unwrap_or_default(),
            schema_version: schema_version.unwrap_or_default(),
            recorded_at: self.get(MessageColumn::Created)?,
            data: content.data.to_vec(),
            metadata: content.metadata.to_vec(),
        })
    }

    /// Returns the message, undecoded.
    pub(crate) fn recorded(&self) -> Result<RecordedMessage> {
        self.to_message(self.content()?)
    }

    /// Decodes the message straight from the row, and passes on its events in the order of the read.
    pub(crate) fn decode<E: Event>(&self, each: impl FnMut(Recorded<E>)) -> Result<()> {
        self.decode_content(self.content()?, each)
    }

    fn decode_content<E: Event>(
        &self,
        content: Content<'_>,
        each: impl FnMut(Recorded<E>),
    ) -> Result<()> {
        let stream_position = self.position(MessageColumn::StreamPosition)?;
        let message_type: &str = self.get(MessageColumn::MessageType)?;
        let unreadable = |source: DecodeError| Error::Decode {
            stream: self.stream.to_string(),
            version: stream_position,
            message_type: message_type.to_owned(),
            source,
        };
        let kind = MessageKind::from_sql(self.get(MessageColumn::MessageKind)?)
            .map_err(|damage| unreadable(damage.into()))?;
        let schema_version = parse_schema_version(self.get(MessageColumn::SchemaVersion)?)
            .map_err(|damage| unreadable(damage.into()))?;
        let encoded = Encoded {
            stream: self.stream,
            version: stream_position,
            message_type,
            schema_version,
            data: content.data,
        };
        let events = encoded.decode(None)?;
        let metadata = Metadata::parse(content.metadata).map_err(unreadable)?;
        let message = Recorded {
            event: (),
            stream_name: Arc::clone(self.stream),
            stream_position,
            global_position: self.position(MessageColumn::GlobalPosition)?,
            message_id: self.get(MessageColumn::MessageId)?,
            message_type: message_type.to_owned(),
            kind,
            schema_version,
            recorded_at: self.get(MessageColumn::Created)?,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
            metadata: metadata.own,
        };
        let events = message.with_each(events);
        if self.backwards {
            events.rev().for_each(each);
        } else {
            events.for_each(each);
        }
        Ok(())
    }
}
