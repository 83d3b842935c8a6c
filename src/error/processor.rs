//! What can go wrong with a processor of a consumer.

use super::counted;
use super::run_report::RunReport;

/// What went wrong with a processor. [`Error::Processor`](crate::Error::Processor) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// No processor of that name has ever run here. The message names those that have.
    #[error("there is no processor \"{processor}\"{}", known_processors(.known))]
    #[non_exhaustive]
    Unknown {
        /// The name that was asked for.
        processor: String,
        /// The names of the processors that there are.
        known: Vec<String>,
    },
    /// A processor is held by a running worker, so it cannot be forgotten. Stop that one first.
    #[error("processor \"{processor}\" is held by \"{owner}\": stop it first")]
    #[non_exhaustive]
    Held {
        /// The processor's name.
        processor: String,
        /// The consumer that holds it.
        owner: String,
    },
    /// A processor has stopped, or cannot be started. [`EventStore::processors`](crate::EventStore::processors) lists all.
    ///
    /// The text has the whole cause, so [`source`](std::error::Error::source) has nothing to add.
    #[error("processor \"{processor}\" failed: {cause:#}")]
    #[non_exhaustive]
    Failed {
        /// The processor's name.
        processor: String,
        /// Why: an [`Error`](crate::Error) of the database, or what the handler returned, with the message that it could not
        /// handle.
        cause: anyhow::Error,
    },
    /// A job has failed: one of its processors, or the database. What was committed counts; the next run goes on there.
    #[error("the job failed after {}", counted(.report.handled(), "message"))]
    #[non_exhaustive]
    JobFailed {
        /// What the job has done.
        report: Box<RunReport>,
        /// The first cause: an [`Error`](crate::Error).
        source: anyhow::Error,
    },
    /// A processor has handled positions that no append has drawn: the database was restored, or its messages were deleted
    /// and the sequence was set back. What is appended up to there would be skipped, so the processor does not run.
    ///
    /// Where stored messages stand above the sequence, set that first ([`EventStore::doctor`](crate::EventStore::doctor)
    /// says so). Then [reset](crate::operations::Processors::reset) the processor.
    #[error(
        "processor \"{processor}\" is at position {position}, ahead of the sequence, which is at {head}: it would skip \
         events. Was the database restored? Reset the processor"
    )]
    #[non_exhaustive]
    Ahead {
        /// The processor's name.
        processor: String,
        /// The highest position of its slots.
        position: u64,
        /// The last position that any append has drawn.
        head: u64,
    },
    /// A processor has come to its position before the store was restored or repaired. Other messages may stand up to there
    /// now, which it would skip, so it does not run.
    ///
    /// [Reset](crate::operations::Processors::reset) it: to its position, if it was restored together with the events, else to the last
    /// position of before.
    #[error(
        "processor \"{processor}\" is at position {position} of epoch {epoch}, the store is at epoch {store_epoch}: positions \
         may have been drawn again, so it would skip events. Reset the processor"
    )]
    #[non_exhaustive]
    OldEpoch {
        /// The processor's name.
        processor: String,
        /// The highest position of its slots.
        position: u64,
        /// The lowest epoch of its slots.
        epoch: u64,
        /// The epoch of the store.
        store_epoch: u64,
    },
    /// Threads of a consumer have not ended in time after it was stopped: a handler does not return, or the database does not
    /// answer. They end alone, and what they do is not committed once others hold their slots: their leases are not renewed
    /// any more.
    #[error("the consumer was stopped, but these threads have not ended within {waited:?}: {}", .threads.join(", "))]
    #[non_exhaustive]
    StillRunning {
        /// The names of the threads: `emt:` and the processor's name with the worker's number, or `emt:poller`.
        threads: Vec<String>,
        /// How long they were waited for.
        waited: std::time::Duration,
    },
    /// Another process runs the processor, and it can only run once.
    #[error("processor \"{processor}\" is run by another process: {owner}")]
    #[non_exhaustive]
    Busy {
        /// The processor's name.
        processor: String,
        /// The consumer that runs it.
        owner: String,
    },
    /// A processor has not come to a position in time.
    #[error("processor \"{processor}\" has not reached position {position} in time{}", reached.map_or_else(
        || ": nobody has started it yet".to_owned(), |reached| format!(": it is at {reached}")))]
    #[non_exhaustive]
    WaitTimeout {
        /// The processor's name.
        processor: String,
        /// The position that was waited for.
        position: u64,
        /// Where the processor is; `None` when it was never started.
        reached: Option<u64>,
    },
    /// Code before this one has passed events over that this one handles, and
    /// [`OnNewTypes::Refuse`](crate::consumer::OnNewTypes::Refuse) was asked for.
    #[error("processor \"{processor}\" has passed over {} up to position {position} of types that its code now \
             handles: {}; choose with on_new_types", counted(*.missed, "event"), .types.join(", "))]
    #[non_exhaustive]
    NewTypes {
        /// The processor's name.
        processor: String,
        /// The types of these events.
        types: Vec<String>,
        /// How many they are.
        missed: u64,
        /// Where the processor is.
        position: u64,
    },
    /// The message that was waited for is parked: the processor could not handle it, or an earlier one of its stream.
    #[error("processor \"{processor}\" has parked the message at position {position}{}", because(.error.as_deref()))]
    #[non_exhaustive]
    MessageParked {
        /// The processor's name.
        processor: String,
        /// The message's global position.
        position: u64,
        /// What the handler said; `None` when it waits behind another message of its stream.
        error: Option<String>,
    },
}

fn because(error: Option<&str>) -> String {
    error.map_or_else(
        || ": it waits behind an earlier one of its stream".to_owned(),
        |error| format!(": {error}"),
    )
}

fn known_processors(known: &[String]) -> String {
    if known.is_empty() {
        return "; there are none".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    format!("; there are: {}", names.join(", "))
}
