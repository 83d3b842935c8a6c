//! Taking over a database that Emmett's Node library has created.

use crate::support::{CartEvent, added};
use emmett_postgresql::{
    AutoMigration, DatabaseError, Error, EventStore, FeedOptions, RawEvent, ReadOptions,
    SchemaState, testing::Server,
};

const EMMETT: &str = include_str!("../fixtures/emmett-0.42.sql");

fn emmetts_database() -> anyhow::Result<emmett_postgresql::testing::Database> {
    let database = Server::shared()?.create_database()?;
    database.client()?.batch_execute(EMMETT)?;
    Ok(database)
}

#[test]
fn an_adopted_database_keeps_every_message_and_takes_new_ones() -> anyhow::Result<()> {
    let database = emmetts_database()?;

    let store = EventStore::open(database.url())?;
    let stream = store.read_stream::<CartEvent>("ShoppingCart-1")?;
    let appended = store.append_to_stream("ShoppingCart-1", &[added("hat-2", 1)])?;

    assert_eq!(stream.current_version, 2);
    assert_eq!(stream.events[0].schema_version, 1);
    assert_eq!(stream.events[0].metadata["clientId"], "anna");
    assert!(!stream.events[0].metadata.contains_key("messageId"));
    assert_eq!(
        (
            appended.next_expected_version,
            appended.last_global_position
        ),
        (3, 4)
    );
    let feed = store
        .read_all::<RawEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(
        feed.iter()
            .map(|recorded| recorded.global_position)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    Ok(())
}

#[test]
fn an_adopted_archived_stream_refuses_appends() -> anyhow::Result<()> {
    let database = emmetts_database()?;

    let store = EventStore::open(database.url())?;
    let refused = store.append_to_stream("ShoppingCart-2", &[added("hat-2", 1)]);

    assert!(
        matches!(refused, Err(Error::StreamArchived { version: 1, .. })),
        "{refused:?}"
    );
    let archived = store
        .read_stream_with::<CartEvent>("ShoppingCart-2", ReadOptions::new().include_archived())?;
    assert_eq!(archived.events.len(), 1);
    Ok(())
}

#[test]
fn an_adopted_checkpoint_skips_no_message_of_a_later_transaction() -> anyhow::Result<()> {
    let database = emmetts_database()?;

    EventStore::open(database.url())?;
    let rows = database.client()?.query(
        "SELECT subscription_id, last_processed_position FROM emt_subscriptions ORDER BY subscription_id",
        &[],
    )?;

    let checkpoints: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [
        ("at-the-end", 3),
        ("behind-a-later-transaction", 1),
        ("older-format", 2),
    ];
    assert_eq!(
        checkpoints,
        expected.map(|(name, position)| (name.to_owned(), position))
    );
    Ok(())
}

#[test]
fn plain_inserts_into_an_adopted_database_are_fenced() -> anyhow::Result<()> {
    let database = emmetts_database()?;
    let store = EventStore::open(database.url())?;
    let mut client = database.client()?;

    let mut open = client.transaction()?;
    open.execute(
        "INSERT INTO emt_messages (stream_id, stream_position, message_schema_version, message_id, message_type,
                                   message_data, message_metadata)
         VALUES ('Other-1', 1, '1', 'd', 'X', '{}', '{}')",
        &[],
    )?;
    store.append_to_stream("ShoppingCart-1", &[added("hat-2", 1)])?;

    assert_eq!(store.feed_horizon(0)?.position, 3);
    open.commit()?;
    assert_eq!(store.feed_horizon(0)?.position, 5);
    Ok(())
}

#[test]
fn adoption_is_announced_and_the_superfluous_index_reported() -> anyhow::Result<()> {
    let database = emmetts_database()?;
    let unopened = EventStore::builder(database.url()).auto_migration(AutoMigration::None);
    let store = EventStore::builder(database.url()).open_unchecked()?;

    assert!(
        matches!(unopened.open(), Err(Error::Database(DatabaseError::Schema { message, .. })) if message.contains("Emmett's"))
    );
    assert_eq!(store.schema().state()?, SchemaState::Emmett);
    let report = store.schema().migrate()?;

    assert_eq!(report.applied, ["documents", "schema", "adopt_emmett"]);
    assert!(report.remarks[0].contains("idx_streams_unique"));
    assert_eq!(store.schema().migrate()?.applied, Vec::<String>::new());
    Ok(())
}

#[test]
fn what_the_feed_could_not_deliver_is_not_adopted() -> anyhow::Result<()> {
    for (damage, complaint) in [
        (
            "UPDATE emt_messages SET global_position = NULL WHERE message_id = 'c'",
            "without a global position",
        ),
        (
            "UPDATE emt_messages SET global_position = 1 WHERE message_id = 'c'",
            "could not create unique index",
        ),
    ] {
        let database = emmetts_database()?;
        database.client()?.batch_execute(damage)?;

        let error = EventStore::open(database.url()).expect_err("the database is damaged");

        assert!(error.to_string().contains(complaint), "{error}");
        let tables = database
            .client()?
            .query_one("SELECT to_regclass('emt_migrations') IS NULL", &[])?;
        assert!(tables.get::<_, bool>(0), "nothing is left behind");
    }
    Ok(())
}

#[test]
fn tables_of_somebody_else_are_refused() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    database
        .client()?
        .batch_execute("CREATE TABLE emt_streams (id INTEGER)")?;

    let error = EventStore::open(database.url()).expect_err("the table is not ours");

    assert!(
        error
            .to_string()
            .contains("neither this library nor Emmett"),
        "{error}"
    );
    Ok(())
}
