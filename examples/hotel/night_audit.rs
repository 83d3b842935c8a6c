//! The night audit, a job for cron: closes the day's books of each hotel, and ends.

use crate::read_models::{TURNOVER, turnover};
use emmett_postgresql::EventStore;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) hotel: String,
    /// Number of events since the last audit.
    pub(crate) events: u64,
    pub(crate) nights: i64,
    pub(crate) paid: i64,
}

/// Counts what is stored now. Bookings that come while it runs are counted tomorrow.
pub(crate) fn audit_all(store: &EventStore) -> anyhow::Result<Vec<Audit>> {
    let midnight = store.feed_horizon(0)?.position;
    let tenants = store.tenants().list()?;
    let audits = tenants
        .iter()
        .map(|hotel| audit(&store.tenant(&hotel.name)?, &hotel.name, midnight));
    audits.collect()
}

pub(crate) fn audit(hotel: &EventStore, name: &str, midnight: u64) -> anyhow::Result<Audit> {
    let report = hotel.consumer().projector(turnover()).run_to(midnight)?;
    hotel.delete_command_keys(30 * DAY)?;
    hotel.with_session(|session| {
        let query = format!(
            "SELECT coalesce(sum(nights), 0)::BIGINT AS nights, coalesce(sum(paid), 0)::BIGINT AS paid
               FROM {TURNOVER} WHERE hotel = $1 AND paid > 0"
        );
        let rows = session.query(&query, &[&name])?;
        let row = rows.first().ok_or_else(|| anyhow::anyhow!("no sums"))?;
        Ok(Audit {
            hotel: name.to_owned(),
            events: report.handled(),
            nights: row.try_get("nights")?,
            paid: row.try_get("paid")?,
        })
    })
    .map_err(Into::into)
}
