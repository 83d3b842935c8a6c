//! psql applies the files of the schema, and the library uses what psql has applied.

use super::once::catalogue;
use crate::support::{added, schema_files};
use anyhow::Context;
use emmett_postgresql::pongo::PongoClient;
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    EventStore, FeedOptions, RawEvent,
    database::{AutoMigration, SchemaState},
};
use std::path::Path;
use std::process::{Command, Output};

/// psql stops at the first error.
const STOPS: &[&str] = &["-v", "ON_ERROR_STOP=1"];

fn psql(database: &Database, settings: &[&str], file: &Path) -> anyhow::Result<Output> {
    Command::new("psql")
        .args(["-X", "-q", "-1", "-d", database.url()])
        .args(settings)
        .arg("-f")
        .arg(file)
        .output()
        .context("psql cannot be run; scripts/install-postgresql installs it")
}

fn apply(database: &Database, name: &str) -> anyhow::Result<()> {
    let output = psql(database, STOPS, &schema_files::path(name))?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn psql_applies_the_files_twice_and_the_library_completes_the_record() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    apply(&database, "schema.sql")?;

    let before = tables(&database)?;
    apply(&database, "schema.sql")?;
    let after = tables(&database)?;
    let store = EventStore::open(database.url())?;
    let recognised = store.schema().state()?;
    let unsigned = checksum(&database)?;
    let report = store.schema().migrate()?;

    assert_eq!(before, after);
    assert_eq!(recognised, SchemaState::Current { version: 2 });
    assert_eq!(unsigned, None);
    assert!(report.applied.is_empty());
    assert_eq!(checksum(&database)?.map(|text| text.len()), Some(2 * 64));
    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("shoes", 1)])?
            .last_global_position,
        1
    );
    assert_eq!(store.read_all::<RawEvent>(FeedOptions::new()).count(), 1);
    Ok(())
}

#[test]
fn without_migration_a_store_uses_what_psql_has_applied() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    apply(&database, "schema.sql")?;
    let before = catalogue(&database)?;

    let store = EventStore::builder(database.url())
        .auto_migration(AutoMigration::None)
        .open()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert_eq!(store.schema().state()?, SchemaState::Current { version: 2 });
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn psql_and_the_library_create_the_same_objects() -> anyhow::Result<()> {
    let (by_psql, by_library) = (
        Server::shared()?.create_database()?,
        Server::shared()?.create_database()?,
    );
    apply(&by_psql, "schema.sql")?;
    EventStore::open(by_library.url())?;

    assert_eq!(definitions(&by_psql)?, definitions(&by_library)?);
    Ok(())
}

#[test]
fn psql_applies_the_documents_alone_and_the_event_store_after_them() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    apply(&database, "sql/documents.sql")?;
    apply(&database, "sql/documents.sql")?;

    let client = PongoClient::builder(database.url())
        .auto_migration(AutoMigration::None)
        .connect()?;
    assert_eq!(
        client.schema().state()?,
        SchemaState::Current { version: 1 }
    );
    apply(&database, "schema.sql")?;

    let store = EventStore::open(database.url())?;
    assert_eq!(store.schema().state()?, SchemaState::Current { version: 2 });
    Ok(())
}

#[test]
fn psql_keeps_nothing_after_an_error_and_says_so_only_when_told_to_stop() -> anyhow::Result<()> {
    for (settings, code) in [(STOPS, 3), (&[], 0)] {
        let database = Server::shared()?.create_database()?;
        let in_the_way = "CREATE TABLE emt_projections (a INTEGER)";
        database.client()?.batch_execute(in_the_way)?;
        let before = catalogue(&database)?;

        let output = psql(&database, settings, &schema_files::path("schema.sql"))?;

        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(catalogue(&database)?, before);
    }
    Ok(())
}

fn checksum(database: &Database) -> anyhow::Result<Option<String>> {
    let row = database
        .client()?
        .query_one("SELECT string_agg(checksum, '') FROM emt_migrations", &[])?;
    Ok(row.get(0))
}

fn tables(database: &Database) -> anyhow::Result<String> {
    let catalogue = catalogue(database)?;
    let kept = catalogue
        .lines()
        .filter(|line| !line.starts_with("function"));
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

/// All functions and columns, as the catalogue describes them.
fn definitions(database: &Database) -> anyhow::Result<Vec<String>> {
    let rows = database.client()?.query(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::REGNAMESPACE
         UNION ALL
         SELECT table_name || '.' || column_name || ' ' || data_type || coalesce(' ' || column_default, '')
           FROM information_schema.columns WHERE table_schema = 'public'
         ORDER BY 1",
        &[],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
