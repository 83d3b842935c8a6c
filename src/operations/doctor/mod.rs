//! The doctor: finds problems of a store, and gives advice. It changes nothing.

mod catalog;
mod fence;
mod finding;
mod locks;
mod neighbour;
mod progress;
mod projections;
mod proof;
mod search_path;
mod shared_type;
mod timers;

pub use fence::{FeedState, FenceHolder, HolderKind};
pub use finding::{Finding, FindingKind, Severity};
pub use proof::FeedProof;

use crate::database::{Connections, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use crate::operations::processors::Processors;
use crate::store::EventStore;
use postgres::types::Type;
use proof::prove;

/// A standby shows no locks, and its sequence is ahead.
const PLACE: PartitionSql = PartitionSql::new("
    SELECT pg_is_in_recovery() AS is_standby, pg_catalog.current_setting('default_transaction_isolation') AS isolation,
           {schema}.emt_partition_check($1)");

/// Report of the doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoctorReport {
    /// Position up to which the feed can be read, and the sessions that hold it back. `None` on a standby, which has no
    /// such information.
    pub feed: Option<FeedState>,
    /// Problems, the worst first.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// Returns whether a problem needs attention now.
    pub fn is_serious(&self) -> bool {
        let mut severities = self.findings.iter().map(|finding| finding.severity);
        severities.any(|severity| severity == Severity::Serious)
    }
}

/// Runs all checks.
fn examine(
    connections: &Connections,
    partition: &Partition,
    processors: &Processors,
) -> Result<DoctorReport> {
    let mut report = connections.run(true, |sql| examine_tables(sql, partition))?;
    let horizon = report.feed.as_ref().map(|feed| feed.horizon);
    let findings = progress::examine(processors, horizon)?;
    report.findings.extend(findings);
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(report)
}

fn examine_tables(sql: &mut dyn Sql, partition: &Partition) -> Result<DoctorReport> {
    let mut findings = Vec::new();
    let rows = sql
        .query(&partition.sql(PLACE), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("find a tenant", &partition.name, source))?;
    let (is_standby, isolation) = match rows.first() {
        Some(row) => (get(row, "is_standby")?, get(row, "isolation")?),
        None => (false, String::new()),
    };
    if isolation != "read committed" {
        findings.push(Finding::new(
            FindingKind::Isolation,
            Severity::Warning,
            format!(
                "Statements run at isolation level \"{isolation}\" here, so each one needs a transaction of its own: three round \
                 trips."
            ),
            "Set default_transaction_isolation to 'read committed' for this role or database.",
        ));
    }
    if is_standby {
        findings.push(Finding::new(
            FindingKind::Standby,
            Severity::Note,
            "This server is a standby: it does not show the sessions that hold the feed back.",
            "Run the doctor on the primary server.",
        ));
        return Ok(DoctorReport {
            feed: None,
            findings,
        });
    }
    let feed = fence::look(sql, partition)?;
    findings.extend(feed.findings());
    findings.extend(locks::examine(sql, partition)?);
    findings.extend(search_path::examine(sql, partition)?);
    findings.extend(catalog::examine(sql, partition)?);
    findings.extend(projections::examine(sql, partition)?);
    findings.extend(shared_type::examine(sql, partition)?);
    findings.extend(neighbour::examine(sql, partition)?);
    findings.extend(timers::examine(sql, partition)?);
    Ok(DoctorReport {
        feed: Some(feed),
        findings,
    })
}

impl EventStore {
    /// Finds problems of the store, or of this tenant. It changes nothing.
    ///
    /// It checks the following:
    ///
    /// - sessions that hold the feed back, or hold a lock of the library
    /// - catalog objects that the feed relies on
    /// - streams with missing messages; at most a million streams are compared, and
    ///   [`prove_feed`](EventStore::prove_feed) compares all
    /// - schemas on the search path in which other roles may create functions
    /// - processors without progress
    /// - inline projections that are not active
    /// - timers of workflows that should have fired
    ///
    /// Only superusers and members of `pg_read_all_stats` can see the activity of other roles.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// let report = store.doctor()?;
    /// for finding in &report.findings {
    ///     println!("{}: {} {}", finding.severity, finding.problem, finding.advice);
    /// }
    /// assert!(!report.is_serious());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::UnknownTenant`] when the tenant does not exist.
    /// - Errors of the database.
    pub fn doctor(&self) -> Result<DoctorReport> {
        examine(self.connections(), self.partition(), &self.processors())
    }

    /// Proves that a part of the feed has no holes. It walks from one global position to another, both included.
    ///
    /// It checks that positions are unique, that the versions of each stream ascend one by one, and that each
    /// stream's row has the version of its last message. From position 1, it also finds rows without messages. It
    /// holds one number in memory for each stream.
    ///
    /// If the part ends beyond the last drawn position, the proof ends there, and [`FeedProof::to`] shows it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// # store.append_to_stream("Cart-1", &[emmett_postgresql::RawEvent::new("Opened", serde_json::json!({}))])?;
    /// let end = store.feed_horizon(0)?.position;
    /// let proof = store.prove_feed(1, end)?;
    /// assert!(proof.holds(), "{:?}", proof.violations);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a part that ends where appends are still open, that ends before it begins, or that
    /// begins beyond the last drawn position.
    pub fn prove_feed(&self, from: u64, to: u64) -> Result<FeedProof> {
        self.prove_feed_watched(from, to, &mut |_, _| ())
    }

    /// Proves that a processor has skipped no stored event: [`prove_feed`](EventStore::prove_feed) from the beginning
    /// to the position of the processor.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// assert!(store.prove_processor("cart-summaries")?.holds());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) when the processor is ahead of the sequence.
    /// - [`Error::InvalidInput`] when the processor is beyond the position up to which the feed can be read.
    pub fn prove_processor(&self, name: &str) -> Result<FeedProof> {
        self.prove_feed(1, self.processors().drawn_position(name)?)
    }

    /// Calls `on_page` after each page, with the proof so far and its position.
    pub(crate) fn prove_feed_watched(
        &self,
        from: u64,
        to: u64,
        on_page: &mut dyn FnMut(&FeedProof, u64),
    ) -> Result<FeedProof> {
        prove(self.connections(), self.partition(), (from, to), on_page)
    }
}
