//! The trait [`Projection`].

use super::context::ProjectionContext;
use crate::error::Result;
use crate::events::{HandledEvents, RecordedMessage};
use std::sync::Arc;

/// Updates a read model from events.
///
/// [`DocumentProjection`](crate::DocumentProjection) and [`SqlProjection`](crate::SqlProjection) implement it.
pub trait Projection: Send + Sync + 'static {
    /// Returns the name, which is unique among the projections of a store.
    fn name(&self) -> &str;

    /// Returns the version of the code. Raise it when the code changes the shape of the read model. Programs with
    /// another version can no longer write into the read model then.
    fn version(&self) -> u32;

    /// Returns the kind of the projection, as shown in the registry.
    fn kind(&self) -> &'static str;

    /// Returns the events that the projection handles: their categories and types.
    fn handles(&self) -> &HandledEvents;

    /// Returns the tables and collections that the projection writes, in the PostgreSQL schema of the store. Tables
    /// that others refer to come first.
    ///
    /// A projection with tables takes their names from [`ProjectionContext::table`] and
    /// [`ProjectionContext::collection`]. Defaults to none; the projection cannot be
    /// [rebuilt](crate::EventStore::rebuild) then.
    fn tables(&self) -> &[String] {
        &[]
    }

    /// Returns the keys by which several workers share the messages. Each key belongs to one worker, and a message is
    /// sent to the workers of all its keys.
    ///
    /// `None` means the name of the stream, and is the default. A projection with other keys skips all keys that it
    /// does not [own](ProjectionContext::owns).
    ///
    /// # Errors
    /// When the message cannot be decoded.
    fn keys(&self, message: &RecordedMessage) -> anyhow::Result<Option<Vec<String>>> {
        let _ = message;
        Ok(None)
    }

    /// Creates the tables of the read model. It runs each time a store that may migrate is opened.
    ///
    /// # Errors
    /// Any error fails the opening of the store.
    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Deletes the rows of the context's partition, from the live tables or from the tables of a rebuild.
    ///
    /// # Errors
    /// Any error rolls the deletion back.
    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Handles messages of the types that [`handles`](Projection::handles) returns, in order.
    ///
    /// # Errors
    /// Any error rolls the append back, and the caller of the append receives it.
    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()>;
}

/// A shared projection, so that an append and a consumer can run the same definition.
impl<P: Projection + ?Sized> Projection for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn version(&self) -> u32 {
        (**self).version()
    }

    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn handles(&self) -> &HandledEvents {
        (**self).handles()
    }

    fn tables(&self) -> &[String] {
        (**self).tables()
    }

    fn keys(&self, message: &RecordedMessage) -> anyhow::Result<Option<Vec<String>>> {
        (**self).keys(message)
    }

    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        (**self).init(context)
    }

    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        (**self).truncate(context)
    }

    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()> {
        (**self).handle(messages, context)
    }
}

/// Refuses a projection that selects impossible events.
pub(crate) fn check_handled(projection: &dyn Projection) -> Result<()> {
    let what = format!("projection \"{}\"", projection.name());
    projection.handles().check(&what)
}

/// Returns the messages that a projection handles.
pub(crate) fn handled_among<'m>(
    projection: &dyn Projection,
    mut messages: Vec<&'m RecordedMessage>,
) -> Vec<&'m RecordedMessage> {
    messages.retain(|message| projection.handles().has_message(message));
    messages
}
