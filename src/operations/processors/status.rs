//! The positions and holders of processors.

use super::Processors;
use crate::error::Result;
use crate::slots::{ProcessorStatus, status};

impl Processors {
    /// Lists all processors, by name and version.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// use emmett_postgresql::operations::ProcessorState;
    /// let failed = store.processors().list()?.into_iter().filter(|one| one.state == ProcessorState::Failed);
    /// assert_eq!(failed.count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownTenant`](crate::Error::UnknownTenant) when the tenant does not exist.
    pub fn list(&self) -> Result<Vec<ProcessorStatus>> {
        self.connections.run(true, |sql| {
            self.check_partition(sql)?;
            status::list(sql, &self.partition, self.version_parameter()?)
        })
    }

    /// Returns the checkpoint of a processor: the lowest one, if the processor has several slots or versions.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// let position = store.processors().position("cart-summaries")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    pub fn position(&self, name: &str) -> Result<u64> {
        let positions = self.named(name)?.into_iter().map(|one| one.position);
        Ok(positions.min().unwrap_or(0))
    }

    /// Returns the checkpoint of a processor, or an error if it is meaningless: ahead of the sequence, or of an earlier
    /// epoch.
    pub(crate) fn drawn_position(&self, name: &str) -> Result<u64> {
        for one in self.named(name)? {
            one.reach().check(name)?;
        }
        self.position(name)
    }

    /// Returns all versions of a processor.
    fn named(&self, name: &str) -> Result<Vec<ProcessorStatus>> {
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            let all = status::list(sql, &self.partition, self.version_parameter()?)?;
            Ok(all.into_iter().filter(|one| one.name == name).collect())
        })
    }
}
