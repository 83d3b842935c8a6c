//! Findings of the doctor.

use crate::error::Error;
use std::fmt;

/// A problem that the doctor has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Kind of the problem.
    pub kind: FindingKind,
    /// Severity of the problem.
    pub severity: Severity,
    /// Description of the problem, as a sentence.
    pub problem: String,
    /// Advice, as a sentence.
    pub advice: String,
}

impl Finding {
    pub(super) fn new(
        kind: FindingKind,
        severity: Severity,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            severity,
            problem: problem.into(),
            advice: advice.into(),
        }
    }
}

/// Severity of a finding. The worst one is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Normal for a moment, or for information only.
    Note,
    /// Needs to be checked.
    Warning,
    /// Events are blocked, or may be lost.
    Serious,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Serious => "serious",
        })
    }
}

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A session or a prepared transaction holds a lock of the fence.
    FeedHeld,
    /// A session holds an exclusive lock with the number of a fence lock, so appends may wait for it.
    AppendsBlocked,
    /// A session holds an advisory lock of the library while others wait for it, or without a transaction.
    LockHeld,
    /// Other roles may create functions or operators that statements of this role find.
    SearchPath,
    /// The server is a standby, from which the feed cannot be read.
    Standby,
    /// The default isolation level is not READ COMMITTED, so each single statement needs a transaction.
    Isolation,
    /// A sequence was set back: its positions are stored already, or a partition's flag for inline projections was
    /// lost. Appends are refused.
    SequenceBehind,
    /// The sequence caches positions, or does not ascend by one.
    SequenceSettings,
    /// The column of the positions has lost its default, which fences writers.
    PositionDefault,
    /// The feed's index is missing or invalid.
    FeedIndex,
    /// A stream is both active and archived.
    StreamTwice,
    /// The row of a stream has another version than its last message.
    UnevenStream,
    /// An index of Emmett's slows appends down.
    SecondStreamIndex,
    /// An inline projection has missed events whose list was discarded.
    StaleProjection,
    /// An inline projection has missed events, and no running program has the projection to add them.
    OrphanedProjection,
    /// An inline projection has missed events for more than a minute, although a program with it is running.
    FollowingProjection,
    /// An inline projection cannot handle an event that it has missed.
    FailingProjection,
    /// An inline projection is registered, but not built.
    UnbuiltProjection,
    /// Two event enums of projections share a type name in one category.
    SharedType,
    /// The holder of a processor's slot has not renewed its lease.
    LeaseExpired,
    /// The handler of a processor has been running for more than a minute.
    HandlerHangs,
    /// A processor retries the same work without progress.
    ProcessorRepeats,
    /// A running processor has not moved for more than a minute, although messages wait.
    ProcessorStandsStill,
    /// A processor has failed.
    ProcessorFailed,
    /// A processor is ahead of the last drawn position, or is of an earlier epoch of the store.
    ProcessorAhead,
    /// A processor has parked messages.
    ParkedMessages,
    /// Timers of a workflow were due more than a minute ago, and no program has fired them.
    OverdueTimers,
    /// Emmett's migrations have replaced functions that Emmett's clients call.
    ReplacedFunctions,
    /// Clients of Emmett keep projections or run processors in the store.
    Neighbour,
}

impl FindingKind {
    /// Returns the kind as a word for programs, for example `feedHeld`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FeedHeld => "feedHeld",
            Self::AppendsBlocked => "appendsBlocked",
            Self::LockHeld => "lockHeld",
            Self::SearchPath => "searchPath",
            Self::Standby => "standby",
            Self::Isolation => "isolation",
            Self::SequenceBehind => "sequenceBehind",
            Self::SequenceSettings => "sequenceSettings",
            Self::PositionDefault => "positionDefault",
            Self::FeedIndex => "feedIndex",
            Self::StreamTwice => "streamTwice",
            Self::UnevenStream => "unevenStream",
            Self::SecondStreamIndex => "secondStreamIndex",
            Self::StaleProjection => "staleProjection",
            Self::OrphanedProjection => "orphanedProjection",
            Self::FollowingProjection => "followingProjection",
            Self::FailingProjection => "failingProjection",
            Self::UnbuiltProjection => "unbuiltProjection",
            Self::SharedType => "sharedType",
            Self::LeaseExpired => "leaseExpired",
            Self::HandlerHangs => "handlerHangs",
            Self::ProcessorRepeats => "processorRepeats",
            Self::ProcessorStandsStill => "processorStandsStill",
            Self::ProcessorFailed => "processorFailed",
            Self::ProcessorAhead => "processorAhead",
            Self::ParkedMessages => "parkedMessages",
            Self::OverdueTimers => "overdueTimers",
            Self::ReplacedFunctions => "replacedFunctions",
            Self::Neighbour => "neighbour",
        }
    }
}

/// Returns the error of a failed check.
pub(super) fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}
