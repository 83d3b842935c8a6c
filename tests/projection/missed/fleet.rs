//! An old and a new program in separate processes, and strangers, all at once.

use super::{event, is_right_where_active, with_version};
use crate::support::child_process::ChildProcess;
use crate::support::{database, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{EventStore, StreamMessages};
use postgres::error::SqlState;
use postgres::{Client, IsolationLevel, NoTls, Transaction};
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};

const URL: &str = "EMT_TEST_FLEET_URL";
const VERSION: &str = "EMT_TEST_FLEET_VERSION";

/// How often each writer appends in a round; `.ci/run --long` sets more.
fn appends() -> u64 {
    let number = std::env::var("EMMETT_TEST_FLEET_APPENDS");
    number.ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

/// What a writer does next, by chance; the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }

    /// Of two groups, so that each transaction can lock in one order.
    fn streams(&mut self) -> (String, String) {
        let (first, second) = (self.below(4), self.below(4));
        (format!("Cart-a{first}"), format!("Cart-b{second}"))
    }

    /// A quarter of all.
    fn is_repeatable_read(&mut self) -> bool {
        self.below(4) == 0
    }
}

/// A program with some version of the projection: appends a round whenever it is told to, until its input ends.
#[test]
fn is_a_program() -> anyhow::Result<()> {
    let (Ok(url), Ok(version)) = (std::env::var(URL), std::env::var(VERSION)) else {
        return Ok(());
    };
    let version = version.parse()?;
    let store = with_version(&url, version).open()?;
    println!("\nstarted");
    for round in std::io::stdin().lock().lines() {
        let seed = u64::from(version) * 1_000 + round?.parse::<u64>()? * 100;
        let writers = u64::from(version) + 1;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..writers)
                .map(|writer| {
                    scope.spawn({
                        let (store, url) = (&store, &url);
                        move || append_round(store, url, Chance(seed + writer))
                    })
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|writer| writer.join().expect("no panic"))
        })?;
        println!("\ndone");
    }
    Ok(())
}

fn append_round(store: &EventStore, url: &str, mut chance: Chance) -> anyhow::Result<()> {
    let mut client = Client::connect(url, NoTls)?;
    for _ in 0..appends() {
        if chance.is_repeatable_read() {
            append_at_repeatable_read(store, &mut client, &mut chance)?;
        } else {
            append_in_some_way(store, &mut chance)?;
        }
    }
    Ok(())
}

fn append_in_some_way(store: &EventStore, chance: &mut Chance) -> anyhow::Result<()> {
    let (stream, other) = chance.streams();
    match chance.below(4) {
        0 => drop(store.append_to_streams(vec![
            StreamMessages::new(&stream, &event())?,
            StreamMessages::new(&other, &event())?,
        ])?),
        1 => store.with_session(|session| {
            session.append_to_stream(&stream, &event())?;
            session.append_to_stream(&other, &event())?;
            Ok(())
        })?,
        2 => {
            let rolled_back = store.with_session(|session| -> anyhow::Result<()> {
                session.append_to_stream(&stream, &event())?;
                anyhow::bail!("rolled back")
            });
            anyhow::ensure!(rolled_back.is_err(), "it was rolled back");
        }
        _ => drop(store.append_to_stream(&stream, &event())?),
    }
    Ok(())
}

/// Again and again, until nobody has come between.
fn append_at_repeatable_read(
    store: &EventStore,
    client: &mut Client,
    chance: &mut Chance,
) -> anyhow::Result<()> {
    let (stream, other) = chance.streams();
    loop {
        let mut transaction = begin(client, true)?;
        let appended = store.in_transaction(&mut transaction, |session| {
            session.append_to_stream(&stream, &event())?;
            session.append_to_stream(&other, &event())?;
            Ok(())
        });
        match appended {
            Ok(()) => return Ok(transaction.commit()?),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn begin(
    client: &mut Client,
    is_repeatable_read: bool,
) -> Result<Transaction<'_>, postgres::Error> {
    let transaction = client.build_transaction();
    if is_repeatable_read {
        let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
        return transaction.start();
    }
    transaction.start()
}

/// How a client without the library stores one event.
type Insert = fn(&mut Transaction<'_>, &str) -> Result<(), postgres::Error>;

/// Locks the stream, as a client has to that wants its events to have an order.
const STREAM: &str = "
    INSERT INTO emt_streams AS stream (stream_id, stream_position, stream_type, stream_metadata)
    VALUES ($1, 1, 'Cart', '{}')
    ON CONFLICT (stream_id, partition, is_archived) DO UPDATE SET stream_position = stream.stream_position + 1
    RETURNING stream_position";

fn by_insert(transaction: &mut Transaction<'_>, stream: &str) -> Result<(), postgres::Error> {
    let insert = format!(
        "WITH stream AS ({STREAM})
         INSERT INTO emt_messages
             (stream_id, stream_position, message_id, message_type, message_schema_version, message_data, message_metadata)
         SELECT $1, stream_position, gen_random_uuid()::TEXT, 'ProductItemAdded', '1',
                '{{\"productId\": \"hat\", \"quantity\": 1, \"price\": 1}}', '{{}}' FROM stream"
    );
    transaction.execute(&insert, &[&stream]).map(drop)
}

fn by_copy(transaction: &mut Transaction<'_>, stream: &str) -> Result<(), postgres::Error> {
    let version: i64 = transaction.query_one(STREAM, &[&stream])?.get(0);
    let mut copy = transaction.copy_in(
        "COPY emt_messages_emt_default (stream_id, stream_position, message_id, message_type,
                                        message_schema_version, message_data, message_metadata) FROM STDIN",
    )?;
    let row = format!(
        "{stream}\t{version}\t{stream}-{version}\tProductItemAdded\t1\t{{\"productId\":\"hat\",\"quantity\":1,\"price\":1}}\t{{}}\n"
    );
    // What goes wrong is said at the end.
    let _ = copy.write_all(row.as_bytes());
    copy.finish().map(drop)
}

fn by_emmetts_function(
    transaction: &mut Transaction<'_>,
    stream: &str,
) -> Result<(), postgres::Error> {
    let append = "
        SELECT emt_append_to_stream(
            ARRAY[gen_random_uuid()::TEXT], ARRAY['{\"productId\":\"hat\",\"quantity\":1,\"price\":1}'::JSONB],
            ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['ProductItemAdded'], ARRAY['E'], $1, 'Cart')";
    transaction.execute(append, &[&stream]).map(drop)
}

fn insert_round(database: &Database, insert: Insert, mut chance: Chance) -> anyhow::Result<()> {
    let mut client = database.client()?;
    for _ in 0..appends() {
        let (streams, is_repeatable_read) = (chance.streams(), chance.is_repeatable_read());
        loop {
            let mut transaction = begin(&mut client, is_repeatable_read)?;
            let inserted = insert(&mut transaction, &streams.0)
                .and_then(|()| insert(&mut transaction, &streams.1))
                .and_then(|()| transaction.commit());
            match inserted {
                Ok(()) => break,
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Looks in one snapshot, again and again, and counts how often it said active.
fn check(database: &Database, over: &AtomicBool, active: &AtomicU64) -> anyhow::Result<()> {
    let mut client = database.client()?;
    while !over.load(Ordering::SeqCst) {
        if let Some(is_right) = is_right_where_active(&mut client)? {
            anyhow::ensure!(is_right, "it says active, and is not what the events give");
            active.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

fn start(database: &Database, version: &str) -> anyhow::Result<ChildProcess> {
    let variables = [(URL, database.url()), (VERSION, version)];
    ChildProcess::start("projection::missed::fleet::is_a_program", &variables)
}

/// Three strangers, each in its own way, while something else goes on.
fn beside_strangers<'scope, T>(
    scope: &'scope Scope<'scope, '_>,
    database: &'scope Database,
    round: u64,
    run: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let inserts: [Insert; 3] = [by_insert, by_copy, by_emmetts_function];
    let strangers: Vec<_> = inserts
        .into_iter()
        .zip(round * 10..)
        .map(|(insert, seed)| scope.spawn(move || insert_round(database, insert, Chance(seed))))
        .collect();
    let done = run()?;
    strangers
        .into_iter()
        .try_for_each(|stranger| stranger.join().expect("no panic"))?;
    Ok(done)
}

/// A rolling deployment: the old program, the new one beside it, and the new one alone.
fn deploy<'scope>(
    scope: &'scope Scope<'scope, '_>,
    database: &'scope Database,
    mut old: ChildProcess,
) -> anyhow::Result<ChildProcess> {
    old.say("1")?;
    // It builds its version while the others append.
    let mut new = beside_strangers(scope, database, 1, || start(database, "2"))?;
    old.wait_for("done")?;

    // Two writers, three, and three strangers.
    old.say("2")?;
    new.say("2")?;
    beside_strangers(scope, database, 2, || Ok(()))?;
    old.wait_for("done")?;
    new.wait_for("done")?;

    old.end_input();
    old.wait()?;
    new.say("3")?;
    new.wait_for("done")?;
    Ok(new)
}

#[test]
fn whenever_a_projection_says_active_it_is_right_and_at_the_end_it_is_both() -> anyhow::Result<()> {
    let database = database();
    EventStore::open(database.url())?.append_to_stream("Cart-a0", &event())?;
    let old = start(&database, "1")?;
    let (over, active) = (AtomicBool::new(false), AtomicU64::new(0));

    let _new = thread::scope(|scope| {
        let checking = scope.spawn(|| check(&database, &over, &active));
        wait_until("the old program's read model was looked at", || {
            checking.is_finished() || active.load(Ordering::SeqCst) > 0
        });
        let deployed = deploy(scope, &database, old);
        over.store(true, Ordering::SeqCst);
        checking.join().expect("no panic")?;
        deployed
    })?;

    println!("{} snapshots said active", active.load(Ordering::SeqCst));
    let mut client = database.client()?;
    wait_until("the new program has followed", || {
        is_right_where_active(&mut client).is_ok_and(|is_right| is_right.is_some())
    });
    assert_eq!(is_right_where_active(&mut client)?, Some(true));
    let status = "SELECT string_agg(version || status, ' ' ORDER BY version) FROM emt_projections";
    let status: String = client.query_one(status, &[])?.get(0);
    assert_eq!(status, "1inactive 2active");
    Ok(())
}
