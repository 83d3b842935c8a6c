//! What is wrong with a store, in plain words, and what to do about it. Looks and changes nothing.

mod fence;
mod foundations;
mod progress;
mod proof;

pub use fence::{FeedState, FenceHolder, HolderKind};
pub use proof::FeedProof;
pub(crate) use proof::prove;

use crate::connection::{Connections, Sql, get, param};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::processors::Processors;
use postgres::types::Type;
use std::fmt;

/// A standby shows no locks, and its sequence runs ahead.
const PLACE: &str = "
    SELECT pg_is_in_recovery(), current_setting('default_transaction_isolation'), {schema}.emt_check_partition($1)";

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoctorReport {
    /// How far the feed can be read, and who holds it there; `None` on a standby, which does not know.
    pub feed: Option<FeedState>,
    /// What is not as it should be; the worst first.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// Whether something needs attention now.
    pub fn is_serious(&self) -> bool {
        let mut severities = self.findings.iter().map(|finding| finding.severity);
        severities.any(|severity| severity == Severity::Serious)
    }
}

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
    fn new(
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
    /// The server is a standby, from which the feed cannot be read.
    Standby,
    /// Statements of their own do not run at READ COMMITTED here, so the feed cannot be read.
    Isolation,
    /// The sequence has not drawn positions that are stored.
    SequenceBehind,
    /// The sequence draws positions in advance, or not upwards.
    SequenceSettings,
    /// The column of the positions has lost its default, which fences writers.
    PositionDefault,
    /// The feed's index is missing or not valid.
    FeedIndex,
    /// A stream is active and archived at once.
    StreamTwice,
    /// An index of Emmett's makes appends slower.
    SecondStreamIndex,
    /// An inline projection misses events, and appends with it are refused.
    StaleProjection,
    /// The holder of a processor's slot has not renewed its lease.
    LeaseExpired,
    /// A processor has failed.
    ProcessorFailed,
    /// A processor is beyond the last position that was drawn.
    ProcessorAhead,
    /// A processor has parked messages.
    ParkedMessages,
}

impl FindingKind {
    /// The kind as a word for programs: `feedHeld` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::FeedHeld => "feedHeld",
            Self::AppendsBlocked => "appendsBlocked",
            Self::Standby => "standby",
            Self::Isolation => "isolation",
            Self::SequenceBehind => "sequenceBehind",
            Self::SequenceSettings => "sequenceSettings",
            Self::PositionDefault => "positionDefault",
            Self::FeedIndex => "feedIndex",
            Self::StreamTwice => "streamTwice",
            Self::SecondStreamIndex => "secondStreamIndex",
            Self::StaleProjection => "staleProjection",
            Self::LeaseExpired => "leaseExpired",
            Self::ProcessorFailed => "processorFailed",
            Self::ProcessorAhead => "processorAhead",
            Self::ParkedMessages => "parkedMessages",
        }
    }
}

/// Looks at everything.
pub(crate) fn examine(
    connections: &Connections,
    partition: &Partition,
    processors: &Processors,
) -> Result<DoctorReport> {
    let mut report = connections.run(true, |sql| examine_tables(sql, partition))?;
    report.findings.extend(progress::examine(processors)?);
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(report)
}

fn examine_tables(sql: &mut dyn Sql, partition: &Partition) -> Result<DoctorReport> {
    let mut findings = Vec::new();
    let rows = sql
        .query(&partition.sql(PLACE), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("look for a tenant", &partition.name, source))?;
    let (is_standby, isolation) = match rows.first() {
        Some(row) => (get(row, 0)?, get(row, 1)?),
        None => (false, String::new()),
    };
    if isolation != "read committed" {
        findings.push(Finding::new(
            FindingKind::Isolation,
            Severity::Serious,
            format!("Statements run at isolation level \"{isolation}\" here, so the feed cannot be read."),
            "Set default_transaction_isolation to 'read committed' for this role or database.",
        ));
    }
    if is_standby {
        findings.push(Finding::new(
            FindingKind::Standby,
            Severity::Note,
            "This server is a standby: it does not show who holds the feed back.",
            "Ask the primary server.",
        ));
        return Ok(DoctorReport {
            feed: None,
            findings,
        });
    }
    let feed = fence::look(sql, partition)?;
    findings.extend(feed.findings());
    findings.extend(foundations::examine(sql, partition)?);
    Ok(DoctorReport {
        feed: Some(feed),
        findings,
    })
}

fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}
