//! What the hot statements cost the server: indexes, and locks that do not grow with the number of tenants.

use crate::support::{added, store, wait_until};
use emmett_postgresql::{EventStore, FeedOptions, RawEvent, ReadOptions};
use std::collections::BTreeMap;

const EVENTS: i64 = 100_000;

/// 100,000 events in 10,000 streams, a tenth of them archived.
fn fill(client: &mut postgres::Client) -> anyhow::Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata, is_archived)
         SELECT 'Cart-' || n, 10, 'Cart', '{{}}', n % 10 = 9 FROM generate_series(0, {EVENTS} / 10 - 1) AS n;
         INSERT INTO emt_messages (stream_id, stream_position, message_schema_version, message_id, message_type,
                                   message_data, message_metadata, is_archived)
         SELECT 'Cart-' || n % ({EVENTS} / 10), n / ({EVENTS} / 10) + 1, '1', 'id-' || n, 'ProductItemAdded',
                '{{\"productId\": \"x\", \"quantity\": 1, \"price\": 1}}', '{{}}', n % 10 = 9
           FROM generate_series(0, {EVENTS} - 1) AS n;
         UPDATE emt_partitions SET has_archived = TRUE;
         ANALYZE emt_streams; ANALYZE emt_messages;"
    ))?;
    Ok(())
}

/// The statements that the library has prepared for what a session does, with plans that know no values.
fn generic_plans(store: &EventStore) -> anyhow::Result<BTreeMap<String, String>> {
    let plans = store.with_session(|session| {
        session.append_to_stream("Cart-77", &[added("a", 1)])?;
        for options in [ReadOptions::new(), ReadOptions::new().backwards(), ReadOptions::new().include_archived()] {
            session.read_stream_with::<RawEvent>("Cart-77", options.max_count(5))?;
        }
        session.stream_exists("Cart-77")?;
        let statements = session.query("SELECT name, statement FROM pg_prepared_statements WHERE statement LIKE '%_emt_default%' AND statement NOT LIKE '%pg_prepared%'", &[])?;
        session.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan")?;
        let mut plans = BTreeMap::new();
        for row in &statements {
            let (name, statement): (&str, String) = (row.get(0), row.get(1));
            let count = (1..=4).rev().find(|number| statement.contains(&format!("${number}"))).unwrap_or(0);
            let values = ["'Cart-77'", "1", "9", "NULL"][..count].join(", ");
            let lines = session.query(&format!("EXPLAIN EXECUTE {name}({values})"), &[])?;
            let plan: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
            plans.insert(statement, plan.join("\n"));
        }
        Ok(plans)
    })?;
    Ok(plans)
}

#[test]
fn reads_of_a_stream_use_its_index() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&mut database.client()?)?;

    let plans = generic_plans(&store)?;

    assert_eq!(plans.len(), 4, "{:?}", plans.keys());
    for (statement, plan) in plans {
        // A stream is on one side of the archive, so only reads of both sides may have to merge them.
        let both_sides = statement.contains("\"emt_streams_emt_default\"");
        let in_order = both_sides || !plan.contains("Sort");
        assert!(
            plan.contains("Index Scan") && !plan.contains("Seq Scan") && in_order,
            "{statement}
{plan}"
        );
    }
    Ok(())
}

/// Statements inside functions, too: the server counts what it reads.
#[test]
fn appends_and_the_feed_use_indexes() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    fill(&mut client)?;

    for number in 0..20 {
        store.append_to_stream(&format!("Cart-{}", 10 * number), &[added("a", 1)])?;
        store.append_to_stream(&format!("New-{number}"), &[added("a", 1), added("b", 1)])?;
    }
    for after in [0, 500, 50_000, 99_000] {
        let page = FeedOptions::new().after(after).batch_size(100);
        assert_eq!(store.read_all::<RawEvent>(page).take(100).count(), 100);
    }
    // Connections report what they did when they end.
    drop(store);
    wait_until("the connections have ended", || {
        connections(&mut client).is_ok_and(|count| count == 0)
    });
    let reads = client.query_one(
        "SELECT sum(seq_tup_read)::BIGINT, sum(idx_scan)::BIGINT FROM pg_stat_user_tables
          WHERE relname IN ('emt_streams_emt_default_active', 'emt_messages_emt_default_active')",
        &[],
    )?;

    let (by_sequence, index_scans): (i64, i64) = (reads.get(0), reads.get(1));
    assert_eq!(by_sequence, 0, "no row is read by a sequential scan");
    assert!(index_scans >= 24, "{index_scans}");
    Ok(())
}

fn connections(client: &mut postgres::Client) -> anyhow::Result<i64> {
    let row = client.query_one(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'",
        &[],
    )?;
    Ok(row.get(0))
}

#[test]
fn a_page_of_the_feed_comes_in_order_from_its_index() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&mut database.client()?)?;

    let plan = generic_plan_of_the_feed(&store, &mut database.client()?)?;

    let in_order =
        plan.contains("Index Scan") && !plan.contains("Seq Scan") && !plan.contains("->  Sort");
    assert!(in_order, "{plan}");
    Ok(())
}

/// The feed's statement as the server saw it, planned without values.
fn generic_plan_of_the_feed(
    store: &EventStore,
    client: &mut postgres::Client,
) -> anyhow::Result<String> {
    assert!(
        store
            .read_all::<RawEvent>(FeedOptions::new().batch_size(10))
            .next()
            .is_some()
    );
    let activity = client.query_one(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%global_position > $1%'
            AND pid <> pg_backend_pid()",
        &[],
    )?;
    let statement: String = activity.get(0);
    client.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    client.batch_execute(&format!(
        "PREPARE page (BIGINT, BIGINT, BIGINT) AS {statement}"
    ))?;
    let lines = client.query("EXPLAIN EXECUTE page(0, 100000, 1000)", &[])?;
    Ok(lines
        .iter()
        .map(|line| line.get::<_, String>(0))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The locks that one transaction holds after each of the hot statements, warm enough for generic plans.
fn locks(store: &EventStore) -> anyhow::Result<i64> {
    for _ in 0..10 {
        store.append_to_stream("Cart-1", &[added("a", 1)])?;
        store.read_stream::<RawEvent>("Cart-1")?;
        assert!(store.read_all::<RawEvent>(FeedOptions::new()).count() > 0);
    }
    let locks = store.with_session(|session| {
        for _ in 0..10 {
            session.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
            session.append_to_stream("Cart-2", &[added("a", 1)])?;
            session.read_stream::<RawEvent>("Cart-1")?;
            session.stream_exists("Cart-1")?;
        }
        let rows = session.query(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'",
            &[],
        )?;
        Ok(rows[0].get(0))
    })?;
    Ok(locks)
}

#[test]
fn five_hundred_tenants_cost_no_more_locks_than_two() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    store.tenants().add("globex")?;

    let with_two = locks(&store.tenant("acme")?)?;
    database.client()?.batch_execute(
        "DO $$ BEGIN FOR n IN 3..500 LOOP PERFORM emt_create_partition('tenant_' || n); COMMIT; END LOOP; END $$",
    )?;
    let fresh = EventStore::open(database.url())?;
    let with_many = locks(&fresh.tenant("acme")?)?;

    assert_eq!(fresh.tenants().list()?.len(), 500);
    assert!(
        with_many <= with_two,
        "{with_many} locks with 500 tenants, {with_two} with 2"
    );
    assert!(with_two < 40, "{with_two}");
    Ok(())
}
