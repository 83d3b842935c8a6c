//! The adoption of a database of Emmett for Node.

use crate::support::{CartEvent, added};
use emmett_postgresql::{
    Error, EventStore, FeedOptions, RawEvent, ReadOptions,
    database::{AutoMigration, DatabaseError, SchemaState},
    operations::ProcessorState,
    testing::{Database, Server},
};

const EMMETT: &str = include_str!("../fixtures/emmett-0.42.sql");

fn emmetts_database() -> anyhow::Result<Database> {
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

    assert_eq!(
        positions(&database)?,
        [
            ("at-the-end", 3),
            ("behind-a-later-transaction", 1),
            ("older-format", 2),
        ]
        .map(|(name, position)| (name.to_owned(), position))
    );
    Ok(())
}

fn positions(database: &Database) -> anyhow::Result<Vec<(String, i64)>> {
    let rows = database.client()?.query(
        "SELECT processor, position FROM emt_processor_slots ORDER BY processor COLLATE \"C\"",
        &[],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Emmett's upgrades keep parts of the layout of 0.36: the keys of streams, defaults, and a second table of checkpoints.
const BEGUN_WITH_0_36: &str = "
    DROP INDEX idx_streams_unique;
    ALTER TABLE emt_streams DROP CONSTRAINT emt_streams_pkey;
    ALTER TABLE emt_streams ADD PRIMARY KEY (stream_id, stream_position, partition, is_archived),
                            ADD UNIQUE (stream_id, partition, is_archived),
                            ALTER COLUMN partition SET DEFAULT 'global';
    ALTER TABLE emt_messages ALTER COLUMN partition SET DEFAULT 'global';
    CREATE TABLE emt_subscriptions (
        subscription_id TEXT NOT NULL, version INT NOT NULL DEFAULT 1, partition TEXT NOT NULL DEFAULT 'global',
        last_processed_position BIGINT NOT NULL, last_processed_transaction_id XID8 NOT NULL,
        PRIMARY KEY (subscription_id, partition, version)
    ) PARTITION BY LIST (partition);
    CREATE TABLE emt_subscriptions_emt_default PARTITION OF emt_subscriptions FOR VALUES IN ('emt:default');
    INSERT INTO emt_subscriptions VALUES ('older-format', 1, 'emt:default', 2, '0'), ('only-here', 1, 'emt:default', 1, '0');
    CREATE FUNCTION store_subscription_checkpoint(
        p_subscription_id VARCHAR(100), p_version BIGINT, p_position BIGINT, p_check_position BIGINT, p_transaction_id XID8,
        p_partition TEXT DEFAULT 'emt:default'
    ) RETURNS INT LANGUAGE sql AS 'SELECT 1'";

#[test]
fn a_database_that_began_with_an_older_emmett_is_adopted() -> anyhow::Result<()> {
    let database = emmetts_database()?;
    database.client()?.batch_execute(BEGUN_WITH_0_36)?;

    let store = EventStore::open(database.url())?;
    let appended = store.append_to_stream("ShoppingCart-1", &[added("hat-2", 1)])?;
    store.append_to_stream("ShoppingCart-9", &[added("hat-2", 1)])?;

    assert_eq!(appended.next_expected_version, 3);
    let copied = ("only-here".to_owned(), 1);
    assert!(positions(&database)?.contains(&copied));
    let left = "SELECT to_regclass('emt_subscriptions') IS NULL
                   AND to_regprocedure('store_subscription_checkpoint(varchar, bigint, bigint, bigint, xid8, text)') IS NULL
                   AND (SELECT count(*) = 1 FROM pg_constraint
                         WHERE conrelid = 'emt_streams'::REGCLASS AND contype IN ('p', 'u'))";
    assert!(database.client()?.query_one(left, &[])?.get::<_, bool>(0));
    let row = "INSERT INTO emt_messages (stream_id, stream_position, message_schema_version, message_id, message_type,
                                         message_data, message_metadata)
               VALUES ('Other-1', 1, '1', 'd', 'X', '{}', '{}') RETURNING partition";
    let partition: String = database.client()?.query_one(row, &[])?.get(0);
    assert_eq!(partition, "emt:default");
    Ok(())
}

#[test]
fn a_lease_of_emmetts_goes_on_after_the_adoption() -> anyhow::Result<()> {
    let database = emmetts_database()?;
    database.client()?.batch_execute(
        "UPDATE emt_processors SET status = 'running', processor_instance_id = 'node', last_updated = now()
          WHERE processor_id = 'at-the-end'",
    )?;

    let store = EventStore::open(database.url())?;

    let processors = store.processors().list()?;
    let states: Vec<ProcessorState> = processors.iter().map(|status| status.state).collect();
    let stopped = ProcessorState::Stopped;
    assert_eq!(states, [ProcessorState::Running, stopped, stopped]);
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
