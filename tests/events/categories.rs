//! Categories distinguish events with the same type name, by the names of their streams.

use crate::support::{database, store, wait_until};
use emmett_postgresql::{
    DocumentProjection, Error, Event, EventStore, FeedOptions, NewMessage, Projector, RawEvent,
    Reactor, ReadOptions, Recorded, Result, StreamMessages, operations::FindingKind,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Created { customer: String },
    Cancelled {},
}

impl Event for OrderEvent {
    const CATEGORY: &'static str = "Order";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum InvoiceEvent {
    Created { amount: u32 },
    Cancelled {},
}

impl Event for InvoiceEvent {
    const CATEGORIES: &'static [&'static str] = &["Invoice", "emt:workflow:dunning"];
}

fn ordered() -> OrderEvent {
    OrderEvent::Created {
        customer: "anna".to_owned(),
    }
}

fn invoiced() -> InvoiceEvent {
    InvoiceEvent::Created { amount: 7 }
}

/// Events of both enums, and one that belongs to neither.
fn fill(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Order-1", &[ordered(), OrderEvent::Cancelled {}])?;
    store.append_to_stream("Invoice-1", &[invoiced(), InvoiceEvent::Cancelled {}])?;
    store.append_to_stream("emt:workflow:dunning:Order-1", &[invoiced()])?;
    for stream in ["Orders-1", "Order", "-Order-1"] {
        store.append_to_stream(stream, &[RawEvent::new("Created", json!({"other": true}))])?;
    }
    Ok(())
}

/// How many events there are of each stream.
fn counts<E: Event + 'static>(name: &str) -> DocumentProjection<Value> {
    DocumentProjection::single_stream(name, |count: Option<Value>, _: &Recorded<E>| {
        let events = count.and_then(|count| count["events"].as_u64());
        Some(json!({ "events": events.unwrap_or_default() + 1 }))
    })
}

fn counted(store: &EventStore, name: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let found = store.collection::<Value>(name).find(json!({})).to_vec()?;
    let mut counts: Vec<(String, u64)> = found
        .iter()
        .map(|count| {
            let id = count["_id"].as_str().unwrap_or_default();
            (id.to_owned(), count["events"].as_u64().unwrap_or_default())
        })
        .collect();
    counts.sort();
    Ok(counts)
}

#[track_caller]
fn assert_names_categories<T: std::fmt::Debug>(outcome: Result<T>, names: &[&str]) {
    let error = outcome.expect_err("an event of another category");
    let text = error.to_string();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    for name in names {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn an_event_is_appended_to_streams_of_its_category_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let names = ["\"Invoice-2\"", "\"Invoice\"", "OrderEvent", "\"Order\""];
    assert_names_categories(store.append_to_stream("Invoice-2", &[ordered()]), &names);
    let message = NewMessage::new(ordered());
    assert_names_categories(store.append_to_stream("Invoice-2", &[message]), &names);
    assert_names_categories(StreamMessages::new("Invoice-2", &[ordered()]), &names);
    let outcome =
        store.with_session(|session| Ok(session.append_to_stream("Invoice-2", &[ordered()])?));
    assert_names_categories(outcome, &names);
    assert_names_categories(
        store.append_to_stream("Order", &[ordered()]),
        &["stream \"Order\": has no category"],
    );
    assert_names_categories(
        store.append_to_stream("Order-1", &[invoiced()]),
        &["\"Invoice\"", "\"emt:workflow:dunning\""],
    );

    assert_eq!(store.feed_horizon(0)?.head, 0, "nothing was sent");
    fill(&store)
}

#[test]
fn a_stream_is_read_as_events_of_its_category_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    fill(&store)?;
    let names = ["\"Invoice-1\"", "\"Invoice\"", "OrderEvent", "\"Order\""];
    assert_names_categories(store.read_stream::<OrderEvent>("Invoice-1"), &names);
    let iterated: Result<Vec<Recorded<OrderEvent>>> = store
        .read_stream_iter("Invoice-1", ReadOptions::new())
        .collect();
    assert_names_categories(iterated, &names);
    let aggregate = store.aggregate_stream("Invoice-1", || 0, |count, _: OrderEvent| count + 1);
    assert_names_categories(aggregate, &names);
    let read = store.with_session(|session| Ok(session.read_stream::<OrderEvent>("Invoice-1")?));
    assert_names_categories(read, &names);
    // An empty stream of another category is no less wrong.
    assert_names_categories(
        store.read_stream::<OrderEvent>("Invoice-9"),
        &["\"Invoice\""],
    );

    assert_eq!(store.read_stream::<OrderEvent>("Order-1")?.events.len(), 2);
    assert_eq!(store.read_stream::<RawEvent>("Invoice-1")?.events.len(), 2);
    Ok(())
}

#[test]
fn the_feed_has_the_categories_of_its_event_or_those_it_is_given() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    fill(&store)?;
    let streams = |options: FeedOptions| -> Result<Vec<String>> {
        let feed = store.read_all::<RawEvent>(options);
        feed.map(|event| Ok(event?.stream_name.to_string()))
            .collect()
    };

    let orders: Vec<Recorded<OrderEvent>> =
        store.read_all(FeedOptions::new()).collect::<Result<_>>()?;
    let events: Vec<&OrderEvent> = orders.iter().map(|order| &order.event).collect();
    assert_eq!(events, [&ordered(), &OrderEvent::Cancelled {}]);
    let invoices = store.read_all::<InvoiceEvent>(FeedOptions::new().batch_size(1));
    assert_eq!(invoices.collect::<Result<Vec<_>>>()?.len(), 3);
    assert_eq!(streams(FeedOptions::new())?.len(), 8);
    assert_eq!(
        streams(FeedOptions::new().categories(&["Orders"]))?,
        ["Orders-1"]
    );
    assert_eq!(
        streams(FeedOptions::new().categories(&["emt:workflow:dunning"]))?,
        ["emt:workflow:dunning:Order-1"]
    );
    assert!(streams(FeedOptions::new().categories(&[]))?.is_empty());

    for name in ["", "Order-Line", "emt:workflow:"] {
        let outcome = streams(FeedOptions::new().categories(&[name]));
        assert_names_categories(outcome, &[&format!("category \"{name}\"")]);
    }
    // What the type does not have is not read as one of its events.
    let mut widened = store.read_all::<OrderEvent>(FeedOptions::new().categories(&["Invoice"]));
    assert_names_categories(widened.next().expect("an event"), &["\"Invoice\""]);
    Ok(())
}

#[test]
fn sql_has_the_same_rule() -> anyhow::Result<()> {
    let (database, _store) = store()?;
    let mut client = database.client()?;
    for (stream, category) in [
        ("Order-1", Some("Order")),
        ("Order-a-b", Some("Order")),
        ("größe-1", Some("größe")),
        ("Order", None),
        ("-1", None),
        ("", None),
        (
            "emt:workflow:checkout:cart-1",
            Some("emt:workflow:checkout"),
        ),
        ("emt:workflow:check-out:1", Some("emt:workflow:check-out")),
        ("emt:workflow:checkout", Some("emt:workflow:checkout")),
        ("emt:workflow::1-2", None),
        ("emt:workflow-1", Some("emt:workflow")),
    ] {
        let row = client.query_one("SELECT emt_stream_category($1)", &[&stream])?;
        assert_eq!(row.get::<_, Option<&str>>(0), category, "{stream}");
    }
    Ok(())
}

#[test]
fn an_inline_projection_does_not_see_events_of_other_categories() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(counts::<OrderEvent>("orders"))
        .inline_projection(counts::<RawEvent>("some").categories(&["Orders", "Invoice"]))
        .open()?;
    fill(&store)?;

    assert_eq!(counted(&store, "orders")?, [("Order-1".to_owned(), 2)]);
    let some = [("Invoice-1".to_owned(), 2), ("Orders-1".to_owned(), 1)];
    assert_eq!(counted(&store, "some")?, some);

    store.rebuild("orders").run()?;
    store.rebuild("some").run()?;
    assert_eq!(counted(&store, "orders")?, [("Order-1".to_owned(), 2)]);
    assert_eq!(counted(&store, "some")?, some);
    Ok(())
}

#[test]
fn the_registry_keeps_the_categories_beside_the_types() -> anyhow::Result<()> {
    let database = database();
    EventStore::builder(database.url())
        .inline_projection(counts::<OrderEvent>("orders"))
        .inline_projection(counts::<RawEvent>("all"))
        .open()?;
    let mut client = database.client()?;
    let text = "SELECT definition - 'events' FROM emt_projections ORDER BY name";
    let definitions: Vec<Value> = client
        .query(text, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        definitions,
        [
            json!({"handles": null, "categories": null}),
            json!({"handles": ["Cancelled", "Created"], "categories": ["Order"]}),
        ]
    );
    Ok(())
}

#[test]
fn workers_of_one_consumer_get_the_events_of_their_categories() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    fill(&store)?;
    let seen: Arc<Mutex<Vec<Recorded<InvoiceEvent>>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let consumer = store
        .consumer()
        .projector(Projector::new(counts::<OrderEvent>("orders")))
        .projector(counts::<RawEvent>("unnamed").categories(&["Orders"]))
        .reactor(
            Reactor::new("invoices").each(move |event: &Recorded<InvoiceEvent>, _| {
                noted.lock().expect("a list").push(event.clone());
                Ok(())
            }),
        )
        .start()?;
    wait_until("all are handled", || {
        let status = store.processors().list().expect("a list");
        status.len() == 3 && status.iter().all(|processor| processor.position == 8)
    });
    consumer.stop()?;

    assert_eq!(counted(&store, "orders")?, [("Order-1".to_owned(), 2)]);
    assert_eq!(counted(&store, "unnamed")?, [("Orders-1".to_owned(), 1)]);
    let seen = seen.lock().expect("a list");
    let events: Vec<&InvoiceEvent> = seen.iter().map(|recorded| &recorded.event).collect();
    assert_eq!(
        events,
        [&invoiced(), &InvoiceEvent::Cancelled {}, &invoiced()]
    );
    Ok(())
}

#[test]
fn a_category_that_no_stream_can_have_is_refused_at_the_start() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let wrong = || counts::<RawEvent>("wrong").categories(&["Order-Line"]);
    let opened = EventStore::builder(database.url())
        .inline_projection(wrong())
        .open();
    assert_names_categories(opened, &["\"Order-Line\""]);
    let started = store.consumer().projector(wrong()).start();
    assert_names_categories(started, &["\"Order-Line\""]);
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
enum PaymentEvent {
    Created {},
    Paid {},
}

impl Event for PaymentEvent {}

#[test]
fn the_doctor_names_enums_that_would_read_each_others_events() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(counts::<OrderEvent>("orders"))
        .inline_projection(counts::<InvoiceEvent>("invoices"))
        .inline_projection(counts::<RawEvent>("all"))
        .open()?;
    assert_eq!(store.doctor()?.findings, []);

    let store = EventStore::builder(database.url())
        .inline_projection(counts::<PaymentEvent>("payments").can_handle(&["Paid"]))
        .open()?;
    assert_eq!(store.doctor()?.findings, []);
    let store = EventStore::builder(database.url())
        .inline_projection(counts::<PaymentEvent>("payments"))
        .open()?;
    let findings = store.doctor()?.findings;
    let kinds: Vec<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::SharedType; 2]);
    for (finding, names) in findings.iter().zip(["invoices", "orders"]) {
        for name in ["PaymentEvent", "payments", "\"Created\"", names] {
            assert!(finding.problem.contains(name), "{}", finding.problem);
        }
    }
    Ok(())
}
