//! All kinds of writers at once, while readers poll and streams move to the archive and back. Readers receive exactly the
//! committed messages, once and in order.

use super::fixtures::{ACME, Change, DEFAULT, Ground};
use emmett_postgresql::{
    Error, EventStore, FeedOptions, RawEvent, Session, StreamMessages, operations::ImportOptions,
};
use postgres::{Client, Transaction};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// How often each writer writes.
const ROUNDS: u64 = 60;

#[test]
fn the_feed_is_complete_and_in_order_from_position_1_on() -> anyhow::Result<()> {
    let outcome = Experiment::new(0, &[])?.run()?;

    outcome.check();
    Ok(())
}

#[test]
fn the_feed_is_complete_and_in_order_across_position_2_to_the_31() -> anyhow::Result<()> {
    let outcome = Experiment::new((1 << 31) - 100, &[])?.run()?;

    outcome.check();
    assert!(outcome.crosses(1 << 31));
    Ok(())
}

#[test]
fn the_feed_is_complete_and_in_order_across_position_2_to_the_32() -> anyhow::Result<()> {
    let outcome = Experiment::new((1 << 32) - 100, &[])?.run()?;

    outcome.check();
    assert!(outcome.crosses(1 << 32));
    Ok(())
}

#[test]
fn without_the_fence_the_experiment_finds_holes() -> anyhow::Result<()> {
    let no_fence = Change::Sql(
        "CREATE OR REPLACE FUNCTION public.emt_fence(_partition TEXT) RETURNS BOOLEAN LANGUAGE sql AS 'SELECT TRUE'",
    );

    let outcome = Experiment::new(0, &[no_fence])?.run()?;

    let mut feeds = outcome.feeds.iter();
    assert!(feeds.any(|feed| feed.first_difference().is_some()));
    Ok(())
}

struct Experiment {
    ground: Ground,
    committed: AtomicU64,
    writing: AtomicBool,
}

/// What a feed delivered, and what it should have.
struct FeedOutcome {
    seen: Vec<Message>,
    stored: Vec<Message>,
    /// How much of it was seen while the writers were still at work.
    seen_early: usize,
}

struct Outcome {
    feeds: Vec<FeedOutcome>,
    committed: u64,
    moves: u64,
}

#[derive(Debug, PartialEq)]
struct Message {
    position: u64,
    stream: String,
    version: u64,
}

impl FeedOutcome {
    /// The first place where something else was seen than is stored.
    fn first_difference(&self) -> Option<(Option<&Message>, Option<&Message>)> {
        (0..self.seen.len().max(self.stored.len()))
            .map(|place| (self.seen.get(place), self.stored.get(place)))
            .find(|(seen, stored)| seen != stored)
    }
}

impl Outcome {
    fn check(&self) {
        for feed in &self.feeds {
            assert_eq!(feed.first_difference(), None);
            assert!(feed.seen_early > 0, "the feed stood still");
            assert_streams_are_in_order(&feed.seen);
        }
        let seen: usize = self.feeds.iter().map(|feed| feed.seen.len()).sum();
        assert_eq!(seen as u64, self.committed);
        assert!(self.moves > 0, "no stream was archived");
    }

    fn crosses(&self, boundary: u64) -> bool {
        let positions = || self.feeds.iter().flat_map(|feed| &feed.seen);
        positions().any(|message| message.position < boundary)
            && positions().any(|message| message.position > boundary)
    }
}

fn assert_streams_are_in_order(messages: &[Message]) {
    let mut versions = std::collections::HashMap::new();
    for message in messages {
        let version = versions.entry(&message.stream).or_insert(0);
        *version += 1;
        assert_eq!(message.version, *version, "{message:?}");
    }
}

impl Experiment {
    fn new(start: u64, changes: &[Change<'_>]) -> anyhow::Result<Self> {
        let ground = Ground::changed_by(changes)?;
        if start > 0 {
            let restart =
                format!("ALTER SEQUENCE public.emt_global_message_position RESTART WITH {start}");
            ground.client()?.batch_execute(&restart)?;
        }
        Ok(Self {
            ground,
            committed: AtomicU64::new(0),
            writing: AtomicBool::new(true),
        })
    }

    /// An unrelated transaction stays open all the time.
    fn run(&self) -> anyhow::Result<Outcome> {
        let mut unrelated = self.ground.begin()?;
        unrelated.batch_execute("CREATE TABLE unrelated (); SELECT pg_current_xact_id()")?;
        let (feeds, moves) = thread::scope(|scope| {
            let writers: Vec<_> = (1..)
                .zip(WRITERS)
                .map(|(seed, kind)| scope.spawn(move || self.write(kind, seed)))
                .collect();
            let readers: Vec<_> = [(&self.ground.store, DEFAULT), (&self.ground.acme, ACME)]
                .into_iter()
                .map(|(store, partition)| scope.spawn(move || self.read(store, partition)))
                .collect();
            let archiver = scope.spawn(|| self.archive());
            let written: Vec<_> = writers
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect();
            self.writing.store(false, Ordering::SeqCst);
            let feeds: Vec<_> = readers
                .into_iter()
                .map(|reader| reader.join().unwrap())
                .collect();
            let moves = archiver.join().unwrap()?;
            written.into_iter().try_for_each(Result::unwrap)?;
            anyhow::Ok((feeds.into_iter().collect::<anyhow::Result<_>>()?, moves))
        })?;
        Ok(Outcome {
            feeds,
            committed: self.committed.load(Ordering::SeqCst),
            moves,
        })
    }

    fn is_writing(&self) -> bool {
        self.writing.load(Ordering::SeqCst)
    }

    fn write(&self, kind: WriterKind, seed: u64) -> anyhow::Result<()> {
        let mut writer = Writer {
            experiment: self,
            client: self.ground.client()?,
            chance: Chance(seed),
        };
        for _ in 0..ROUNDS {
            let committed = kind(&mut writer)?;
            self.committed.fetch_add(committed, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Polls until the writers are done, and then once more.
    fn read(&self, store: &EventStore, partition: &str) -> anyhow::Result<FeedOutcome> {
        let (mut after, mut seen, mut seen_early) = (0, Vec::new(), 0);
        loop {
            let last = !self.is_writing();
            let mut feed =
                store.read_all::<RawEvent>(FeedOptions::new().after(after).batch_size(7));
            for message in &mut feed {
                let message = message?;
                seen.push(Message {
                    position: message.global_position,
                    stream: message.stream_name.to_string(),
                    version: message.stream_position,
                });
            }
            after = feed.position();
            if last {
                let stored = self.stored(partition)?;
                return Ok(FeedOutcome {
                    seen,
                    stored,
                    seen_early,
                });
            }
            seen_early = seen.len();
        }
    }

    fn stored(&self, partition: &str) -> anyhow::Result<Vec<Message>> {
        let all = "
            SELECT global_position, stream_id, stream_position FROM public.emt_messages
             WHERE partition = $1 ORDER BY global_position";
        self.ground
            .client()?
            .query(all, &[&partition])?
            .iter()
            .map(|row| {
                Ok(Message {
                    position: u64::try_from(row.get::<_, i64>(0))?,
                    stream: row.get(1),
                    version: u64::try_from(row.get::<_, i64>(2))?,
                })
            })
            .collect()
    }

    /// Moves streams to the archive and back, while others append to them.
    fn archive(&self) -> anyhow::Result<u64> {
        let mut chance = Chance(99);
        let mut moves = 0;
        while self.is_writing() {
            let (store, stream) = (self.any_store(&mut chance), stream(chance.below(2)));
            if store.archive_stream(&stream)?.is_some() {
                moves += 1;
                chance.pause(&mut self.ground.client()?)?;
                store.unarchive_stream(&stream)?;
            }
        }
        Ok(moves)
    }

    fn any_store(&self, chance: &mut Chance) -> &EventStore {
        match chance.below(2) {
            0 => &self.ground.store,
            _ => &self.ground.acme,
        }
    }
}

/// The streams that everybody appends to. Whoever takes several takes them in this order; those of the store come before
/// those of the tenant, and before the streams of plain SQL.
const STREAMS: u64 = 5;

fn stream(number: u64) -> String {
    format!("Note-{number}")
}

fn events(count: u64) -> Vec<RawEvent> {
    (0..count)
        .map(|_| RawEvent::new("Noted", serde_json::json!({})))
        .collect()
}

struct Writer<'a> {
    experiment: &'a Experiment,
    client: Client,
    chance: Chance,
}

/// Writes once, and tells how many messages it has committed.
type WriterKind = fn(&mut Writer<'_>) -> anyhow::Result<u64>;

const WRITERS: [WriterKind; 10] = [
    append_to_one_stream,
    append_to_one_stream,
    append_to_several_streams_at_once,
    append_in_a_session,
    append_in_savepoints,
    append_for_two_tenants,
    import_a_log,
    insert_by_plain_sql,
    insert_into_a_leaf_table,
    copy,
];

/// What an append has stored; nothing, where it met an archived stream.
fn stored(result: Result<emmett_postgresql::Appended, Error>) -> anyhow::Result<u64> {
    match result {
        Ok(appended) => Ok(appended.global_positions.len() as u64),
        Err(Error::StreamArchived { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn append_to_one_stream(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let store = writer.experiment.any_store(&mut writer.chance);
    let (number, count) = (writer.chance.below(STREAMS), 1 + writer.chance.below(3));
    stored(store.append_to_stream(&stream(number), &events(count)))
}

fn append_to_several_streams_at_once(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let store = writer.experiment.any_store(&mut writer.chance);
    let first = writer.chance.below(STREAMS - 1);
    let appends = [first + 1, first]
        .map(|number| StreamMessages::new(&stream(number), &events(1)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    match store.append_to_streams(appends) {
        Ok(appended) => Ok(appended.len() as u64),
        Err(Error::StreamArchived { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Has its transaction id early, and is often rolled back.
fn append_in_a_session(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let mut session = writer.experiment.any_store(&mut writer.chance).begin()?;
    session.query("SELECT pg_current_xact_id()", &[])?;
    let first = writer.chance.below(STREAMS);
    let mut count = 0;
    for number in first..STREAMS {
        count += stored(session.append_to_stream(&stream(number), &events(1)))?;
        pause_in(&mut session, &mut writer.chance)?;
    }
    if writer.chance.below(3) == 0 {
        session.rollback()?;
        return Ok(0);
    }
    session.commit()?;
    Ok(count)
}

fn append_in_savepoints(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let chance = &mut writer.chance;
    let store = writer.experiment.any_store(chance);
    let first = chance.below(STREAMS);
    let count = store.with_session(|session| {
        let mut count = 0;
        for number in first..STREAMS {
            let mut appended = 0;
            let part = session.nested(|part| {
                appended = stored(part.append_to_stream(&stream(number), &events(2)))?;
                anyhow::ensure!(chance.below(2) == 0, "changed its mind");
                Ok(())
            });
            if part.is_ok() {
                count += appended;
            }
            pause_in(session, chance)?;
        }
        Ok(count)
    })?;
    Ok(count)
}

fn pause_in(session: &mut Session<'_>, chance: &mut Chance) -> anyhow::Result<()> {
    for _ in 0..chance.below(4) {
        session.query("SELECT 1", &[])?;
    }
    Ok(())
}

fn append_for_two_tenants(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let Ground { store, acme, .. } = &writer.experiment.ground;
    let (chance, mut transaction) = (&mut writer.chance, writer.client.transaction()?);
    let name = stream(chance.below(STREAMS));
    let mut count = stored(store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream(&name, &events(1))?)
    }))?;
    chance.pause(&mut transaction)?;
    if chance.below(2) == 0 {
        count += stored(acme.in_transaction(&mut transaction, |session| {
            Ok(session.append_to_stream(&name, &events(1))?)
        }))?;
    } else {
        insert(&mut transaction, "emt_messages", ACME)?;
        count += 1;
    }
    finish(transaction, chance, count)
}

/// Into streams that are not archived.
fn import_a_log(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let store = writer.experiment.any_store(&mut writer.chance);
    let lines: String = [STREAMS - 1, STREAMS - 2, STREAMS - 1]
        .map(|number| {
            format!(
                "{{\"streamName\":\"{}\",\"type\":\"Noted\",\"data\":{{}}}}\n",
                stream(number)
            )
        })
        .concat();
    let another = format!("log {}", writer.chance.below(u64::MAX));
    let report = store.import(
        lines.as_bytes(),
        ImportOptions::new().name(another).batch_size(2),
    )?;
    Ok(report.imported)
}

fn insert_by_plain_sql(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let (chance, mut transaction) = (&mut writer.chance, writer.client.transaction()?);
    insert(&mut transaction, "emt_messages", DEFAULT)?;
    chance.pause(&mut transaction)?;
    insert(&mut transaction, "emt_messages", ACME)?;
    finish(transaction, chance, 2)
}

fn insert_into_a_leaf_table(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let (chance, mut transaction) = (&mut writer.chance, writer.client.transaction()?);
    insert(&mut transaction, "emt_messages_acme_active", ACME)?;
    chance.pause(&mut transaction)?;
    insert(&mut transaction, "emt_messages_acme", ACME)?;
    finish(transaction, chance, 2)
}

fn copy(writer: &mut Writer<'_>) -> anyhow::Result<u64> {
    let (chance, mut transaction) = (&mut writer.chance, writer.client.transaction()?);
    for (table, partition) in [
        ("emt_messages", DEFAULT),
        ("emt_messages_acme_active", ACME),
    ] {
        let version = advance(&mut transaction, partition, 2)?;
        let mut rows =
            transaction.copy_in(&format!("COPY public.{table} ({COLUMNS}) FROM STDIN"))?;
        for version in [version - 1, version] {
            writeln!(
                rows,
                "{version}\t{PLAIN}\t{partition}\t1\t1\tNoted\t{{}}\t{{}}"
            )?;
        }
        rows.finish()?;
        chance.pause(&mut transaction)?;
    }
    finish(transaction, chance, 4)
}

/// The stream of those who write by SQL of their own.
const PLAIN: &str = "Plain-1";

const COLUMNS: &str =
    "stream_position, stream_id, partition, message_schema_version, message_id, message_type,
    message_data, message_metadata";

fn insert(client: &mut Transaction<'_>, table: &str, partition: &str) -> anyhow::Result<()> {
    let version = advance(client, partition, 1)?;
    let sql = format!(
        "INSERT INTO public.{table} ({COLUMNS}) VALUES ($1, $2, $3, '1', '1', 'Noted', '{{}}', '{{}}')"
    );
    client.execute(&sql, &[&version, &PLAIN, &partition])?;
    Ok(())
}

/// Locks the stream and gives it another version, as everybody has to who keeps streams in order.
fn advance(client: &mut Transaction<'_>, partition: &str, count: i64) -> anyhow::Result<i64> {
    let sql = "
        INSERT INTO public.emt_streams AS stream (stream_id, stream_position, partition, stream_type, stream_metadata)
        VALUES ($1, $2, $3, 'Plain', '{}')
        ON CONFLICT (stream_id, partition, is_archived)
            DO UPDATE SET stream_position = stream.stream_position + $2
        RETURNING stream_position";
    Ok(client.query_one(sql, &[&PLAIN, &count, &partition])?.get(0))
}

/// Commits, or rolls back now and then.
fn finish(transaction: Transaction<'_>, chance: &mut Chance, count: u64) -> anyhow::Result<u64> {
    if chance.below(4) == 0 {
        transaction.rollback()?;
        return Ok(0);
    }
    transaction.commit()?;
    Ok(count)
}

/// A generator of numbers that look random; the same seed gives the same numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pause(&mut self, client: &mut impl postgres::GenericClient) -> anyhow::Result<()> {
        for _ in 0..self.below(4) {
            client.batch_execute("SELECT 1")?;
        }
        Ok(())
    }
}
