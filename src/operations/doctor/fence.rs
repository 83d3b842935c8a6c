//! The holders of the fence's locks, which hold the feed back.

use super::finding::{Finding, FindingKind, Severity, refused};
use crate::database::position::{elapsed_from_sql, get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Result, counted};
use crate::events::{Partition, PartitionSql, feed};
use postgres::Row;
use postgres::types::Type;
use std::time::Duration;

/// Finds every lock of the partition's class and of the class for all tenants, with its announced position. A
/// prepared transaction has no process. It is found by the lock on its own transaction id, which has the same virtual
/// transaction.
const HOLDERS: PartitionSql = PartitionSql::new("
    SELECT held.pid, held.mode = 'ShareLock' AS is_shared, held.classid = {schema}.emt_fence_class(NULL::TEXT)::OID AS all_tenants,
           {schema}.emt_fence_position($2, held.objid::BIGINT) AS position,
           coalesce(session.usename, prepared.owner)::TEXT AS owner, session.application_name, session.state, session.query,
           (extract(EPOCH FROM clock_timestamp() - coalesce(prepared.prepared, session.xact_start, session.state_change))
               OPERATOR(pg_catalog.*) 1000000)::BIGINT AS age,
           prepared.gid
      FROM pg_locks AS held
      LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
      LEFT JOIN (SELECT own.virtualtransaction, finished.gid, finished.prepared, finished.owner
                   FROM pg_locks AS own
                   JOIN pg_prepared_xacts AS finished ON finished.transaction = own.transactionid
                  WHERE own.locktype = 'transactionid' AND own.pid IS NULL) AS prepared
        ON held.pid IS NULL AND prepared.virtualtransaction = held.virtualtransaction
     WHERE held.locktype = 'advisory' AND held.objsubid = 2 AND held.granted
       AND held.classid IN ({schema}.emt_fence_class($1)::OID, {schema}.emt_fence_class(NULL::TEXT)::OID)
       AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     ORDER BY position, pid");

/// An append takes milliseconds. An open transaction with an append may take somewhat longer.
pub(super) const NORMAL: Duration = Duration::from_secs(5);
pub(super) const BEARABLE: Duration = Duration::from_secs(60);

/// Maximum length of a shown statement.
const LONGEST_QUERY: usize = 200;

/// Position up to which the feed can be read, and the sessions that hold it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedState {
    /// Last position that any append has drawn.
    pub head: u64,
    /// Position up to which the feed can be read: the lowest position of the holders, or the head.
    pub horizon: u64,
    /// Number of positions that cannot be read yet. Not every position has a message of this tenant.
    pub held_back: u64,
    /// Current holders of the fence's locks. The first one holds the feed back.
    pub holders: Vec<FenceHolder>,
}

/// A holder of a lock of the fence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FenceHolder {
    /// Kind of the holder.
    pub kind: HolderKind,
    /// Process id of the session on the server. A prepared transaction has none.
    pub pid: Option<i32>,
    /// Role of the session.
    pub user: Option<String>,
    /// Application name of the session.
    pub application: Option<String>,
    /// State of the session in `pg_stat_activity`, for example `idle in transaction`. `None` if this role may not see
    /// it.
    pub state: Option<String>,
    /// Last statement of the session, cut off after 200 characters. `None` if this role may not see it, or if it
    /// mentions a password.
    pub query: Option<String>,
    /// Age of the transaction. `None` if this role may not see it.
    pub age: Option<Duration>,
    /// Whether the lock holds back the feeds of all tenants, because it names none.
    pub all_tenants: bool,
    /// Position beyond which the feed cannot be read while the lock is held.
    pub position: u64,
    /// Number of positions after it.
    pub held_back: u64,
}

/// Kind of a holder of the fence's locks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HolderKind {
    /// An open transaction, or a transaction that this role may not see.
    Transaction,
    /// A prepared transaction, with its identifier.
    Prepared(String),
    /// A session without a transaction. Its lock was not taken by an append.
    Session,
    /// A session with an exclusive lock, which the fence never takes. It does not hold the feed back, but appends
    /// with the same lock number wait for it.
    Exclusive,
}

impl FeedState {
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.holders.iter().map(FenceHolder::finding)
    }
}

/// Reads the locks. The head is read first, as by a reader of the feed.
pub(super) fn look(sql: &mut dyn Sql, partition: &Partition) -> Result<FeedState> {
    let head = feed::head(sql, partition)?;
    let from = to_sql(head);
    let parameters = [param(&partition.name, Type::TEXT), param(&from, Type::INT8)];
    let rows = sql
        .query(&partition.sql(HOLDERS), &parameters)
        .map_err(refused)?;
    let mut holders: Vec<FenceHolder> = Vec::new();
    for row in &rows {
        let holder = holder(row, head)?;
        // A transaction may hold several locks. The lowest comes first and counts.
        let known = |other: &FenceHolder| other.pid == holder.pid && other.kind == holder.kind;
        match holders.iter_mut().find(|other| known(other)) {
            Some(other) => other.all_tenants |= holder.all_tenants,
            None => holders.push(holder),
        }
    }
    let horizon = holders
        .iter()
        .filter(|holder| holder.kind != HolderKind::Exclusive)
        .map(|holder| holder.position)
        .fold(head, u64::min);
    Ok(FeedState {
        head,
        horizon,
        held_back: head - horizon,
        holders,
    })
}

fn holder(row: &Row, head: u64) -> Result<FenceHolder> {
    let is_shared: bool = get(row, "is_shared")?;
    let state: Option<String> = get(row, "state")?;
    let query: Option<&str> = get(row, "query")?;
    let age: Option<i64> = get(row, "age")?;
    let prepared: Option<String> = get(row, "gid")?;
    let kind = match prepared {
        Some(name) => HolderKind::Prepared(name),
        None if !is_shared => HolderKind::Exclusive,
        None if state.as_deref() == Some("idle") => HolderKind::Session,
        None => HolderKind::Transaction,
    };
    let position = get_u64(row, "position")?;
    Ok(FenceHolder {
        kind,
        pid: get(row, "pid")?,
        all_tenants: get(row, "all_tenants")?,
        position,
        held_back: head.saturating_sub(position),
        user: get(row, "owner")?,
        application: get::<Option<String>>(row, "application_name")?
            .filter(|name| !name.is_empty()),
        query: state.is_some().then(|| query.and_then(shown)).flatten(),
        age: age.map(elapsed_from_sql),
        state,
    })
}

/// Returns a statement for display: on one line, shortened, and without passwords.
fn shown(query: &str) -> Option<String> {
    if query.is_empty() || query.to_lowercase().contains("password") {
        return None;
    }
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line.chars().take(LONGEST_QUERY).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    Some(shown)
}

impl FenceHolder {
    fn finding(&self) -> Finding {
        let (kind, doing) = match self.kind {
            HolderKind::Exclusive => (
                FindingKind::AppendsBlocked,
                "holds an exclusive lock that appends may wait for".to_owned(),
            ),
            _ => (FindingKind::FeedHeld, self.holding()),
        };
        let problem = format!("{} {doing}.{}", self.who(), self.activity());
        Finding::new(kind, self.severity(), problem, self.advice())
    }

    fn who(&self) -> String {
        let mut details: Vec<String> = Vec::new();
        if let Some(user) = &self.user {
            details.push(format!("role \"{user}\""));
        }
        if let Some(application) = &self.application {
            details.push(format!("program \"{application}\""));
        }
        let details = match details.len() {
            0 => String::new(),
            _ => format!(" ({})", details.join(", ")),
        };
        match (&self.kind, self.pid) {
            (HolderKind::Prepared(name), _) => {
                format!("The prepared transaction \"{name}\"{details}")
            }
            (_, Some(pid)) => format!("Session {pid}{details}"),
            (_, None) => format!("A session{details}"),
        }
    }

    fn holding(&self) -> String {
        let since = self
            .age
            .map_or_else(String::new, |age| format!(" for {} s", age.as_secs()));
        let tenants = if self.all_tenants {
            ", for all tenants"
        } else {
            ""
        };
        match self.held_back {
            0 => format!("has an open append{since}; nothing waits for it yet{tenants}"),
            held_back => format!(
                "has held the feed back at position {}{since}{tenants}; not readable yet: {}",
                self.position,
                counted(held_back, "position")
            ),
        }
    }

    fn activity(&self) -> String {
        let mut text = String::new();
        if self.kind == HolderKind::Session {
            text.push_str(" It has no open transaction, so an append has not taken this lock.");
        } else if let Some(state) = &self.state {
            text.push_str(" It is ");
            text.push_str(state);
            text.push('.');
        } else if self.pid.is_some() {
            text.push_str(" This role may not see what it does.");
        }
        if let Some(query) = &self.query {
            text.push_str(" Its last statement: ");
            text.push_str(query);
        }
        text
    }

    fn severity(&self) -> Severity {
        let age = self.age.unwrap_or(Duration::ZERO);
        match self.kind {
            HolderKind::Session | HolderKind::Exclusive => Severity::Serious,
            // It survives its session, and a restart of the server.
            HolderKind::Prepared(_) if age < BEARABLE => Severity::Warning,
            _ if age < NORMAL => Severity::Note,
            _ if age < BEARABLE => Severity::Warning,
            _ => Severity::Serious,
        }
    }

    fn advice(&self) -> String {
        let end = self.pid.map_or_else(String::new, |pid| {
            format!("to end it: SELECT pg_catalog.pg_terminate_backend({pid})")
        });
        match &self.kind {
            HolderKind::Prepared(name) => {
                let name = name.replace('\'', "''");
                format!("Finish it: COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}'.")
            }
            HolderKind::Session | HolderKind::Exclusive => {
                format!("Have its program use other advisory locks; {end}.")
            }
            HolderKind::Transaction => format!("Let it commit or roll back; {end}."),
        }
    }
}
