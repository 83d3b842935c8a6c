//! Transactions that hold a feed back, and transactions that do not.

use super::fixtures::{Change, DEFAULT, Ground, Reader, append};
use crate::support::wait_until;
use emmett_postgresql::{EventStore, testing::Server};
use postgres::{Client, NoTls};
use std::thread;

#[test]
fn a_transaction_that_has_not_appended_does_not_stall_the_feed() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut here = ground.begin()?;
    here.batch_execute("CREATE TABLE unrelated (); SELECT pg_current_xact_id()")?;
    let elsewhere = Ground::new()?;
    let mut appending_elsewhere = elsewhere.begin()?;
    append(&mut appending_elsewhere, DEFAULT, "Note-1")?;

    append(&mut ground.client()?, DEFAULT, "Note-1")?;
    let horizon = ground.store.feed_horizon(0)?;

    assert_eq!(horizon.position, horizon.head);
    Ok(())
}

#[test]
fn a_connection_that_is_lost_sets_the_feed_free() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut lost = ground.begin()?;
    append(&mut lost, DEFAULT, "Note-1")?;
    let held = ground.store.feed_horizon(0)?;

    let process: i32 = lost.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    ground
        .client()?
        .execute("SELECT pg_terminate_backend($1)", &[&process])?;

    assert_eq!(held.position, 0);
    wait_until("the feed is free", || {
        let horizon = ground.store.feed_horizon(0);
        horizon.is_ok_and(|horizon| horizon.position == horizon.head)
    });
    Ok(())
}

/// Ways in which a transaction may come to its append, after which it has to be fenced.
const DETOURS: [(&str, &str); 6] = [
    (
        "an append that was rolled back to a savepoint",
        "SAVEPOINT before; SELECT append('Note-1'); ROLLBACK TO before; SELECT append('Note-1')",
    ),
    (
        "an append before the one that was rolled back",
        "SELECT append('Note-1'); SAVEPOINT before; SELECT append('Note-2'); ROLLBACK TO before",
    ),
    (
        "an append in a savepoint that was released",
        "SAVEPOINT before; SELECT append('Note-1'); RELEASE before; SELECT append('Note-1')",
    ),
    (
        "an append in a block that an exception has left",
        "DO $$ BEGIN PERFORM append('Note-1'); RAISE division_by_zero;
               EXCEPTION WHEN division_by_zero THEN PERFORM append('Note-1'); END $$",
    ),
    (
        "a function with settings of its own",
        "SELECT append_with_settings('Note-1'); SELECT append('Note-1')",
    ),
    (
        "a reset of all settings",
        "SELECT append('Note-1'); RESET ALL; SELECT append('Note-1')",
    ),
];

const DETOUR_FUNCTIONS: &str = "
    CREATE FUNCTION append(stream TEXT) RETURNS VOID LANGUAGE sql AS $$
        SELECT public.emt_append_to_stream(
            ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['Noted'], ARRAY['E'], stream, 'Note')
    $$;
    CREATE FUNCTION append_with_settings(stream TEXT) RETURNS VOID LANGUAGE sql
        SECURITY DEFINER SET search_path = pg_temp SET emt.fence = ''
        AS $$ SELECT public.append(stream) $$";

#[test]
fn setting_and_lock_of_a_fence_stay_together() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    ground.client()?.batch_execute(DETOUR_FUNCTIONS)?;

    for (name, detour) in DETOURS {
        let mut reader = Reader::new(&ground.store);
        let mut open = ground.begin()?;
        open.batch_execute(detour)?;
        append(&mut ground.client()?, DEFAULT, "Note-committed")?;
        reader.read()?;
        open.batch_execute("COMMIT")?;
        reader.read()?;

        assert_eq!(reader.seen, ground.stored(DEFAULT)?, "{name}");
    }
    Ok(())
}

#[test]
fn a_writer_that_is_slow_to_take_its_lock_draws_a_later_position() -> anyhow::Result<()> {
    let slow_lock = Change::Sql(
        "CREATE FUNCTION public.slow_lock(class INTEGER, number INTEGER) RETURNS VOID LANGUAGE plpgsql AS $$
         BEGIN
             IF current_setting('test.slow', TRUE) = 'yes' THEN
                 PERFORM pg_advisory_xact_lock(0, 0);
             END IF;
             PERFORM pg_advisory_xact_lock_shared(class, number);
         END
         $$",
    );
    let pause_between_value_and_lock = Change::Rewrite {
        function: "emt_fence_lock",
        replace: "pg_catalog.pg_advisory_xact_lock_shared",
        with: "public.slow_lock",
    };
    let ground = Ground::changed_by(&[slow_lock, pause_between_value_and_lock])?;
    let mut reader = Reader::new(&ground.store);
    let mut gate = ground.client()?;

    gate.batch_execute("SELECT pg_advisory_lock(0, 0)")?;
    let mut slow = ground.begin()?;
    slow.batch_execute("SET LOCAL test.slow = 'yes'")?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| append(&mut slow, DEFAULT, "Note-slow"));
        ground.wait_for_waiting(1)?;
        append(&mut ground.client()?, DEFAULT, "Note-quick")?;
        reader.read()?;
        gate.batch_execute("SELECT pg_advisory_unlock(0, 0)")?;
        writer.join().expect("the writer does not panic")
    })?;
    reader.read()?;
    assert_eq!(reader.seen, [1]);

    slow.batch_execute("COMMIT")?;
    reader.read()?;
    assert_eq!(reader.seen, [1, 2]);
    Ok(())
}

#[test]
fn a_prepared_transaction_keeps_its_fence() -> anyhow::Result<()> {
    let server = Server::builder()
        .durable(true)
        .setting("max_prepared_transactions", "1")
        .start()?;
    let url = server.url("postgres");
    let store = EventStore::open(&url)?;
    let mut client = Client::connect(&url, NoTls)?;
    let mut reader = Reader::new(&store);

    client.batch_execute("BEGIN")?;
    append(&mut client, DEFAULT, "Note-1")?;
    client.batch_execute("PREPARE TRANSACTION 'append'")?;
    append(&mut client, DEFAULT, "Note-2")?;
    server.restart_immediately()?;
    reader.read()?;
    assert!(reader.seen.is_empty());

    Client::connect(&url, NoTls)?.batch_execute("COMMIT PREPARED 'append'")?;
    reader.read()?;
    assert_eq!(reader.seen, [1, 2]);
    Ok(())
}
