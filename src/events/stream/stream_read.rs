//! Results of reading a stream: its events, a state folded from them, or an iterator.

use crate::database::{Connections, Sql};
use crate::error::Result;
use crate::events::category::check_category;
use crate::events::event::Event;
use crate::events::message::Recorded;
use crate::events::partition::Partition;
use crate::events::stream::{self, ReadOptions};
use std::collections::VecDeque;
use std::sync::Arc;

/// The events and the version of a stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StreamRead<E> {
    /// The requested events.
    pub events: Vec<Recorded<E>>,
    /// Version of the stream, independent of the range that was read. 0 if the stream does not exist.
    pub current_version: u64,
    /// Whether the stream exists.
    pub exists: bool,
}

impl<E: Event> StreamRead<E> {
    pub(crate) fn read(
        sql: &mut dyn Sql,
        partition: &Partition,
        stream: &str,
        options: &ReadOptions,
    ) -> Result<Self> {
        check_category::<E>(stream)?;
        let mut events = Vec::new();
        let current_version = stream::read(sql, partition, &stream.into(), options, &mut |row| {
            row.decode(|recorded| events.push(recorded))
        })?;
        Ok(Self {
            events,
            current_version,
            exists: current_version > 0,
        })
    }
}

/// A state folded from the events of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aggregate<S> {
    /// The state.
    pub state: S,
    /// Version of the stream, for the expected version of the next append. 0 if the stream does not exist.
    pub current_version: u64,
    /// Whether the stream exists.
    pub exists: bool,
}

impl<S> Aggregate<S> {
    /// Folds the events as they arrive. Only the state is held in memory.
    pub(crate) fn read<E: Event>(
        sql: &mut dyn Sql,
        partition: &Partition,
        stream: &str,
        options: &ReadOptions,
        initial: impl FnOnce() -> S,
        mut evolve: impl FnMut(S, Recorded<E>) -> S,
    ) -> Result<Self> {
        check_category::<E>(stream)?;
        let mut state = Some(initial());
        let current_version = stream::read(sql, partition, &stream.into(), options, &mut |row| {
            row.decode(|recorded| {
                state = state.take().map(|state| evolve(state, recorded));
            })
        })?;
        let state = state.expect("the state is put back after every event");
        Ok(Self {
            state,
            current_version,
            exists: current_version > 0,
        })
    }
}

/// Iterator over a stream of any length, in bounded memory. Holds no connection between pages.
///
/// Ends at the version of the stream when the first page was read.
#[must_use]
pub struct StreamIter<E> {
    connections: Connections,
    partition: Arc<Partition>,
    stream: Arc<str>,
    options: ReadOptions,
    started: bool,
    ended: bool,
    waiting: VecDeque<Recorded<E>>,
}

impl<E> std::fmt::Debug for StreamIter<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StreamIter")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl<E: Event> StreamIter<E> {
    pub(crate) fn new(
        connections: Connections,
        partition: Arc<Partition>,
        stream: &str,
        options: ReadOptions,
    ) -> Self {
        Self {
            connections,
            partition,
            stream: stream.into(),
            options,
            started: false,
            ended: false,
            waiting: VecDeque::new(),
        }
    }

    fn fetch(&mut self) -> Result<()> {
        check_category::<E>(&self.stream)?;
        self.options.limits.check()?;
        let page = self.connections.run(true, |sql| {
            stream::read_page(sql, &self.partition, &self.stream, &self.options)
        })?;
        if !self.started {
            self.started = true;
            // Without this, a stream that is archived meanwhile would seem to end here.
            self.options = self.options.up_to(page.version).include_archived();
        }
        self.ended = page.is_last;
        if page.messages > 0 {
            self.options = self.options.next_page(page.last, page.messages);
        }
        self.waiting = page.events;
        Ok(())
    }
}

impl<E: Event> Iterator for StreamIter<E> {
    type Item = Result<Recorded<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        // The upcast hook may have dropped all messages of a page.
        while self.waiting.is_empty() && !self.ended {
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}
