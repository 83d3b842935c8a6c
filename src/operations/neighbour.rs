//! What a service with Emmett for Node keeps in the database.

use crate::error::Result;
use crate::projection::{NeighbourProjection, neighbour as projections};
use crate::slots::{NeighbourProcessor, neighbour as processors};
use crate::store::EventStore;

/// What clients of Emmett's keep, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Neighbour {
    /// The projections that no program of this library has taken over.
    pub projections: Vec<NeighbourProjection>,
    /// The processors. After the adoption, those of programs of this library are among them.
    pub processors: Vec<NeighbourProcessor>,
}

impl Neighbour {
    /// The processor that keeps a projection under Emmett's name for it.
    pub fn processor_of(&self, projection: &NeighbourProjection) -> Option<&NeighbourProcessor> {
        self.processors.iter().find(|processor| {
            processor.projection.as_ref() == Some(&projection.name)
                && processor.partition == projection.partition
        })
    }
}

impl EventStore {
    /// Lists what clients of Emmett's keep (of this tenant), before the adoption or after it.
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
    /// Where there is no event store, neither this library's nor Emmett's.
    pub fn neighbour(&self) -> Result<Neighbour> {
        self.connections().run(true, |sql| {
            Ok(Neighbour {
                projections: projections::list(sql, self.partition())?,
                processors: processors::list(sql, self.partition())?,
            })
        })
    }
}
