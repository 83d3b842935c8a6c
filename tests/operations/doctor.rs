//! The doctor's findings: each names its problem, and disappears with its cause.

use crate::operations::processors::Rows;
use crate::support::{added, store, wait_until};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, RawEvent, Recorded,
    database::AutoMigration,
    error::ProcessorError,
    operations::{DoctorReport, Finding, FindingKind, HolderKind, ProcessorState, Severity},
};
use postgres::Client;
use serde_json::{Value, json};
use std::time::Duration;

/// A store with six messages of two streams in turn.
fn shop() -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    fill(&store)?;
    Ok((database, store))
}

fn fill(store: &EventStore) -> anyhow::Result<()> {
    for number in 0..6 {
        let stream = format!("Cart-{}", number % 2);
        store.append_to_stream(&stream, &[added("shoes", number)])?;
    }
    Ok(())
}

fn kinds(report: &DoctorReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// The only finding.
fn only(store: &EventStore) -> anyhow::Result<Finding> {
    let mut report = store.doctor()?;
    anyhow::ensure!(report.findings.len() == 1, "{report:?}");
    Ok(report.findings.remove(0))
}

#[track_caller]
fn assert_healthy(store: &EventStore) {
    let report = store.doctor().expect("a report");
    assert_eq!(report.findings, []);
    assert!(!report.is_serious());
    let feed = report.feed.expect("a feed");
    assert_eq!(
        (feed.horizon, feed.held_back, feed.holders),
        (feed.head, 0, vec![])
    );
}

fn pid(client: &mut Client) -> anyhow::Result<i32> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[])?.get(0))
}

const APPEND: &str = "
    SELECT success FROM emt_append_to_stream(ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], ARRAY['1'],
        ARRAY['Opened'], ARRAY['E'], 'Cart-7', 'Cart')";

#[test]
fn a_store_in_order_has_no_findings() -> anyhow::Result<()> {
    let (_database, empty) = store()?;
    assert_healthy(&empty);
    let (_database, store) = shop()?;
    assert_healthy(&store);
    let feed = store.doctor()?.feed.expect("a feed");
    assert_eq!(feed.head, 6);
    store.tenants().add("acme")?;
    assert_healthy(&store.tenant("acme")?);
    Ok(())
}

#[test]
fn an_open_append_is_named_with_its_pid_and_what_it_holds_back() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut client = database.client()?;
    client.batch_execute("SET application_name = 'slow import'; BEGIN")?;
    let pid = pid(&mut client)?;
    client.query(APPEND, &[])?;
    client.batch_execute("SELECT 'a' AS\n  thought")?;
    store.append_to_stream("Cart-8", &[added("shoes", 1), added("hat", 1)])?;

    let report = store.doctor()?;

    let feed = report.feed.as_ref().expect("a feed");
    assert_eq!((feed.head, feed.horizon, feed.held_back), (9, 6, 3));
    let [holder] = &feed.holders[..] else {
        panic!("{feed:?}")
    };
    assert_eq!(
        (&holder.kind, holder.pid),
        (&HolderKind::Transaction, Some(pid))
    );
    assert_eq!(
        (holder.position, holder.held_back, holder.all_tenants),
        (6, 3, false)
    );
    assert_eq!(holder.application.as_deref(), Some("slow import"));
    assert_eq!(holder.state.as_deref(), Some("idle in transaction"));
    assert_eq!(holder.query.as_deref(), Some("SELECT 'a' AS thought"));
    assert!(holder.age.is_some_and(|age| age < Duration::from_secs(300)));
    assert_eq!(kinds(&report), [FindingKind::FeedHeld]);
    let finding = &report.findings[0];
    assert!(
        finding
            .problem
            .starts_with(&format!("Session {pid} (role ")),
        "{finding:?}"
    );
    assert!(
        finding.problem.contains("not readable yet: 3 positions"),
        "{finding:?}"
    );
    assert!(
        finding
            .advice
            .contains(&format!("pg_terminate_backend({pid})")),
        "{finding:?}"
    );
    assert_eq!(store.feed_horizon(0)?.position, feed.horizon);

    client.batch_execute("COMMIT")?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn an_append_to_another_tenant_holds_nothing_back() -> anyhow::Result<()> {
    let (_database, store) = shop()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;

    let mut open = acme.begin()?;
    open.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert_healthy(&store);
    assert_eq!(kinds(&acme.doctor()?), [FindingKind::FeedHeld]);
    open.rollback()?;
    assert_healthy(&acme);
    Ok(())
}

#[test]
fn a_writer_that_names_no_tenant_holds_back_all() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    store.tenants().add("acme")?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN; SELECT emt_position_next()")?;

    for store in [&store, &store.tenant("acme")?] {
        let feed = store.doctor()?.feed.expect("a feed");
        assert!(feed.holders[0].all_tenants);
        assert_eq!((feed.holders.len(), feed.held_back), (1, 1));
    }

    client.batch_execute("ROLLBACK")?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_transaction_with_several_locks_is_one_holder() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN")?;
    client.query(APPEND, &[])?;
    client.query(APPEND, &[])?;
    client.batch_execute("SELECT emt_position_next()")?;

    let feed = store.doctor()?.feed.expect("a feed");

    assert_eq!((feed.holders.len(), feed.horizon), (1, 6));
    assert!(feed.holders[0].all_tenants);
    Ok(())
}

#[test]
fn a_strangers_session_lock_is_serious_and_told_from_an_append() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut stranger = database.client()?;
    let pid = pid(&mut stranger)?;
    let lock = "SELECT pg_advisory_lock_shared(emt_fence_class('emt:default'), 2)";
    stranger.batch_execute(lock)?;

    let finding = only(&store)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::FeedHeld, Severity::Serious)
    );
    assert!(finding.problem.contains("at position 2"), "{finding:?}");
    assert!(
        finding.problem.contains("not readable yet: 4 positions"),
        "{finding:?}"
    );
    assert!(
        finding.problem.contains("no open transaction"),
        "{finding:?}"
    );
    let feed = store.doctor()?.feed.expect("a feed");
    assert_eq!(
        (&feed.holders[0].kind, feed.holders[0].pid),
        (&HolderKind::Session, Some(pid))
    );
    assert_eq!(store.feed_horizon(0)?.position, 2);

    stranger.batch_execute("SELECT pg_advisory_unlock_all()")?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn an_exclusive_lock_blocks_appends_and_not_the_feed() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut stranger = database.client()?;
    stranger.batch_execute("SELECT pg_advisory_lock(emt_fence_class('emt:default'), 2)")?;

    let finding = only(&store)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::AppendsBlocked, Severity::Serious)
    );
    let feed = store.doctor()?.feed.expect("a feed");
    assert_eq!((feed.horizon, feed.held_back), (6, 0));
    drop(stranger);
    Ok(())
}

#[test]
fn a_strangers_lock_on_the_inline_projections_is_named_with_its_session() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut stranger = database.client()?;
    let pid = pid(&mut stranger)?;
    stranger.batch_execute(
        "SET application_name = 'stranger'; SELECT pg_advisory_lock(emt_projection_lock_key('emt:default'))",
    )?;

    let finding = only(&store)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::LockHeld, Severity::Serious)
    );
    let who = format!("Session {pid} (role \"postgres\", program \"stranger\")");
    assert!(finding.problem.starts_with(&who), "{finding:?}");
    assert!(
        finding.problem.contains("no open transaction"),
        "{finding:?}"
    );
    stranger.batch_execute("SELECT pg_advisory_unlock_all()")?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_transaction_is_named_once_others_wait_for_its_lock() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut holder = database.client()?;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(emt_projection_lock_key('emt:default'))";
    holder.batch_execute(lock)?;
    assert_healthy(&store);

    let mut waiting = database.client()?;
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.batch_execute(lock));
        wait_until("one waits", || {
            store
                .doctor()
                .is_ok_and(|report| !report.findings.is_empty())
        });
        let finding = only(&store)?;
        assert_eq!(finding.kind, FindingKind::LockHeld);
        assert!(
            finding.problem.contains("sessions waiting for it: 1"),
            "{finding:?}"
        );
        holder.batch_execute("COMMIT")?;
        waiter.join().expect("the waiter ends")?;
        anyhow::Ok(())
    })?;
    Ok(())
}

#[test]
fn every_key_of_the_librarys_locks_is_known() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    database.client()?.batch_execute(
        "SELECT emt_projection_register('emt:default', 'counts', 1, 'a', 'sql', '{}'),
                emt_processor_register('emt:default', 'counts', 1, 1, 0)",
    )?;
    let mut stranger = database.client()?;
    for key in [
        "emt_projection_register_key('emt:default', 'counts')",
        "emt_missed_lock_key('emt:default', 'counts')",
        "emt_rebuild_lock_key('emt:default', 'counts')",
        "emt_processor_lock_key('emt:default', 'counts')",
        "hashtextextended('emt.migrate/public', 0)",
    ] {
        stranger.batch_execute(&format!("SELECT pg_advisory_lock({key})"))?;
        let found = store.doctor()?.findings;
        assert!(
            found
                .iter()
                .any(|finding| finding.kind == FindingKind::LockHeld),
            "{key}"
        );
        stranger.batch_execute("SELECT pg_advisory_unlock_all()")?;
    }
    Ok(())
}

#[test]
fn schemas_in_which_others_may_create_are_named() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    database.client()?.batch_execute(&format!(
        "CREATE SCHEMA shared; GRANT CREATE ON SCHEMA shared TO PUBLIC; CREATE SCHEMA other;
         GRANT CREATE ON SCHEMA other TO PUBLIC; GRANT CREATE ON SCHEMA public TO pg_monitor;
         ALTER DATABASE {} SET search_path = public, shared",
        database.name()
    ))?;
    drop(store);
    let report = EventStore::open(database.url())?.doctor()?;

    assert_eq!(kinds(&report), [FindingKind::SearchPath; 2]);
    let advice: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| &*finding.advice)
        .collect();
    assert_eq!(
        advice,
        [
            "REVOKE CREATE ON SCHEMA \"public\" FROM \"pg_monitor\"",
            "REVOKE CREATE ON SCHEMA \"shared\" FROM PUBLIC"
        ]
    );
    Ok(())
}

#[test]
fn many_tenants_are_examined_with_few_locks() -> anyhow::Result<()> {
    let server = Server::builder()
        .setting("max_locks_per_transaction", "10")
        .setting("max_connections", "10")
        .start()?;
    let database = server.create_database()?;
    let store = EventStore::builder(database.url())
        .notifications(false)
        .open()?;
    for number in 0..120 {
        store.tenants().add(&format!("tenant{number}"))?;
    }
    let all = database
        .client()?
        .batch_execute("SELECT max(global_position) FROM emt_messages");
    assert!(all.is_err(), "the server has locks for all tables");

    assert_eq!(store.doctor()?.findings, []);
    assert_eq!(store.tenant("tenant7")?.doctor()?.findings, []);
    Ok(())
}

#[test]
fn a_path_that_has_pg_catalog_last_is_named() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let path = format!(
        "ALTER DATABASE {} SET search_path = public, pg_catalog",
        database.name()
    );
    database.client()?.batch_execute(&path)?;
    drop(store);

    let finding = only(&EventStore::open(database.url())?)?;

    assert_eq!(finding.kind, FindingKind::SearchPath);
    assert!(
        finding.problem.contains("\"public\" before pg_catalog"),
        "{finding:?}"
    );
    Ok(())
}

#[test]
fn advisory_locks_of_other_classes_are_nobodys_business() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut stranger = database.client()?;
    stranger.batch_execute(
        "SELECT pg_advisory_lock_shared(1, 2), pg_advisory_lock(17), pg_advisory_lock_shared(18)",
    )?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_password_in_a_statement_is_not_repeated() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN; SELECT emt_position_next()")?;
    client.batch_execute("SELECT 'ALTER ROLE app PassWord s3cr3t'")?;

    let report = store.doctor()?;

    assert_eq!(kinds(&report), [FindingKind::FeedHeld]);
    assert!(!format!("{report:?}").contains("s3cr3t"), "{report:?}");
    Ok(())
}

#[test]
fn a_prepared_transaction_is_named_though_no_session_has_it() -> anyhow::Result<()> {
    let server = Server::builder()
        .setting("max_prepared_transactions", "5")
        .start()?;
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    fill(&store)?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN")?;
    client.query(APPEND, &[])?;
    client.batch_execute("PREPARE TRANSACTION 'it''s 7'")?;
    drop(client);

    let finding = only(&store)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::FeedHeld, Severity::Warning)
    );
    assert!(
        finding
            .problem
            .starts_with("The prepared transaction \"it's 7\" (role \"postgres\")"),
        "{finding:?}"
    );
    assert!(
        finding.advice.contains("ROLLBACK PREPARED 'it''s 7'"),
        "{finding:?}"
    );
    let feed = store.doctor()?.feed.expect("a feed");
    let holder = &feed.holders[0];
    assert_eq!(holder.kind, HolderKind::Prepared("it's 7".into()));
    assert_eq!((holder.pid, holder.held_back, feed.horizon), (None, 1, 6));

    database
        .client()?
        .batch_execute("COMMIT PREPARED 'it''s 7'")?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_role_without_privileges_sees_the_pid_all_the_same() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let role = format!("reader_of_{}", database.name().replace('-', "_"));
    let mut owner = database.client()?;
    owner.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN; SELECT emt_grant('{role}', 'reader')"
    ))?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN")?;
    let pid = pid(&mut client)?;
    client.query(APPEND, &[])?;
    store.append_to_stream("Cart-8", &[added("shoes", 1)])?;

    let url = database
        .url()
        .replace("user=postgres", &format!("user={role}"));
    let reader = EventStore::builder(&url)
        .auto_migration(AutoMigration::None)
        .open()?;
    let report = reader.doctor()?;

    let holder = &report.feed.as_ref().expect("a feed").holders[0];
    assert_eq!((holder.pid, holder.held_back), (Some(pid), 2));
    assert_eq!(
        (&holder.state, &holder.query, holder.age),
        (&None, &None, None)
    );
    assert_eq!(holder.kind, HolderKind::Transaction);
    let problem = &report.findings[0].problem;
    assert!(problem.contains("may not see what it does"), "{problem}");
    drop(reader);
    owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))?;
    Ok(())
}

/// Breaks something, looks for the only finding, mends it as it says or as given.
fn found_and_mended(
    break_it: &str,
    kind: FindingKind,
    severity: Severity,
    words: &str,
    mend_it: Option<&str>,
) -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut client = database.client()?;
    client.batch_execute(break_it)?;

    let finding = only(&store)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (kind, severity),
        "{finding:?}"
    );
    assert!(finding.problem.contains(words), "{finding:?}");
    assert_eq!(store.doctor()?.is_serious(), severity == Severity::Serious);
    // The advice itself, where it is a statement.
    let statement = ["SELECT ", "ALTER ", "DROP "]
        .iter()
        .filter_map(|word| finding.advice.find(word))
        .min();
    let advised = statement.map(|start| finding.advice[start..].to_owned());
    let mend_it = mend_it.or(advised.as_deref()).expect("a remedy");
    client.batch_execute(mend_it)?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_sequence_behind_its_table_is_found_and_mended_as_advised() -> anyhow::Result<()> {
    found_and_mended(
        "SELECT setval('emt_global_message_position', 4)",
        FindingKind::SequenceBehind,
        Severity::Serious,
        "is at 4, but there is a message at 6",
        Some("SELECT emt_store_repair()"),
    )?;
    found_and_mended(
        "ALTER SEQUENCE emt_global_message_position RESTART",
        FindingKind::SequenceBehind,
        Severity::Serious,
        "is at 0, but",
        Some("SELECT emt_store_repair()"),
    )
}

#[test]
fn a_sequence_with_a_cache_is_found_and_mended_as_advised() -> anyhow::Result<()> {
    found_and_mended(
        "ALTER SEQUENCE emt_global_message_position CACHE 20",
        FindingKind::SequenceSettings,
        Severity::Serious,
        "CACHE 20 INCREMENT 1 NO CYCLE",
        None,
    )?;
    found_and_mended(
        "ALTER SEQUENCE emt_global_message_position CYCLE",
        FindingKind::SequenceSettings,
        Severity::Serious,
        "CACHE 1 INCREMENT 1 CYCLE",
        None,
    )
}

#[test]
fn a_lost_default_is_found_and_mended_as_advised() -> anyhow::Result<()> {
    found_and_mended(
        "ALTER TABLE emt_messages ALTER COLUMN global_position SET DEFAULT nextval('emt_global_message_position')",
        FindingKind::PositionDefault,
        Severity::Serious,
        "global_position of emt_messages, emt_messages_emt_default",
        None,
    )?;
    found_and_mended(
        "ALTER TABLE emt_messages_emt_default_archived ALTER COLUMN global_position DROP DEFAULT",
        FindingKind::PositionDefault,
        Severity::Serious,
        "global_position of emt_messages_emt_default_archived does",
        None,
    )
}

#[test]
fn a_lost_feed_index_is_found() -> anyhow::Result<()> {
    found_and_mended(
        "DROP INDEX emt_messages_feed",
        FindingKind::FeedIndex,
        Severity::Serious,
        "emt_messages_feed is missing",
        Some(
            "CREATE UNIQUE INDEX emt_messages_feed ON emt_messages (global_position, partition, is_archived)",
        ),
    )
}

#[test]
fn an_index_of_emmetts_is_found_and_dropped_as_advised() -> anyhow::Result<()> {
    found_and_mended(
        "CREATE UNIQUE INDEX idx_streams_unique ON emt_streams (stream_id, partition, is_archived) INCLUDE (stream_position)",
        FindingKind::SecondStreamIndex,
        Severity::Warning,
        "idx_streams_unique",
        None,
    )
}

#[test]
fn a_stream_that_is_active_and_archived_at_once_is_found() -> anyhow::Result<()> {
    found_and_mended(
        "INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata, is_archived)
         VALUES ('Cart-1', 3, 'Cart', '{}', TRUE)",
        FindingKind::StreamTwice,
        Severity::Serious,
        "at once: \"Cart-1\". Each",
        Some("DELETE FROM emt_streams WHERE is_archived"),
    )
}

#[test]
fn advice_names_the_schema() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let store = EventStore::builder(database.url())
        .schema("My Schéma-1")
        .open()?;
    fill(&store)?;
    assert_healthy(&store);
    let mut client = database.client()?;
    client.batch_execute(
        "ALTER SEQUENCE \"My Schéma-1\".emt_global_message_position CACHE 5 RESTART;
         ALTER TABLE \"My Schéma-1\".emt_messages ALTER COLUMN global_position DROP DEFAULT;
         CREATE INDEX idx_streams_unique ON \"My Schéma-1\".emt_streams (stream_position)",
    )?;

    let report = store.doctor()?;

    assert_eq!(
        kinds(&report),
        [
            FindingKind::SequenceBehind,
            FindingKind::SequenceSettings,
            FindingKind::PositionDefault,
            FindingKind::SecondStreamIndex
        ]
    );
    for finding in &report.findings[1..] {
        assert!(
            finding.advice.contains("\"My Schéma-1\".emt_")
                || finding.advice.contains("\"My Schéma-1\".idx_"),
            "{finding:?}"
        );
        let statement = finding
            .advice
            .trim_start_matches("Was the database restored? ");
        client.batch_execute(statement)?;
    }
    store.repair_sequence()?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn an_isolation_level_that_costs_round_trips_is_found_in_a_pool_of_the_callers()
-> anyhow::Result<()> {
    let (database, store) = shop()?;
    let strict = |level: &str| {
        format!(
            "ALTER DATABASE \"{}\" SET default_transaction_isolation = '{level}'",
            database.name()
        )
    };
    database.client()?.batch_execute(&strict("serializable"))?;

    let own = EventStore::open(database.url())?;
    assert_healthy(&own);
    let manager =
        r2d2_postgres::PostgresConnectionManager::new(database.url().parse()?, postgres::NoTls);
    let pool = r2d2::Pool::new(manager)?;
    let strictly = emmett_postgresql::EventStoreBuilder::with_pool(pool).open()?;
    let finding = only(&strictly)?;

    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::Isolation, Severity::Warning)
    );
    assert_eq!(strictly.feed_horizon(0)?.position, 6);
    database
        .client()?
        .batch_execute(&strict("read committed"))?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_processor_that_hangs_repeats_or_stands_still_is_found() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut rows = Rows::of(&database)?;
    rows.register("carts", 2, 4)?;
    rows.take("carts", "host-1/4711", 600)?;
    let look = |state, kind, words: &str| {
        let found = only(&store)?;
        let processor = store.processors().list()?.remove(0);
        anyhow::ensure!(found.problem.contains(words), "{found:?}");
        assert_eq!((processor.state, found.kind), (state, kind));
        assert_eq!(found.severity, Severity::Warning);
        anyhow::Ok(())
    };

    rows.change(
        "carts",
        "busy_since = clock_timestamp() - INTERVAL '3 minutes'",
    )?;
    let words = "has been running for 180 s, with messages after position 4";
    look(ProcessorState::Hanging, FindingKind::HandlerHangs, words)?;

    rows.change(
        "carts",
        "busy_since = NULL, survived_error = 'no pool', survived_at = clock_timestamp(), survived_count = 7",
    )?;
    let words = "keeps failing after position 4, 7 times so far: no pool";
    look(
        ProcessorState::Repeating,
        FindingKind::ProcessorRepeats,
        words,
    )?;

    // It has got on since, and messages wait for a moment only.
    rows.change("carts", "updated_at = clock_timestamp()")?;
    assert_healthy(&store);

    let long_ago = "clock_timestamp() - INTERVAL '5 minutes'";
    rows.change(
        "carts",
        &format!("updated_at = {long_ago}, survived_at = {long_ago} - INTERVAL '1 s'"),
    )?;
    assert_healthy(&store);
    rows.change("carts", &format!("taken_at = {long_ago}"))?;
    assert_healthy(&store);
    database
        .client()?
        .batch_execute(&format!("UPDATE emt_messages SET created = {long_ago}"))?;
    let words = "stands still at position 4; its lag is 2 messages";
    look(
        ProcessorState::StandingStill,
        FindingKind::ProcessorStandsStill,
        words,
    )?;

    Ok(())
}

#[test]
fn an_expired_lease_a_failed_processor_and_parked_messages_are_found() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut rows = Rows::of(&database)?;
    rows.register("carts", 2, 4)?;
    rows.take("carts", "host-1/4711", 600)?;
    assert_healthy(&store);

    rows.expire("carts")?;
    let expired = only(&store)?;
    assert_eq!(
        (expired.kind, expired.severity),
        (FindingKind::LeaseExpired, Severity::Warning)
    );
    assert!(
        expired.problem.contains("\"carts\" (version 1): \"host-1/4711\" has not renewed its lease, and no other worker has taken over 2 of 2 slots"),
        "{expired:?}"
    );
    rows.take("carts", "host-2/1", 600)?;
    assert_healthy(&store);

    rows.change("carts", "status = 'failed', last_error = 'no such product'")?;
    let failed = only(&store)?;
    assert_eq!(
        (failed.kind, failed.severity),
        (FindingKind::ProcessorFailed, Severity::Serious)
    );
    assert!(
        failed
            .problem
            .ends_with("has failed at position 4: no such product"),
        "{failed:?}"
    );
    store.processors().reset("carts", 4)?;
    assert_healthy(&store);

    rows.park("carts", 1, Some("x"))?;
    rows.park("carts", 3, None)?;
    let parked = only(&store)?;
    assert_eq!(
        (parked.kind, parked.severity),
        (FindingKind::ParkedMessages, Severity::Warning)
    );
    let words =
        "has parked 1 message that it could not handle, and 1 later message of the same streams.";
    assert!(parked.problem.ends_with(words), "{parked:?}");
    store.processors().reset("carts", 4)?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_processor_beyond_the_sequence_is_found() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut rows = Rows::of(&database)?;
    rows.register("carts", 1, 9)?;

    let ahead = only(&store)?;

    assert_eq!(
        (ahead.kind, ahead.severity),
        (FindingKind::ProcessorAhead, Severity::Serious)
    );
    assert!(
        ahead
            .problem
            .contains("is at position 9, but the last drawn position is 6"),
        "{ahead:?}"
    );
    store.processors().reset("carts", 6)?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn a_stale_projection_is_found_until_it_is_rebuilt() -> anyhow::Result<()> {
    let (database, _) = shop()?;
    let counts =
        DocumentProjection::single_stream("counts", |_: Option<Value>, _: &Recorded<RawEvent>| {
            Some(json!({}))
        });
    let store = EventStore::builder(database.url())
        .inline_projection(counts)
        .open()?;
    assert_healthy(&store);
    database
        .client()?
        .batch_execute("UPDATE emt_projections SET status = 'stale'")?;

    let stale = only(&store)?;

    assert_eq!(
        (stale.kind, stale.severity),
        (FindingKind::StaleProjection, Severity::Serious)
    );
    assert!(
        stale.problem.contains("\"counts\" (version 1)"),
        "{stale:?}"
    );
    store.rebuild("counts").run()?;
    assert_healthy(&store);
    Ok(())
}

#[test]
fn the_worst_comes_first() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    let mut client = database.client()?;
    client.batch_execute(
        "CREATE INDEX idx_streams_unique ON emt_streams (stream_position);
         ALTER SEQUENCE emt_global_message_position CACHE 2",
    )?;
    client.batch_execute("BEGIN")?;
    client.query(APPEND, &[])?;

    let report = store.doctor()?;

    let severities: Vec<Severity> = report.findings.iter().map(|one| one.severity).collect();
    assert_eq!(
        severities,
        [Severity::Serious, Severity::Warning, Severity::Note]
    );
    Ok(())
}

#[test]
fn a_feed_without_holes_is_proved_over_many_pages() -> anyhow::Result<()> {
    let (_database, store) = shop()?;
    for stream in 0..5 {
        let events: Vec<_> = (0..500).map(|number| added("shoes", number)).collect();
        store.append_to_stream(&format!("Cart-{stream}"), &events)?;
    }
    store.archive_stream("Cart-1")?;
    let mut open = store.begin()?;
    open.append_to_stream("Cart-9", &[added("shoes", 1)])?;
    open.rollback()?;
    store.append_to_stream("Cart-2", &[added("shoes", 1)])?;

    let proof = store.prove_feed(1, 2_508)?;
    assert!(proof.holds(), "{proof:?}");
    assert_eq!(
        (proof.messages, proof.streams, proof.violation_count),
        (2_507, 5, 0)
    );
    let part = store.prove_feed(4, 1_500)?;
    assert!(part.holds(), "{part:?}");
    assert_eq!((part.from, part.to, part.messages), (4, 1_500, 1_497));
    assert!(store.prove_feed(0, 2_508)?.holds());
    Ok(())
}

#[test]
fn what_is_not_readable_yet_cannot_be_proved() -> anyhow::Result<()> {
    let (_database, store) = shop()?;
    let mut open = store.begin()?;
    open.append_to_stream("Cart-9", &[added("shoes", 1)])?;

    let refused = store.prove_feed(1, 7);

    let error = refused.expect_err("7 is open").to_string();
    assert_eq!(
        error,
        "position 7: is beyond 6, the end of the readable feed: retry when open appends have ended"
    );
    assert!(store.prove_feed(1, 6)?.holds());
    open.rollback()?;
    assert!(store.prove_feed(1, 7)?.holds());
    Ok(())
}

#[test]
fn a_missing_message_a_repeated_position_and_a_wrong_order_break_the_proof() -> anyhow::Result<()> {
    for (break_it, expected) in [
        (
            "DELETE FROM emt_messages WHERE global_position = 3",
            "Stream \"Cart-0\" goes from version 1 to 3 at position 5: events are missing.",
        ),
        (
            "DELETE FROM emt_messages WHERE global_position = 1",
            "Stream \"Cart-0\" goes from version 0 to 2 at position 3: events are missing.",
        ),
        (
            "UPDATE emt_messages SET global_position = CASE global_position WHEN 3 THEN 105 ELSE 103 END
              WHERE global_position IN (3, 5);
             UPDATE emt_messages SET global_position = global_position - 100 WHERE global_position > 100",
            "Stream \"Cart-0\" goes from version 3 back to 2 at position 5.",
        ),
        (
            "INSERT INTO emt_messages (stream_position, global_position, stream_id, message_schema_version, message_id,
                                       message_type, message_data, message_metadata, is_archived)
             VALUES (1, 4, 'Cart-5', '1', 'x', 'Opened', '{}', '{}', TRUE)",
            "Position 4 is used more than once: also in stream",
        ),
    ] {
        let (database, store) = shop()?;
        database.client()?.batch_execute(break_it)?;

        let proof = store.prove_feed(1, 6)?;

        assert!(!proof.holds(), "{break_it}");
        assert!(
            proof.violations.iter().any(|text| text.starts_with(expected)),
            "{expected}: {proof:?}"
        );
        assert_eq!(proof.violation_count, proof.violations.len() as u64);
    }
    Ok(())
}

#[test]
fn a_repeated_position_at_the_end_of_a_page_breaks_the_proof() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let events: Vec<_> = (0..1_500).map(|number| added("shoes", number)).collect();
    store.append_to_stream("Cart-1", &events)?;
    database.client()?.batch_execute(
        "INSERT INTO emt_messages (stream_position, global_position, stream_id, message_schema_version, message_id,
                                   message_type, message_data, message_metadata, is_archived)
         VALUES (1, 1000, 'Cart-5', '1', 'x', 'Opened', '{}', '{}', TRUE)",
    )?;

    let proof = store.prove_feed(1, 1_500)?;

    assert_eq!(
        (proof.messages, proof.violation_count),
        (1_501, 2),
        "{:?}",
        proof.violations
    );
    assert!(proof.violations[0].starts_with("Position 1000 is used more than once"));
    assert_eq!(
        proof.violations[1],
        "Stream \"Cart-5\" has messages up to version 1 and no row in emt_streams."
    );
    Ok(())
}

#[test]
fn a_processor_is_proved_up_to_where_it_is() -> anyhow::Result<()> {
    let (database, store) = shop()?;
    Rows::of(&database)?.register("carts", 2, 4)?;

    let proof = store.prove_processor("carts")?;

    assert_eq!(
        (proof.from, proof.to, proof.messages, proof.holds()),
        (1, 4, 4, true)
    );
    let unknown = store.prove_processor("cart");
    assert!(matches!(
        unknown,
        Err(Error::Processor(ProcessorError::Unknown { .. }))
    ));
    Ok(())
}

#[test]
fn a_last_message_that_is_missing_is_found_by_the_doctor_and_breaks_the_proof() -> anyhow::Result<()>
{
    for (break_it, from, expected) in [
        (
            "DELETE FROM emt_messages WHERE stream_id = 'Cart-0' AND stream_position = 3",
            1,
            "Stream \"Cart-0\" is at version 3, its last message at 2: events are missing.",
        ),
        (
            "DELETE FROM emt_messages WHERE stream_id = 'Cart-0' AND stream_position = 3",
            3,
            "Stream \"Cart-0\" is at version 3, its last message at 2: events are missing.",
        ),
        (
            "DELETE FROM emt_messages WHERE stream_id = 'Cart-0'",
            1,
            "Stream \"Cart-0\" is at version 3 and has no messages: events are missing.",
        ),
        (
            "SELECT emt_stream_move('Cart-0', 'emt:default', TRUE);
             DELETE FROM emt_messages WHERE stream_id = 'Cart-0' AND stream_position = 3",
            1,
            "Stream \"Cart-0\" is at version 3, its last message at 2: events are missing.",
        ),
        (
            "UPDATE emt_streams SET stream_position = 2 WHERE stream_id = 'Cart-0'",
            1,
            "Stream \"Cart-0\" is at version 2, its last message at 3: its row is out of date.",
        ),
    ] {
        let (database, store) = shop()?;
        assert!(store.prove_feed(from, 6)?.holds());
        database.client()?.batch_execute(break_it)?;

        let proof = store.prove_feed(from, 6)?;
        let finding = only(&store)?;

        assert_eq!(proof.violations, [expected], "{break_it}");
        assert_eq!(
            (finding.kind, finding.severity, finding.problem.as_str()),
            (FindingKind::UnevenStream, Severity::Serious, expected)
        );
    }
    Ok(())
}

#[test]
fn a_part_is_proved_up_to_the_head_and_has_to_begin_before_it_ends() -> anyhow::Result<()> {
    let (_database, store) = shop()?;

    let cut = store.prove_feed(0, 200)?;
    assert_eq!((cut.from, cut.to, cut.asked_to), (1, 6, 200));
    assert_eq!((cut.messages, cut.holds()), (6, true));
    assert_eq!(store.tenants().add("empty").map(|_| ())?, ());
    let empty = store.tenant("empty")?.prove_feed(1, 0)?;
    assert_eq!((empty.messages, empty.holds()), (0, true));

    for ((from, to), expected) in [
        ((3, 1), "positions 3 to 1: the part ends before it begins"),
        ((7, 6), "positions 7 to 6: the part ends before it begins"),
        ((2, 0), "positions 2 to 0: the part ends before it begins"),
        ((9, 200), "position 9: is beyond 6, the last drawn position"),
    ] {
        let refused = store.prove_feed(from, to).expect_err("no part of the feed");
        assert_eq!(refused.to_string(), expected);
    }
    Ok(())
}
