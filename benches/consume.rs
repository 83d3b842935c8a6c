//! Consumers: catching up, updating documents, rebuilds, and the latency of an event.

use crate::harness::Harness;
use crate::plain::RawBytes;
use crate::shop::{CART_SUMMARIES, CartEvent, cart_summaries, events};
use anyhow::{Result, ensure};
use crossbeam_channel::unbounded;
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{ConnectionOptions, DocumentProjection, EventStore, Reactor, Recorded};
use postgres::Client;
use std::hint::black_box;
use std::time::{Duration, Instant};

const BATCH: usize = 1_000;

/// Ten events a stream.
const FILL: &str = "
    INSERT INTO public.emt_streams (stream_id, stream_position, stream_type, stream_metadata)
    SELECT 'ShoppingCart-' || stream, 10, 'ShoppingCart', '{}' FROM generate_series(1, {streams}) AS stream;
    INSERT INTO public.emt_messages
        (stream_position, global_position, stream_id, message_schema_version, message_id, message_type, message_data,
         message_metadata)
    SELECT version, nextval('public.emt_global_message_position'), 'ShoppingCart-' || stream, '1', gen_random_uuid(),
           'ProductItemAdded',
           '{\"productId\": \"shoes-1\", \"quantity\": 2, \"price\": 99.99, \"note\": \"wrap it as a present, please\"}', '{}'
      FROM generate_series(1, {streams}) AS stream, generate_series(1, 10) AS version;
    VACUUM ANALYZE";

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    catch_up(harness, server)?;
    documents(harness, server)?;
    rebuild(harness, server)?;
    latency(harness, server)?;
    idle(harness, server)
}

fn filled(server: &Server, streams: u32) -> Result<(Database, EventStore)> {
    let database = server.create_database()?;
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(20))
        .open()?;
    let mut client = database.client()?;
    for statement in FILL.replace("{streams}", &streams.to_string()).split(';') {
        client.batch_execute(statement)?;
    }
    Ok((database, store))
}

/// A handler that does nothing, against fetching the same rows in batches of the same size.
fn catch_up(harness: &Harness, server: &Server) -> Result<()> {
    let name = "catch up with 200,000 events";
    if !harness.wants(name) {
        return Ok(());
    }
    let streams = if harness.is_quick() { 100 } else { 20_000 };
    let (database, store) = filled(server, streams)?;
    let mut client = database.client()?;
    let mut runs = 0;
    harness.compare(
        name,
        |_| {
            runs += 1;
            let nothing =
                Reactor::new(format!("nothing-{runs}")).each(|message: &Recorded<CartEvent>, _| {
                    black_box(message);
                    Ok(())
                });
            let report = store
                .consumer()
                .reactor(nothing)
                .batch_size(BATCH)
                .run_until_caught_up()?;
            Ok(report.handled())
        },
        |_| select(&mut client),
    )
}

const SELECT: &str = "
    SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind, message_schema_version,
           created, message_data, message_metadata
      FROM public.emt_messages_emt_default_active
     WHERE global_position > $1
     ORDER BY global_position
     LIMIT $2";

fn select(client: &mut Client) -> Result<u64> {
    let select = client.prepare(SELECT)?;
    let (mut after, mut count, mut bytes) = (0_i64, 0, 0);
    loop {
        let rows = client.query(&select, &[&after, &i64::try_from(BATCH)?])?;
        let Some(last) = rows.last() else { break };
        after = last.try_get(2)?;
        for row in &rows {
            for column in 0..row.len() {
                bytes += row.try_get::<_, RawBytes<'_>>(column)?.0.len();
            }
        }
        count += rows.len() as u64;
    }
    black_box(bytes);
    Ok(count)
}

const UPSERT: &str = "
    INSERT INTO by_hand AS document (_id, data) VALUES ($1, jsonb_build_object('items', 2, 'amount', 199.98))
    ON CONFLICT (_id) DO UPDATE
       SET data = jsonb_build_object('items', (document.data -> 'items')::INTEGER + 2,
                                     'amount', (document.data -> 'amount')::DOUBLE PRECISION + 199.98)";

/// A document per stream, against an upsert for each event, in one transaction a batch.
fn documents(harness: &Harness, server: &Server) -> Result<()> {
    let name = "catch up into documents";
    if !harness.wants(name) {
        return Ok(());
    }
    let streams = if harness.is_quick() { 100 } else { 2_000 };
    let (database, store) = filled(server, streams)?;
    let _ = store
        .consumer()
        .projector(cart_summaries())
        .run_until_caught_up()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE by_hand (_id TEXT PRIMARY KEY, data JSONB NOT NULL)")?;
    let mut reset = database.client()?;
    harness.compare(
        name,
        |_| {
            store.processors().reset(CART_SUMMARIES, 0)?;
            reset.batch_execute(&format!("TRUNCATE {CART_SUMMARIES}"))?;
            let report = store
                .consumer()
                .projector(cart_summaries())
                .batch_size(BATCH)
                .run_until_caught_up()?;
            Ok(report.handled())
        },
        |_| {
            client.batch_execute("TRUNCATE by_hand")?;
            upsert_each(&mut client)
        },
    )
}

fn upsert_each(client: &mut Client) -> Result<u64> {
    let select = client.prepare(SELECT)?;
    let upsert = client.prepare(UPSERT)?;
    let (mut after, mut count) = (0_i64, 0);
    loop {
        let mut transaction = client.transaction()?;
        let rows = transaction.query(&select, &[&after, &i64::try_from(BATCH)?])?;
        let Some(last) = rows.last() else { break };
        after = last.try_get(2)?;
        for row in &rows {
            let event: CartEvent = serde_json::from_value(serde_json::json!({
                "ProductItemAdded": row.try_get::<_, serde_json::Value>(8)?
            }))?;
            black_box(event);
            transaction.execute(&upsert, &[&row.try_get::<_, &str>(0)?])?;
        }
        transaction.commit()?;
        count += rows.len() as u64;
    }
    Ok(count)
}

/// A projection whose handler is the cost.
fn laborious() -> DocumentProjection<serde_json::Value> {
    DocumentProjection::single_stream(
        "laborious",
        |document: Option<serde_json::Value>, recorded: &Recorded<CartEvent>| {
            let mut hash = recorded.global_position;
            for _ in 0..200_000 {
                hash = black_box(hash.wrapping_mul(6_364_136_223_846_793_005).rotate_left(7));
            }
            black_box(hash);
            let events = document
                .and_then(|document| document["events"].as_u64())
                .unwrap_or(0)
                + 1;
            Some(serde_json::json!({ "events": events }))
        },
    )
}

/// Two workers against one.
fn rebuild(harness: &Harness, server: &Server) -> Result<()> {
    let name = "rebuild with 2 workers, beside 1";
    if !harness.wants(name) {
        return Ok(());
    }
    let streams = if harness.is_quick() { 20 } else { 500 };
    let (database, _) = filled(server, streams)?;
    let store = EventStore::builder(database.url())
        .inline_projection(laborious())
        .open()?;
    harness.compare(
        name,
        |_| Ok(store.rebuild("laborious").workers(2).run()?.handled),
        |_| Ok(store.rebuild("laborious").run()?.handled),
    )
}

/// How long after the commit a handler has the event, at a hundred appends a second.
fn latency(harness: &Harness, server: &Server) -> Result<()> {
    for (name, same_process) in [
        ("latency in one process", true),
        ("latency between processes", false),
    ] {
        if !harness.wants(name) {
            continue;
        }
        let database = server.create_database()?;
        let writer = EventStore::open(database.url())?;
        // Another store knows of the appends of the first what another process knows: the notification.
        let reader = if same_process {
            writer.clone()
        } else {
            EventStore::open(database.url())?
        };
        let count = if harness.is_quick() { 20 } else { 500 };
        let mut waits = arrivals(&writer, &reader, count)?;
        waits.sort_unstable();
        let percentile = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "{name:<46} p50 {:>7.2?}   p90 {:>7.2?}   p99 {:>7.2?}",
            percentile(50),
            percentile(90),
            percentile(99)
        );
    }
    Ok(())
}

const INTERVAL: Duration = Duration::from_millis(10);

fn arrivals(writer: &EventStore, reader: &EventStore, count: usize) -> Result<Vec<Duration>> {
    let (arrived, arrivals) = unbounded();
    let clock = Reactor::new("clock").each(move |message: &Recorded<CartEvent>, _| {
        Ok(arrived.send((message.global_position, Instant::now()))?)
    });
    let consumer = reader.consumer().reactor(clock).start()?;
    // Until the notifier has noticed that somebody listens.
    pause(if count > 100 {
        Duration::from_secs(3)
    } else {
        INTERVAL
    });
    let start = Instant::now();
    let mut commits = Vec::with_capacity(count);
    for number in 0..u32::try_from(count)? {
        let due = INTERVAL * number;
        pause(due.saturating_sub(start.elapsed()));
        let appended =
            writer.append_to_stream(&format!("ShoppingCart-{}", number % 10), &events(1))?;
        commits.push((appended.last_global_position, Instant::now()));
    }
    let mut waits = Vec::with_capacity(count);
    for (position, committed) in commits {
        let (arrived, at) = arrivals.recv_timeout(Duration::from_secs(30))?;
        ensure!(arrived == position, "in order");
        // A handler may have the event before the append has returned.
        waits.push(at.saturating_duration_since(committed));
    }
    consumer.stop()?;
    Ok(waits)
}

/// Waits for the time, and for nothing else.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures over a time, and appends at a rate"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What a hundred processors with nothing to do cost, client and server together, in percent of one core.
fn idle(harness: &Harness, server: &Server) -> Result<()> {
    let name = "100 idle processors";
    if !harness.wants(name) {
        return Ok(());
    }
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    let builder = (0..100).fold(store.consumer(), |consumer, number| {
        consumer.reactor(
            Reactor::new(format!("idle-{number}")).each(|_: &Recorded<CartEvent>, _| Ok(())),
        )
    });
    let consumer = builder.start()?;
    let (settle, measure) = if harness.is_quick() {
        (10, 50)
    } else {
        (3_000, 20_000)
    };
    pause(Duration::from_millis(settle));
    let before = cpu_seconds(&database)?;
    let start = Instant::now();
    pause(Duration::from_millis(measure));
    let used = cpu_seconds(&database)? - before;
    println!(
        "{name:<46} {:>11.2} % of a core",
        used / start.elapsed().as_secs_f64() * 100.0
    );
    consumer.stop()?;
    Ok(())
}

/// The processor time of this process and of all backends of the database so far.
fn cpu_seconds(database: &Database) -> Result<f64> {
    let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let rows = database.client()?.query(pids, &[])?;
    let backends = rows.iter().map(|row| row.get::<_, i32>(0).to_string());
    let mut ticks = 0;
    for process in std::iter::once("self".to_owned()).chain(backends) {
        // A backend may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        for field in [11, 12] {
            ticks += fields
                .get(field)
                .and_then(|text| text.parse::<u32>().ok())
                .unwrap_or_default();
        }
    }
    // USER_HZ is 100 on every architecture that Linux reports to programs.
    Ok(f64::from(ticks) / 100.0)
}
