//! Arming: appends note the events that they add to a version before it becomes active.

use super::claim::Claim;
use super::job::Job;
use super::progress::Progress;
use crate::database::Sql;
use crate::error::Result;
use crate::events::feed;
use crate::projection::{ProjectionType, missed, registry};
use std::time::Duration;

impl Job<'_> {
    /// Arms the version and switches. Appends note their events for a version that is not active. The switch reads all
    /// earlier events from the feed. If the switch fails, the status of the version is restored.
    pub(super) fn arm_and_switch(
        &self,
        claim: &Claim,
        progress: &mut Progress<'_>,
    ) -> Result<(Duration, Vec<String>)> {
        let Some(before) = self.arm()? else {
            return self.switch(claim, progress, 0);
        };
        let switched = self
            .last_position()
            .and_then(|noted_after| self.switch(claim, progress, noted_after));
        if switched.is_err() {
            // The next build disarms it again. Until then, appends only note more than necessary.
            let _ = self.disarm(&before);
        }
        switched
    }

    /// Returns the earlier status, or `None` if no arming is needed: the version is active, or asynchronous.
    fn arm(&self) -> Result<Option<String>> {
        if self.projection_type == ProjectionType::Asynchronous {
            return Ok(None);
        }
        let status = self.run_sql(|sql| {
            registry::status(sql, self.partition(), self.projection.name(), self.version)
        })?;
        match status.as_deref() {
            Some("active") => return Ok(None),
            // An interrupted build has left it armed.
            Some("arming") => return Ok(Some("building".to_owned())),
            _ => {}
        }
        let before = status.unwrap_or_default();
        self.change_status(&before, "arming")?;
        Ok(Some(before))
    }

    fn disarm(&self, before: &str) -> Result<()> {
        self.change_status("arming", before)?;
        let key = (self.projection.name(), self.version);
        self.run_sql(|sql| missed::delete(sql, self.partition(), key, u64::MAX))
    }

    fn change_status(&self, from: &str, to: &str) -> Result<bool> {
        let (name, version) = (self.projection.name(), self.version);
        self.run_sql(|sql| registry::change_status(sql, self.partition(), name, version, from, to))
    }

    fn run_sql<T>(&self, run: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        self.store.connections().run(true, run)
    }

    /// Returns the last position whose event may be missing from the notes. An append from before the arming has drawn
    /// its positions already, so all later events are noted.
    fn last_position(&self) -> Result<u64> {
        self.run_sql(|sql| feed::head(sql, self.partition()))
    }
}
