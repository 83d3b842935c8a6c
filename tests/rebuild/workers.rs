//! Several workers give the same result as one.

use super::{assert_cleaned_up, store_with};
use crate::support::{CartEvent, database};
use emmett_postgresql::{
    ConnectionOptions, DocumentProjection, EventStore, ProjectionContext, RawEvent, Recorded,
    RecordedMessage, events::HandledEvents, projection::Projection, rebuild::OnHistory,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// Notes the numbers of its events in their order; it shows every event that is lost, repeated or out of order.
fn note(document: Option<Value>, recorded: &Recorded<RawEvent>) -> Option<Value> {
    let mut document = document.unwrap_or_else(|| json!({ "numbers": [] }));
    document["numbers"]
        .as_array_mut()?
        .push(recorded.event.data["number"].clone());
    Some(document)
}

fn streams() -> DocumentProjection<Value> {
    DocumentProjection::single_stream("streams", note)
}

/// Each number is noted by the document of its last digit, and by that of its tens.
fn digits() -> DocumentProjection<Value> {
    let ids = |recorded: &Recorded<RawEvent>| {
        let number = recorded.event.data["number"].as_u64().unwrap_or(0);
        [
            format!("digit-{}", number % 10),
            format!("tens-{}", number / 10),
        ]
    };
    DocumentProjection::multi_stream("digits", ids, note)
}

fn all(store: &EventStore, collection: &str) -> anyhow::Result<Vec<Value>> {
    let documents = store.collection::<Value>(collection);
    let found = documents.find(json!({}));
    Ok(found.sort(json!({ "_id": 1 })).to_vec()?)
}

#[test]
fn many_workers_write_what_one_writes() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(streams())
        .inline_projection(digits())
        .connection_options(ConnectionOptions::new().pool_size(10))
        .open()?;
    for number in 0..500_u64 {
        let event = RawEvent::new("Noted", json!({ "number": number }));
        store.append_to_stream(&format!("Case-{}", number % 13), &[event])?;
    }
    let content = |collection: &str| -> anyhow::Result<Vec<Value>> {
        let mut documents = all(&store, collection)?;
        for document in &mut documents {
            document["_version"].take();
        }
        Ok(documents)
    };

    for collection in ["streams", "digits"] {
        let live = content(collection)?;
        for workers in [1, 2, 5] {
            store
                .collection::<Value>(collection)
                .delete_many(json!({}))?;
            let rebuild = store.rebuild(collection).workers(workers).batch_size(40);
            assert_eq!(rebuild.run()?.handled, 500);
            assert_eq!(
                content(collection)?,
                live,
                "{collection}, {workers} workers"
            );
            let versions = all(&store, collection)?;
            assert!(versions.iter().all(|document| document["_version"] == 1));
        }
    }
    assert_cleaned_up(&database)
}

/// Passes everything on, and notes which thread was given which stream.
struct Watched(
    DocumentProjection<Value>,
    Arc<Mutex<HashMap<String, Vec<ThreadId>>>>,
);

impl Projection for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn version(&self) -> u32 {
        Projection::version(&self.0)
    }
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn handles(&self) -> &HandledEvents {
        self.0.handles()
    }
    fn tables(&self) -> &[String] {
        self.0.tables()
    }
    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        self.0.init(context)
    }
    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        self.0.truncate(context)
    }
    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()> {
        let mut threads = self.1.lock().expect("no panic");
        for message in messages {
            assert!(context.owns(message.stream_name()));
            let threads = threads.entry(message.stream_name().to_owned()).or_default();
            threads.push(std::thread::current().id());
        }
        drop(threads);
        self.0.handle(messages, context)
    }
}

#[test]
fn each_stream_is_one_workers_and_the_work_is_shared() -> anyhow::Result<()> {
    let (database, _) = store_with(300)?;
    let seen = Arc::default();
    let carts = DocumentProjection::single_stream(
        "carts",
        |cart: Option<Value>, _: &Recorded<CartEvent>| cart.or_else(|| Some(json!({}))),
    );
    let store = EventStore::builder(database.url())
        .inline_projection(Watched(carts, Arc::clone(&seen)))
        .on_history(OnHistory::Leave)
        .open()?;

    store.rebuild("carts").workers(3).batch_size(50).run()?;

    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 7);
    for (stream, threads) in seen.iter() {
        assert!(
            threads.iter().all(|thread| *thread == threads[0]),
            "{stream}"
        );
    }
    let mut workers: Vec<_> = seen.values().map(|threads| threads[0]).collect();
    workers.dedup();
    assert!(workers.len() > 1, "{seen:?}");
    Ok(())
}
