//! What newer code does with events that older code has passed over.

/// What a processor does with events that older code of its name has passed over, because it did not know their types.
///
/// Its checkpoint remembers the categories and types that were handled. The question comes up only where there are such
/// events at or before the checkpoint: after a rolling deployment, for example, in which a new program appends what the old
/// reactor does not know. They are counted by a walk along the feed, once.
///
/// ```
/// use emmett_postgresql::{RawEvent, Reactor, Recorded, consumer::OnNewTypes};
/// let mails = Reactor::new("mails")
///     .each(|_: &Recorded<RawEvent>, _| Ok(()))
///     .on_new_types(OnNewTypes::Replay);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnNewTypes {
    /// Handles the new types from the checkpoint on. A `tracing` warning names the types, and how many events of them were
    /// passed over. The default.
    #[default]
    FromHere,
    /// Does not start, with [`ProcessorError::NewTypes`](crate::error::ProcessorError::NewTypes), or stops where older code runs beside it.
    Refuse,
    /// Handles the events that were passed over first, in their order, and then goes on. A projector does each of them exactly
    /// once, a reactor at least once. Later events of their streams were handled before them: a `tracing` warning names the
    /// streams.
    Replay,
}
