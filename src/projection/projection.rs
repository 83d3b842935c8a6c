//! What a projection is.

use super::context::ProjectionContext;
use crate::error::Result;
use crate::events::{HandledEvents, RecordedMessage};

/// Keeps a read model.
///
/// [`DocumentProjection`](crate::DocumentProjection) and [`SqlProjection`](crate::SqlProjection) are the ready-made ones.
pub trait Projection: Send + Sync + 'static {
    /// The name, unique among the projections of a store.
    fn name(&self) -> &str;

    /// The version of the code. Raise it when the read model that the code writes changes: then no program of another
    /// version can write into it.
    fn version(&self) -> u32;

    /// What kind of projection this is, for the registry.
    fn kind(&self) -> &'static str;

    /// The events that it handles: their categories and their types.
    fn handles(&self) -> &HandledEvents;

    /// The tables and collections that it writes, all in the PostgreSQL schema of the store, those that others refer to first.
    /// Without any it cannot be [rebuilt](crate::EventStore::rebuild); with some, it takes their names from
    /// [`ProjectionContext::table`] and [`ProjectionContext::collection`].
    fn tables(&self) -> &[String] {
        &[]
    }

    /// What a message's work is shared out by among several workers: each key is one worker's, and the message comes to the
    /// workers of all its keys. `None`, which is the default, means the stream's name. A projection with other keys leaves
    /// alone what it does not [own](ProjectionContext::owns).
    ///
    /// # Errors
    /// When the message cannot be read.
    fn keys(&self, message: &RecordedMessage) -> anyhow::Result<Option<Vec<String>>> {
        let _ = message;
        Ok(None)
    }

    /// Creates the storage of the read model. Runs when a store that may migrate is opened.
    ///
    /// # Errors
    /// Whatever fails; the store is not opened then.
    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Empties the read model of the context's partition: what it writes, live or in a rebuild, as the context says.
    ///
    /// # Errors
    /// Whatever fails; nothing is emptied then.
    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Handles messages that it [`handles`](Projection::handles), in their order.
    ///
    /// # Errors
    /// Whatever fails; the append is rolled back then, and its caller gets the error.
    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()>;
}

/// Refuses a projection that handles events which no message can be.
pub(crate) fn check_handled(projection: &dyn Projection) -> Result<()> {
    let what = format!("projection \"{}\"", projection.name());
    projection.handles().check(&what)
}
