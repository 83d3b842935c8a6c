//! Fixtures of the consumer tests: a projection that counts, and readers of its results.

use crate::support::CartEvent;
use emmett_postgresql::{DocumentProjection, EventStore, Recorded, SqlProjection};
use postgres::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(crate) struct Counted {
    pub(crate) events: u64,
    pub(crate) items: u32,
    pub(crate) last: u64,
}

/// One document per stream: how many events, how many items, and the last version. Fails at an event out of order.
pub(crate) fn counts(name: &str) -> DocumentProjection<Counted> {
    DocumentProjection::single_stream(
        name,
        |counted: Option<Counted>, recorded: &Recorded<CartEvent>| {
            let mut counted = counted.unwrap_or_default();
            assert_eq!(
                counted.last + 1,
                recorded.stream_position,
                "stream {} out of order",
                recorded.stream_name
            );
            counted.events += 1;
            counted.last = recorded.stream_position;
            if let CartEvent::ProductItemAdded { quantity, .. } = &recorded.event {
                counted.items += quantity;
            }
            Some(counted)
        },
    )
}

/// The document of a stream.
pub(crate) fn counted(
    store: &EventStore,
    name: &str,
    stream: &str,
) -> anyhow::Result<Option<Counted>> {
    Ok(store
        .collection::<Counted>(name)
        .find_one(json!({ "_id": stream }))?)
}

/// A table with one row for each event that was handled.
pub(crate) fn journal(name: &'static str) -> SqlProjection {
    SqlProjection::new(name, move |events: &[Recorded<CartEvent>], context| {
        for event in events {
            let position = i64::try_from(event.global_position)?;
            let sql = format!("INSERT INTO {name} (position, stream) VALUES ($1, $2)");
            context.execute(&sql, &[&position, &&*event.stream_name])?;
        }
        Ok(())
    })
    .init(move |context| {
        // No key: an event that is counted twice shall show.
        context.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {name} (number BIGINT GENERATED ALWAYS AS IDENTITY, position BIGINT, stream TEXT)"
        ))?;
        Ok(())
    })
}

/// The positions in a journal, in the order in which they were handled.
pub(crate) fn journaled(client: &mut Client, name: &str) -> anyhow::Result<Vec<i64>> {
    let sql = format!("SELECT position FROM {name} ORDER BY number");
    Ok(client
        .query(&sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// All stored positions.
pub(crate) fn stored(client: &mut Client) -> anyhow::Result<Vec<i64>> {
    let sql = "SELECT global_position FROM emt_messages ORDER BY global_position";
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}
