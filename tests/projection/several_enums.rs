//! Read models and reactors with several event enums.

use crate::support::{database, wait_until};
use emmett_postgresql::{
    DocumentProjection, Error, Event, EventStore, FailurePolicy, Projector, Reactor,
    ReactorContext, Recorded, SqlProjection, StreamMessages,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Created { customer: String },
    Cancelled { customer: String },
}

impl Event for OrderEvent {
    const CATEGORY: &'static str = "Order";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum InvoiceEvent {
    Created { customer: String, amount: u32 },
    Cancelled { customer: String },
}

impl Event for InvoiceEvent {
    const CATEGORY: &'static str = "Invoice";
}

fn order(customer: &str) -> OrderEvent {
    OrderEvent::Created {
        customer: customer.to_owned(),
    }
}

fn invoice(customer: &str, amount: u32) -> InvoiceEvent {
    InvoiceEvent::Created {
        customer: customer.to_owned(),
        amount,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Customer {
    history: Vec<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "that is what `evolve` gives")]
fn noted(customer: Option<Customer>, text: String) -> Option<Customer> {
    let mut customer = customer.unwrap_or_default();
    customer.history.push(text);
    Some(customer)
}

fn order_text(event: &OrderEvent) -> (String, String) {
    match event {
        OrderEvent::Created { customer } => (customer.clone(), "ordered".to_owned()),
        OrderEvent::Cancelled { customer } => (customer.clone(), "cancelled".to_owned()),
    }
}

fn invoice_text(event: &InvoiceEvent) -> (String, String) {
    match event {
        InvoiceEvent::Created { customer, amount } => (customer.clone(), format!("owes {amount}")),
        InvoiceEvent::Cancelled { customer } => (customer.clone(), "owes nothing".to_owned()),
    }
}

/// What has happened to each customer, in the order of the events.
fn customers(name: &str) -> DocumentProjection<Customer> {
    DocumentProjection::named(name)
        .on(
            |order: &Recorded<OrderEvent>| Some(order_text(&order.event).0),
            |customer, order| noted(customer, order_text(&order.event).1),
        )
        .can_handle(&["Created"])
        .on(
            |invoice: &Recorded<InvoiceEvent>| Some(invoice_text(&invoice.event).0),
            |customer, invoice| noted(customer, invoice_text(&invoice.event).1),
        )
}

/// The same as rows of a table.
fn lines(name: &'static str) -> SqlProjection {
    let insert = format!("INSERT INTO {name} (customer, line) VALUES ($1, $2)");
    let insert_too = insert.clone();
    SqlProjection::named(name)
        .on(move |orders: &[Recorded<OrderEvent>], context| {
            for order in orders {
                let (customer, line) = order_text(&order.event);
                context.execute(&insert, &[&customer, &line])?;
            }
            Ok(())
        })
        .on(move |invoices: &[Recorded<InvoiceEvent>], context| {
            for invoice in invoices {
                let (customer, line) = invoice_text(&invoice.event);
                context.execute(&insert_too, &[&customer, &line])?;
            }
            Ok(())
        })
        .init(move |context| {
            context.batch_execute(&format!(
                "CREATE TABLE IF NOT EXISTS {name} (number SERIAL, customer TEXT, line TEXT)"
            ))?;
            Ok(())
        })
}

/// Events of both enums in turn, some in one append.
fn fill(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Order-1", &[order("anna"), order("bert")])?;
    store.append_to_streams(vec![
        StreamMessages::new("Invoice-1", &[invoice("anna", 7)])?,
        StreamMessages::new("Order-2", &[order("anna")])?,
        StreamMessages::new("Invoice-2", &[invoice("anna", 9), invoice("bert", 1)])?,
    ])?;
    let customer = "anna".to_owned();
    store.append_to_stream(
        "Order-2",
        &[OrderEvent::Cancelled {
            customer: customer.clone(),
        }],
    )?;
    store.append_to_stream("Invoice-1", &[InvoiceEvent::Cancelled { customer }])?;
    Ok(())
}

const ANNA: [&str; 5] = ["ordered", "owes 7", "owes 9", "ordered", "owes nothing"];
const BERT: [&str; 2] = ["ordered", "owes 1"];

#[track_caller]
fn assert_customers(store: &EventStore, name: &str) -> anyhow::Result<()> {
    let collection = store.collection::<Customer>(name);
    for (customer, history) in [("anna", &ANNA[..]), ("bert", &BERT)] {
        let found = collection.find_one(json!({ "_id": customer }))?;
        assert_eq!(
            found.unwrap_or_default().history,
            history,
            "{name} {customer}"
        );
    }
    Ok(())
}

fn lines_of(store: &EventStore, name: &str, customer: &str) -> anyhow::Result<Vec<String>> {
    let text = format!("SELECT line FROM {name} WHERE customer = $1 ORDER BY number");
    let rows = store.with_session(|session| Ok(session.query(&text, &[&customer])?))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[test]
fn an_inline_read_model_folds_the_events_of_two_enums_in_their_order() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(customers("customers"))
        .inline_projection(lines("lines"))
        .open()?;
    fill(&store)?;

    assert_customers(&store, "customers")?;
    let anna = [
        "ordered",
        "owes 7",
        "owes 9",
        "ordered",
        "cancelled",
        "owes nothing",
    ];
    assert_eq!(lines_of(&store, "lines", "anna")?, anna);
    assert_eq!(lines_of(&store, "lines", "bert")?, BERT);
    store.rebuild("customers").workers(2).run()?;
    assert_customers(&store, "customers")?;

    let text = "SELECT definition - 'events' FROM emt_projections WHERE name = 'customers'";
    let row = database.client()?.query_one(text, &[])?;
    assert_eq!(
        row.get::<_, serde_json::Value>(0),
        json!({"handles": ["Cancelled", "Created"], "categories": ["Invoice", "Order"]})
    );
    Ok(())
}

#[test]
fn a_consumer_keeps_it_with_several_workers() -> anyhow::Result<()> {
    let (_database, store) = crate::support::store()?;
    fill(&store)?;
    let consumer = store
        .consumer()
        .projector(Projector::new(customers("customers")).workers(3))
        .projector(lines("lines"))
        .start()?;
    wait_until("all are handled", || {
        let status = store.processors().list().expect("a list");
        status.len() == 2 && status.iter().all(|processor| processor.position == 8)
    });
    consumer.stop()?;

    assert_customers(&store, "customers")?;
    assert_eq!(lines_of(&store, "lines", "bert")?, BERT);
    Ok(())
}

#[test]
fn documents_of_streams_and_of_ids_stand_in_one_collection() -> anyhow::Result<()> {
    let database = database();
    let projection = DocumentProjection::named("all")
        .on_stream(|order: Option<Customer>, recorded: &Recorded<OrderEvent>| {
            noted(order, order_text(&recorded.event).1)
        })
        .on(
            |invoice: &Recorded<InvoiceEvent>| Some(invoice_text(&invoice.event).0),
            |customer, invoice| noted(customer, invoice_text(&invoice.event).1),
        );
    let store = EventStore::builder(database.url())
        .inline_projection(projection)
        .open()?;
    fill(&store)?;

    let collection = store.collection::<Customer>("all");
    let mut found = collection
        .find_one(json!({"_id": "Order-2"}))?
        .unwrap_or_default();
    assert_eq!(found.history, ["ordered", "cancelled"]);
    found = collection
        .find_one(json!({"_id": "bert"}))?
        .unwrap_or_default();
    assert_eq!(found.history, ["owes 1"]);
    Ok(())
}

type Seen = Arc<Mutex<Vec<String>>>;

fn note<E>(
    seen: &Seen,
    text: fn(&E) -> (String, String),
) -> impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync + use<E> {
    let seen = Arc::clone(seen);
    move |recorded, _| {
        let (customer, text) = text(&recorded.event);
        seen.lock()
            .expect("a list")
            .push(format!("{customer} {text}"));
        Ok(())
    }
}

const ALL: [&str; 8] = [
    "anna ordered",
    "bert ordered",
    "anna owes 7",
    "anna owes 9",
    "bert owes 1",
    "anna ordered",
    "anna cancelled",
    "anna owes nothing",
];

#[test]
fn a_reactor_handles_the_events_of_two_enums_in_their_order() -> anyhow::Result<()> {
    let (_database, store) = crate::support::store()?;
    fill(&store)?;
    let (each, mixed) = (Seen::default(), Seen::default());
    let batched = Arc::clone(&mixed);
    let _ = store
        .consumer()
        .reactor(
            Reactor::new("each")
                .on(note(&each, order_text))
                .on(note(&each, invoice_text)),
        )
        .reactor(
            Reactor::new("mixed")
                .batch(move |orders: &[Recorded<OrderEvent>], _| {
                    let texts = orders.iter().map(|order| order_text(&order.event));
                    let texts = texts.map(|(customer, text)| format!("{customer} {text}"));
                    batched.lock().expect("a list").extend(texts);
                    Ok(())
                })
                .on(note(&mixed, invoice_text)),
        )
        .run_until_caught_up()?;

    assert_eq!(*each.lock().expect("a list"), ALL);
    assert_eq!(*mixed.lock().expect("a list"), ALL);
    Ok(())
}

#[test]
fn what_a_reactor_has_done_before_the_event_that_fails_counts() -> anyhow::Result<()> {
    let (_database, store) = crate::support::store()?;
    fill(&store)?;
    let seen = Seen::default();
    let reactor = Reactor::new("mails")
        .on(note(&seen, order_text))
        .on(|invoice: &Recorded<InvoiceEvent>, _| anyhow::bail!("no mail for {:?}", invoice.event))
        .on_failure(FailurePolicy::park());
    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;

    let orders = [
        "anna ordered",
        "bert ordered",
        "anna ordered",
        "anna cancelled",
    ];
    assert_eq!(*seen.lock().expect("a list"), orders);
    let mails = &store.processors().list()?[0];
    assert_eq!((mails.parked, mails.waiting), (2, 2));
    Ok(())
}

#[test]
fn a_read_model_without_a_handler_is_refused() {
    let database = database();
    let opened = EventStore::builder(database.url())
        .inline_projection(DocumentProjection::<Customer>::named("nothing"))
        .open();
    let error = opened.expect_err("a projection without handlers");
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
}

#[test]
fn a_type_that_the_enum_does_not_have_is_refused() {
    let database = database();
    let projection = customers("customers").can_handle(&["Creatd"]);
    let opened = EventStore::builder(database.url())
        .inline_projection(projection)
        .open();
    let text = opened.expect_err("an unknown type").to_string();
    assert!(
        text.contains("Creatd") && text.contains("InvoiceEvent"),
        "{text}"
    );
}
