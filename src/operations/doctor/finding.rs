//! What the doctor can find.

use crate::error::Error;
use std::fmt;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, as a sentence.
    pub problem: String,
    /// What to do about it, as a sentence.
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

/// How bad a finding is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Normal for a moment, or for information.
    Note,
    /// Should be looked at.
    Warning,
    /// Events do not get through, or could be lost.
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

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A session or a prepared transaction holds a lock of the fence.
    FeedHeld,
    /// A session holds an exclusive lock in the place of a lock of the fence, so appends may wait for it.
    AppendsBlocked,
    /// A session holds an advisory lock of the library that others wait for, or that the library does not take so.
    LockHeld,
    /// Other roles may create functions or operators that statements of this role find.
    SearchPath,
    /// The server is a standby, from which the feed cannot be read.
    Standby,
    /// Statements of their own do not run at READ COMMITTED here, so each one takes a transaction.
    Isolation,
    /// A sequence is behind the tables: that of the positions has not drawn some that are stored, or a partition's flag that
    /// it has inline projections was lost. Appends are refused.
    SequenceBehind,
    /// The sequence draws positions in advance, or not upwards.
    SequenceSettings,
    /// The column of the positions has lost its default, which fences writers.
    PositionDefault,
    /// The feed's index is missing or not valid.
    FeedIndex,
    /// A stream is active and archived at once.
    StreamTwice,
    /// The row of a stream is at another version than its last message.
    UnevenStream,
    /// An index of Emmett's makes appends slower.
    SecondStreamIndex,
    /// An inline projection has missed events that nobody knows any more.
    StaleProjection,
    /// An inline projection misses events, and no program that has it is there to add them.
    OrphanedProjection,
    /// An inline projection has missed events for more than a minute, although a program that has it is there.
    FollowingProjection,
    /// An inline projection cannot handle an event that it has missed.
    FailingProjection,
    /// An inline projection is registered and not built.
    UnbuiltProjection,
    /// Two event enums of projections have one type name in one category.
    SharedType,
    /// The holder of a processor's slot has not renewed its lease.
    LeaseExpired,
    /// The handler of a processor has been running for more than a minute.
    HandlerHangs,
    /// A processor repeats what fails, and does not get on.
    ProcessorRepeats,
    /// A processor runs, and has not moved for more than a minute, although messages wait.
    ProcessorStandsStill,
    /// A processor has failed.
    ProcessorFailed,
    /// A processor is beyond the last position that was drawn, or of an earlier epoch of the store.
    ProcessorAhead,
    /// A processor has parked messages.
    ParkedMessages,
    /// Emmett's migrations have replaced functions that Emmett's clients call.
    ReplacedFunctions,
    /// Clients of Emmett's keep projections or run processors in the store.
    Neighbour,
}

impl FindingKind {
    /// The kind as a word for programs: `feedHeld` and so on.
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
            Self::ReplacedFunctions => "replacedFunctions",
            Self::Neighbour => "neighbour",
        }
    }
}

/// The error of a look that fails.
pub(super) fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}
