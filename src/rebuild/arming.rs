//! Arming: before a version becomes active, appends note what they add to it.

use super::claim::Claim;
use super::job::Job;
use super::progress::Progress;
use crate::database::Sql;
use crate::error::Result;
use crate::events::feed;
use crate::projection::{ProjectionType, missed, registry};
use std::time::Duration;

impl Job<'_> {
    /// The switch. For a version that is not active, appends first have to note what they add: what they do not, the switch
    /// finds in the feed. Where it fails, the version is what it was.
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
            // The next build does it again; until then, appends note more than they have to.
            let _ = self.disarm(&before);
        }
        switched
    }

    /// Returns what the version was; `None` where it is active, so that appends note it already, or asynchronous.
    fn arm(&self) -> Result<Option<String>> {
        if self.projection_type == ProjectionType::Asynchronous {
            return Ok(None);
        }
        let status = self.run_sql(|sql| {
            registry::status(sql, self.partition(), self.projection.name(), self.version)
        })?;
        match status.as_deref() {
            Some("active") => return Ok(None),
            // What an interrupted build has left.
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

    /// Every event above this position is noted: an append that looked before the arming was committed had drawn its positions.
    fn last_position(&self) -> Result<u64> {
        self.run_sql(|sql| feed::head(sql, self.partition()))
    }
}
