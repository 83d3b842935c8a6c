use super::bells::Bells;
use crate::operations::ImportOptions;
use crate::testing::{Database, database};
use crate::{
    DocumentProjection, EventStore, EventStoreBuilder, RawEvent, Recorded, StreamMessages,
};
use crossbeam_channel::Receiver;
use postgres::{Client, NoTls};
use r2d2_postgres::PostgresConnectionManager;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DEFAULT: &str = "emt:default";
const DEADLINE: Duration = Duration::from_secs(30);

fn event() -> RawEvent {
    RawEvent::new("Happened", json!({}))
}

/// A store whose bells only its own appends ring.
fn alone(database: &Database) -> anyhow::Result<EventStore> {
    let builder = EventStore::builder(database.url());
    Ok(builder.notifications(false).open()?)
}

fn rang(rings: &Receiver<()>) -> bool {
    rings.try_recv().is_ok()
}

fn wait_for_ring(rings: &Receiver<()>) {
    rings.recv_timeout(DEADLINE).expect("a ring");
}

fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !met() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::yield_now();
    }
}

fn add_consumer(client: &mut Client, partition: &str) -> anyhow::Result<()> {
    client.execute(
        "INSERT INTO emt_processor_slots (partition, processor, version, slot, position, owner, worker, expires_at)
         VALUES ($1, 'carts', 1, 0, 0, 'somebody', 0, clock_timestamp() + INTERVAL '1 hour')",
        &[&partition],
    )?;
    Ok(())
}

const LISTENERS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN emt_%'";

fn listeners(client: &mut Client) -> i64 {
    let count = client.query_one(&format!("SELECT count(*) {LISTENERS}"), &[]);
    count.expect("an answer").get(0)
}

#[test]
fn a_session_rings_when_it_is_committed_and_not_before() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);

    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[event()])?;
    session.append_to_streams(vec![StreamMessages::new("Cart-2", &[event()])?])?;
    assert!(!rang(&rings));
    session.commit()?;
    assert!(rang(&rings));

    store.with_session(|session| Ok(session.append_to_stream("Cart-1", &[event()])?))?;
    assert!(rang(&rings));
    Ok(())
}

#[test]
fn what_is_rolled_back_rings_nothing() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);

    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[event()])?;
    session.rollback()?;
    let mut dropped = store.begin()?;
    dropped.append_to_stream("Cart-1", &[event()])?;
    drop(dropped);
    let failed: Result<(), _> = store.with_session(|session| {
        session.append_to_stream("Cart-1", &[event()])?;
        anyhow::bail!("no")
    });
    let mut aborted = store.begin()?;
    aborted.append_to_stream("Cart-1", &[event()])?;
    assert!(aborted.execute("SELECT 1 / 0", &[]).is_err());
    let aborted = aborted.commit();

    assert!(failed.is_err() && aborted.is_err());
    assert!(!rang(&rings));
    Ok(())
}

#[test]
fn a_session_rings_for_what_its_nested_parts_have_kept() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);
    let nested = |fails: bool| {
        let mut session = store.begin()?;
        let done = session.nested(|part| {
            part.append_to_stream("Cart-1", &[event()])?;
            anyhow::ensure!(!fails, "no");
            Ok(())
        });
        assert_eq!(done.is_err(), fails);
        session.commit()
    };

    nested(true)?;
    assert!(!rang(&rings));
    nested(false)?;
    assert!(rang(&rings));
    Ok(())
}

#[test]
fn a_session_that_appended_nothing_rings_nothing() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);

    store.with_session(|session| Ok(session.append_to_streams(Vec::new())?))?;
    store.with_session(|session| Ok(session.execute("SELECT 1", &[])?))?;

    assert!(!rang(&rings));
    Ok(())
}

#[test]
fn every_way_to_append_rings() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);

    store.append_to_stream("Cart-1", &[event()])?;
    assert!(rang(&rings));
    store.append_to_streams(vec![StreamMessages::new("Cart-2", &[event()])?])?;
    assert!(rang(&rings));
    let log = br#"{"streamName": "Cart-3", "type": "Happened", "data": {}}"#;
    store.import(log.as_slice(), ImportOptions::new())?;
    assert!(rang(&rings));
    // Already imported: nothing is added.
    store.import(log.as_slice(), ImportOptions::new())?;
    assert!(!rang(&rings));
    Ok(())
}

#[test]
fn appends_with_inline_projections_ring() -> anyhow::Result<()> {
    let database = database()?;
    let projection =
        DocumentProjection::single_stream("carts", |_: Option<Value>, _: &Recorded<RawEvent>| {
            Some(json!({}))
        });
    let store = EventStore::builder(database.url())
        .inline_projection(projection)
        .notifications(false)
        .open()?;
    let rings = store.wakeups().subscribe(DEFAULT);

    store.append_to_stream("Cart-1", &[event()])?;
    assert!(rang(&rings));
    store.append_to_streams(vec![StreamMessages::new("Cart-2", &[event()])?])?;
    assert!(rang(&rings));
    Ok(())
}

#[test]
fn a_transaction_of_the_callers_rings_nothing() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    let rings = store.wakeups().subscribe(DEFAULT);
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream("Cart-1", &[event()])?)
    })?;
    transaction.commit()?;

    assert!(!rang(&rings));
    Ok(())
}

#[test]
fn tenants_do_not_wake_each_other() -> anyhow::Result<()> {
    let database = database()?;
    let store = alone(&database)?;
    store.tenants().add("acme")?;
    let default = store.wakeups().subscribe(DEFAULT);
    let acme = store.wakeups().subscribe("acme");

    store
        .tenant("acme")?
        .append_to_stream("Cart-1", &[event()])?;

    assert!(rang(&acme) && !rang(&default));
    Ok(())
}

#[test]
fn a_tenant_that_is_removed_is_forgotten() -> anyhow::Result<()> {
    let database = database()?;
    let store = EventStore::open(database.url())?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[event()])?;
    store.append_to_stream("Cart-1", &[event()])?;
    drop(store.wakeups().subscribe("acme"));
    let wakeups = store.wakeups();
    assert!(wakeups.knows("acme") && wakeups.knows(DEFAULT));

    store.tenants().remove("acme")?.with_all_data()?;

    assert!(!wakeups.knows("acme") && wakeups.knows(DEFAULT));
    assert!(wakeups.bells.end_listening());
    Ok(())
}

#[test]
fn a_bell_rings_once_however_often_it_is_rung_and_is_removed_when_nobody_hears_it() {
    let bells = Bells::default();
    let (first, second) = (bells.add("a"), bells.add("a"));

    bells.ring("a");
    bells.ring("a");
    assert!(rang(&first) && !rang(&first) && rang(&second));

    drop(first);
    assert!(bells.begin_listening() && !bells.begin_listening());
    bells.ring("a");
    assert!(rang(&second) && !bells.end_listening());
    drop(second);
    bells.ring_all();
    assert!(bells.end_listening());
    // A bell added now has to start the listener.
    let _third = bells.add("a");
    assert!(bells.begin_listening());
}

#[test]
fn an_append_of_another_process_rings() -> anyhow::Result<()> {
    let database = database()?;
    add_consumer(&mut database.client()?, DEFAULT)?;
    let (here, elsewhere) = (
        EventStore::open(database.url())?,
        EventStore::open(database.url())?,
    );
    let rings = here.wakeups().subscribe(DEFAULT);
    // From now on it listens.
    wait_for_ring(&rings);

    elsewhere.append_to_stream("Cart-1", &[event()])?;

    wait_for_ring(&rings);
    Ok(())
}

#[test]
fn a_listener_that_was_killed_is_replaced_and_rings() -> anyhow::Result<()> {
    let database = database()?;
    let mut client = database.client()?;
    add_consumer(&mut client, DEFAULT)?;
    let (here, elsewhere) = (
        EventStore::open(database.url())?,
        EventStore::open(database.url())?,
    );
    let rings = here.wakeups().subscribe(DEFAULT);
    wait_for_ring(&rings);

    for _ in 0..3 {
        let kill = format!("SELECT pg_terminate_backend(pid) {LISTENERS}");
        assert_eq!(client.query(&kill, &[])?.len(), 1);
        wait_for_ring(&rings);
        wait_until("the killed one is gone", || listeners(&mut client) == 1);
    }

    elsewhere.append_to_stream("Cart-1", &[event()])?;
    wait_for_ring(&rings);
    Ok(())
}

#[test]
fn one_listener_serves_all_and_ends_with_the_last_poller() -> anyhow::Result<()> {
    let database = database()?;
    let mut client = database.client()?;
    let store = EventStore::open(database.url())?;
    let rings = store.wakeups().subscribe(DEFAULT);
    wait_for_ring(&rings);
    let others = store.clone().wakeups().subscribe("acme");
    assert_eq!(listeners(&mut client), 1);

    drop((rings, others));
    store.wakeups().bells.ring_all();

    wait_until("nobody listens", || listeners(&mut client) == 0);
    let rings = store.wakeups().subscribe(DEFAULT);
    wait_for_ring(&rings);
    assert_eq!(listeners(&mut client), 1);
    Ok(())
}

#[test]
fn the_listener_ends_with_the_store() -> anyhow::Result<()> {
    let database = database()?;
    let mut client = database.client()?;
    let store = EventStore::open(database.url())?;
    let rings = store.wakeups().subscribe(DEFAULT);
    wait_for_ring(&rings);
    assert_eq!(listeners(&mut client), 1);

    drop(store);

    wait_until("nobody listens", || listeners(&mut client) == 0);
    Ok(())
}

#[test]
fn without_notifications_and_on_a_pool_of_the_callers_nobody_listens() -> anyhow::Result<()> {
    let database = database()?;
    let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
    let pool = r2d2::Pool::builder().max_size(2).build(manager)?;
    let foreign = EventStoreBuilder::with_pool(pool).open()?;
    let silent = alone(&database)?;

    assert!(foreign.wakeups().listener.is_none() && foreign.wakeups().notifier.is_some());
    assert!(silent.wakeups().listener.is_none() && silent.wakeups().notifier.is_none());
    assert!(foreign.connections().dedicated()?.is_none());
    let rings = foreign.wakeups().subscribe(DEFAULT);
    foreign.append_to_stream("Cart-1", &[event()])?;
    assert!(rang(&rings));
    Ok(())
}
