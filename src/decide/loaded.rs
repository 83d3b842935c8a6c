//! A boundary after its read: its states, what is decided on them, and the snapshots that are due.

use super::boundary::{Boundary, NewEvent};
use super::decided::Decided;
use super::decision::{Decision, IntoDecision, NewEvents};
use super::error::DecideError;
use super::executor::{Executor, Reading};
use crate::database::ExpectedVersion;
use crate::error::{Error, Result};
use crate::events::stream::{self, Outcome, ReadTogether, Receiver, read_together};
use crate::events::{
    Appended, CommandKey, MessageRow, OutgoingMessage, Snapshot, SnapshotFormat, StreamAppend,
    UnusableSnapshot,
};
use crate::json::JsonError;
use crate::trace;
use serde::Serialize;
use std::sync::Arc;

/// Number of versions after which a new snapshot is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotInterval(pub(super) u64);

/// Reads a boundary, once per attempt.
pub(super) struct Reader<'b, B> {
    boundary: &'b B,
    streams: Vec<Arc<str>>,
    /// The versions that the caller expects.
    expected: Vec<ExpectedVersion>,
    formats: Vec<Option<SnapshotFormat>>,
    interval: u64,
}

impl<'b, B: Boundary> Reader<'b, B> {
    pub(super) fn new(boundary: &'b B, snapshots: Option<SnapshotInterval>) -> Result<Self> {
        let mut streams = Vec::with_capacity(B::STREAMS);
        boundary.name_streams(&mut streams);
        refuse_repeated(&streams)?;
        let mut expected = Vec::with_capacity(B::STREAMS);
        boundary.expected_versions(&mut expected);
        let mut formats = Vec::with_capacity(B::STREAMS);
        boundary.snapshot_formats(&mut formats);
        let interval = snapshots.map_or(u64::MAX, |SnapshotInterval(events)| events);
        if interval == 0 {
            return Err(Error::invalid("snapshot_every", "must be at least 1"));
        }
        Ok(Self {
            boundary,
            streams,
            expected,
            formats,
            interval,
        })
    }

    /// Whether a decision on what is read now may succeed after this error.
    pub(super) fn may_succeed_after(&self, error: &Error) -> bool {
        match error {
            Error::Conflict { stream, actual, .. } => {
                let mut expected = self.streams.iter().zip(&self.expected);
                expected.all(|(name, expected)| **name != **stream || expected.is_met_by(*actual))
            }
            _ => error.is_conflict() || error.is_contention(),
        }
    }

    pub(super) fn read(
        &self,
        executor: &mut impl Executor,
        key: Option<&CommandKey>,
    ) -> Result<Loaded<'_, B>> {
        executor.read(&mut |reading| self.read_all(reading, key))
    }

    fn read_all(
        &self,
        Reading { sql, partition }: Reading<'_>,
        key: Option<&CommandKey>,
    ) -> Result<Loaded<'_, B>> {
        let mut formats = self.formats.clone();
        loop {
            let boundary = stream::Boundary {
                streams: &self.streams,
                formats: &formats,
                key,
            };
            let mut folding = Folding::new(self)?;
            match read_together(sql, partition, &boundary, &mut folding)? {
                Outcome::Read(read) => return Ok(self.loaded(folding, read, &formats)),
                Outcome::Unreadable { number, source } => {
                    self.warn(number, &UnusableSnapshot::Unreadable(source));
                    formats[number] = None;
                }
            }
        }
    }

    /// `formats` are those of the last read, without the snapshots that could not be decoded.
    fn loaded<'r>(
        &'r self,
        folding: Folding<'_, B>,
        read: ReadTogether,
        formats: &[Option<SnapshotFormat>],
    ) -> Loaded<'r, B> {
        let streams = read.streams.into_iter().zip(folding.last_ids).enumerate();
        let streams = streams.map(|(number, (stream, last_id))| {
            if let Some(unusable) = &stream.unusable {
                self.warn(number, unusable);
            }
            let is_unreadable = formats[number].is_none() && self.formats[number].is_some();
            LoadedStream {
                version: stream.version,
                last_id,
                snapshot_version: stream.snapshot_version,
                has_unusable_snapshot: is_unreadable || stream.unusable.is_some(),
            }
        });
        Loaded {
            reader: self,
            states: folding.states,
            streams: streams.collect(),
            reply: read.reply,
        }
    }

    fn warn(&self, number: usize, unusable: &UnusableSnapshot) {
        trace::snapshot_unusable(&self.streams[number], unusable);
    }
}

/// Folds what is read.
struct Folding<'b, B: Boundary> {
    reader: &'b Reader<'b, B>,
    states: B::States,
    /// Id of the last message of each stream with snapshots.
    last_ids: Vec<Option<String>>,
}

impl<'b, B: Boundary> Folding<'b, B> {
    fn new(reader: &'b Reader<'b, B>) -> Result<Self> {
        Ok(Self {
            reader,
            states: reader.boundary.begin()?,
            last_ids: vec![None; reader.streams.len()],
        })
    }
}

impl<B: Boundary> Receiver for Folding<'_, B> {
    fn restore(&mut self, number: usize, state: &[u8]) -> Result<(), JsonError> {
        let boundary = self.reader.boundary;
        boundary.restore(&mut self.states, number, state)
    }

    fn message(&mut self, number: usize, row: &MessageRow<'_>) -> Result<()> {
        if self.reader.formats[number].is_some() {
            let last_id = self.last_ids[number].get_or_insert_default();
            last_id.clear();
            last_id.push_str(row.message_id()?);
        }
        B::fold(&mut self.states, number, row)
    }
}

/// A boundary after its read.
pub(super) struct Loaded<'b, B: Boundary> {
    reader: &'b Reader<'b, B>,
    states: B::States,
    streams: Vec<LoadedStream>,
    /// The stored reply, if the command was executed before.
    reply: Option<Vec<u8>>,
}

struct LoadedStream {
    version: u64,
    /// Id of the message at the version; `None` without snapshots, or if no message came after the snapshot.
    last_id: Option<String>,
    /// 0 without a snapshot.
    snapshot_version: u64,
    has_unusable_snapshot: bool,
}

impl<B: Boundary> Loaded<'_, B> {
    pub(super) fn take_reply(&mut self) -> Option<Vec<u8>> {
        self.reply.take()
    }

    /// Fails if a stream is not at the version that the caller expects.
    fn check_expected(&self) -> Result<()> {
        let Reader {
            streams, expected, ..
        } = self.reader;
        for ((stream, expected), read) in streams.iter().zip(expected).zip(&self.streams) {
            if !expected.is_met_by(read.version) {
                return Err(Error::Conflict {
                    stream: stream.to_string(),
                    expected: *expected,
                    actual: read.version,
                });
            }
        }
        Ok(())
    }

    /// Calls the closure. A refusal is about states that are stored, so their snapshots may be due, too.
    pub(super) fn decide<O: IntoDecision<B>, E>(
        self,
        executor: &mut impl Executor,
        decide: &mut impl for<'a> FnMut(B::View<'a>) -> Result<O, E>,
    ) -> Result<(Self, Decision<O::Reply>), DecideError<E>> {
        self.check_expected()?;
        match decide(B::view(&self.states)) {
            Ok(decision) => {
                let decision = decision.into_decision(self.reader.boundary);
                Ok((self, decision))
            }
            Err(refusal) => {
                self.keep_snapshots(executor);
                Err(DecideError::Refused(refusal))
            }
        }
    }

    pub(super) fn append<R>(
        mut self,
        executor: &mut impl Executor,
        decision: Decision<R>,
    ) -> Result<Decided<B, R>> {
        let new = decision.appends?;
        if new.is_empty() {
            return Ok(self.decided(executor, decision.reply, Vec::new()));
        }
        let appends = executor.prepare(self.prepare(new)?)?;
        let appended = executor.append(&appends)?;
        Ok(self.appended(executor, &appends, appended, decision.reply))
    }

    /// Returns `None` if the key is taken.
    pub(super) fn append_once<R: Serialize>(
        mut self,
        executor: &mut impl Executor,
        key: &CommandKey,
        decision: Decision<R>,
    ) -> Result<Option<Decided<B, R>>> {
        let new = decision.appends?;
        let reply = key.write_reply(&decision.reply)?;
        let appends = if new.is_empty() {
            Vec::new()
        } else {
            executor.prepare(self.prepare(new)?)?
        };
        let appended = executor.append_under_key(&appends, key, &reply)?;
        Ok(appended.map(|appended| self.appended(executor, &appends, appended, decision.reply)))
    }

    fn number_of(&self, stream: &Arc<str>) -> Option<usize> {
        self.reader.streams.iter().position(|name| name == stream)
    }

    /// Applies the events to the states, and gives each stream its expected version. Streams without events become conditions.
    fn prepare(&mut self, new: Vec<NewEvents>) -> Result<Vec<StreamAppend>> {
        let mut appends = Vec::with_capacity(new.len() + self.streams.len());
        let mut is_appended = vec![false; self.streams.len()];
        for NewEvents { stream, messages } in new {
            let number = self.number_of(&stream);
            let expected = number.map_or(ExpectedVersion::Any, |number| {
                ExpectedVersion::Exact(self.streams[number].version)
            });
            if let Some(number) = number {
                is_appended[number] = true;
                self.apply(number, &stream, &messages)?;
            }
            appends.push(StreamAppend::new(&stream, expected, messages)?);
        }
        for (number, stream) in self.reader.streams.iter().enumerate() {
            if !is_appended[number] {
                let expected = ExpectedVersion::Exact(self.streams[number].version);
                appends.push(StreamAppend::condition(stream, expected)?);
            }
        }
        Ok(appends)
    }

    fn apply(&mut self, number: usize, stream: &str, messages: &[OutgoingMessage]) -> Result<()> {
        let read = &mut self.streams[number];
        for (message, version) in messages.iter().zip(read.version + 1..) {
            let new = NewEvent {
                stream,
                version,
                message,
            };
            B::apply(&mut self.states, number, &new)?;
        }
        if let (Some(_), Some(last)) = (&self.reader.formats[number], messages.last()) {
            read.last_id = Some(last.message_id.clone());
        }
        Ok(())
    }

    fn appended<R>(
        mut self,
        executor: &mut impl Executor,
        appends: &[StreamAppend],
        appended: Vec<Appended>,
        reply: R,
    ) -> Decided<B, R> {
        for (append, appended) in appends.iter().zip(&appended) {
            if let Some(number) = self.number_of(&append.stream) {
                self.streams[number].version = appended.next_expected_version;
            }
        }
        let mut own = appended;
        own.retain(|appended| !appended.global_positions.is_empty());
        self.decided(executor, reply, own)
    }

    fn decided<R>(
        self,
        executor: &mut impl Executor,
        reply: R,
        appended: Vec<Appended>,
    ) -> Decided<B, R> {
        self.keep_snapshots(executor);
        let versions: Vec<u64> = self.streams.iter().map(|stream| stream.version).collect();
        Decided {
            version: B::versions(&versions),
            state: self.states,
            reply,
            appended,
            was_decided_before: false,
        }
    }

    pub(super) fn decided_before<R>(self, executor: &mut impl Executor, reply: R) -> Decided<B, R> {
        Decided {
            was_decided_before: true,
            ..self.decided(executor, reply, Vec::new())
        }
    }

    fn keep_snapshots(&self, executor: &mut impl Executor) {
        let due: Vec<Snapshot> = (0..self.streams.len())
            .filter_map(|number| self.due_snapshot(number))
            .collect();
        if !due.is_empty() {
            executor.keep_snapshots(due);
        }
    }

    fn due_snapshot(&self, number: usize) -> Option<Snapshot> {
        let (reader, read) = (self.reader, &self.streams[number]);
        let format = reader.formats[number].as_ref()?;
        let message_id = read.last_id.as_ref()?;
        let age = read.version.saturating_sub(read.snapshot_version);
        if age < reader.interval && !read.has_unusable_snapshot {
            return None;
        }
        let stream = &reader.streams[number];
        match reader.boundary.snapshot(&self.states, number)? {
            Ok(state) => Some(Snapshot {
                stream: Arc::clone(stream),
                format: format.clone(),
                version: read.version,
                message_id: message_id.clone(),
                state,
                replaces_any: read.has_unusable_snapshot,
            }),
            Err(error) => {
                trace::snapshot_lost(stream, &error);
                None
            }
        }
    }
}

fn refuse_repeated(streams: &[Arc<str>]) -> Result<()> {
    let mut sorted: Vec<&Arc<str>> = streams.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid(
            format!("stream \"{}\"", pair[0]),
            "stands twice in the boundary of one decision",
        )),
        None => Ok(()),
    }
}
