//! The policy for events that older code has passed over.

/// Policy for events that older code of a processor has passed over, because it did not know their types.
///
/// The checkpoint records the handled categories and types. The policy applies only if such events exist at or before
/// the checkpoint. An example is a rolling deployment in which a new program appends events that the old reactor does
/// not know. One walk along the feed counts them.
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
    /// Handles the new types after the checkpoint only. A `tracing` warning names the types and the number of
    /// passed-over events. This is the default.
    #[default]
    FromHere,
    /// Does not start, with [`ProcessorError::NewTypes`](crate::error::ProcessorError::NewTypes). Stops if older code
    /// runs at the same time.
    Refuse,
    /// Handles the passed-over events first, in order, and then resumes after the checkpoint. A projector handles
    /// each of them exactly once, a reactor at least once. Later events of their streams were handled before them: a
    /// `tracing` warning names these streams.
    Replay,
}
