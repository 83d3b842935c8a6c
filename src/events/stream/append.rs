//! Appending: one stream or several, in one round trip.

use super::name::stream_type;
use super::stored::{InlineVersions, Stored, StreamAppend};
use crate::database::position::{get_u32, small_to_sql};
use crate::database::{Jsonb, Parameter, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::command_key::CommandKey;
use crate::events::message::OutgoingMessage;
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;

const APPEND: PartitionSql =
    PartitionSql::new("SELECT {append}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");

const APPEND_TO_STREAMS: PartitionSql = PartitionSql::new(
    "
    SELECT number, result
      FROM {append_several}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
);

const APPEND_KEYED: PartitionSql = PartitionSql::new(
    "SELECT {append_keyed}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
);

const APPEND_UNDER_KEY: PartitionSql = PartitionSql::new(
    "
    SELECT number, result
      FROM {schema}.emt_append_under_key($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
);

/// The columns of messages, as arrays.
struct MessageColumns<'a> {
    ids: Vec<&'a str>,
    types: Vec<&'a str>,
    kinds: Vec<&'static str>,
    schema_versions: Vec<String>,
    data: Vec<Jsonb<'a>>,
    metadata: Vec<Jsonb<'a>>,
}

impl<'a> MessageColumns<'a> {
    fn new(messages: impl Iterator<Item = &'a OutgoingMessage> + Clone) -> Self {
        Self {
            ids: messages
                .clone()
                .map(|message| message.message_id.as_str())
                .collect(),
            types: messages
                .clone()
                .map(|message| &*message.message_type)
                .collect(),
            kinds: messages
                .clone()
                .map(|message| message.kind.as_sql())
                .collect(),
            schema_versions: messages
                .clone()
                .map(|message| message.schema_version.to_string())
                .collect(),
            data: messages
                .clone()
                .map(|message| Jsonb(&message.data))
                .collect(),
            metadata: messages
                .map(|message| Jsonb(&message.metadata_json))
                .collect(),
        }
    }

    fn parameters(&self) -> [Parameter<'_>; 6] {
        [
            param(&self.ids, Type::TEXT_ARRAY),
            param(&self.types, Type::TEXT_ARRAY),
            param(&self.kinds, Type::TEXT_ARRAY),
            param(&self.schema_versions, Type::TEXT_ARRAY),
            param(&self.data, Type::JSONB_ARRAY),
            param(&self.metadata, Type::JSONB_ARRAY),
        ]
    }
}

/// Appends to one stream, in one round trip.
pub(crate) fn append(
    sql: &mut dyn Sql,
    partition: &Partition,
    append: &StreamAppend,
    projections: Option<&InlineVersions>,
) -> Result<Stored> {
    let columns = StreamColumn::new(append, projections);
    let rows = sql
        .query(&partition.sql(APPEND), &columns.parameters(partition))
        .map_err(|source| append_error(partition, source))?;
    let result: Vec<i64> = scalar(&rows)?.unwrap_or_default();
    Stored::from_sql(append, &result, projections)
}

/// The parameters of an append to one stream.
struct StreamColumn<'a> {
    stream: &'a str,
    kind: &'a str,
    expected: Option<i64>,
    messages: MessageColumns<'a>,
    find_repeated: bool,
    versions: Option<Jsonb<'a>>,
}

impl<'a> StreamColumn<'a> {
    fn new(append: &'a StreamAppend, projections: Option<&'a InlineVersions>) -> Self {
        Self {
            stream: &append.stream,
            kind: stream_type(&append.stream),
            expected: append.expected.as_sql(),
            messages: MessageColumns::new(append.messages.iter()),
            find_repeated: append.has_own_ids(),
            versions: projections.map(InlineVersions::as_jsonb),
        }
    }

    fn parameters<'b>(&'b self, partition: &'b Partition) -> Vec<Parameter<'b>> {
        let mut parameters = vec![
            param(&self.stream, Type::TEXT),
            param(&self.kind, Type::TEXT),
            param(&partition.name, Type::TEXT),
            param(&self.expected, Type::INT8),
        ];
        parameters.extend(self.messages.parameters());
        parameters.extend([
            param(&self.find_repeated, Type::BOOL),
            param(&self.versions, Type::JSONB),
        ]);
        parameters
    }
}

/// Appends to several streams, in one round trip: all or nothing.
pub(crate) fn append_to_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    appends: &[StreamAppend],
    projections: Option<&InlineVersions>,
) -> Result<Vec<Stored>> {
    let columns = StreamColumns::new(appends, projections)?;
    let rows = sql
        .query(
            &partition.sql(APPEND_TO_STREAMS),
            &columns.parameters(partition),
        )
        .map_err(|source| append_error(partition, source))?;
    stored_of(&rows, appends, projections)
}

/// Appends under the key of a command, with the reply; `None` if the command was executed before.
pub(crate) fn append_under_key(
    sql: &mut dyn Sql,
    partition: &Partition,
    appends: &[StreamAppend],
    key: &CommandKey,
    reply: &[u8],
    projections: Option<&InlineVersions>,
) -> Result<Option<Vec<Stored>>> {
    let reply = Jsonb(reply);
    let under_key = [
        param(&key.key, Type::TEXT),
        param(&key.digest, Type::TEXT),
        param(&reply, Type::JSONB),
    ];
    if let [append] = appends
        && !append.messages.is_empty()
    {
        let columns = StreamColumn::new(append, projections);
        let mut parameters = columns.parameters(partition);
        parameters.extend(under_key);
        let rows = sql
            .query(&partition.sql(APPEND_KEYED), &parameters)
            .map_err(|source| append_error(partition, source))?;
        let result: Vec<i64> = scalar(&rows)?.unwrap_or_default();
        if is_taken(key, &result)? {
            return Ok(None);
        }
        return Ok(Some(vec![Stored::from_sql(append, &result, projections)?]));
    }
    let columns = StreamColumns::new(appends, projections)?;
    let mut parameters = columns.parameters(partition);
    parameters.extend(under_key);
    let rows = sql
        .query(&partition.sql(APPEND_UNDER_KEY), &parameters)
        .map_err(|source| append_error(partition, source))?;
    if let Some(row) = rows.first()
        && get_u32(row, "number")? == 0
        && is_taken(key, &get::<Vec<i64>>(row, "result")?)?
    {
        return Ok(None);
    }
    stored_of(&rows, appends, projections).map(Some)
}

/// Whether the command was executed before. Fails if its key belongs to another content.
fn is_taken(key: &CommandKey, result: &[i64]) -> Result<bool> {
    match result {
        [6] => Ok(true),
        [7] => Err(key.reused()),
        _ => Ok(false),
    }
}

/// The parameters of an append to several streams.
struct StreamColumns<'a> {
    streams: Vec<&'a str>,
    kinds: Vec<&'a str>,
    expected: Vec<Option<i64>>,
    counts: Vec<i32>,
    messages: MessageColumns<'a>,
    find_repeated: bool,
    versions: Option<Jsonb<'a>>,
}

impl<'a> StreamColumns<'a> {
    fn new(appends: &'a [StreamAppend], projections: Option<&'a InlineVersions>) -> Result<Self> {
        refuse_conditions_on_appended(appends)?;
        let counts = appends
            .iter()
            .map(|append| small_to_sql("the number of messages", append.messages.len() as u64))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            streams: appends.iter().map(|append| &*append.stream).collect(),
            kinds: appends
                .iter()
                .map(|append| stream_type(&append.stream))
                .collect(),
            expected: appends
                .iter()
                .map(|append| append.expected.as_sql())
                .collect(),
            counts,
            messages: MessageColumns::new(appends.iter().flat_map(|append| &append.messages)),
            find_repeated: appends.iter().any(StreamAppend::has_own_ids),
            versions: projections.map(InlineVersions::as_jsonb),
        })
    }

    fn parameters<'b>(&'b self, partition: &'b Partition) -> Vec<Parameter<'b>> {
        let mut parameters = vec![
            param(&self.streams, Type::TEXT_ARRAY),
            param(&self.kinds, Type::TEXT_ARRAY),
            param(&partition.name, Type::TEXT),
            param(&self.expected, Type::INT8_ARRAY),
            param(&self.counts, Type::INT4_ARRAY),
        ];
        parameters.extend(self.messages.parameters());
        parameters.extend([
            param(&self.find_repeated, Type::BOOL),
            param(&self.versions, Type::JSONB),
        ]);
        parameters
    }
}

fn stored_of(
    rows: &[Row],
    appends: &[StreamAppend],
    projections: Option<&InlineVersions>,
) -> Result<Vec<Stored>> {
    let mut stored = Vec::with_capacity(rows.len());
    for row in rows {
        let number = get_u32(row, "number")?;
        let append = appends.iter().zip(1..).find(|(_, one)| *one == number);
        let Some((append, _)) = append else {
            return Err(Error::schema(format!(
                "the function emt_append_to_streams returned stream number {number} of {}: update the library or migrate the schema",
                appends.len()
            )));
        };
        let result: Vec<i64> = get(row, "result")?;
        stored.push((number, Stored::from_sql(append, &result, projections)?));
    }
    if stored.len() != appends.len() {
        return Err(Error::schema(format!(
            "the function emt_append_to_streams returned {} of {} streams: update the library or migrate the schema",
            stored.len(),
            appends.len()
        )));
    }
    stored.sort_unstable_by_key(|(number, _)| *number);
    Ok(stored.into_iter().map(|(_, stored)| stored).collect())
}

/// A condition shares the stream's row and the append takes it alone: two such calls would wait for each other.
fn refuse_conditions_on_appended(appends: &[StreamAppend]) -> Result<()> {
    let is_condition = |append: &&StreamAppend| append.messages.is_empty();
    for condition in appends.iter().filter(is_condition) {
        let mut appended = appends.iter().filter(|append| !is_condition(append));
        if appended.any(|append| append.stream == condition.stream) {
            return Err(Error::invalid(
                format!("the condition on stream \"{}\"", condition.stream),
                "is of a stream that the same call appends to: give the append the expected version",
            ));
        }
    }
    Ok(())
}

fn append_error(partition: &Partition, source: postgres::Error) -> Error {
    if let Some(stream) = stream_with_reused_ids(&source) {
        return Error::MessageIdReused { stream, source };
    }
    Error::in_partition("append to a stream", &partition.name, source)
}

/// Returns the stream that refuses an append because of its message ids, from the detail of the database's error.
fn stream_with_reused_ids(source: &postgres::Error) -> Option<String> {
    let error = source.as_db_error()?;
    (error.code().code() == "SE020").then(|| error.detail().unwrap_or_default().to_owned())
}
