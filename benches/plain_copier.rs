//! The baseline of the import: `COPY` of prepared rows.

use crate::import_log as log;
use crate::plain::MESSAGE_TYPE;
use anyhow::Result;
use postgres::Client;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use uuid::Uuid;

const STREAM_ROWS: &str = "
    INSERT INTO plain.streams AS stream (stream_id, stream_position, stream_type, stream_metadata)
    SELECT id, $2, 'ShoppingCart', '{}' FROM unnest($1::TEXT[]) AS id
    ON CONFLICT (stream_id, partition, is_archived)
    DO UPDATE SET stream_position = stream.stream_position + EXCLUDED.stream_position";

const COPY: &str = "
    COPY plain.messages
        (stream_position, global_position, stream_id, message_schema_version, message_id, message_type, message_data,
         message_metadata)
    FROM STDIN BINARY";

const COPIED: [Type; 8] = [
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
];

/// Copies rows that are ready, with positions that nobody else draws.
pub(crate) struct PlainCopier {
    client: Client,
    streams: Vec<String>,
    message_ids: Vec<String>,
    data: serde_json::Value,
    copied: i64,
}

impl PlainCopier {
    pub(crate) fn new(client: Client) -> Self {
        let ids = (0..log::EVENTS).map(|_| Uuid::now_v7().to_string());
        Self {
            client,
            streams: (0..log::STREAMS).map(log::stream).collect(),
            message_ids: ids.collect(),
            data: serde_json::from_str(log::DATA).expect("the data is JSON"),
            copied: 0,
        }
    }

    pub(crate) fn copy(&mut self) -> Result<u64> {
        let streams = i64::try_from(self.streams.len())?;
        let (count, empty) = (
            i64::try_from(self.message_ids.len())?,
            serde_json::json!({}),
        );
        let mut transaction = self.client.transaction()?;
        transaction.execute(STREAM_ROWS, &[&self.streams, &(count / streams)])?;
        let mut rows = BinaryCopyInWriter::new(transaction.copy_in(COPY)?, &COPIED);
        for (number, message_id) in (self.copied..).zip(&self.message_ids) {
            let stream = &self.streams[usize::try_from(number % streams)?];
            rows.write(&[
                &(number / streams + 1),
                &(number + 1),
                stream,
                &"1",
                message_id,
                &MESSAGE_TYPE,
                &self.data,
                &empty,
            ])?;
        }
        rows.finish()?;
        transaction.commit()?;
        self.copied += count;
        Ok(u64::try_from(count)?)
    }
}
