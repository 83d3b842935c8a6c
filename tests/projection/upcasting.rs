//! Read models of messages that the upcast hook splits into several events, or drops.

use crate::support::orders::{LINES, OrderEvent, append_old, line, placed, viewed};
use crate::support::{database, store};
use emmett_postgresql::{
    DocumentProjection, EventStore, Projector, RawEvent, Recorded, SqlProjection,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    lines: Vec<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "that is what `evolve` gives")]
fn note(noted: Option<Noted>, recorded: &Recorded<OrderEvent>) -> Option<Noted> {
    let mut noted = noted.unwrap_or_default();
    noted.lines.push(line(recorded));
    Some(noted)
}

fn of_streams() -> DocumentProjection<Noted> {
    DocumentProjection::single_stream("streams", note)
}

/// A document for each kind of event, so that the events of one message have several documents.
fn of_kinds() -> DocumentProjection<Noted> {
    let kind = |recorded: &Recorded<OrderEvent>| {
        let text = recorded.event.text();
        text.split(' ').next().map(str::to_owned)
    };
    DocumentProjection::multi_stream("kinds", kind, note)
}

fn of_lines() -> DocumentProjection<Noted> {
    DocumentProjection::single_stream("lines", note).can_handle(&["LineAdded"])
}

/// Fails if its handler gets no events.
fn rows() -> SqlProjection {
    SqlProjection::new("rows", |events: &[Recorded<OrderEvent>], context| {
        anyhow::ensure!(!events.is_empty(), "a handler is called for events");
        let rows = context.table("rows")?;
        for recorded in events {
            let insert = format!("INSERT INTO {rows} (line) VALUES ($1)");
            context.execute(&insert, &[&line(recorded)])?;
        }
        Ok(())
    })
    .tables(&["rows"])
    .init(|context| {
        let rows = context.table("rows")?;
        let create = format!("CREATE TABLE IF NOT EXISTS {rows} (number SERIAL, line TEXT)");
        Ok(context.batch_execute(&create)?)
    })
    .truncate(|context| {
        let rows = context.table("rows")?;
        context.execute(&format!("DELETE FROM {rows}"), &[])?;
        Ok(())
    })
}

fn rows_of_lines() -> SqlProjection {
    rows().can_handle(&["LineAdded"])
}

fn noted(store: &EventStore, collection: &str, id: &str) -> anyhow::Result<Vec<String>> {
    let found = store.collection::<Noted>(collection);
    let found = found.find_one(json!({ "_id": id }))?;
    Ok(found.unwrap_or_default().lines)
}

fn row_lines(store: &EventStore) -> anyhow::Result<Vec<String>> {
    let select = "SELECT line FROM rows ORDER BY number";
    let rows = store.with_session(|session| Ok(session.query(select, &[])?))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[track_caller]
fn assert_noted(store: &EventStore) -> anyhow::Result<()> {
    assert_eq!(noted(store, "streams", "Order-1")?, LINES);
    assert_eq!(noted(store, "kinds", "placed")?, LINES[..1]);
    assert_eq!(noted(store, "kinds", "added")?, LINES[1..4]);
    assert_eq!(noted(store, "kinds", "confirmed")?, LINES[4..]);
    assert_eq!(noted(store, "lines", "Order-1")?, LINES[1..4]);
    assert_eq!(row_lines(store)?, LINES);
    Ok(())
}

#[test]
fn inline_read_models_have_the_events_and_so_do_rebuilt_ones() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(of_streams())
        .inline_projection(of_kinds())
        .inline_projection(of_lines())
        .inline_projection(rows())
        .open()?;
    append_old(&store)?;
    store.append_to_stream("Order-2", &[viewed(), viewed()])?;

    assert_noted(&store)?;
    for name in ["streams", "kinds", "lines", "rows"] {
        let report = store.rebuild(name).workers(2).run()?;
        assert_eq!(report.handled, 8, "reports count messages: {name}");
    }
    assert_noted(&store)?;
    Ok(())
}

#[test]
fn asynchronous_read_models_have_the_events_with_several_workers_too() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let consumer = || {
        store
            .consumer()
            .projector(Projector::new(of_streams()).workers(3))
            .projector(Projector::new(of_kinds()).workers(3))
            .projector(of_lines())
            .projector(rows())
            .batch_size(1)
    };
    let _ = consumer().run_until_caught_up()?;

    assert_noted(&store)?;
    for processor in store.processors().list()? {
        assert_eq!(
            processor.position, 6,
            "{}: it stands after what it dropped",
            processor.name
        );
    }
    Ok(())
}

#[test]
fn a_restricted_handler_asks_for_the_former_types_and_gets_its_own_events() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(rows_of_lines())
        .open()?;
    store.append_to_stream("Order-1", &[placed(&["hat"]), placed(&[])])?;
    store.append_to_stream(
        "Order-1",
        &[RawEvent::new("LineAdded", json!({ "product": "cap" }))],
    )?;
    let lines = ["1 added hat", "3 added cap"];

    assert_eq!(row_lines(&store)?, lines);
    let _ = store.rebuild("rows").run()?;
    assert_eq!(row_lines(&store)?, lines);
    Ok(())
}

#[test]
fn a_handler_that_asks_for_a_former_type_gets_all_of_its_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let old = of_streams().can_handle(&["PlacedWithLines"]);
    let _ = store.consumer().projector(old).run_until_caught_up()?;
    assert_eq!(noted(&store, "streams", "Order-1")?, LINES[..3]);
    Ok(())
}
