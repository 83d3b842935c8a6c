//! One consumer for all tenants.

use super::fixtures::{counted, counts};
use crate::support::{added, quiet, store, wait_until};
use emmett_postgresql::{
    EventStore, FailurePolicy, Projector, RawEvent, Reactor, Recorded,
    consumer::{StartFrom, TenantsConsumer},
    operations::{ParkedOptions, ParkedSelection},
    rebuild::RequestedRebuild,
};
use postgres::{Client, GenericClient};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(400);
/// No test waits for it.
const NEVER: Duration = Duration::from_secs(3_600);

fn tenants(store: &EventStore, names: &[&str]) -> anyhow::Result<Vec<EventStore>> {
    names
        .iter()
        .map(|name| {
            store.tenants().add(name)?;
            Ok(store.tenant(name)?)
        })
        .collect()
}

/// A consumer that keeps the counts of all tenants, and looks often.
fn counting(store: &EventStore) -> anyhow::Result<TenantsConsumer> {
    Ok(store
        .consumer()
        .projector(counts("counts"))
        .poll_interval(Duration::from_millis(20))
        .lease(LEASE)
        .for_all_tenants()
        .start()?)
}

/// Waits until the consumer has looked at all feeds so often.
fn wait_for_looks(client: &mut Client, times: usize) {
    let last_look = "SELECT max(query_start)::TEXT FROM pg_stat_activity
                      WHERE datname = current_database() AND query LIKE '%emt_feed_news%' AND pid <> pg_backend_pid()";
    let mut seen = HashSet::<Option<String>>::new();
    wait_until("the consumer looks", || {
        let look = client.query_one(last_look, &[]).map(|row| row.get(0));
        seen.extend(look.ok());
        seen.len() > times
    });
}

fn append(tenant: &EventStore, stream: &str) -> anyhow::Result<u64> {
    let appended = tenant.append_to_stream(stream, &[added("hat", 1)])?;
    Ok(appended.last_global_position)
}

/// An append that tells no consumer.
fn append_untold(
    client: &mut impl GenericClient,
    tenant: &str,
    stream: &str,
) -> anyhow::Result<()> {
    let data = serde_json::json!({ "productId": "hat", "quantity": 1, "price": 1.0 });
    let type_name = "ProductItemAdded";
    client.query(
        "SELECT emt_append_to_stream(ARRAY[gen_random_uuid()::text], ARRAY[$1::jsonb], ARRAY['{}'::jsonb], ARRAY['1'],
                ARRAY[$2], ARRAY['E'], $3, 'Cart', NULL, $4)",
        &[&data, &type_name, &stream, &tenant],
    )?;
    Ok(())
}

#[test]
fn each_tenant_gets_its_read_model_and_the_handler_learns_the_tenant() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt", "core"])?;
    append(&all[0], "Cart-1")?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let calls = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let counter = Arc::clone(&calls);
    let reactor = Reactor::new("hears").each(move |_: &Recorded<RawEvent>, context| {
        let tenant = context.partition().to_owned();
        *counter.lock().expect("a lock").entry(tenant).or_default() += 1;
        Ok(())
    });
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .reactor(reactor)
        .lease(LEASE)
        .for_all_tenants()
        .threads(2)
        .start()?;
    for (number, tenant) in all.iter().enumerate() {
        for _ in 0..=number {
            append(tenant, "Cart-1")?;
        }
    }

    for (tenant, events) in all.iter().zip([2, 2, 3]) {
        let head = tenant.feed_horizon(0)?.head;
        tenant.wait_for("counts", head, LONG)?;
        tenant.wait_for("hears", head, LONG)?;
        let document = counted(tenant, "counts", "Cart-1")?.expect("a document");
        assert_eq!(document.events, events);
    }
    assert_eq!(consumer.handled("core", "counts"), 3);
    assert_eq!(consumer.handled("nobody", "counts"), 0);
    consumer.stop()?;
    let calls = calls.lock().expect("a lock").clone();
    let expected = [("acme", 2), ("bolt", 2), ("core", 3)];
    assert_eq!(
        calls,
        expected
            .map(|(name, events)| (name.to_owned(), events))
            .into()
    );
    // The default partition is no tenant.
    assert!(store.processors().list()?.is_empty());
    Ok(())
}

#[test]
fn a_tenant_that_is_added_later_is_served_from_its_first_event_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let acme = tenants(&store, &["acme"])?.remove(0);
    append(&acme, "Cart-1")?;
    let consumer = store
        .consumer()
        .projector(Projector::new(counts("counts")).start_from(StartFrom::End))
        .poll_interval(Duration::from_millis(20))
        .for_all_tenants()
        .start()?;

    let bolt = tenants(&store, &["bolt"])?.remove(0);
    let position = append(&bolt, "Cart-1")?;
    wait_until("the tenant is served", || {
        bolt.wait_for("counts", position, LONG).is_ok()
    });
    assert_eq!(
        counted(&bolt, "counts", "Cart-1")?
            .expect("a document")
            .events,
        1
    );
    assert_eq!(
        counted(&acme, "counts", "Cart-1")?,
        None,
        "it was there at the start"
    );
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_tenant_that_is_removed_and_added_again_begins_anew() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let acme = tenants(&store, &["acme"])?.remove(0);
    let consumer = counting(&store)?;
    for _ in 0..3 {
        let position = append(&acme, "Cart-1")?;
        acme.wait_for("counts", position, LONG)?;
        store.tenants().remove("acme")?.with_all_data()?;
        store.tenants().add("acme")?;
    }
    let position = append(&acme, "Cart-1")?;
    acme.wait_for("counts", position, LONG)?;
    assert_eq!(
        counted(&acme, "counts", "Cart-1")?
            .expect("a document")
            .events,
        1
    );
    assert_eq!(consumer.failure("acme"), None);
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_append_that_tells_nobody_is_found_by_the_next_look() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let acme = tenants(&store, &["acme", "bolt"])?.remove(0);
    let consumer = counting(&store)?;
    let mut client = database.client()?;
    for events in 1..=3 {
        append_untold(&mut client, "acme", "Cart-1")?;
        wait_until("the event is handled", || {
            consumer.handled("acme", "counts") == events
        });
    }
    assert_eq!(
        counted(&acme, "counts", "Cart-1")?
            .expect("a document")
            .events,
        3
    );
    assert_eq!(consumer.handled("bolt", "counts"), 0);
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_append_that_is_open_for_long_is_not_skipped() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt"])?;
    let consumer = counting(&store)?;
    let mut client = database.client()?;
    let mut open = client.transaction()?;
    open.batch_execute("SELECT emt_fence(NULL), nextval('emt_global_message_position')")?;
    append_untold(&mut open, "acme", "Cart-1")?;
    let position = append(&all[0], "Cart-2")?;
    append(&all[1], "Cart-1")?;
    // A look that took the feeds for quiet would be the last one.
    wait_for_looks(&mut database.client()?, 3);
    assert!(all[0].feed_horizon(0)?.position < position);
    assert_eq!(consumer.handled("acme", "counts"), 0);
    open.commit()?;

    wait_until("all are handled", || {
        consumer.handled("acme", "counts") == 2 && consumer.handled("bolt", "counts") == 1
    });
    assert_eq!(
        counted(&all[0], "counts", "Cart-1")?
            .expect("a document")
            .events,
        1
    );
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_locked_tenant_does_not_hold_up_the_others() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt"])?;
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .poll_interval(Duration::from_millis(20))
        .for_all_tenants()
        .threads(2)
        .start()?;
    let first = append(&all[0], "Cart-1")?;
    all[0].wait_for("counts", first, LONG)?;
    let mut client = database.client()?;
    append_untold(&mut client, "acme", "Cart-1")?;
    let mut locked = client.transaction()?;
    locked.batch_execute("LOCK TABLE emt_messages_acme_active IN ACCESS EXCLUSIVE MODE")?;
    for _ in 0..20 {
        let position = append(&all[1], "Cart-1")?;
        all[1].wait_for("counts", position, LONG)?;
    }
    locked.rollback()?;

    wait_until("the locked one goes on by itself", || {
        consumer.handled("acme", "counts") == 2
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_handler_that_fails_stops_in_its_tenant_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt"])?;
    let reactor = Reactor::new("picky").each(|_: &Recorded<RawEvent>, context| {
        anyhow::ensure!(context.partition() != "acme", "not for acme");
        Ok(())
    });
    let consumer = store
        .consumer()
        .reactor(reactor)
        .for_all_tenants()
        .start()?;
    append(&all[0], "Cart-1")?;
    wait_until("it has failed", || consumer.failure("acme").is_some());
    let position = append(&all[1], "Cart-1")?;
    all[1].wait_for("picky", position, LONG)?;

    assert_eq!(consumer.failure("bolt"), None);
    let failed = all[0].processors().list()?.remove(0);
    assert!(
        failed
            .last_error
            .is_some_and(|error| error.contains("not for acme"))
    );
    let error = consumer
        .stop()
        .expect_err("a processor has failed")
        .to_string();
    assert!(
        error.contains("picky") && error.contains("\"acme\""),
        "{error}"
    );
    Ok(())
}

#[test]
fn what_an_operator_asks_for_is_carried_out_in_each_tenant() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt"])?;
    let is_broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&is_broken);
    let reactor = Reactor::new("parks")
        .each(move |_: &Recorded<RawEvent>, _| {
            anyhow::ensure!(!breaks.load(Ordering::SeqCst), "broken");
            Ok(())
        })
        .on_failure(FailurePolicy::park());
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .reactor(reactor)
        .lease(LEASE)
        .for_all_tenants()
        .start()?;
    for tenant in &all {
        append(tenant, "Cart-1")?;
        wait_until("it is parked", || {
            let parked = tenant
                .processors()
                .parked("parks", ParkedOptions::default());
            parked.is_ok_and(|parked| parked.len() == 1)
        });
        assert!(tenant.rebuild("counts").request()?);
    }
    is_broken.store(false, Ordering::SeqCst);
    for tenant in &all {
        tenant.processors().replay("parks", &ParkedSelection::All)?;
    }
    for (tenant, name) in all.iter().zip(["acme", "bolt"]) {
        wait_until("it is replayed and rebuilt", || {
            let parked = tenant
                .processors()
                .parked("parks", ParkedOptions::default());
            let rebuilt = tenant.requested_rebuild("counts");
            parked.is_ok_and(|parked| parked.is_empty())
                && rebuilt.is_ok_and(|rebuilt| rebuilt == RequestedRebuild::Done)
        });
        assert_eq!(consumer.failure(name), None);
    }
    consumer.stop()?;
    Ok(())
}

#[test]
fn it_takes_turns_with_a_consumer_of_one_tenant() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let acme = tenants(&store, &["acme"])?.remove(0);
    let single = acme
        .consumer()
        .projector(counts("counts"))
        .lease(LEASE)
        .start()?;
    let position = append(&acme, "Cart-1")?;
    acme.wait_for("counts", position, LONG)?;
    let all = store
        .consumer()
        .projector(counts("counts"))
        .lease(LEASE)
        .for_all_tenants()
        .start()?;
    assert_eq!(all.handled("acme", "counts"), 0);
    single.stop()?;
    let position = append(&acme, "Cart-1")?;
    acme.wait_for("counts", position, LONG)?;
    assert_eq!(
        all.handled("acme", "counts"),
        1,
        "the first one's event is not handled again"
    );
    assert_eq!(
        counted(&acme, "counts", "Cart-1")?
            .expect("a document")
            .events,
        2
    );
    all.stop()?;
    Ok(())
}

#[test]
fn many_tenants_under_load_get_every_event_once_by_few_threads() -> anyhow::Result<()> {
    const TENANTS: usize = 40;
    let (database, store) = store()?;
    let names: Vec<String> = (0..TENANTS)
        .map(|number| format!("tenant{number}"))
        .collect();
    let all = tenants(
        &store,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    let (running, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (runs, peak) = (Arc::clone(&running), Arc::clone(&most));
    let reactor = Reactor::new("peak").each(move |_: &Recorded<RawEvent>, _| {
        peak.fetch_max(runs.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        runs.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .reactor(reactor)
        .for_all_tenants()
        .threads(3)
        .start()?;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let all = &all;
            scope.spawn(move || {
                for round in 0..5 {
                    for tenant in all {
                        append(tenant, &format!("Cart-{writer}-{round}")).expect("an append");
                    }
                }
            });
        }
    });
    let head = store.feed_horizon(0)?.head;
    for (tenant, name) in all.iter().zip(&names) {
        tenant.wait_for("counts", head, LONG)?;
        tenant.wait_for("peak", head, LONG)?;
        assert_eq!(consumer.handled(name, "counts"), 20, "{name}");
        let documents = tenant
            .collection::<serde_json::Value>("counts")
            .count_documents(serde_json::json!({}))?;
        assert_eq!(documents, 20, "{name}");
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    let mut client = database.client()?;
    let connections: i64 = client
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            &[],
        )?
        .get(0);
    // The pool, and one each to listen, to notify, to renew and to look.
    assert!(connections <= 14, "{connections} connections");
    consumer.stop()?;
    let still_held: i64 = client
        .query_one(
            "SELECT count(*) FROM emt_processor_slots WHERE owner IS NOT NULL",
            &[],
        )?
        .get(0);
    assert_eq!(still_held, 0, "all leases are given back");
    Ok(())
}

#[test]
fn while_nothing_is_appended_no_table_of_a_tenant_is_looked_at() -> anyhow::Result<()> {
    let (database, store) = store()?;
    tenants(&store, &["acme", "bolt"])?;
    let mut client = database.client()?;
    client.batch_execute("SET statement_timeout = '10s'")?;
    let news = "SELECT change, partition FROM emt_feed_news(
                    ARRAY['acme', 'bolt'],
                    (SELECT array_agg(created_at ORDER BY partition) FROM emt_partitions WHERE partition <> 'emt:default'),
                    ARRAY[0, 0], $1) WHERE change <> 'head'";
    let mut changes = |quiet_at: Option<i64>| -> anyhow::Result<Vec<(String, String)>> {
        let rows = client.query(news, &[&quiet_at])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    let head = i64::try_from(append(&store.tenant("acme")?, "Cart-1")?)?;
    assert_eq!(changes(None)?, [("readable".to_owned(), "acme".to_owned())]);

    let mut other = database.client()?;
    let mut locked = other.transaction()?;
    locked.batch_execute("LOCK TABLE emt_messages_bolt_active IN ACCESS EXCLUSIVE MODE")?;
    assert_eq!(changes(Some(head))?, []);
    // A look that has to read does not wait for the lock.
    assert_eq!(changes(Some(head - 1))?.len(), 2);
    Ok(())
}

#[test]
fn a_registration_that_fails_later_is_told_and_tried_again() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    tenants(&store, &["acme"])?;
    let is_broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&is_broken);
    let told = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&told);
    let projection = super::fixtures::journal("journal").init(move |context| {
        anyhow::ensure!(!breaks.load(Ordering::SeqCst), "no table today");
        context.batch_execute(
            "CREATE TABLE IF NOT EXISTS journal (number BIGINT GENERATED ALWAYS AS IDENTITY, position BIGINT, stream TEXT)",
        )?;
        Ok(())
    });
    let projector =
        Projector::new(projection).on_error(move |_| tells.store(true, Ordering::SeqCst));
    let consumer = store
        .consumer()
        .projector(projector)
        .poll_interval(Duration::from_millis(20))
        .for_all_tenants()
        .start()?;
    is_broken.store(true, Ordering::SeqCst);
    let bolt = tenants(&store, &["bolt"])?.remove(0);
    wait_until("the failure is told", || consumer.failure("bolt").is_some());
    let failure = consumer.failure("bolt").unwrap_or_default();
    assert!(failure.contains("no table today"), "{failure}");
    assert!(told.load(Ordering::SeqCst));
    is_broken.store(false, Ordering::SeqCst);
    append(&bolt, "Cart-1")?;
    wait_until("it is served", || consumer.handled("bolt", "journal") == 1);
    assert_eq!(consumer.failure("bolt"), None);
    consumer.stop()?;
    Ok(())
}

#[test]
fn what_makes_no_sense_for_all_tenants_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let several = store
        .consumer()
        .projector(Projector::new(counts("counts")).workers(2));
    let error = several
        .for_all_tenants()
        .start()
        .expect_err("one worker each");
    assert!(
        error.to_string().contains("threads of the consumer"),
        "{error}"
    );
    let none = store
        .consumer()
        .projector(counts("counts"))
        .for_all_tenants();
    let error = none.threads(0).start().expect_err("no threads");
    assert!(error.to_string().contains("at least 1"), "{error}");
    let empty = store.consumer().for_all_tenants().start();
    assert!(
        empty
            .expect_err("no processors")
            .to_string()
            .contains("has no processors")
    );
    Ok(())
}

#[test]
fn a_store_without_notifications_serves_appends_of_its_own_process_at_once() -> anyhow::Result<()> {
    let database = crate::support::database();
    let store = quiet(database.url()).open()?;
    let acme = tenants(&store, &["acme"])?.remove(0);
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .poll_interval(NEVER)
        .for_all_tenants()
        .start()?;
    let position = append(&acme, "Cart-1")?;
    acme.wait_for("counts", position, LONG)?;
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_idle_tenant_has_reached_the_positions_of_others() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let all = tenants(&store, &["acme", "bolt"])?;
    let consumer = store
        .consumer()
        .projector(counts("counts"))
        .poll_interval(NEVER)
        .for_all_tenants()
        .start()?;
    let own = append(&all[0], "Cart-1")?;
    all[0].wait_for("counts", own, LONG)?;
    let of_other = append(&all[1], "Cart-1")?;
    all[0].wait_for("counts", of_other, LONG)?;
    let error = all[0].wait_for("counts", of_other + 1, Duration::from_millis(200));
    assert!(error.is_err(), "nobody has drawn that position");
    consumer.stop()?;
    Ok(())
}
