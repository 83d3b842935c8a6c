//! The memory of a connection: its server process caches the tables of each tenant until the connection is closed.

use crate::support::{CartEvent, added, database_with_tenants, quiet, wait_until};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, EventStore, ReadOptions, Session};
use postgres::{Client, NoTls};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

const MOST: usize = 5;
const TENANTS: i32 = 60;

/// A store whose connections use so many tenants at the most. The store itself is one of them.
fn store(url: &str, connections: u32, tenants: usize) -> anyhow::Result<EventStore> {
    let options = ConnectionOptions::new()
        .pool_size(connections)
        .connection_timeout(Duration::from_secs(10))
        .tenants_per_connection(tenants);
    Ok(quiet(url).connection_options(options).open()?)
}

fn tenant(store: &EventStore, number: usize) -> anyhow::Result<EventStore> {
    Ok(store.tenant(&format!("tenant {number}"))?)
}

fn append_and_read(tenant: &EventStore) -> anyhow::Result<()> {
    tenant.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let page = ReadOptions::new().max_count(10);
    tenant.read_stream_with::<CartEvent>("Cart-1", page)?;
    Ok(())
}

/// The server process of a session's connection.
fn process_of(session: &mut Session<'_>) -> anyhow::Result<i32> {
    let rows = session.query("SELECT pg_backend_pid() AS process", &[])?;
    Ok(rows[0].try_get("process")?)
}

/// That, and the memory that it has.
fn process_and_memory(tenant: &EventStore) -> anyhow::Result<(i32, i64)> {
    let memory = "SELECT pg_backend_pid() AS process, sum(total_bytes)::BIGINT AS bytes FROM pg_backend_memory_contexts";
    Ok(tenant.with_session(|session| {
        let rows = session.query(memory, &[])?;
        Ok((rows[0].try_get("process")?, rows[0].try_get("bytes")?))
    })?)
}

fn is_connected(client: &mut Client, process: i32) -> anyhow::Result<bool> {
    let asked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    Ok(client.query_one(asked, &[&process])?.get(0))
}

#[test]
fn a_connection_that_has_served_many_tenants_needs_no_more_memory_than_with_its_maximum()
-> anyhow::Result<()> {
    let database = database_with_tenants(TENANTS)?;
    let store = store(database.url(), 1, MOST)?;
    let mut largest: HashMap<i32, i64> = HashMap::new();

    for number in 1..=60 {
        let tenant = tenant(&store, number)?;
        append_and_read(&tenant)?;
        let (process, bytes) = process_and_memory(&tenant)?;
        largest.insert(process, bytes);
    }

    let most = largest.values().max().copied().unwrap_or_default();
    // What a connection needs without any tenant, and half a megabyte for each.
    assert!(
        most < 4_000_000 + 500_000 * i64::try_from(MOST)?,
        "{most} bytes"
    );
    assert!((12..=13).contains(&largest.len()), "{largest:?}");
    Ok(())
}

#[test]
fn a_connection_stays_while_its_tenants_are_no_more_than_its_maximum() -> anyhow::Result<()> {
    let database = database_with_tenants(TENANTS)?;
    let store = store(database.url(), 1, MOST)?;
    let mut processes = BTreeSet::new();

    for number in (1..MOST).chain(1..MOST) {
        let tenant = tenant(&store, number)?;
        append_and_read(&tenant)?;
        processes.insert(process_of(&mut tenant.begin()?)?);
    }

    assert_eq!(processes.len(), 1, "{processes:?}");
    Ok(())
}

#[test]
fn removing_a_tenant_replaces_the_connections_that_have_used_it_and_no_other() -> anyhow::Result<()>
{
    let database = database_with_tenants(TENANTS)?;
    let store = store(database.url(), 3, MOST)?;
    let mut client = Client::connect(database.url(), NoTls)?;
    let (first, second) = (tenant(&store, 1)?, tenant(&store, 2)?);
    let mut sessions = [second.begin()?, first.begin()?, first.begin()?];
    let mut processes = Vec::new();
    for session in &mut sessions {
        processes.push(process_of(session)?);
    }
    // The connection that rested last is used next: the third for the session, the second for the removal.
    sessions.into_iter().try_for_each(Session::commit)?;
    let mut session = second.begin()?;
    assert_eq!(process_of(&mut session)?, processes[2]);

    store.tenants().remove("tenant 1")?.with_all_data()?;

    assert!(is_connected(&mut client, processes[0])?);
    wait_until("the resting connection is closed", || {
        !is_connected(&mut client, processes[1]).expect("an answer")
    });
    session.commit()?;
    assert_ne!(process_of(&mut second.begin()?)?, processes[2]);
    wait_until("the connection that was in use is closed", || {
        !is_connected(&mut client, processes[2]).expect("an answer")
    });
    Ok(())
}

#[test]
fn whoever_waits_for_a_connection_gets_it_when_it_is_replaced() -> anyhow::Result<()> {
    let database = database_with_tenants(TENANTS)?;
    let store = store(database.url(), 1, 1)?;
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|number| {
                let store = &store;
                scope.spawn(move || {
                    (0..10).try_for_each(|_| append_and_read(&tenant(store, number)?))
                })
            })
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        joined.collect::<anyhow::Result<Vec<()>>>()
    });

    results?;
    for number in 1..=4 {
        let read = tenant(&store, number)?.read_stream::<CartEvent>("Cart-1")?;
        assert_eq!(read.current_version, 10);
    }
    Ok(())
}

#[test]
fn a_connection_that_cannot_be_replaced_is_opened_again_later() -> anyhow::Result<()> {
    let database = database_with_tenants(TENANTS)?;
    let options = ConnectionOptions::new()
        .pool_size(1)
        .connection_timeout(Duration::from_secs(1))
        .tenants_per_connection(1);
    let store = quiet(database.url()).connection_options(options).open()?;
    let (first, second) = (tenant(&store, 1)?, tenant(&store, 2)?);
    append_and_read(&first)?;
    let server = Server::shared()?;
    let mut client = Client::connect(&server.url("postgres"), NoTls)?;
    let mut allow = |allowed: bool| {
        let name = database.name();
        client.batch_execute(&format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"
        ))
    };

    allow(false)?;
    append_and_read(&first)?;
    let refused = append_and_read(&second);
    allow(true)?;

    let refused = format!("{:#}", refused.expect_err("no connection"));
    assert!(
        refused.contains("not currently accepting connections"),
        "{refused}"
    );
    append_and_read(&second)?;
    append_and_read(&first)
}
