//! Setting a processor back, and forgetting it.

use super::Processors;
use crate::error::{Error, Result};
use crate::events::feed;
use crate::slots::ProcessorReset;

impl Processors {
    /// Has a processor go on after another position: 0 is the beginning. Clears its failures, crashes and attempts, and
    /// drops what it has parked. A batch that is being handled now is rolled back.
    ///
    /// A read model is *not* emptied by it, so a projector counts again what it has counted before: to build a read model
    /// anew, rebuild its projection. A reactor repeats its side effects.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.processors().reset("order-notifications", 1_200)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown). [`Error::InvalidInput`] for a position that no append has
    /// drawn yet, and where the name has several versions and none was chosen.
    pub fn reset(&self, name: &str, position: u64) -> Result<ProcessorReset> {
        self.change(name, |sql, key| {
            let head = feed::head(sql, &self.partition)?;
            if position > head {
                return Err(Error::invalid(
                    format!("position {position}"),
                    format!("is beyond the last one, {head}"),
                ));
            }
            key.reset(sql, position)
        })
    }

    /// Deletes what is known of a processor that nobody runs any more: its position and what it has parked. Its read model
    /// stays. If it is started again, it is a new one.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.processors().forget("last-years-report")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown); [`ProcessorError::Held`](crate::error::ProcessorError::Held)
    /// while somebody runs it; [`Error::InvalidInput`] where the name has several versions and none was chosen.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.change(name, |sql, key| key.forget(sql))
    }
}
