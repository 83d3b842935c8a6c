//! Events of programs without the projection: they are noted and followed, and an active read model lacks none.

mod categories;
mod failing;
mod fleet;
mod parts;
mod readers;
mod states;

use crate::support::{CartEvent, added};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{DocumentProjection, EventStore, EventStoreBuilder, Recorded};
use postgres::Client;
use serde_json::{Value, json};

/// The versions of each stream's events, in the order in which they were handled; version 2 counts them negatively.
fn order(version: u32) -> DocumentProjection<Value> {
    DocumentProjection::single_stream("orders", move |order: Option<Value>, recorded| {
        let mut order = order.unwrap_or_else(|| json!({ "versions": [] }));
        if let Some(versions) = order["versions"].as_array_mut() {
            versions.push(json!(signed(version, recorded)));
        }
        Some(order)
    })
    .version(version)
}

fn signed(version: u32, recorded: &Recorded<CartEvent>) -> i64 {
    let stream_position = i64::try_from(recorded.stream_position).expect("a small number");
    if version == 1 {
        stream_position
    } else {
        -stream_position
    }
}

fn with_version(url: &str, version: u32) -> EventStoreBuilder {
    EventStore::builder(url).inline_projection(order(version))
}

/// Whether the read model is right in one snapshot; `None` where it does not say that it is active.
fn is_right_where_active(client: &mut Client) -> anyhow::Result<Option<bool>> {
    let row = client.query_one(
        "WITH active AS (
             SELECT version FROM emt_projections
              WHERE name = 'orders' AND status = 'active'
                AND NOT EXISTS (SELECT FROM emt_missed
                                 WHERE emt_missed.name = 'orders' AND emt_missed.version = emt_projections.version)
         ), folded AS (
             SELECT stream_id, jsonb_agg(CASE WHEN active.version = 1 THEN 1 ELSE -1 END * stream_position
                                         ORDER BY stream_position) AS versions
               FROM emt_messages, active GROUP BY stream_id
         )
         SELECT (SELECT version FROM active),
                NOT EXISTS (SELECT FROM folded FULL JOIN orders ON orders._id = folded.stream_id
                             WHERE folded.versions IS DISTINCT FROM orders.data -> 'versions')",
        &[],
    )?;
    Ok(row.get::<_, Option<i32>>(0).map(|_| row.get(1)))
}

/// As any other client would: without a function of ours.
fn insert(client: &mut Client, stream: &str, version: i64) -> Result<u64, postgres::Error> {
    client.execute(
        "WITH stream AS (
             INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata)
             VALUES ($1, $2, 'Cart', '{}')
             ON CONFLICT (stream_id, partition, is_archived) DO UPDATE SET stream_position = $2
         )
         INSERT INTO emt_messages
             (stream_id, stream_position, message_id, message_type, message_schema_version, message_data, message_metadata)
         VALUES ($1, $2, gen_random_uuid()::TEXT, 'ProductItemAdded', '1',
                 '{\"productId\": \"hat\", \"quantity\": 1, \"price\": 1}', '{}')",
        &[&stream, &version],
    )
}

fn event() -> [CartEvent; 1] {
    [added("hat", 1)]
}

/// Keeps programs from following a projection until its transaction ends.
fn hold_followers(database: &Database, projection: &str) -> anyhow::Result<Client> {
    let mut client = database.client()?;
    client.batch_execute("BEGIN")?;
    let hold = "SELECT pg_advisory_xact_lock(emt_missed_lock_key('emt:default', $1))";
    client.query(hold, &[&projection])?;
    Ok(client)
}
