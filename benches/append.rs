//! Appends by several threads, with and without a read model in the same transaction.

use crate::appender::Appender;
use crate::harness::{Harness, Turn};
use crate::plain::PlainAppender;
use crate::shop::{CartEvent, Streams, cart_summaries, events, items};
use anyhow::Result;
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{ConnectionOptions, EventStore};
use std::thread;

const THREADS: [usize; 3] = [1, 8, 32];
const EVENTS: [usize; 2] = [1, 100];

/// How an append treats the read model.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum ReadModel {
    /// No projection is registered.
    Absent,
    /// The store has the projection and runs it.
    Inline,
    /// Another program has registered the projection: the events are noted as missed.
    Missed,
}

impl ReadModel {
    fn suffix(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Inline => ", 1 document",
            Self::Missed => ", noted as missed",
        }
    }
}

/// Appends through a store that all threads share.
pub(crate) struct StoreAppender {
    store: EventStore,
    events: Vec<CartEvent>,
}

impl Appender for StoreAppender {
    fn append(&mut self, stream: &str) -> Result<()> {
        let appended = self.store.append_to_stream(stream, &self.events)?;
        std::hint::black_box(appended);
        Ok(())
    }
}

pub(crate) fn store_appenders(
    database: &Database,
    threads: usize,
    count: usize,
    read_model: ReadModel,
) -> Result<Vec<StoreAppender>> {
    let mut builder = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(u32::try_from(threads)?));
    match read_model {
        ReadModel::Absent => {}
        ReadModel::Inline => builder = builder.inline_projection(cart_summaries()),
        ReadModel::Missed => register(database)?,
    }
    Ok(appenders(&builder.open()?, threads, count))
}

fn register(database: &Database) -> Result<()> {
    EventStore::builder(database.url())
        .inline_projection(cart_summaries())
        .open()?;
    Ok(())
}

pub(crate) fn appenders(store: &EventStore, threads: usize, count: usize) -> Vec<StoreAppender> {
    let appender = |_| StoreAppender {
        store: store.clone(),
        events: events(count),
    };
    (0..threads).map(appender).collect()
}

fn plain_appenders(
    database: &Database,
    threads: usize,
    count: usize,
    projects: bool,
) -> Result<Vec<PlainAppender>> {
    (0..threads)
        .map(|_| PlainAppender::new(database.client()?, items(count), projects))
        .collect()
}

/// Lets all appenders work at the same time; returns the number of appends.
pub(crate) fn append(appenders: &mut [impl Appender], turn: Turn) -> Result<u64> {
    thread::scope(|scope| {
        let work =
            |(thread, appender)| append_alone(appender, Streams::new(turn.seed, thread), turn);
        let workers: Vec<_> = appenders
            .iter_mut()
            .enumerate()
            .map(|numbered| scope.spawn(move || work(numbered)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("an appender panicked"))
            .sum()
    })
}

fn append_alone(appender: &mut impl Appender, mut streams: Streams, turn: Turn) -> Result<u64> {
    turn.repeat(|| {
        appender.append(streams.next())?;
        Ok(1)
    })
}

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    for read_model in [ReadModel::Absent, ReadModel::Inline, ReadModel::Missed] {
        for count in EVENTS {
            for threads in THREADS {
                let with = read_model.suffix();
                let plural = |number| if number == 1 { "" } else { "s" };
                let name = format!(
                    "append {count} event{}{with}, {threads} thread{}",
                    plural(count),
                    plural(threads)
                );
                if !harness.wants(&name) {
                    continue;
                }
                let database = crate::database(server)?;
                let mut ours = store_appenders(&database, threads, count, read_model)?;
                let mut plain =
                    plain_appenders(&database, threads, count, read_model == ReadModel::Inline)?;
                harness.compare(
                    &name,
                    |turn| append(&mut ours, turn),
                    |turn| append(&mut plain, turn),
                )?;
            }
        }
    }
    Ok(())
}
