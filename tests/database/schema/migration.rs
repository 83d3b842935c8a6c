//! The detected state of a database, and the objects that a migration never changes.

use super::once::catalogue;
use crate::support::{added, schema_files, store};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    Error, EventStore,
    database::{AutoMigration, DatabaseError, MigrationReport, SchemaState},
};

fn without_migration(database: &Database) -> Result<EventStore, Error> {
    EventStore::builder(database.url())
        .auto_migration(AutoMigration::None)
        .open()
}

fn names() -> Vec<String> {
    vec!["documents".to_owned(), "schema".to_owned()]
}

/// The message of a refused schema.
#[track_caller]
fn refusal<T: std::fmt::Debug, E: Into<Error>>(result: Result<T, E>) -> String {
    match result.map_err(E::into) {
        Err(Error::Database(DatabaseError::Schema { message, .. })) => message,
        other => panic!("expected a refused schema, got {other:?}"),
    }
}

#[test]
fn without_migration_a_missing_schema_is_reported_and_nothing_is_created() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let before = catalogue(&database)?;

    let refused = refusal(without_migration(&database));

    assert_eq!(refused, "the schema is missing: run `emmett migrate run`");
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn without_migration_a_present_schema_is_used() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let before = catalogue(&database)?;

    let store = without_migration(&database)?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert_eq!(store.schema().state()?, SchemaState::Current { version: 2 });
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn without_migration_a_collection_is_not_created() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = without_migration(&database)?;

    let refused = store
        .collection::<serde_json::Value>("carts")
        .find(serde_json::json!({}))
        .to_vec();

    let refused = refused.expect_err("the table is missing").to_string();
    assert!(refused.contains("carts"), "{refused}");
    let row = database
        .client()?
        .query_one("SELECT to_regclass('public.carts') IS NULL", &[])?;
    assert!(row.get::<_, bool>(0));
    Ok(())
}

#[test]
fn a_dry_run_says_what_would_be_applied_and_changes_nothing() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let before = catalogue(&database)?;
    let store = EventStore::builder(database.url()).open_unchecked()?;

    let report = store.schema().dry_run()?;

    assert_eq!((report.applied, report.skipped), (names(), vec![]));
    assert_eq!(catalogue(&database)?, before);
    assert_eq!(store.schema().state()?, SchemaState::Missing);
    Ok(())
}

#[test]
fn a_dry_run_on_a_current_schema_has_nothing_to_apply() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let before = catalogue(&database)?;

    let report = store.schema().dry_run()?;

    assert_eq!((report.applied, report.skipped), (vec![], names()));
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn the_printed_sql_is_the_files() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let before = catalogue(&database)?;
    let store = EventStore::builder(database.url()).open_unchecked()?;

    assert_eq!(store.schema().sql(), schema_files::event_store()?);
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn a_schema_of_other_content_is_refused_and_left_alone() -> anyhow::Result<()> {
    for change in [
        "UPDATE emt_migrations SET checksum = repeat('0', 64)",
        "UPDATE emt_migrations SET name = 'another'",
    ] {
        let (database, store) = store()?;
        database.client()?.batch_execute(change)?;
        let before = catalogue(&database)?;

        let refusals = [
            refusal(EventStore::open(database.url())),
            refusal(without_migration(&database)),
            refusal(store.schema().migrate()),
            refusal(store.schema().state()),
        ];

        for refused in refusals {
            assert!(refused.contains("with other content"), "{refused}");
        }
        assert_eq!(catalogue(&database)?, before);
    }
    Ok(())
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let newer = "INSERT INTO emt_migrations (version, name) VALUES (3, 'of next year')";
    database.client()?.batch_execute(newer)?;
    let before = catalogue(&database)?;

    let refusals = [
        refusal(EventStore::open(database.url())),
        refusal(without_migration(&database)),
        refusal(store.schema().migrate()),
        refusal(store.schema().dry_run()),
    ];

    for refused in refusals {
        assert!(
            refused.contains("has version 3, newer than this library, which knows 2"),
            "{refused}"
        );
    }
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn tables_of_somebody_else_are_refused_and_left_alone() -> anyhow::Result<()> {
    for table in ["emt_streams", "emt_messages"] {
        let database = Server::shared()?.create_database()?;
        let create = format!("CREATE TABLE {table} (a INTEGER); INSERT INTO {table} VALUES (1)");
        database.client()?.batch_execute(&create)?;
        let before = catalogue(&database)?;

        let refusals = [
            refusal(EventStore::open(database.url())),
            refusal(without_migration(&database)),
        ];

        for refused in refusals {
            assert!(refused.contains("choose another schema name"), "{refused}");
        }
        assert_eq!(catalogue(&database)?, before);
    }
    Ok(())
}

#[test]
fn a_migration_that_fails_halfway_leaves_nothing_behind() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let in_the_way = "CREATE TABLE emt_projections (a INTEGER)";
    database.client()?.batch_execute(in_the_way)?;
    let before = catalogue(&database)?;

    let refused = EventStore::open(database.url());

    let refused = refused
        .expect_err("a table of the same name is in the way")
        .to_string();
    assert!(
        refused.contains("migrate the schema") && refused.contains("emt_projections"),
        "{refused}"
    );
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn a_report_lists_what_was_applied_now_and_before() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let store = EventStore::builder(database.url()).open_unchecked()?;

    let first = store.schema().migrate()?;
    let second = store.schema().migrate()?;

    assert_eq!(first.applied, names());
    assert_eq!(second.skipped, names());
    assert_eq!((first.skipped, second.applied), (vec![], vec![]));
    assert_eq!(MigrationReport::default().remarks, first.remarks);
    Ok(())
}
