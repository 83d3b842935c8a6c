use super::child::{ChildConsumer, Kind, LEASE};
use super::fixtures::{journal, journaled, stored};
use crate::support::{added, store, wait_until};
use emmett_postgresql::{
    ConnectionOptions, EventStore, RawEvent, Reactor, Recorded, operations::ProcessorState,
};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_standby_takes_over_when_the_owner_stops() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let start = |store: &EventStore| {
        store
            .consumer()
            .projector(journal("journal"))
            .lease(Duration::from_millis(500))
            .start()
    };
    let first = start(&store)?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", appended.last_global_position, LONG)?;
    let second = start(&store)?;
    first.stop()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", appended.last_global_position, LONG)?;

    assert_eq!(second.handled("journal"), 1);
    let mut client = database.client()?;
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    second.stop()?;
    Ok(())
}

#[test]
fn a_process_that_is_killed_is_followed_by_another_within_its_lease() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE reactions (position BIGINT)")?;
    let mut first = ChildConsumer::start(database.url(), Kind::Keeps)?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", appended.last_global_position, LONG)?;
    let second = store
        .consumer()
        .projector(journal("journal"))
        .lease(LEASE)
        .start()?;

    first.kill()?;
    let killed = Instant::now();
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", appended.last_global_position, LONG)?;
    assert!(
        killed.elapsed() < LEASE * 20,
        "it takes the lease, not for ever"
    );

    assert_eq!(second.handled("journal"), 1);
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    second.stop()?;
    Ok(())
}

#[test]
fn a_process_that_is_paused_in_its_handler_commits_nothing_when_it_goes_on() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    client.batch_execute(
        "CREATE TABLE journal (number BIGINT GENERATED ALWAYS AS IDENTITY, position BIGINT, stream TEXT)",
    )?;
    let mut paused = ChildConsumer::start(database.url(), Kind::Waits)?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 13)])?;
    paused.wait_for("handling")?;
    paused.signal("STOP")?;

    let other = store
        .consumer()
        .projector(journal("journal"))
        .lease(LEASE)
        .start()?;
    store.wait_for("journal", appended.last_global_position, LONG)?;
    paused.signal("CONT")?;
    // The handler ends when it can read a line; then its worker tries to commit.
    paused.end_input();
    let last = store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    store.wait_for("journal", last.last_global_position, LONG)?;

    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    other.stop()?;
    Ok(())
}

#[test]
fn a_worker_that_is_paused_before_its_commit_is_ended_and_nothing_of_it_counts()
-> anyhow::Result<()> {
    let (database, store) = store()?;
    let _ = store
        .consumer()
        .projector(journal("journal"))
        .run_until_caught_up()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    // What a worker does up to its checkpoint; then it hangs, and with it the locks of its rows.
    let mut zombie = database.client()?;
    let took = "SELECT epoch FROM emt_slot_take('emt:default', 'journal', 1, 'zombie', 0, interval '300 milliseconds', 1)";
    let epoch: i64 = zombie.query_one(took, &[])?.get(0);
    zombie.batch_execute("BEGIN; INSERT INTO journal (position, stream) VALUES (1, 'Cart-1')")?;
    let checkpoint = "UPDATE emt_processor_slots SET position = 1 WHERE processor = 'journal' AND owner = 'zombie' AND epoch = $1";
    assert_eq!(zombie.execute(checkpoint, &[&epoch])?, 1);

    let start = Instant::now();
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .lease(Duration::from_millis(300))
        .start()?;
    store.wait_for("journal", 1, LONG)?;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it does not wait for the zombie"
    );

    assert!(
        zombie.batch_execute("COMMIT").is_err(),
        "its session was ended"
    );
    let mut client = database.client()?;
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_idle_owner_keeps_its_lease() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let lease = Duration::from_millis(300);
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .lease(lease)
        .start()?;
    let mut client = database.client()?;
    let look = "SELECT epoch, extract(EPOCH FROM expires_at)::DOUBLE PRECISION, expires_at > clock_timestamp()
                  FROM emt_processor_slots WHERE owner IS NOT NULL";
    wait_until("it has the lease", || {
        client.query_opt(look, &[]).is_ok_and(|row| row.is_some())
    });
    let first = client.query_one(look, &[])?;
    let mut renewals = 0;
    let mut until: f64 = first.get(1);
    wait_until("it was renewed many times", || {
        client.query_one(look, &[]).is_ok_and(|row| {
            renewals += u32::from(row.get::<_, f64>(1) > until);
            until = row.get(1);
            renewals >= 12
        })
    });

    let last = client.query_one(look, &[])?;
    assert_eq!(
        last.get::<_, i64>(0),
        first.get::<_, i64>(0),
        "nobody took it meanwhile"
    );
    assert!(last.get::<_, bool>(2));
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_event_that_kills_the_process_is_parked_and_the_others_flow() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE reactions (position BIGINT)")?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let deadly = store.append_to_stream("Cart-2", &[added("hat", 13)])?;
    store.append_to_stream("Cart-2", &[added("hat", 2)])?;
    let last = store.append_to_stream("Cart-3", &[added("hat", 3)])?;

    let mut deaths = 0;
    while store
        .wait_for(
            "deadly",
            last.last_global_position,
            Duration::from_millis(1),
        )
        .is_err()
    {
        let mut child = ChildConsumer::start(database.url(), Kind::Dies)?;
        wait_until("it died, or has got through", || {
            child.has_ended()
                || store
                    .wait_for(
                        "deadly",
                        last.last_global_position,
                        Duration::from_millis(1),
                    )
                    .is_ok()
        });
        deaths += 1;
        assert!(deaths < 12, "it is never parked");
    }

    let handled: Vec<i64> = client
        .query(
            "SELECT DISTINCT position FROM reactions ORDER BY position",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(handled, [1, i64::try_from(last.last_global_position)?]);
    let error = store
        .wait_for("deadly", deadly.last_global_position, LONG)
        .expect_err("it is parked");
    assert!(error.to_string().contains("the process ended"), "{error}");
    Ok(())
}

#[test]
fn a_handler_that_fails_after_its_slot_was_taken_fails_for_nobody_else() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let robber = Mutex::new((database.client()?, false));
    let reactor = Reactor::new("robbed").each(move |_: &Recorded<RawEvent>, _| {
        let mut robber = robber.lock().expect("no panic");
        let (client, has_robbed) = &mut *robber;
        if !std::mem::replace(has_robbed, true) {
            client.execute(
                "UPDATE emt_processor_slots
                    SET owner = 'robber', worker = 0, epoch = epoch + 1,
                        expires_at = clock_timestamp() + interval '200 milliseconds'",
                &[],
            )?;
        }
        let owner: String = client
            .query_one("SELECT owner FROM emt_processor_slots", &[])?
            .get(0);
        anyhow::ensure!(owner != "robber", "what I have read is not mine any more");
        Ok(())
    });
    let consumer = store
        .consumer()
        .reactor(reactor)
        .lease(Duration::from_millis(300))
        .start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    store.wait_for("robbed", appended.last_global_position, LONG)?;
    assert_eq!(consumer.handled("robbed"), 1);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_program_that_keeps_its_whole_pool_busy_keeps_its_leases() -> anyhow::Result<()> {
    let database = crate::support::database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(2))
        .open()?;
    let lease = Duration::from_millis(300);
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .lease(lease)
        .start()?;
    let first = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("journal", first.last_global_position, LONG)?;

    let busy = [store.begin()?, store.begin()?];
    let mut client = database.client()?;
    let look =
        "SELECT extract(EPOCH FROM expires_at)::DOUBLE PRECISION, epoch FROM emt_processor_slots";
    let mut until: f64 = client.query_one(look, &[])?.get(0);
    let mut renewals = 0;
    wait_until("it was renewed many times", || {
        client.query_one(look, &[]).is_ok_and(|row| {
            renewals += u32::from(row.get::<_, f64>(0) > until);
            until = row.get(0);
            renewals >= 12
        })
    });

    assert_eq!(
        client.query_one(look, &[])?.get::<_, i64>(1),
        1,
        "nobody took it"
    );
    drop(busy);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_worker_that_has_ended_without_giving_its_lease_back_is_not_renewed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    database.client()?.batch_execute(
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON emt_processor_slots FOR EACH ROW
            WHEN (OLD.processor = 'ends' AND OLD.owner IS NOT NULL AND NEW.owner IS NULL) EXECUTE FUNCTION refuse()",
    )?;
    let quiet = |name: &str| Reactor::new(name).each(|_: &Recorded<RawEvent>, _| Ok(()));
    let lease = Duration::from_millis(300);
    let consumer = store
        .consumer()
        .reactor(quiet("ends").stop_after(|_| true))
        .reactor(quiet("lives"))
        .lease(lease)
        .start()?;
    let first = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("ends", first.last_global_position, LONG)?;

    let other = store
        .consumer()
        .reactor(quiet("ends"))
        .lease(lease)
        .start()?;
    let second = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("ends", second.last_global_position, LONG)?;
    store.wait_for("lives", second.last_global_position, LONG)?;

    // A batch is counted after its commit, which `wait_for` sees.
    wait_until("each has handled one", || {
        (consumer.handled("ends"), other.handled("ends")) == (1, 1)
    });
    consumer.stop()?;
    other.stop()?;
    Ok(())
}

#[test]
fn a_failure_is_noted_as_soon_as_it_can_be() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    client.batch_execute(
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON emt_processor_slots FOR EACH ROW
            WHEN (NEW.status = 'failed') EXECUTE FUNCTION refuse()",
    )?;
    let (report, reports) = crossbeam_channel::unbounded();
    let broken = Reactor::new("broken")
        .each(|_: &Recorded<RawEvent>, _| anyhow::bail!("out of paper"))
        .on_error(move |error| {
            let _ = report.send(error.to_string());
        });
    let consumer = store.consumer().reactor(broken).start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let refused = |error: &String| error.contains("record a failure");
    let attempts = reports.iter().filter(refused).take(2);
    assert_eq!(attempts.count(), 2);

    client.batch_execute("DROP TRIGGER refuse ON emt_processor_slots")?;
    let error = store
        .wait_for("broken", appended.last_global_position, LONG)
        .expect_err("it has failed");
    assert!(error.to_string().contains("out of paper"), "{error}");
    let processors = store.processors().list()?;
    assert_eq!(processors[0].state, ProcessorState::Failed);
    assert!(consumer.wait().is_err());
    Ok(())
}

#[test]
fn a_failure_of_a_worker_that_has_lost_its_slot_does_not_stop_the_new_holder() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    let client = Mutex::new(database.client()?);
    let panics = Reactor::new("robbed")
        .each(|_: &Recorded<RawEvent>, _| Ok(()))
        .stop_after(move |_| {
            let robbed = "UPDATE emt_processor_slots SET owner = 'robber', epoch = epoch + 1";
            client
                .lock()
                .expect("no panic")
                .batch_execute(robbed)
                .expect("it is robbed");
            panic!("too late")
        });
    let consumer = store.consumer().reactor(panics).start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    assert!(consumer.wait().is_err());
    let processors = store.processors().list()?;
    assert_eq!(processors[0].state, ProcessorState::Running);
    Ok(())
}

#[test]
fn one_thread_and_one_connection_renew_the_leases_of_all_consumers_of_a_store() -> anyhow::Result<()>
{
    let database = crate::support::database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(3))
        .open()?;
    let lease = Duration::from_millis(300);
    let mut consumers = Vec::new();
    for number in 0..5 {
        store.tenants().add(&format!("tenant{number}"))?;
        let tenant = store.tenant(&format!("tenant{number}"))?;
        let reactor = Reactor::new("quiet").each(|_: &Recorded<RawEvent>, _| Ok(()));
        consumers.push(tenant.consumer().reactor(reactor).lease(lease).start()?);
    }
    let mut client = database.client()?;
    let renewed = "SELECT count(*) FROM emt_processor_slots WHERE expires_at > taken_at + INTERVAL '3 seconds'";
    wait_until("all were renewed for some time", || {
        client
            .query_one(renewed, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 5)
    });
    let connections = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE '%living (partition, processor%'
                          AND pid <> pg_backend_pid()";
    wait_until("one connection renews them", || {
        client
            .query_one(connections, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 1)
    });
    let all = "SELECT backend_type || ': ' || left(query, 60) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let all: Vec<String> = client
        .query(all, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(all.len() <= 3 + 3, "three are outside the pool: {all:#?}");

    for consumer in consumers {
        consumer.stop()?;
    }
    wait_until("its connection is closed", || {
        client
            .query_one(connections, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 0)
    });
    Ok(())
}
