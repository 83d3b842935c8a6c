//! One warning for a snapshot that cannot be used.

use super::{execute, fill, look, wait_for_snapshot};
use crate::support::store;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the warnings as text.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.0, "{field}={value} ");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "emmett_postgresql" && *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().expect("no panic").push(fields.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_snapshot_that_cannot_be_used_is_one_warning_with_its_reason() -> anyhow::Result<()> {
    for (change, reason) in [
        ("state_version = 1", "it was written by code with VERSION 1"),
        ("state_version = 3", "it was written by code with VERSION 3"),
        (
            r#"state = '{"items": "many"}'"#,
            "its JSON does not fit the state",
        ),
        (
            "stream_position = 99",
            "it is of version 99, at which the stream does not have the snapshot's message",
        ),
    ] {
        let (database, store) = store()?;
        fill(&store, "Cart-1", 4)?;
        look(&store, "Cart-1")?;
        wait_for_snapshot(&database, "Cart-1", 4);
        fill(&store, "Cart-1", 1)?;
        execute(&database, &format!("UPDATE emt_snapshots SET {change}"))?;
        let warnings = Warnings::default();

        let read =
            || tracing::subscriber::with_default(warnings.clone(), || look(&store, "Cart-1"));
        assert_eq!(read()?, (5, 5));
        wait_for_snapshot(&database, "Cart-1", 5);
        assert_eq!(read()?, (5, 5));

        let warnings = warnings.0.lock().expect("no panic");
        assert_eq!(warnings.len(), 1, "{change}: {warnings:?}");
        for part in ["stream=\"Cart-1\"", reason] {
            assert!(warnings[0].contains(part), "{change}: {warnings:?}");
        }
    }
    Ok(())
}
