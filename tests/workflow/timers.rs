use super::child;
use super::fixtures::{
    LONG, PROCESSOR, checkout, pay, place, recorded, run, stream, types, waiting,
};
use crate::support::{store, wait_until};
use emmett_postgresql::EventStore;
use emmett_postgresql::operations::FindingKind;
use emmett_postgresql::testing::Database;
use emmett_postgresql::workflow::TimerOptions;
use serde_json::json;
use std::time::Duration;

const HOUR: u64 = 3_600_000;

/// Waits until an order was cancelled.
fn wait_for_cancellation(store: &EventStore, order: &str) {
    wait_until("the order was cancelled", || {
        let types = types(store, &stream(order));
        types.is_ok_and(|types| types.last().is_some_and(|last| last == "Cancelled"))
    });
}

/// Makes all timers due.
fn make_due(database: &Database) -> anyhow::Result<()> {
    let due = "UPDATE emt_timers SET due_at = clock_timestamp() - INTERVAL '1 second'";
    database.client()?.execute(due, &[])?;
    Ok(())
}

#[test]
fn a_timer_fires_once_and_never_early() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let consumer = store.consumer().workflow(checkout()).start()?;
    let delay = Duration::from_millis(700);
    place(&store, "1", 700)?;
    wait_for_cancellation(&store, "1");
    consumer.stop()?;

    assert_eq!(
        types(&store, &stream("1"))?,
        [
            "checkout:Placed",
            "Reserve",
            "checkout:TimedOut",
            "Cancelled"
        ]
    );
    let messages = recorded(&store, &stream("1"))?;
    let fired = &recorded(&store, "emt:timers:checkout:1")?;
    assert_eq!(fired.len(), 1);
    let set_at = messages[0].recorded_at;
    let waited = fired[0].recorded_at.duration_since(set_at)?;
    assert!(waited >= delay, "by the server's clock, after {waited:?}");
    assert_eq!(
        messages[2].metadata["originalMessageId"],
        fired[0].message_id
    );
    assert_eq!(messages[2].metadata["timer"], "payment");
    let placed = &recorded(&store, "Order-1")?[0];
    assert_eq!(fired[0].causation_id.as_ref(), Some(&placed.message_id));
    assert_eq!(fired[0].metadata["timer"], json!("payment"));
    assert_eq!(waiting(&mut database.client()?), 0);
    Ok(())
}

#[test]
fn a_timer_wakes_a_consumer_of_another_process_that_polls_rarely() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let other = EventStore::open(database.url())?;
    let rarely = Duration::from_secs(3_600);
    let consumer = store
        .consumer()
        .workflow(checkout())
        .poll_interval(rarely)
        .start()?;
    place(&other, "1", 100)?;
    wait_for_cancellation(&store, "1");
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_new_earlier_timer_is_not_kept_waiting_by_a_later_one() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let consumer = store
        .consumer()
        .workflow(checkout())
        .poll_interval(Duration::from_secs(3_600))
        .start()?;
    let late = place(&store, "late", HOUR)?;
    store.wait_for(PROCESSOR, late, LONG)?;
    place(&store, "soon", 50)?;
    wait_for_cancellation(&store, "soon");
    consumer.stop()?;
    assert_eq!(types(&store, &stream("late"))?.len(), 2);
    Ok(())
}

#[test]
fn a_cancelled_timer_never_fires() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    place(&store, "2", HOUR)?;
    pay(&store, "1")?;
    run(&store, checkout())?;
    let mut client = database.client()?;
    assert_eq!(waiting(&mut client), 1, "the payment cancels its deadline");
    assert!(store.cancel_timer("checkout", "2", "payment")?);
    assert!(!store.cancel_timer("checkout", "2", "payment")?);

    make_due(&database)?;
    run(&store, checkout())?;
    assert_eq!(recorded(&store, "emt:timers:checkout:1")?.len(), 0);
    assert_eq!(recorded(&store, "emt:timers:checkout:2")?.len(), 0);
    Ok(())
}

#[test]
fn of_a_timer_and_its_cancellation_exactly_one_wins() -> anyhow::Result<()> {
    const ORDERS: u64 = 150;
    let (_database, store) = store()?;
    for order in 0..ORDERS {
        place(&store, &order.to_string(), 500 + order * 4)?;
    }
    run(&store, checkout())?;
    let consumer = store.consumer().workflow(checkout().workers(2)).start()?;
    let mut cancelled = Vec::new();
    for order in 0..ORDERS {
        // Every third one is left alone, so that the cancellations keep pace with the timers.
        if order % 3 > 0 {
            let name = order.to_string();
            wait_until("the timer is about to fire", || {
                let options = TimerOptions::new().limit(1);
                let next = store.timers(&options).expect("the timers");
                next.first()
                    .is_none_or(|next| next.id.parse::<u64>().expect("a number") + 1 >= order)
            });
            if store.cancel_timer("checkout", &name, "payment")? {
                cancelled.push(order);
            }
        }
    }
    for order in (0..ORDERS).filter(|order| !cancelled.contains(order)) {
        wait_for_cancellation(&store, &order.to_string());
    }
    consumer.stop()?;
    for order in 0..ORDERS {
        let fired = recorded(&store, &format!("emt:timers:checkout:{order}"))?.len();
        let expected = usize::from(!cancelled.contains(&order));
        assert_eq!(fired, expected, "order {order}");
    }
    Ok(())
}

#[test]
fn a_timer_of_the_same_name_replaces_the_earlier_one() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", 1)?;
    place(&store, "1", HOUR)?;
    run(&store, checkout())?;
    run(&store, checkout())?;
    assert_eq!(waiting(&mut database.client()?), 1);
    assert_eq!(recorded(&store, "emt:timers:checkout:1")?.len(), 0);
    Ok(())
}

#[test]
fn a_job_fires_the_timers_that_are_due_when_it_starts() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    place(&store, "2", HOUR)?;
    run(&store, checkout())?;
    let due = "UPDATE emt_timers SET due_at = clock_timestamp() WHERE id = '1'";
    database.client()?.execute(due, &[])?;

    run(&store, checkout())?;

    assert_eq!(
        types(&store, &stream("1"))?.last().expect("a message"),
        "Cancelled"
    );
    assert_eq!(types(&store, &stream("2"))?.len(), 2);
    Ok(())
}

#[test]
fn two_consumers_fire_each_timer_once() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for order in 0..200 {
        place(&store, &order.to_string(), HOUR)?;
    }
    run(&store, checkout())?;
    make_due(&database)?;
    let other = EventStore::open(database.url())?;
    let consumers = [
        store.consumer().workflow(checkout().workers(2)).start()?,
        other.consumer().workflow(checkout().workers(2)).start()?,
    ];
    for order in 0..200 {
        wait_for_cancellation(&store, &order.to_string());
    }
    for consumer in consumers {
        consumer.stop()?;
    }
    for order in 0..200 {
        assert_eq!(
            recorded(&store, &format!("emt:timers:checkout:{order}"))?.len(),
            1
        );
        assert_eq!(types(&store, &stream(&order.to_string()))?.len(), 4);
    }
    Ok(())
}

#[test]
fn a_timer_that_another_transaction_holds_is_left_to_it() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for order in ["held", "free"] {
        place(&store, order, HOUR)?;
    }
    run(&store, checkout())?;
    make_due(&database)?;
    let mut client = database.client()?;
    let mut cancelling = client.transaction()?;
    cancelling.execute("DELETE FROM emt_timers WHERE id = 'held'", &[])?;
    let consumer = store.consumer().workflow(checkout()).start()?;
    wait_for_cancellation(&store, "free");
    cancelling.commit()?;
    let last = pay(&store, "held")?;
    store.wait_for(PROCESSOR, last, LONG)?;
    consumer.stop()?;
    assert_eq!(recorded(&store, "emt:timers:checkout:held")?.len(), 0);
    Ok(())
}

#[test]
fn the_due_time_is_the_servers() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    run(&store, checkout())?;
    let row = database.client()?.query_one(
        "SELECT due_at - set_at BETWEEN INTERVAL '3599 seconds' AND INTERVAL '3600 seconds',
                set_at BETWEEN clock_timestamp() - INTERVAL '1 minute' AND clock_timestamp()
           FROM emt_timers",
        &[],
    )?;
    assert_eq!((row.get(0), row.get(1)), (true, true));
    Ok(())
}

/// Lets a sequence count the calls of a function.
fn count_calls(client: &mut postgres::Client, name: &str, result: &str) -> anyhow::Result<()> {
    client.batch_execute(&format!(
        "CREATE SEQUENCE calls_of_{name};
         DO $$ BEGIN
             EXECUTE format('ALTER FUNCTION %s RENAME TO counted_{name}', 'public.{name}'::REGPROC::OID::REGPROCEDURE);
         END $$;
         CREATE FUNCTION public.{name}(_partition TEXT, _second {second}) RETURNS {result} LANGUAGE sql AS $$
             SELECT nextval('public.calls_of_{name}');
             SELECT public.counted_{name}(_partition, _second);
         $$",
        second = if name == "emt_horizon" { "BIGINT" } else { "TEXT" },
    ))?;
    Ok(())
}

fn calls(client: &mut postgres::Client, name: &str) -> i64 {
    let calls = format!("SELECT coalesce(pg_sequence_last_value('calls_of_{name}'::REGCLASS), 0)");
    client.query_one(&calls, &[]).expect("the sequence").get(0)
}

#[test]
fn an_idle_timer_costs_no_statement() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    count_calls(&mut client, "emt_timer_next", "BIGINT")?;
    count_calls(&mut client, "emt_horizon", "BIGINT[]")?;
    let consumer = store
        .consumer()
        .workflow(checkout())
        .poll_interval(Duration::from_millis(5))
        .start()?;
    let last = place(&store, "1", HOUR)?;
    store.wait_for(PROCESSOR, last, LONG)?;
    let mut seen = (0, 0);
    wait_until("nobody has looked for timers during 50 polls", || {
        let now = (
            calls(&mut client, "emt_timer_next"),
            calls(&mut client, "emt_horizon"),
        );
        if now.0 != seen.0 {
            seen = now;
        }
        now.0 > 0 && now.1 > seen.1 + 50
    });
    let looks = calls(&mut client, "emt_timer_next");
    assert!(looks <= 5, "{looks} looks at the start and after the step");
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_timer_whose_input_cannot_be_appended_is_tried_later_and_others_fire() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for order in ["1", "2"] {
        place(&store, order, HOUR)?;
    }
    run(&store, checkout())?;
    let other = emmett_postgresql::RawEvent::new("Other", json!(null));
    store.append_to_stream("emt:timers:checkout:1", &[other])?;
    store.archive_stream("emt:timers:checkout:1")?;
    make_due(&database)?;
    let (said, errors) = crossbeam_channel::unbounded();
    let processor = || {
        let said = said.clone();
        checkout().on_error(move |error| said.send(error.to_string()).expect("a listener"))
    };

    run(&store, processor())?;

    let error = errors.try_recv()?;
    assert!(error.contains("emt:timers:checkout:1"), "{error}");
    assert_eq!(types(&store, &stream("2"))?.len(), 4);
    assert_eq!(waiting(&mut database.client()?), 1);
    store.unarchive_stream("emt:timers:checkout:1")?;
    make_due(&database)?;
    run(&store, processor())?;
    assert_eq!(recorded(&store, "emt:timers:checkout:1")?.len(), 2);
    assert_eq!(waiting(&mut database.client()?), 0);
    Ok(())
}

#[test]
fn a_removed_tenant_has_no_timers() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for tenant in ["acme", "other"] {
        store.tenants().add(tenant)?;
        let tenant = store.tenant(tenant)?;
        place(&tenant, "1", HOUR)?;
        run(&tenant, checkout())?;
    }
    let mut client = database.client()?;
    assert_eq!(waiting(&mut client), 2);
    store.tenants().remove("acme")?.with_all_data()?;
    assert_eq!(waiting(&mut client), 1);
    Ok(())
}

#[test]
fn a_consumer_of_all_tenants_fires_their_timers() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let tenants = ["acme", "other"];
    for tenant in tenants {
        store.tenants().add(tenant)?;
    }
    let consumer = store
        .consumer()
        .workflow(checkout())
        .for_all_tenants()
        .start()?;
    for tenant in tenants {
        place(&store.tenant(tenant)?, "1", 100)?;
    }
    for tenant in tenants {
        wait_for_cancellation(&store.tenant(tenant)?, "1");
    }
    consumer.stop()?;
    Ok(())
}

#[test]
#[ignore = "needs libfaketime, which scripts/install-faketime installs"]
fn a_clients_wrong_clock_changes_nothing() -> anyhow::Result<()> {
    for (wrong_by, hours) in [("+1h", 1.0), ("-1h", -1.0)] {
        let (database, store) = store()?;
        let _child = child::start_with_clock(database.url(), wrong_by)?;
        place(&store, "1", 700)?;
        wait_for_cancellation(&store, "1");

        let messages = recorded(&store, &stream("1"))?;
        let fired = &recorded(&store, "emt:timers:checkout:1")?[0];
        let waited = fired.recorded_at.duration_since(messages[0].recorded_at)?;
        assert!(
            waited >= Duration::from_millis(700),
            "{wrong_by}: {waited:?}"
        );
        let fast_by =
            (id_time(&messages[0].message_id)? - seconds(messages[0].recorded_at)?) / 3_600.0;
        assert!(
            (fast_by - hours).abs() < 0.1,
            "the client's clock is wrong by {fast_by} hours"
        );
    }
    Ok(())
}

/// The time at which the client has made an id of version 7, in seconds since 1970.
fn id_time(id: &str) -> anyhow::Result<f64> {
    let digits: String = id.chars().filter(|one| *one != '-').take(12).collect();
    Ok(Duration::from_millis(u64::from_str_radix(&digits, 16)?).as_secs_f64())
}

fn seconds(time: std::time::SystemTime) -> anyhow::Result<f64> {
    Ok(time
        .duration_since(std::time::SystemTime::UNIX_EPOCH)?
        .as_secs_f64())
}

#[test]
fn the_doctor_names_workflows_with_overdue_timers() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    place(&store, "2", HOUR)?;
    run(&store, checkout())?;
    let findings = || -> anyhow::Result<Vec<String>> {
        let report = store.doctor()?;
        let of_timers = report
            .findings
            .into_iter()
            .filter(|finding| finding.kind == FindingKind::OverdueTimers);
        Ok(of_timers.map(|finding| finding.problem).collect())
    };
    assert!(findings()?.is_empty(), "they are not due yet");

    let mut client = database.client()?;
    client.execute(
        "UPDATE emt_timers SET due_at = clock_timestamp() - INTERVAL '30 seconds'",
        &[],
    )?;
    assert!(findings()?.is_empty(), "a program may be firing them");
    client.execute(
        "UPDATE emt_timers SET due_at = clock_timestamp() - INTERVAL '2 hours'",
        &[],
    )?;
    let [problem] = &findings()?[..] else {
        panic!("one finding for the workflow");
    };
    assert!(
        problem.starts_with("2 timers of workflow \"checkout\" are overdue, the first one by 7"),
        "{problem}"
    );
    run(&store, checkout())?;
    assert!(findings()?.is_empty(), "they have fired");
    Ok(())
}
