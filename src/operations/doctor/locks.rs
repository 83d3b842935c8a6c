//! Sessions that hold advisory locks of the library, which any connected role may take.

use super::fence::{BEARABLE, NORMAL};
use super::finding::{Finding, FindingKind, Severity, refused};
use crate::database::position::elapsed_from_sql;
use crate::database::{Sql, get, param};
use crate::error::Result;
use crate::events::{Partition, PartitionSql};
use crate::projection::registry;
use crate::slots;
use postgres::Row;
use postgres::types::Type;
use std::collections::BTreeSet;
use std::time::Duration;

/// Finds the library's transaction locks. The locks of the fence have another class and are checked separately.
const HOLDERS: PartitionSql = PartitionSql::new("
    WITH ours AS (
        SELECT {schema}.emt_projection_lock_key($1) AS key, 'the inline projections' AS purpose
         UNION ALL
        SELECT {schema}.emt_projection_register_key($1, name), 'registering projection \"' || name || '\"'
          FROM pg_catalog.unnest($2) AS name
         UNION ALL
        SELECT {schema}.emt_missed_lock_key($1, name), 'following projection \"' || name || '\"'
          FROM pg_catalog.unnest($2) AS name
         UNION ALL
        SELECT {schema}.emt_rebuild_lock_key($1, name), 'rebuilding projection \"' || name || '\"'
          FROM pg_catalog.unnest($2) AS name
         UNION ALL
        SELECT {schema}.emt_processor_lock_key($1, name), 'registering processor \"' || name || '\"'
          FROM pg_catalog.unnest($3) AS name
         UNION ALL
        SELECT pg_catalog.hashtextextended('emt.migrate/' || $4, 0), 'migrating the schema'
    ), advisory AS (
        SELECT held.pid, held.granted, held.mode, held.classid::BIGINT << 32 | held.objid::BIGINT AS key
          FROM pg_catalog.pg_locks AS held
         WHERE held.locktype = 'advisory' AND held.objsubid = 1
           AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    )
    SELECT ours.purpose, held.pid, held.mode = 'ExclusiveLock' AS is_exclusive, session.usename::TEXT AS role,
           session.application_name AS application, session.state,
           (extract(EPOCH FROM clock_timestamp() - coalesce(session.xact_start, session.state_change))
               OPERATOR(pg_catalog.*) 1000000)::BIGINT AS age,
           (SELECT count(*) FROM advisory AS waiting WHERE waiting.key = held.key AND NOT waiting.granted) AS waiting
      FROM ours
      JOIN advisory AS held ON held.key = ours.key AND held.granted
      LEFT JOIN pg_catalog.pg_stat_activity AS session ON session.pid = held.pid
     ORDER BY ours.purpose, held.pid");

struct Holder {
    purpose: String,
    pid: Option<i32>,
    is_exclusive: bool,
    role: Option<String>,
    application: Option<String>,
    state: Option<String>,
    age: Option<Duration>,
    waiting: i64,
}

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let projections: BTreeSet<String> = registry::list(sql, partition)?
        .into_iter()
        .map(|projection| projection.name)
        .collect();
    let projections = Vec::from_iter(projections);
    let processors = slots::names(sql, partition)?;
    let schema = &**partition.schema();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&projections, Type::TEXT_ARRAY),
        param(&processors, Type::TEXT_ARRAY),
        param(&schema, Type::TEXT),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(HOLDERS), &parameters)
        .map_err(refused)?;
    let holders: Result<Vec<Holder>> = rows.iter().map(holder).collect();
    Ok(holders?.iter().filter_map(Holder::finding).collect())
}

fn holder(row: &Row) -> Result<Holder> {
    let age: Option<i64> = get(row, "age")?;
    Ok(Holder {
        purpose: get(row, "purpose")?,
        pid: get(row, "pid")?,
        is_exclusive: get(row, "is_exclusive")?,
        role: get(row, "role")?,
        application: get(row, "application")?,
        state: get(row, "state")?,
        age: age.map(elapsed_from_sql),
        waiting: get(row, "waiting")?,
    })
}

impl Holder {
    fn finding(&self) -> Option<Finding> {
        let severity = self.severity()?;
        let mode = if self.is_exclusive {
            "exclusive"
        } else {
            "shared"
        };
        let since = self
            .age
            .map_or_else(String::new, |age| format!(" for {} s", age.as_secs()));
        let stranger = if self.has_no_transaction() {
            " It has no open transaction, so this library has not taken the lock."
        } else {
            ""
        };
        Some(Finding::new(
            FindingKind::LockHeld,
            severity,
            format!(
                "{} has held the {mode} advisory lock for {}{since}; sessions waiting for it: {}.{stranger}",
                self.who(),
                self.purpose,
                self.waiting
            ),
            self.advice(),
        ))
    }

    /// Returns whether the session has no transaction, with which all locks of the library end.
    fn has_no_transaction(&self) -> bool {
        self.state.as_deref() == Some("idle")
    }

    /// Returns `None` for normal use of the locks by the library.
    fn severity(&self) -> Option<Severity> {
        if self.has_no_transaction() {
            return Some(Severity::Serious);
        }
        if self.waiting == 0 {
            return None;
        }
        Some(match self.age {
            Some(age) if age < NORMAL => Severity::Note,
            Some(age) if age >= BEARABLE => Severity::Serious,
            _ => Severity::Warning,
        })
    }

    fn who(&self) -> String {
        let pid = self.pid.map_or_else(
            || "A prepared transaction".to_owned(),
            |pid| format!("Session {pid}"),
        );
        let role = self.role.as_ref().map(|role| format!("role \"{role}\""));
        let application = self.application.as_ref().filter(|name| !name.is_empty());
        let application = application.map(|name| format!("program \"{name}\""));
        let details: Vec<String> = role.into_iter().chain(application).collect();
        if details.is_empty() {
            pid
        } else {
            format!("{pid} ({})", details.join(", "))
        }
    }

    fn advice(&self) -> String {
        match self.pid {
            Some(pid) => format!(
                "Let it end its transaction, or end it: SELECT pg_catalog.pg_terminate_backend({pid})."
            ),
            None => "Finish it: see pg_prepared_xacts.".to_owned(),
        }
    }
}
