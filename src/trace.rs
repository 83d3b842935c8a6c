//! Spans and counters, with the feature `tracing`; no-ops without it.
//!
//! Counters follow the convention of OpenTelemetry's layer for `tracing`: their fields begin with `monotonic_counter.`.

use crate::error::Error;

/// A span around the handling of a batch, until it is dropped.
#[must_use]
pub(crate) struct BatchSpan {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

pub(crate) fn batch(processor: &str, messages: usize) -> BatchSpan {
    #[cfg(not(feature = "tracing"))]
    let _ = (processor, messages);
    BatchSpan {
        #[cfg(feature = "tracing")]
        _entered: tracing::debug_span!(target: "emmett_postgresql", "batch", processor, messages)
            .entered(),
    }
}

/// Messages were handled and the checkpoint was moved.
pub(crate) fn handled(processor: &str, messages: usize, position: u64) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "emmett_postgresql",
        processor,
        position,
        monotonic_counter.emmett_messages_handled = messages as u64,
        "handled"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (processor, messages, position);
}

/// Events that an inline projection had missed were handled.
pub(crate) fn followed(projection: &str, messages: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "emmett_postgresql",
        projection,
        monotonic_counter.emmett_messages_followed = messages as u64,
        "followed"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (projection, messages);
}

/// An inline projection is being built.
pub(crate) fn building(projection: &str, position: u64, head: u64) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "emmett_postgresql", projection, position, head, "building");
    #[cfg(not(feature = "tracing"))]
    let _ = (projection, position, head);
}

/// A processor met an error, and may survive it.
pub(crate) fn failed(processor: &str, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "emmett_postgresql",
        processor,
        error = error as &dyn std::error::Error,
        monotonic_counter.emmett_processor_errors = 1_u64,
        "failed"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (processor, error);
}

/// Older code of a processor skipped events up to a position, and they stay skipped.
pub(crate) fn passed_over(processor: &str, types: &[String], messages: u64, position: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "emmett_postgresql",
        processor,
        types = types.join(", "),
        messages,
        position,
        "older code skipped events of types that are handled from here on"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (processor, types, messages, position);
}

/// Events that older code of a processor skipped are handled now, after later ones of these streams.
pub(crate) fn made_up_for(processor: &str, streams: &[&str], messages: usize, position: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "emmett_postgresql",
        processor,
        streams = streams.join(", "),
        messages,
        position,
        "events that older code skipped are handled, possibly after later ones of their streams"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (processor, streams, messages, position);
}

/// A snapshot was found and cannot be used.
pub(crate) fn snapshot_unusable(stream: &str, reason: &(dyn std::error::Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "emmett_postgresql",
        stream,
        reason,
        monotonic_counter.emmett_snapshots_unusable = 1_u64,
        "a snapshot cannot be used: all events are read"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (stream, reason);
}

/// A snapshot could not be written.
pub(crate) fn snapshot_lost(stream: &str, error: &(dyn std::error::Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "emmett_postgresql", stream, error, "a snapshot could not be written");
    #[cfg(not(feature = "tracing"))]
    let _ = (stream, error);
}

/// A snapshot is not written, because too many wait.
pub(crate) fn snapshot_skipped(stream: &str) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "emmett_postgresql", stream, "too many snapshots wait: one is not written");
    #[cfg(not(feature = "tracing"))]
    let _ = stream;
}

/// Messages were appended.
pub(crate) fn appended(partition: &str, messages: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "emmett_postgresql",
        partition,
        monotonic_counter.emmett_messages_appended = messages as u64,
        "appended"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (partition, messages);
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::fmt::Write;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Keeps the recorded fields as text.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let _ = write!(self.0, " {field}={value:?}");
        }
    }

    impl Notes {
        fn note(&self, name: &str, record: impl FnOnce(&mut Fields)) {
            let mut fields = Fields(name.to_owned());
            record(&mut fields);
            self.0.lock().expect("no panic").push(fields.0);
        }
    }

    impl Subscriber for Notes {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "emmett_postgresql"
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.note(span.metadata().name(), |fields| span.record(fields));
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            self.note("event", |fields| event.record(fields));
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn batches_are_spans_and_what_was_handled_is_counted() {
        let notes = Notes::default();
        tracing::subscriber::with_default(notes.clone(), || {
            let span = super::batch("carts", 3);
            super::handled("carts", 3, 17);
            drop(span);
            super::appended("emt:default", 2);
            super::passed_over("mails", &["Paid".to_owned()], 4, 20);
        });
        let notes = notes.0.lock().expect("no panic").join("\n");
        for part in [
            "batch processor=\"carts\" messages=3",
            "position=17",
            "emmett_messages_handled=3",
            "emmett_messages_appended=2",
            "processor=\"mails\" types=\"Paid\" messages=4 position=20",
        ] {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
