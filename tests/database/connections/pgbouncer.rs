//! Behind `PgBouncer` in transaction mode: session settings would reach other clients, and the pooler reports a lost
//! server.

use crate::cli::process::run;
use crate::day::program::{loans, whole_day};
use crate::support::pgbouncer::{POOL_SIZE, PgBouncer};
use crate::support::{added, wait_until};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    ConnectionOptions, Error, EventStore, EventStoreBuilder, Result, database::DatabaseError,
};
use postgres::{Client, NoTls};
use std::thread;
use std::time::Duration;

/// A database whose transactions begin at another isolation level.
fn strict(server: &Server, level: &str) -> anyhow::Result<Database> {
    let database = server.create_database()?;
    database.client()?.batch_execute(&format!(
        "ALTER DATABASE {} SET default_transaction_isolation = '{level}'",
        database.name()
    ))?;
    Ok(database)
}

fn behind(url: &str) -> EventStoreBuilder {
    let options = ConnectionOptions::new()
        .pool_size(4)
        .connection_timeout(Duration::from_secs(20))
        .prepared_statements(false);
    EventStore::builder(url)
        .connection_options(options)
        .notifications(false)
}

fn append(store: &EventStore) -> Result<()> {
    store
        .append_to_stream("Cart-1", &[added("hat", 1)])
        .map(drop)
}

/// Settings that differ from those with which sessions begin, but for those that `PgBouncer` keeps for each client.
const LEFT_BEHIND: &str = "
    SELECT name || ' = ' || setting FROM pg_settings
     WHERE source = 'session'
       AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings',
                        'IntervalStyle')
     UNION ALL
    SELECT 'statement ' || name FROM pg_prepared_statements WHERE statement <> ''
     UNION ALL
    SELECT 'channel ' || name FROM pg_listening_channels() AS name
     UNION ALL
    SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";

/// What strangers find who have all of the server's connections at once.
fn found_by_strangers(url: &str, level: &str) -> anyhow::Result<()> {
    let mut strangers = Vec::new();
    for _ in 0..POOL_SIZE {
        let mut stranger = Client::connect(url, NoTls)?;
        stranger.batch_execute("BEGIN")?;
        strangers.push(stranger);
    }
    for stranger in &mut strangers {
        for setting in ["default_transaction_isolation", "transaction_isolation"] {
            assert_eq!(shown(stranger, &format!("SHOW {setting}"))?, [level]);
        }
        assert_eq!(shown(stranger, LEFT_BEHIND)?, [""; 0]);
    }
    Ok(())
}

/// The first column, by a statement that leaves nothing behind.
fn shown(client: &mut Client, sql: &str) -> anyhow::Result<Vec<String>> {
    let answer = client.simple_query(sql)?;
    let rows = answer.into_iter().filter_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

#[test]
#[ignore = "needs PgBouncer: scripts/install-pgbouncer, then --ignored"]
fn a_whole_day_works_at_another_isolation_level_and_leaves_strangers_theirs() -> anyhow::Result<()>
{
    let server = Server::start()?;
    // The pooler refuses options of a session, or passes over them.
    for (level, ignored) in [
        ("serializable", "extra_float_digits"),
        ("repeatable read", "options"),
    ] {
        let (database, other) = (strict(&server, level)?, strict(&server, level)?);
        let bouncer = PgBouncer::before(database.url(), &[("ignore_startup_parameters", ignored)])?;
        let url = bouncer.url(database.name());
        let open = |url: &str| Ok(behind(url).inline_projection(loans("loans")).open()?);

        let day = whole_day(&|| open(&url), &|| open(&bouncer.url(other.name())));
        day.map_err(|error| error.context(format!("default: {level}, ignored: {ignored}")))?;
        command_line(&url)?;

        found_by_strangers(&url, level)?;
    }
    Ok(())
}

fn command_line(url: &str) -> anyhow::Result<()> {
    for _ in 0..2 {
        for command in [
            "migrate run",
            "migrate status",
            "tenants add acme",
            "tenants list",
            "tenants remove acme --with-all-data",
            "consumers list",
            "consumers reset report --to 0",
            "projections list",
            "stream Loan-1",
            "export",
            "doctor --prove 0 5",
            "repair sequence",
            "restored",
        ] {
            let arguments: Vec<&str> = command
                .split(' ')
                .chain(["--connection-string", url])
                .collect();
            let done = run(&arguments)?;
            assert_eq!(done.code, 0, "{command}: {done:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs PgBouncer: scripts/install-pgbouncer, then --ignored"]
fn threads_that_append_at_once_to_a_stream_are_never_refused_at_another_isolation_level()
-> anyhow::Result<()> {
    let server = Server::start()?;
    let database = strict(&server, "serializable")?;
    let bouncer = PgBouncer::before(database.url(), &[])?;
    let store = behind(&bouncer.url(database.name())).open()?;

    thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| (0..20).try_for_each(|_| append(&store))))
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("no panic"))
    })?;

    let direct = EventStore::open(database.url())?;
    assert_eq!(
        direct
            .read_stream::<crate::support::CartEvent>("Cart-1")?
            .events
            .len(),
        120
    );
    found_by_strangers(&bouncer.url(database.name()), "serializable")
}

#[track_caller]
fn assert_unknown(result: Result<()>) {
    let error = result.expect_err("its server was killed");
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(!error.is_retryable() && !error.is_conflict(), "{error:?}");
}

/// The error with its causes.
fn reasons(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Runs an append, waits until it waits for this, and then has its server lost.
fn append_while(
    store: &EventStore,
    client: &mut Client,
    waits_for: &str,
    lose: impl FnOnce(&mut Client, i32) -> anyhow::Result<()>,
) -> anyhow::Result<Result<()>> {
    thread::scope(|scope| {
        let append = scope.spawn(|| append(store));
        let waiting =
            "SELECT pid FROM pg_stat_activity WHERE wait_event = $1 AND query LIKE '%emt_append%'
                          AND pid <> pg_backend_pid()";
        let mut pid = None;
        wait_until("the append is under way", || {
            let found = client.query_opt(waiting, &[&waits_for]).ok().flatten();
            pid = found.map(|row| row.get(0));
            pid.is_some()
        });
        lose(client, pid.expect("it was found"))?;
        Ok(append.join().expect("no panic"))
    })
}

#[test]
#[ignore = "needs PgBouncer: scripts/install-pgbouncer, then --ignored"]
fn the_outcome_of_an_append_whose_server_is_killed_is_unknown_whether_it_was_stored_or_not()
-> anyhow::Result<()> {
    // Nobody confirms a commit where the session waits for it.
    let server = Server::builder()
        .setting("synchronous_standby_names", "nobody")
        .setting("synchronous_commit", "local")
        .start()?;
    let database = server.create_database()?;
    let bouncer = PgBouncer::before(database.url(), &[])?;
    let url = bouncer.url(database.name());
    let store = behind(&url).open()?;
    append(&store)?;

    let mut lock = database.client()?;
    lock.batch_execute("BEGIN; LOCK TABLE emt_streams")?;
    let killed = append_while(&store, &mut database.client()?, "relation", |_, _| {
        Ok(server.restart_immediately()?)
    })?;
    assert_unknown(killed);
    assert_eq!(stored(&database)?, 1);

    let mut client = database.client()?;
    client.batch_execute(&format!(
        "ALTER DATABASE {} SET synchronous_commit = on",
        database.name()
    ))?;
    bouncer.console()?.simple_query("RECONNECT")?;
    let ended = append_while(&store, &mut client, "SyncRep", |client, pid| {
        client.execute("SELECT pg_terminate_backend($1)", &[&pid])?;
        Ok(())
    })?;
    assert_unknown(ended);
    assert_eq!(stored(&database)?, 2, "it was committed before");
    Ok(())
}

fn stored(database: &Database) -> anyhow::Result<i64> {
    let counted = "SELECT count(*) FROM emt_messages";
    Ok(database.client()?.query_one(counted, &[])?.get(0))
}

#[test]
#[ignore = "needs PgBouncer: scripts/install-pgbouncer, then --ignored"]
fn an_error_says_that_a_pooler_has_no_server() -> anyhow::Result<()> {
    let server = Server::start()?;
    let url = server.url("postgres");
    let bouncer = PgBouncer::before(&url, &[("query_wait_timeout", "2")])?;
    let through = bouncer.url("postgres");
    let options = ConnectionOptions::new()
        .pool_size(2)
        .connection_timeout(Duration::from_secs(1))
        .prepared_statements(false);
    let store = EventStore::builder(&through)
        .connection_options(options)
        .notifications(false)
        .open()?;
    append(&store)?;
    drop(server);

    let mut text = String::new();
    wait_until("a new connection is refused", || {
        let error = append(&store).expect_err("there is no server");
        text = reasons(&error);
        matches!(error, Error::Database(DatabaseError::Pool { .. }))
    });

    // The driver forgets an error that it reads together with the end of the connection.
    let told = [
        "server login has been failing",
        "query_wait_timeout",
        "a pooler closes new connections while it has no server: see its log",
    ];
    assert!(told.iter().any(|told| text.contains(told)), "{text}");
    Ok(())
}
