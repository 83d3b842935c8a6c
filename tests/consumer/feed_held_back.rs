use super::fixtures::journal;
use crate::support::{added, store, wait_until};
use std::time::Duration;

const APPEND: &str = "
    SELECT emt_append_to_stream(
        ARRAY[gen_random_uuid()::TEXT], ARRAY['{\"productId\": \"hat\", \"quantity\": 1, \"price\": 1}'::JSONB],
        ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['ProductItemAdded'], ARRAY['E'], 'Cart-held', 'Cart')";

#[test]
fn what_waits_behind_an_append_that_is_rolled_back_comes_at_once() -> anyhow::Result<()> {
    let (database, store) = store()?;
    // Only a poller that knows that the feed is held looks again before this time.
    let forever = Duration::from_secs(600);
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .poll_interval(forever)
        .start()?;
    let first = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", first.last_global_position, forever)?;

    let mut client = database.client()?;
    let mut open = client.transaction()?;
    open.query(APPEND, &[])?;
    let later = store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    // Long enough for somebody who is only idle to pause for seconds: its pauses double.
    let held = store.wait_for(
        "journal",
        later.last_global_position,
        Duration::from_secs(6),
    );
    assert!(held.is_err(), "an open append holds the feed");

    open.rollback()?;
    store.wait_for(
        "journal",
        later.last_global_position,
        Duration::from_secs(2),
    )?;
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_open_transaction_that_has_not_appended_holds_nothing() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let consumer = store.consumer().projector(journal("journal")).start()?;
    let mut client = database.client()?;
    let mut open = client.transaction()?;
    open.execute(
        "INSERT INTO journal (position, stream) VALUES (0, 'other')",
        &[],
    )?;

    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for(
        "journal",
        appended.last_global_position,
        Duration::from_secs(30),
    )?;
    open.rollback()?;
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_rare_type_far_away_is_found() -> anyhow::Result<()> {
    let (database, store) = store()?;
    database.client()?.batch_execute(
        "SELECT emt_append_to_stream(array_agg(number::TEXT), array_agg('{}'::JSONB), array_agg('{}'::JSONB), array_agg('1'::TEXT),
                                     array_agg('Noise'::TEXT), array_agg('E'::TEXT), 'Noise-1', 'Noise')
           FROM generate_series(1, 120000) AS number",
    )?;
    let last = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let consumer = store.consumer().projector(journal("journal")).start()?;
    let mut client = database.client()?;
    wait_until("it was found", || {
        super::fixtures::journaled(&mut client, "journal").is_ok_and(|positions| {
            positions == [i64::try_from(last.last_global_position).unwrap_or_default()]
        })
    });
    consumer.stop()?;
    Ok(())
}
