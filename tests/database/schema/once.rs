//! The schema is applied once, even by many concurrent migrations.

use crate::support::{added, store, wait_until};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{ConnectionOptions, EventStore, RawEvent, database::SchemaState};
use std::process::{Command, Stdio};

const CROWD: usize = 20;

/// Everything that a schema consists of, with the transactions that wrote it.
pub(super) const CATALOGUE: &str = "
    SELECT string_agg(object, E'\\n' ORDER BY object) FROM (
        SELECT 'schema ' || nspname || ' ' || oid || ' ' || xmin || coalesce(nspacl::TEXT, '') AS object FROM pg_namespace
         WHERE nspname !~ '^pg_(toast_)?temp'
        UNION ALL
        SELECT 'relation ' || relname || ' ' || oid || ' ' || relfilenode || ' ' || xmin FROM pg_class WHERE oid >= 16384
        UNION ALL
        SELECT 'function ' || proname || ' ' || oid || ' ' || xmin FROM pg_proc WHERE oid >= 16384
        UNION ALL
        SELECT 'constraint ' || conname || ' ' || oid || ' ' || xmin FROM pg_constraint WHERE oid >= 16384
        UNION ALL
        SELECT 'default ' || oid || ' ' || xmin FROM pg_attrdef
    ) AS objects";

pub(super) fn catalogue(database: &Database) -> anyhow::Result<String> {
    let row = database.client()?.query_one(CATALOGUE, &[])?;
    Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
}

#[test]
fn opening_a_store_again_changes_nothing() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let before = catalogue(&database)?;

    EventStore::open(database.url())?;
    let report = store.schema().migrate()?;

    assert!(report.applied.is_empty());
    assert_eq!(report.skipped, ["documents", "schema"]);
    assert_eq!(catalogue(&database)?, before);
    assert_eq!(store.read_stream::<RawEvent>("Cart-1")?.current_version, 1);
    Ok(())
}

#[test]
fn the_file_applies_again_to_a_store_in_use_and_keeps_everything() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    for store in [&store, &store.tenant("acme")?] {
        store.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 2)])?;
        store.append_to_stream("Cart-2", &[added("shoes", 3)])?;
        store.archive_stream("Cart-2")?;
    }
    let contents = || -> anyhow::Result<Vec<String>> {
        let mut client = database.client()?;
        let tables = [
            "emt_streams",
            "emt_messages",
            "emt_partitions",
            "emt_migrations",
        ];
        let content = |table| {
            format!(
                "SELECT coalesce(string_agg(t::TEXT, ';' ORDER BY t::TEXT), '') FROM {table} AS t"
            )
        };
        let rows = tables.map(|table| client.query_one(&content(table), &[]));
        rows.into_iter().map(|row| Ok(row?.get(0))).collect()
    };
    let before = contents()?;

    database.client()?.batch_execute(&store.schema().sql())?;

    assert_eq!(contents()?, before);
    let appended = store.append_to_stream("Cart-1", &[added("shirt", 1)])?;
    assert_eq!(
        (
            appended.next_expected_version,
            appended.last_global_position
        ),
        (3, 7)
    );
    Ok(())
}

#[test]
fn twenty_stores_that_open_at_once_on_an_empty_database_find_one_schema() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let crowd = Crowd::hold(&database)?;

    let stores = std::thread::scope(|scope| {
        let open = || {
            EventStore::builder(database.url())
                .connection_options(ConnectionOptions::new().pool_size(1))
                .open()
        };
        let threads: Vec<_> = (0..CROWD).map(|_| scope.spawn(open)).collect();
        crowd.release();
        let stores = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        stores.collect::<Result<Vec<_>, _>>()
    })?;

    for (number, store) in (1..).zip(&stores) {
        let appended = store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        assert_eq!(appended.next_expected_version, number);
    }
    assert_migrated_once(&database)
}

#[test]
fn twenty_processes_that_migrate_at_once_make_one_schema() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let crowd = Crowd::hold(&database)?;

    let migrate = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emmett"));
        command.args([
            "migrate",
            "run",
            "--json",
            "--connection-string",
            database.url(),
        ]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let children = (0..CROWD)
        .map(|_| migrate())
        .collect::<Result<Vec<_>, _>>()?;
    crowd.release();
    let outputs = children
        .into_iter()
        .map(std::process::Child::wait_with_output);
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;

    let mut applied = 0;
    for output in &outputs {
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        applied += report["applied"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(applied, 2, "one of the processes applied both");
    assert_migrated_once(&database)
}

#[test]
fn a_lost_record_is_written_again_and_nothing_else_is_touched() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    database
        .client()?
        .batch_execute("DELETE FROM emt_migrations")?;

    assert_eq!(store.schema().state()?, SchemaState::Missing);
    let reopened = EventStore::open(database.url())?;

    assert_eq!(
        reopened.read_stream::<RawEvent>("Cart-1")?.current_version,
        1
    );
    assert_migrated_once(&database)
}

/// Holds back whoever migrates a database, until a whole crowd waits to do so.
struct Crowd {
    client: postgres::Client,
}

impl Crowd {
    fn hold(database: &Database) -> anyhow::Result<Self> {
        let mut client = database.client()?;
        client
            .batch_execute("SELECT pg_advisory_lock(hashtextextended('emt.migrate/public', 0))")?;
        Ok(Self { client })
    }

    fn release(mut self) {
        let waiting = "SELECT count(*) FROM pg_locks
             WHERE locktype = 'advisory' AND NOT granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_until("the whole crowd waits to migrate", || {
            let row = self.client.query_one(waiting, &[]).expect("a count");
            row.get::<_, i64>(0) == i64::try_from(CROWD).expect("a small number")
        });
    }
}

fn assert_migrated_once(database: &Database) -> anyhow::Result<()> {
    let rows = database.client()?.query(
        "SELECT version, checksum IS NOT NULL FROM emt_migrations ORDER BY version",
        &[],
    )?;
    let found: Vec<(i32, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, [(1, true), (2, true)]);
    Ok(())
}
