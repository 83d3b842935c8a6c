//! Asynchronous projections: their workers are stopped for the switch, and resume after it.

use super::{append, assert_cleaned_up, folded, items, model, waiting};
use crate::support::{store, wait_until};
use emmett_postgresql::testing::Database;
use postgres::Client;
use serde_json::{Value, json};
use std::thread;

/// What a worker does to a document, and then to its checkpoint.
const WRITE: &str = "UPDATE items SET data = '{\"n\": 99}' WHERE _id = 'hat'";
const CHECKPOINT: &str = "
    UPDATE emt_processor_slots SET position = 15
     WHERE processor = 'items' AND slot = 0 AND owner = 'worker' AND epoch = 1 AND position = 5";

/// Two slots at position 5, one of which a worker holds, and a message that it has parked.
fn processor(client: &mut Client) -> anyhow::Result<()> {
    client.batch_execute(
        "SELECT emt_processor_register('emt:default', 'items', 1, 2, 5, 'items');
         UPDATE emt_processor_slots
            SET owner = 'worker', worker = 1, epoch = 1, expires_at = clock_timestamp() + INTERVAL '1 hour',
                status = 'failed', crashes = 1, taken_position = 5
          WHERE slot = 0;
         INSERT INTO emt_parked_messages
                (partition, processor, version, slot, global_position, stream_id, stream_position, message_type)
         VALUES ('emt:default', 'items', 1, 0, 3, 'Cart-3', 1, 'ProductItemAdded')",
    )?;
    Ok(())
}

/// Position, owner, epoch, status and crashes of each slot of a version.
fn slots(database: &Database, version: i32) -> anyhow::Result<Vec<String>> {
    let rows = database.client()?.query(
        "SELECT format('%s %s %s %s %s', position, coalesce(owner, '-'), epoch > 0, status, crashes)
           FROM emt_processor_slots WHERE processor = 'items' AND version = $1 ORDER BY slot",
        &[&version],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[test]
fn its_slots_go_on_behind_the_rebuild_and_nothing_is_parked() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    append(&store, 20)?;
    processor(&mut client)?;

    let report = store.rebuild_with(items()).workers(2).batch_size(5).run()?;

    assert_eq!((report.handled, report.position), (20, 20));
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_eq!(slots(&database, 1)?, ["20 - t active 0", "20 - t active 0"]);
    assert_eq!(
        client.execute(CHECKPOINT, &[])?,
        0,
        "the old owner commits nothing"
    );
    let parked = client.query("SELECT FROM emt_parked_messages", &[])?;
    assert_eq!(parked.len(), 0);
    let registered = store.registered_projections()?;
    assert_eq!(registered.len(), 1);
    assert_eq!(
        format!("{:?}", registered[0].projection_type),
        "Asynchronous"
    );
    assert_cleaned_up(&database)
}

#[test]
fn a_processor_that_never_ran_begins_behind_the_rebuild() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, 20)?;

    store.rebuild_with(items()).run()?;
    database.client()?.query(
        "SELECT emt_processor_register('emt:default', 'items', 1, 2, 0, 'items')",
        &[],
    )?;

    assert_eq!(slots(&database, 1)?, ["20 - f active 0", "20 - f active 0"]);
    Ok(())
}

#[test]
fn workers_of_another_version_are_stopped() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, 20)?;
    processor(&mut database.client()?)?;
    store.rebuild_with(items()).run()?;

    store.rebuild_with(items().version(2)).run()?;

    assert_eq!(slots(&database, 1)?, ["20 - t failed 0", "20 - t failed 0"]);
    let statuses: Vec<String> = store
        .registered_projections()?
        .iter()
        .map(|one| format!("{} {}", one.version, one.status))
        .collect();
    assert_eq!(statuses, ["1 inactive", "2 active"]);
    Ok(())
}

#[test]
fn a_batch_that_is_under_way_is_rolled_back_and_does_not_stop_the_switch() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, 20)?;
    store.rebuild_with(items()).run()?;
    let mut client = database.client()?;
    client.batch_execute("DELETE FROM emt_processor_beginnings")?;
    processor(&mut client)?;
    // Not what the events give, so the switch has to write it.
    store
        .collection::<Value>("items")
        .delete_many(json!({ "_id": "hat" }))?;
    store
        .collection::<Value>("items")
        .insert_one(&json!({ "_id": "hat", "n": 0 }))?;

    thread::scope(|scope| -> anyhow::Result<()> {
        let mut batch = client.transaction()?;
        batch.execute(WRITE, &[])?;
        let rebuilding = scope.spawn(|| store.rebuild_with(items()).run());
        wait_until("the switch waits for the document", || {
            waiting(&database).is_ok_and(|waiting| waiting == 1)
        });
        let committed = batch.execute(CHECKPOINT, &[])?;
        batch.rollback()?;
        assert_eq!(committed, 0, "the slot was taken away before");
        rebuilding.join().expect("no panic")?;
        Ok(())
    })?;

    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_eq!(slots(&database, 1)?, ["20 - t active 0", "20 - t active 0"]);
    assert_cleaned_up(&database)
}
