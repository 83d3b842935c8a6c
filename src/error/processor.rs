//! Failures of a consumer's processor.

use super::counted;
use super::run_report::RunReport;

/// A failure of a processor. [`Error::Processor`](crate::Error::Processor) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// No processor with this name has ever run here. The message names the ones that have.
    #[error("there is no processor \"{processor}\"{}", known_processors(.known))]
    #[non_exhaustive]
    Unknown {
        /// The requested name.
        processor: String,
        /// The names of the existing processors.
        known: Vec<String>,
    },
    /// A running worker holds the processor, so it cannot be forgotten. Stop the worker first.
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
    /// The text contains the whole cause, so [`source`](std::error::Error::source) adds nothing.
    #[error("processor \"{processor}\" failed: {cause:#}")]
    #[non_exhaustive]
    Failed {
        /// The processor's name.
        processor: String,
        /// The cause: an [`Error`](crate::Error) of the database, or the handler's error with the message that it could not
        /// handle.
        cause: anyhow::Error,
    },
    /// A job failed, because of one of its processors or the database. Committed work is kept, and the next run continues
    /// after it.
    #[error("the job failed after {}", counted(.report.handled(), "message"))]
    #[non_exhaustive]
    JobFailed {
        /// The work of the job so far.
        report: Box<RunReport>,
        /// The first cause: an [`Error`](crate::Error).
        source: anyhow::Error,
    },
    /// A processor is at a position that no append has drawn. The database was restored, or messages were deleted and the
    /// sequence was set back. The processor would skip later appends up to that position, so it does not run.
    ///
    /// If stored messages have positions above the sequence, raise the sequence first, as
    /// [`EventStore::doctor`](crate::EventStore::doctor) advises. Then [reset](crate::operations::Processors::reset) the
    /// processor.
    #[error(
        "processor \"{processor}\" is at position {position}, ahead of the sequence, which is at {head}: it would skip \
         events. If the database was restored, reset the processor"
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
    /// The position of a processor is from before a restore or repair of the store. Other messages may now have positions up
    /// to it. The processor would skip them, so it does not run.
    ///
    /// [Reset](crate::operations::Processors::reset) it: to its position if it was restored together with the events,
    /// otherwise to the last position before the restore.
    #[error(
        "processor \"{processor}\" is at position {position} of epoch {epoch}, but the store is at epoch {store_epoch}: positions \
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
    /// Threads of a stopped consumer did not end in time: a handler does not return, or the database does not answer. They
    /// end on their own. Their leases are no longer renewed. After others have taken their slots, their work cannot be
    /// committed.
    #[error("the consumer was stopped, but these threads have not ended within {waited:?}: {}", .threads.join(", "))]
    #[non_exhaustive]
    StillRunning {
        /// The names of the threads: `emt:` and the processor's name with the worker's number, or `emt:poller`.
        threads: Vec<String>,
        /// How long the caller waited.
        waited: std::time::Duration,
    },
    /// Another process runs the processor, which can run only once.
    #[error("processor \"{processor}\" is run by another process: {owner}")]
    #[non_exhaustive]
    Busy {
        /// The processor's name.
        processor: String,
        /// The consumer that runs it.
        owner: String,
    },
    /// A processor did not reach a position in time.
    #[error("processor \"{processor}\" has not reached position {position} in time{}", reached.map_or_else(
        || ": it was never started".to_owned(), |reached| format!(": it is at {reached}")))]
    #[non_exhaustive]
    WaitTimeout {
        /// The processor's name.
        processor: String,
        /// The awaited position.
        position: u64,
        /// The processor's position; `None` if it was never started.
        reached: Option<u64>,
    },
    /// Older code of the processor skipped events that this code handles, and
    /// [`OnNewTypes::Refuse`](crate::consumer::OnNewTypes::Refuse) is set.
    #[error("processor \"{processor}\" has skipped {} up to position {position} of types that its code now \
             handles: {}; choose with on_new_types", counted(*.missed, "event"), .types.join(", "))]
    #[non_exhaustive]
    NewTypes {
        /// The processor's name.
        processor: String,
        /// The types of these events.
        types: Vec<String>,
        /// Number of these events.
        missed: u64,
        /// The processor's position.
        position: u64,
    },
    /// The awaited message is parked: the processor could not handle it or an earlier message of its stream.
    #[error("processor \"{processor}\" has parked the message at position {position}{}", because(.error.as_deref()))]
    #[non_exhaustive]
    MessageParked {
        /// The processor's name.
        processor: String,
        /// The message's global position.
        position: u64,
        /// The handler's error; `None` if the message waits for an earlier parked message of its stream.
        error: Option<String>,
    },
}

fn because(error: Option<&str>) -> String {
    error.map_or_else(
        || ": an earlier message of its stream is parked".to_owned(),
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
