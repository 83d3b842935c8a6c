//! The baseline: a program that stores the same rows with its own SQL.

use crate::appender::Appender;
use crate::shop::{CART_SUMMARIES, CartEvent, CartSummary, ProductItem};
use anyhow::{Result, ensure};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{FromSql, Json, Type};
use postgres::{Client, GenericClient, Statement};
use std::error::Error;
use uuid::Uuid;

/// The same columns and indexes; no partitions, no fence.
const TABLES: &str = "
    CREATE SCHEMA plain;
    CREATE SEQUENCE plain.position;
    CREATE TABLE plain.streams (LIKE public.emt_streams INCLUDING DEFAULTS INCLUDING INDEXES)
        WITH (fillfactor = 80);
    CREATE TABLE plain.messages (LIKE public.emt_messages INCLUDING DEFAULTS INCLUDING INDEXES);
    ALTER TABLE plain.messages ALTER COLUMN global_position SET DEFAULT nextval('plain.position');
    CREATE TABLE plain.{collection} (LIKE public.{collection} INCLUDING DEFAULTS INCLUDING INDEXES)
        WITH (fillfactor = 80);";

const APPEND_ONE: &str = "
    WITH stream AS (
        INSERT INTO plain.streams AS stream (stream_id, stream_position, stream_type, stream_metadata)
        VALUES ($1, 1, $2, '{}')
        ON CONFLICT (stream_id, partition, is_archived)
        DO UPDATE SET stream_position = stream.stream_position + 1
        RETURNING stream_position
    )
    INSERT INTO plain.messages
        (stream_position, stream_id, message_schema_version, message_id, message_type, message_data, message_metadata)
    SELECT stream_position, $1, '1', $3, $4, $5, '{}' FROM stream
    RETURNING stream_position, global_position";

const APPEND_MANY: &str = "
    WITH stream AS (
        INSERT INTO plain.streams AS stream (stream_id, stream_position, stream_type, stream_metadata)
        VALUES ($1, cardinality($3), $2, '{}')
        ON CONFLICT (stream_id, partition, is_archived)
        DO UPDATE SET stream_position = stream.stream_position + cardinality($3)
        RETURNING stream_position
    ), appended AS (
        INSERT INTO plain.messages
            (stream_position, stream_id, message_schema_version, message_id, message_type, message_data, message_metadata)
        SELECT stream.stream_position - cardinality($3) + message.number, $1, '1', message.id, message.type, message.data, '{}'
          FROM stream, unnest($3, $4, $5) WITH ORDINALITY AS message (id, type, data, number)
        RETURNING stream_position, global_position
    )
    SELECT max(stream_position), array_agg(global_position) FROM appended";

const LOCK: &str = "
    INSERT INTO plain.{collection} AS document (_id, data, _version) VALUES ($1, '{}', 0)
    ON CONFLICT (_id, _partition) DO UPDATE SET _version = document._version
    RETURNING data, _version";

const WRITE: &str = "
    UPDATE plain.{collection} SET data = $2, _version = _version + 1, _updated = now()
     WHERE _id = $1 AND _partition = 'emt:default'";

const READ: &str = "
    SELECT stream_position, global_position, message_id, message_type, message_kind, message_schema_version,
           created, message_data, message_metadata
      FROM plain.messages
     WHERE stream_id = $1 AND partition = 'emt:default' AND NOT is_archived
     ORDER BY stream_position";

fn for_collection(sql: &str) -> String {
    sql.replace("{collection}", CART_SUMMARIES)
}

pub(crate) fn create_tables(client: &mut Client) -> Result<()> {
    Ok(client.batch_execute(&for_collection(TABLES))?)
}

/// Appends on a connection of its own, with every statement prepared.
pub(crate) struct PlainAppender {
    client: Client,
    statements: Statements,
    items: Vec<ProductItem>,
    projects: bool,
}

struct Statements {
    append_one: Statement,
    append_many: Statement,
    lock: Statement,
    write: Statement,
}

impl PlainAppender {
    pub(crate) fn new(mut client: Client, items: Vec<ProductItem>, projects: bool) -> Result<Self> {
        let (text, texts) = (Type::TEXT, Type::TEXT_ARRAY);
        let one = [
            text.clone(),
            text.clone(),
            text.clone(),
            text.clone(),
            Type::JSONB,
        ];
        let many = [
            text.clone(),
            text.clone(),
            texts.clone(),
            texts,
            Type::JSONB_ARRAY,
        ];
        let statements = Statements {
            append_one: client.prepare_typed(APPEND_ONE, &one)?,
            append_many: client.prepare_typed(APPEND_MANY, &many)?,
            lock: client.prepare_typed(&for_collection(LOCK), std::slice::from_ref(&text))?,
            write: client.prepare_typed(&for_collection(WRITE), &[text, Type::JSONB])?,
        };
        Ok(Self {
            client,
            statements,
            items,
            projects,
        })
    }
}

impl Appender for PlainAppender {
    fn append(&mut self, stream: &str) -> Result<()> {
        if !self.projects {
            return self
                .statements
                .append(&mut self.client, stream, &self.items);
        }
        let mut transaction = self.client.transaction()?;
        self.statements
            .append(&mut transaction, stream, &self.items)?;
        self.statements
            .project(&mut transaction, stream, &self.items)?;
        Ok(transaction.commit()?)
    }
}

const STREAM_TYPE: &str = "ShoppingCart";
pub(crate) const MESSAGE_TYPE: &str = "ProductItemAdded";

impl Statements {
    fn append(
        &self,
        client: &mut impl GenericClient,
        stream: &str,
        items: &[ProductItem],
    ) -> Result<()> {
        if let [item] = items {
            let id = Uuid::now_v7().to_string();
            let row = client.query_one(
                &self.append_one,
                &[&stream, &STREAM_TYPE, &id, &MESSAGE_TYPE, &Json(item)],
            )?;
            let (version, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            std::hint::black_box((version, position));
            return Ok(());
        }
        let ids: Vec<String> = items.iter().map(|_| Uuid::now_v7().to_string()).collect();
        let types = vec![MESSAGE_TYPE; items.len()];
        let data: Vec<Json<&ProductItem>> = items.iter().map(Json).collect();
        let row = client.query_one(
            &self.append_many,
            &[&stream, &STREAM_TYPE, &ids, &types, &data],
        )?;
        let (version, positions): (i64, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
        std::hint::black_box((version, positions));
        Ok(())
    }

    fn project(
        &self,
        client: &mut impl GenericClient,
        stream: &str,
        items: &[ProductItem],
    ) -> Result<()> {
        let row = client.query_one(&self.lock, &[&stream])?;
        let exists = row.try_get::<_, i64>(1)? > 0;
        let mut cart = if exists {
            Some(row.try_get::<_, Json<CartSummary>>(0)?.0)
        } else {
            None
        };
        for item in items {
            cart = Some(CartSummary::add(cart, stream, item));
        }
        client.execute(&self.write, &[&stream, &Json(cart)])?;
        Ok(())
    }
}

const LOAD: &str = "
    SELECT message_type, message_data FROM plain.messages
     WHERE stream_id = $1 AND partition = 'emt:default' AND NOT is_archived
     ORDER BY stream_position";

/// Stores nothing if the stream is at another version.
const APPEND_AT: &str = "
    WITH stream AS (
        INSERT INTO plain.streams AS stream (stream_id, stream_position, stream_type, stream_metadata)
        VALUES ($1, 1, $2, '{}')
        ON CONFLICT (stream_id, partition, is_archived)
        DO UPDATE SET stream_position = stream.stream_position + 1 WHERE stream.stream_position = $6
        RETURNING stream_position
    )
    INSERT INTO plain.messages
        (stream_position, stream_id, message_schema_version, message_id, message_type, message_data, message_metadata)
    SELECT stream_position, $1, '1', $3, $4, $5, '{}' FROM stream
    RETURNING stream_position, global_position";

/// Loads a stream, decides, and appends one event at the loaded version: two statements, and again after a conflict.
pub(crate) struct PlainDecider {
    client: Client,
    load: Statement,
    append: Statement,
}

impl PlainDecider {
    pub(crate) fn new(mut client: Client) -> Result<Self> {
        let text = Type::TEXT;
        let at = [
            text.clone(),
            text.clone(),
            text.clone(),
            text.clone(),
            Type::JSONB,
            Type::INT8,
        ];
        Ok(Self {
            load: client.prepare_typed(LOAD, &[text])?,
            append: client.prepare_typed(APPEND_AT, &at)?,
            client,
        })
    }

    pub(crate) fn decide(
        &mut self,
        stream: &str,
        decide: impl Fn(&[CartEvent]) -> ProductItem,
    ) -> Result<()> {
        loop {
            let events = self.load(stream)?;
            let item = decide(&events);
            let id = Uuid::now_v7().to_string();
            let version = i64::try_from(events.len())?;
            let row = self.client.query_opt(
                &self.append,
                &[
                    &stream,
                    &STREAM_TYPE,
                    &id,
                    &MESSAGE_TYPE,
                    &Json(item),
                    &version,
                ],
            )?;
            if let Some(row) = row {
                let (version, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                std::hint::black_box((version, position));
                return Ok(());
            }
        }
    }

    fn load(&mut self, stream: &str) -> Result<Vec<CartEvent>> {
        let rows = self.client.query(&self.load, &[&stream])?;
        rows.iter()
            .map(|row| {
                ensure!(
                    row.try_get::<_, &str>(0)? == MESSAGE_TYPE,
                    "the plain side has one type of event"
                );
                let Json(item) = row.try_get(1)?;
                Ok(CartEvent::ProductItemAdded(item))
            })
            .collect()
    }
}

/// Reads streams and looks at every value, but decodes none.
pub(crate) struct PlainReader {
    client: Client,
    read: Statement,
}

impl PlainReader {
    pub(crate) fn new(mut client: Client) -> Result<Self> {
        let read = client.prepare_typed(READ, &[Type::TEXT])?;
        Ok(Self { client, read })
    }

    /// Takes over the events of a stream from the store's tables.
    pub(crate) fn copy(&mut self, stream: &str) -> Result<()> {
        let copy =
            "INSERT INTO plain.messages SELECT * FROM public.emt_messages WHERE stream_id = $1";
        self.client.execute(copy, &[&stream])?;
        Ok(self.client.batch_execute(
            "VACUUM ANALYZE plain.messages, public.emt_messages, public.emt_streams",
        )?)
    }

    pub(crate) fn read(&mut self, stream: &str) -> Result<u64> {
        let mut rows = self.client.query_raw(&self.read, [stream])?;
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            for column in 0..row.len() {
                bytes += row.try_get::<_, RawBytes<'_>>(column)?.0.len();
            }
            count += 1;
        }
        std::hint::black_box(bytes);
        Ok(count)
    }
}

/// A value as the server sent it.
pub(crate) struct RawBytes<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for RawBytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
