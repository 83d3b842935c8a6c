//! Resetting and forgetting processors.

use super::Processors;
use crate::error::{Error, Result};
use crate::events::feed;
use crate::slots::ProcessorReset;

impl Processors {
    /// Resets a processor, so that it resumes after another position; 0 is the beginning. It clears failures, crashes
    /// and attempts, and discards parked messages. A running batch is rolled back.
    ///
    /// The read model is *not* emptied, so a projector counts events twice. To build a read model again, rebuild its
    /// projection. A reactor repeats its side effects.
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
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`Error::InvalidInput`] for a position that no append has drawn yet.
    /// - [`Error::InvalidInput`] when the name has several versions and none was selected.
    pub fn reset(&self, name: &str, position: u64) -> Result<ProcessorReset> {
        self.change(name, |sql, key| {
            let head = feed::head(sql, &self.partition)?;
            if position > head {
                return Err(Error::invalid(
                    format!("position {position}"),
                    format!("is beyond the last drawn position, {head}"),
                ));
            }
            key.reset(sql, position)
        })
    }

    /// Deletes the checkpoint and the parked messages of a processor that is not used any more. Its read model stays.
    /// If the processor is started again, it is a new one.
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
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`ProcessorError::Held`](crate::error::ProcessorError::Held) while a process runs it.
    /// - [`Error::InvalidInput`] when the name has several versions and none was selected.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.change(name, |sql, key| key.forget(sql))
    }
}
