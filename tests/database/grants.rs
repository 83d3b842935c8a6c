//! The permissions of a writer and a reader with `emt_grant`, and nothing beyond them.

use crate::support::{CartEvent, added};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    AppendOptions, DocumentProjection, Error, EventStore, FeedOptions, NewMessage, RawEvent,
    ReadOptions, Recorded, StreamMessages,
    database::{AutoMigration, SchemaState},
    operations::{ExportOptions, ImportOptions, ParkedOptions, ParkedSelection, Processors},
};
use postgres::{Client, NoTls};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// A server whose roles are these tests' own.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start().expect("a throwaway PostgreSQL");
        let mut client = Client::connect(&server.url("postgres"), NoTls).expect("a connection");
        let roles = "CREATE ROLE app LOGIN; CREATE ROLE report LOGIN; CREATE ROLE nobody LOGIN";
        client.batch_execute(roles).expect("the roles");
        server
    })
}

/// A store whose owner has given `app` a writer's and `report` a reader's grants.
struct Shop {
    database: Database,
    owner: EventStore,
}

impl Shop {
    fn open() -> anyhow::Result<Self> {
        let template = server().template("granted", |url| {
            let owner = with_counts(url, AutoMigration::CreateOrUpdate)?;
            owner.tenants().add("before")?;
            let mut client = Client::connect(url, NoTls)?;
            let grants = "SELECT emt_grant('app', 'writer'), emt_grant('report', 'reader');
                          CREATE TABLE payroll (name TEXT, salary NUMERIC DEFAULT 4000)";
            Ok(client.batch_execute(grants)?)
        })?;
        let database = server().clone_database(&template)?;
        let owner = with_counts(database.url(), AutoMigration::CreateOrUpdate)?;
        owner.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
        owner.append_to_stream("Cart-9", &[added("shoes", 1)])?;
        owner.archive_stream("Cart-9")?;
        Ok(Self { database, owner })
    }

    fn url(&self, role: &str) -> String {
        self.database
            .url()
            .replace("user=postgres", &format!("user={role}"))
    }

    fn client(&self, role: &str) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url(role), NoTls)?)
    }

    fn writer(&self) -> Result<EventStore, Error> {
        with_counts(&self.url("app"), AutoMigration::None)
    }

    fn reader(&self) -> Result<EventStore, Error> {
        EventStore::builder(&self.url("report"))
            .auto_migration(AutoMigration::None)
            .open()
    }
}

fn with_counts(url: &str, auto_migration: AutoMigration) -> Result<EventStore, Error> {
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["events"].as_u64());
            Some(json!({ "events": before.unwrap_or(0) + 1 }))
        },
    );
    EventStore::builder(url)
        .inline_projection(counts)
        .auto_migration(auto_migration)
        .open()
}

#[test]
fn a_writer_appends_reads_and_keeps_documents() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let app = shop.writer()?;

    for store in [&app, &app.tenant("before")?] {
        write_everything(store)?;
    }

    assert_eq!(app.schema().state()?, SchemaState::Current { version: 2 });
    assert_eq!(app.tenants().list()?.len(), 1);
    let archived = app.append_to_stream("Cart-9", &[added("shoes", 1)]);
    assert!(
        matches!(archived, Err(Error::StreamArchived { .. })),
        "{archived:?}"
    );
    let refused = AppendOptions::new().expected_version(99);
    let refused = app.append_to_stream_with("Cart-1", &[added("shoes", 1)], refused);
    assert!(refused.is_err_and(|error| error.is_conflict()));
    Ok(())
}

/// The functions that Emmett for Node calls.
const CALLS_OF_EMMETT: &str = "
    SELECT emt_try_acquire_processor_lock(1::BIGINT, 'node', 1, 'emt:default', 'node-1', 'totals', 'a', 'sql', 300);
    SELECT store_processor_checkpoint('node', 1::BIGINT, '0000000000000000001', '0000000000000000000', pg_current_xact_id());
    SELECT emt_release_processor_lock(1::BIGINT, 'node', 'emt:default', 1, 'node-1', 'totals');
    SELECT emt_register_projection(2::BIGINT, 'node', 'emt:default', 1, 'a', 'sql', 'active', '{}');
    SELECT emt_try_acquire_projection_lock(2::BIGINT, 'emt:default', 'node', 1);
    SELECT emt_deactivate_projection(2::BIGINT, 'node', 'emt:default', 1);
    SELECT emt_activate_projection(2::BIGINT, 'node', 'emt:default', 1);
    INSERT INTO emt_processors (processor_id, last_processed_checkpoint) VALUES ('mine', '1');
    DELETE FROM emt_processors WHERE processor_id = 'mine'";

#[test]
fn a_writer_is_enough_for_emmett_for_node() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    shop.client("app")?.batch_execute(CALLS_OF_EMMETT)?;

    let seen =
        "SELECT status, last_processed_checkpoint FROM emt_processors WHERE processor_id = 'node'";
    let row = shop.client("report")?.query_one(seen, &[])?;
    assert_eq!(row.get::<_, &str>("status"), "stopped");
    assert_eq!(
        row.get::<_, &str>("last_processed_checkpoint"),
        "0000000000000000001"
    );
    Ok(())
}

fn write_everything(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    let message = NewMessage::new(added("hat", 1)).message_id("order-17");
    store.append_to_stream("Cart-2", std::slice::from_ref(&message))?;
    assert!(
        store
            .append_to_stream("Cart-2", &[message])?
            .already_appended
    );
    store.append_to_streams(vec![StreamMessages::new("Cart-3", &[added("hat", 1)])?])?;
    store.with_session(|session| {
        session.append_to_stream("Cart-2", &[added("shirt", 1)])?;
        session
            .collection::<Value>("counts")
            .insert_one(&json!({ "_id": "own" }))?;
        Ok(())
    })?;
    assert!(store.set_stream_metadata("Cart-2", &Map::new())?);
    read_everything(store, "Cart-2", 3)?;

    let counts = store.collection::<Value>("counts");
    assert_eq!(counts.delete_many(json!({ "_id": "own" }))?, 1);
    store.rebuild("counts").run()?;
    let count = counts.find_one(json!({ "_id": "Cart-2" }))?;
    assert_eq!(count.unwrap_or_default()["events"], 3);
    Ok(())
}

/// What a reader can do.
fn read_everything(store: &EventStore, stream: &str, version: u64) -> anyhow::Result<()> {
    assert_eq!(
        store.read_stream::<CartEvent>(stream)?.current_version,
        version
    );
    let part = ReadOptions::new().max_count(1).include_archived();
    assert_eq!(
        store
            .read_stream_with::<CartEvent>(stream, part)?
            .events
            .len(),
        1
    );
    assert!(store.stream_exists(stream)?);
    assert!(store.stream_metadata(stream)?.is_some());
    let feed = store
        .read_all::<CartEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;
    assert!(feed.len() as u64 >= version);
    assert!(store.feed_horizon(0)?.position > 0);
    assert!(store.export(Vec::new(), ExportOptions::new())?.messages >= version);
    let counts = store
        .collection::<Value>("counts")
        .find(json!({ "_id": stream }))
        .to_vec()?;
    assert_eq!(counts[0]["events"], version);
    Ok(())
}

#[test]
fn a_reader_reads_streams_feed_and_documents() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let report = shop.reader()?;

    read_everything(&report, "Cart-1", 2)?;

    assert_eq!(
        report.schema().state()?,
        SchemaState::Current { version: 2 }
    );
    assert_eq!(report.tenants().list()?.len(), 1);
    assert!(!report.tenant("before")?.stream_exists("Cart-1")?);
    let archived = ReadOptions::new().include_archived();
    assert!(
        report
            .read_stream_with::<CartEvent>("Cart-9", archived)?
            .exists
    );
    Ok(())
}

#[test]
fn a_reader_sees_processors_and_a_writer_sets_them_back() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let (app, report) = (shop.writer()?, shop.reader()?);
    shop.owner.tenants().add("later")?;
    for partition in ["emt:default", "before", "later"] {
        let park = "
            INSERT INTO emt_parked_messages (partition, processor, version, slot, global_position, stream_id,
                                             stream_position, message_type, error)
            VALUES ($1, 'carts', 1, 0, 1, 'Cart-1', 1, 'ProductItemAdded', 'x')";
        let mut client = shop.client("app")?;
        let register = "SELECT emt_processor_register($1, 'carts', 1, 1, 0)";
        client.query(register, &[&partition])?;
        client.execute(park, &[&partition])?;
    }

    for (app, report) in [
        (app.clone(), report.clone()),
        (app.tenant("before")?, report.tenant("before")?),
        (app.tenant("later")?, report.tenant("later")?),
    ] {
        let reads = |processors: Processors| -> anyhow::Result<()> {
            assert_eq!(processors.list()?[0].parked, 1);
            assert_eq!(processors.parked("carts", ParkedOptions::new())?.len(), 1);
            assert!(processors.parked_message("carts", 1)?.is_some());
            Ok(())
        };
        reads(report.processors())?;
        assert!(report.doctor()?.feed.is_some());
        report.prove_processor("carts")?;
        let all = ParkedSelection::All;
        for refused in [
            report.processors().replay("carts", &all).err(),
            report.processors().reset("carts", 0).err(),
            report.processors().forget("carts").err(),
        ] {
            let error = refused.expect("a reader changes nothing").to_string();
            assert!(error.contains("permission denied for table"), "{error}");
        }

        reads(app.processors())?;
        assert_eq!(app.processors().replay("carts", &all)?.marked, 1);
        assert_eq!(app.processors().discard("carts", &all)?.marked, 1);
        assert_eq!(app.processors().reset("carts", 0)?.unparked, 1);
        app.processors().forget("carts")?;
        assert!(report.processors().list()?.is_empty());
    }
    Ok(())
}

#[test]
fn later_tenants_and_collections_give_the_same_grants() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let (app, report) = (shop.writer()?, shop.reader()?);

    shop.owner.tenants().add("later")?;
    shop.owner
        .collection::<Value>("notes")
        .insert_one(&json!({ "_id": "a" }))?;
    write_everything(&app.tenant("later")?)?;
    read_everything(&report.tenant("later")?, "Cart-2", 3)?;

    let notes = app.collection::<Value>("notes");
    notes.insert_one(&json!({ "_id": "b" }))?;
    assert_eq!(
        report
            .collection::<Value>("notes")
            .count_documents(json!({}))?,
        2
    );
    assert_refused(&shop, "app", "DELETE FROM emt_messages_later_active")?;
    assert_refused(&shop, "report", "DELETE FROM emt_streams_later_active")?;
    assert_refused(
        &shop,
        "report",
        "INSERT INTO notes (_id, data) VALUES ('c', '{}')",
    )
}

/// What neither of them may do.
const REFUSED_TO_BOTH: &[&str] = &[
    "UPDATE emt_messages SET message_data = '{}'",
    "UPDATE emt_messages_emt_default SET message_data = '{}'",
    "UPDATE emt_messages_emt_default_active SET message_data = '{}'",
    "UPDATE emt_messages_emt_default_archived SET message_data = '{}'",
    "DELETE FROM emt_messages",
    "DELETE FROM emt_messages_emt_default_active",
    "DELETE FROM emt_messages_emt_default_archived",
    "TRUNCATE emt_messages",
    "TRUNCATE emt_streams_emt_default_active",
    "TRUNCATE counts",
    "DELETE FROM emt_projections",
    "UPDATE emt_partitions SET has_archived = FALSE",
    "DELETE FROM emt_partitions",
    "INSERT INTO emt_partitions (partition, table_suffix) VALUES ('a', 'a')",
    "UPDATE emt_migrations SET checksum = NULL",
    "INSERT INTO emt_imports (partition, name, lines, digest) VALUES ('emt:default', 'a', 1, '')",
    "INSERT INTO emt_collections (name) VALUES ('emt_streams')",
    "DELETE FROM emt_rebuilds",
    "SELECT emt_table_create_like('counts', 'mine', FALSE)",
    "SELECT emt_rebuild_begin('emt:default', 'counts', 1, ARRAY['counts', 'payroll'])",
    "SELECT setval('emt_global_message_position', 1)",
    "ALTER SEQUENCE emt_global_message_position RESTART",
    "SELECT emt_partition_create('mine')",
    "SELECT emt_add_partition('mine')",
    "SELECT emt_partition_drop('before')",
    "SELECT emt_stream_move('Cart-1', 'emt:default', TRUE)",
    "SELECT emt_stream_move('Cart-9', 'emt:default', FALSE)",
    "SELECT emt_collection_create('mine')",
    "CREATE TABLE mine (a INTEGER)",
    "CREATE FUNCTION mine() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION emt_position_next() RETURNS BIGINT LANGUAGE sql AS 'SELECT 1::BIGINT'",
    "ALTER TABLE emt_messages ADD COLUMN mine INTEGER",
    "ALTER TABLE emt_messages ALTER COLUMN global_position DROP DEFAULT",
    "DROP TABLE emt_messages_emt_default_active",
    "DROP TABLE counts",
    "DROP FUNCTION emt_horizon(TEXT, BIGINT)",
    "DROP SCHEMA public CASCADE",
    "CREATE INDEX ON emt_messages (message_type)",
];

const REFUSED_TO_READERS: &[&str] = &[
    "SELECT emt_append_to_stream(ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['Opened'], \
     ARRAY['E'], 'Cart-1', 'Cart')",
    "INSERT INTO emt_messages (stream_position, stream_id, message_schema_version, message_id, message_type, \
     message_data, message_metadata) VALUES (1, 'Cart-5', '1', '1', 'Opened', '{}', '{}')",
    "UPDATE emt_streams SET stream_position = 0",
    "DELETE FROM emt_streams",
    "SELECT emt_projection_register('emt:default', 'mine', 1, 'i', 'sql', '{}')",
    "UPDATE emt_projections SET status = 'stale'",
    "DELETE FROM emt_processor_beginnings",
    "SELECT emt_processor_register('emt:default', 'mine', 1, 1, 0)",
    "UPDATE emt_processor_slots SET position = 0",
    "UPDATE emt_processors SET status = 'stopped'",
    "INSERT INTO emt_processors (processor_id, last_processed_checkpoint) VALUES ('mine', '1')",
    "SELECT emt_try_acquire_processor_lock(1::BIGINT, 'mine', 1)",
    "SELECT store_processor_checkpoint('mine', 1::BIGINT, '1', NULL, pg_current_xact_id())",
    "SELECT emt_register_projection(1::BIGINT, 'mine', 'emt:default', 1, 'a', 'sql', 'active', '{}')",
    "DELETE FROM emt_processor_slots",
    "UPDATE emt_parked_messages SET request = 'discard'",
    "DELETE FROM emt_parked_messages",
    "SELECT emt_rebuild_begin('emt:default', 'counts', 1, ARRAY['counts'])",
    "SELECT emt_rebuild_end(1)",
    "SELECT emt_collection_create_old('counts', 'counts_v1')",
    "SELECT emt_collection_drop_old('emt:default', 'counts')",
    "UPDATE emt_rebuilds SET position = 1",
    "DELETE FROM emt_rebuild_requests",
    "INSERT INTO emt_processor_beginnings (partition, processor, version, position) VALUES ('emt:default', 'mine', 1, 1)",
    "SELECT nextval('emt_global_message_position')",
    "SELECT emt_position_next()",
    "INSERT INTO counts (_id, data) VALUES ('a', '{}')",
    "UPDATE counts SET data = '{}'",
    "DELETE FROM counts",
];

fn assert_refused(shop: &Shop, role: &str, statement: &str) -> anyhow::Result<()> {
    // Those that a role may do would leave something behind for the next.
    let outcome = shop
        .client(role)?
        .batch_execute(&format!("BEGIN; {statement}; ROLLBACK"));
    let code = outcome
        .as_ref()
        .err()
        .and_then(|error| error.code())
        .map(postgres::error::SqlState::code);
    assert_eq!(code, Some("42501"), "{role}: {statement}: {outcome:?}");
    Ok(())
}

#[test]
fn a_writer_can_do_nothing_else() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    for statement in REFUSED_TO_BOTH {
        assert_refused(&shop, "app", statement)?;
    }

    let app = shop.writer()?;
    assert!(app.tenants().add("mine").is_err());
    assert!(app.tenants().remove("before")?.with_all_data().is_err());
    assert!(app.archive_stream("Cart-1").is_err());
    assert!(app.schema().migrate()?.applied.is_empty());
    let line = "{\"streamName\":\"Cart-1\",\"type\":\"Opened\",\"data\":{}}";
    assert!(app.import(line.as_bytes(), ImportOptions::new()).is_err());
    read_everything(&shop.owner, "Cart-1", 2)
}

#[test]
fn a_reader_can_do_nothing_else() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    for statement in REFUSED_TO_BOTH.iter().chain(REFUSED_TO_READERS) {
        assert_refused(&shop, "report", statement)?;
    }

    let report = shop.reader()?;
    let append = report.append_to_stream("Cart-1", &[added("shoes", 1)]);
    let error = append.expect_err("a reader appends nothing").to_string();
    assert!(error.contains("permission denied for"), "{error}");
    assert!(
        report
            .collection::<Value>("counts")
            .insert_one(&json!({}))
            .is_err()
    );
    assert!(report.set_stream_metadata("Cart-1", &Map::new()).is_err());
    read_everything(&shop.owner, "Cart-1", 2)
}

#[test]
fn what_is_refused_works_for_the_owner() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    for statement in REFUSED_TO_BOTH.iter().chain(REFUSED_TO_READERS) {
        let mut owner = shop.client("postgres")?;
        let outcome = owner.batch_execute(&format!("BEGIN; {statement}; ROLLBACK"));
        let code = outcome
            .as_ref()
            .err()
            .and_then(|error| error.code())
            .map(postgres::error::SqlState::code);
        // Some would break the schema, and that is why they are refused; none is refused to the owner.
        assert!(
            !matches!(code, Some("42501" | "42601" | "42883")),
            "{statement}: {outcome:?}"
        );
    }

    Ok(())
}

#[test]
fn a_writer_begins_rebuilds_of_registered_projections_only() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    let begun = shop
        .client("app")?
        .batch_execute("SELECT emt_rebuild_begin('emt:default', 'unknown', 1, ARRAY['counts'])");

    let error = begun.expect_err("nothing of that name is registered");
    let code = error.code().map(postgres::error::SqlState::code);
    assert_eq!(code, Some("SE011"), "{error:?}");
    Ok(())
}

#[test]
fn tables_of_a_rebuild_that_a_writer_has_begun_by_hand_are_gone_with_the_next_one()
-> anyhow::Result<()> {
    let shop = Shop::open()?;
    let begin = "SELECT emt_rebuild_begin('emt:default', 'counts', 1, ARRAY['counts'])";
    shop.client("app")?.batch_execute(begin)?;

    let others =
        DocumentProjection::single_stream("others", |_, _: &Recorded<RawEvent>| Some(json!({})));
    shop.owner.rebuild_with(others).run()?;

    let left = "SELECT FROM pg_class WHERE relname ~ '^emt_shadow_'";
    assert_eq!(shop.database.client()?.query(left, &[])?.len(), 0);
    Ok(())
}

#[test]
fn a_rebuild_that_is_claimed_keeps_its_tables_when_others_begin() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let mut claim = shop.client("app")?;
    claim.batch_execute("SELECT emt_rebuild_begin('emt:default', 'counts', 1, ARRAY['counts'])")?;
    claim.batch_execute(
        "BEGIN; SELECT pg_advisory_xact_lock(emt_rebuild_lock_key('emt:default', 'counts'))",
    )?;

    let others =
        DocumentProjection::single_stream("others", |_, _: &Recorded<RawEvent>| Some(json!({})));
    shop.owner.rebuild_with(others).run()?;

    let left = "SELECT FROM pg_class WHERE relname ~ '^emt_shadow_[0-9]+_1$'";
    assert_eq!(shop.database.client()?.query(left, &[])?.len(), 1);
    Ok(())
}

#[test]
fn a_writer_cannot_pass_its_grants_on() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    // PostgreSQL answers with a warning where nothing could be granted.
    drop(
        shop.client("app")?
            .batch_execute("SELECT emt_grant('nobody', 'writer')"),
    );

    assert_refused(&shop, "nobody", "SELECT FROM emt_streams")?;
    assert_refused(
        &shop,
        "nobody",
        "INSERT INTO emt_streams VALUES ('a', 1, 'emt:default', 'a', '{}')",
    )
}

#[test]
fn a_role_without_grants_opens_nothing() -> anyhow::Result<()> {
    let shop = Shop::open()?;

    let opened = EventStore::builder(&shop.url("nobody"))
        .auto_migration(AutoMigration::None)
        .open();

    let error = opened.expect_err("nothing is granted").to_string();
    assert!(
        error.contains("permission denied for table emt_migrations"),
        "{error}"
    );
    Ok(())
}

#[test]
fn grants_can_be_given_again_to_any_name_and_in_any_schema() -> anyhow::Result<()> {
    let database = server().create_database()?;
    let owner = EventStore::builder(database.url())
        .schema("My Schéma-1")
        .open()?;
    owner.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut client = database.client()?;
    client.batch_execute("CREATE ROLE \"We\"\"ird; role\" LOGIN")?;

    for _ in 0..2 {
        let grant = "SELECT \"My Schéma-1\".emt_grant('We\"ird; role', 'writer')";
        client.batch_execute(grant)?;
    }
    client.batch_execute("SET ROLE \"We\"\"ird; role\"")?;
    let append = "SELECT success FROM \"My Schéma-1\".emt_append_to_stream(
        ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['Opened'], ARRAY['E'], 'Cart-1', 'Cart')";

    assert!(client.query_one(append, &[])?.get::<_, bool>(0));
    assert_eq!(owner.read_stream::<RawEvent>("Cart-1")?.current_version, 2);
    Ok(())
}

#[test]
fn an_unknown_kind_of_access_or_role_is_refused() -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let mut client = shop.client("postgres")?;

    for (grant, message) in [
        (
            "SELECT emt_grant('app', 'admin')",
            "access must be reader or writer, not \"admin\"",
        ),
        (
            "SELECT emt_grant('app', NULL)",
            "access must be reader or writer, not \"<NULL>\"",
        ),
        (
            "SELECT emt_grant('stranger', 'reader')",
            "role \"stranger\" does not exist",
        ),
    ] {
        let error = client.batch_execute(grant).expect_err("refused");
        let found = error.as_db_error().map(|error| error.message().to_owned());
        assert_eq!(found.as_deref(), Some(message));
    }
    Ok(())
}
