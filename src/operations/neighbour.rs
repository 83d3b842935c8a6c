//! Projections and processors of services with Emmett for Node.

use crate::error::Result;
use crate::projection::{NeighbourProjection, neighbour as projections};
use crate::slots::{NeighbourProcessor, neighbour as processors};
use crate::store::EventStore;

/// Projections and processors of Emmett's clients, with their names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Neighbour {
    /// Projections that no program of this library has taken over.
    pub projections: Vec<NeighbourProjection>,
    /// Processors. After the adoption, they include the processors of this library's programs.
    pub processors: Vec<NeighbourProcessor>,
}

impl Neighbour {
    /// Returns the processor that updates a projection under Emmett's name for it.
    pub fn processor_of(&self, projection: &NeighbourProjection) -> Option<&NeighbourProcessor> {
        self.processors.iter().find(|processor| {
            processor.projection.as_ref() == Some(&projection.name)
                && processor.partition == projection.partition
        })
    }
}

impl EventStore {
    /// Lists the projections and processors of Emmett's clients in this store or tenant. It works before and after
    /// the adoption.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// assert!(store.neighbour()?.projections.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no event store, neither of this library nor of Emmett.
    pub fn neighbour(&self) -> Result<Neighbour> {
        self.connections().run(true, |sql| {
            Ok(Neighbour {
                projections: projections::list(sql, self.partition())?,
                processors: processors::list(sql, self.partition())?,
            })
        })
    }
}
