//! The cost of an append in a store of a million events, compared with an empty store.

use crate::append::{ReadModel, append, store_appenders};
use crate::harness::Harness;
use anyhow::Result;
use emmett_postgresql::testing::Server;

const THREADS: usize = 8;

const FILL: &str = "
    INSERT INTO public.emt_streams (stream_id, stream_position, stream_type, stream_metadata)
    SELECT 'ShoppingCart-' || left(md5(stream::TEXT), 16), 10, 'ShoppingCart', '{}'
      FROM generate_series(1, {streams}) AS stream;
    INSERT INTO public.emt_messages
        (stream_position, global_position, stream_id, message_schema_version, message_id, message_type, message_data,
         message_metadata)
    SELECT version, nextval('public.emt_global_message_position'), 'ShoppingCart-' || left(md5(stream::TEXT), 16),
           '1', gen_random_uuid(), 'ProductItemAdded',
           '{\"productId\": \"shoes-1\", \"quantity\": 2, \"price\": 99.99, \"note\": \"wrap it as a present, please\"}', '{}'
      FROM generate_series(1, 10) AS version, generate_series(1, {streams}) AS stream;
    ";

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let name = "append 1 event, 8 threads, 1,000,000 stored";
    let streams = if harness.is_quick() { 10 } else { 100_000 };
    if !(harness.is_large() || harness.is_quick()) || !harness.wants(name) {
        return Ok(());
    }
    let (large, empty) = (crate::database(server)?, crate::database(server)?);
    let mut client = large.client()?;
    client.batch_execute(&FILL.replace("{streams}", &streams.to_string()))?;
    client.batch_execute("VACUUM ANALYZE")?;
    client.batch_execute("CHECKPOINT")?;
    let mut filled = store_appenders(&large, THREADS, 1, ReadModel::Absent)?;
    let mut fresh = store_appenders(&empty, THREADS, 1, ReadModel::Absent)?;
    harness.compare(
        name,
        |turn| append(&mut filled, turn),
        |turn| append(&mut fresh, turn),
    )
}
