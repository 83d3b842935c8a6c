//! A superuser uses the whole library among traps.

use super::traps;
use crate::cli::process::{run_on, succeed};
use crate::support::{CartEvent, added, wait_until, wait_until_active};
use emmett_postgresql::pongo::{Index, PongoClient, Update, UpdateOptions, field};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, DocumentProjection, EventStore, ExpectedVersion, FailurePolicy, FeedOptions,
    NewMessage, RawEvent, Reactor, ReadOptions, Recorded, StreamMessages,
    consumer::{ConsumerBuilder, RunEnd},
    operations::{ExportOptions, ImportOptions, ParkedOptions, ParkedSelection},
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Longer than any step takes; a step waits for its signal.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_superuser_calls_nobodys_trap_in_a_whole_day() -> anyhow::Result<()> {
    let database = traps::database()?;
    assert_eq!(
        caught(&database, "SELECT 'a'::VARCHAR = 'b'::VARCHAR")?,
        "TRAP0"
    );
    assert_eq!(
        caught(&database, "SELECT format('%s', 'a'::TEXT)")?,
        "TRAP0"
    );
    migrate(&database)?;
    traps::overload_our_functions(&database)?;
    assert_eq!(
        caught(&database, "SELECT emt_horizon('emt:default', 0)")?,
        "TRAP0"
    );

    let store = open(&database)?;
    wait_until_active(&store);
    append(&store)?;
    read(&store)?;
    consume(&store)?;
    park(&store)?;
    rebuild(&store)?;
    look_after(&store, &traps::database()?)?;
    commands(&database)?;
    documents(&database)
}

#[test]
fn adopting_a_database_of_emmett_calls_nobodys_trap() -> anyhow::Result<()> {
    let database = traps::database()?;
    let mut client = database.client()?;
    client.batch_execute("SET search_path = public")?;
    client.batch_execute(include_str!("../../fixtures/emmett-0.42.sql"))?;

    let store = EventStore::open(database.url())?;

    assert!(store.read_all::<RawEvent>(FeedOptions::new()).count() > 0);
    Ok(())
}

fn caught(database: &Database, statement: &str) -> anyhow::Result<String> {
    let error = database.client()?.batch_execute(statement);
    let code = error
        .err()
        .and_then(|error| Some(error.code()?.code().to_owned()));
    Ok(code.unwrap_or_default())
}

fn migrate(database: &Database) -> anyhow::Result<()> {
    assert_eq!(run_on(database, &["migrate", "status"])?.code, 3);
    succeed(database, &["migrate", "run", "--dry-run"])?;
    succeed(database, &["migrate", "run"])?;
    succeed(database, &["migrate", "status"])?;
    Ok(())
}

fn items(name: &str) -> DocumentProjection<Value> {
    DocumentProjection::single_stream(name, |items, _: &Recorded<CartEvent>| {
        let items: Option<Value> = items;
        let number = items.and_then(|items| items["n"].as_u64()).unwrap_or(0);
        Some(json!({ "n": number + 1 }))
    })
}

fn open(database: &Database) -> anyhow::Result<EventStore> {
    Ok(EventStore::builder(database.url())
        .inline_projection(items("items"))
        .open()?)
}

fn append(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("coat", 2)])?;
    let message =
        NewMessage::new(added("hat", 1)).message_id("0197f2b4-6c1e-7c4e-8d5e-2f0e3c9a1b42");
    store.append_to_stream("Cart-2", &[added("shoes", 2), added("hat", 4)])?;
    for _ in 0..2 {
        store.append_to_stream("Cart-2", std::slice::from_ref(&message))?;
    }
    for expected in [ExpectedVersion::DoesNotExist, ExpectedVersion::Exact(1)] {
        let options = AppendOptions::new().expect(expected);
        let refused = store.append_to_stream_with("Cart-1", &[added("hat", 1)], options);
        assert!(refused.is_err_and(|error| error.is_conflict()));
    }
    store.append_to_streams(vec![
        StreamMessages::new("Cart-3", &[added("shoes", 1)])?,
        StreamMessages::new("Cart-1", &[added("bag", 1), added("bag", 1)])?,
    ])?;
    store.set_stream_metadata("Cart-1", &Map::new())?;
    store.with_session(|session| {
        session.append_to_stream("Cart-4", &[added("shoes", 1)])?;
        session.append_to_stream("Cart-4", &[added("hat", 1)])?;
        session
            .collection::<Value>("items")
            .find_one(json!({ "n": 2 }))?;
        Ok(())
    })?;
    Ok(())
}

fn read(store: &EventStore) -> anyhow::Result<()> {
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 5);
    let last = ReadOptions::new().backwards().max_count(1);
    store.read_stream_with::<CartEvent>("Cart-1", last)?;
    assert_eq!(
        store
            .read_stream_iter::<CartEvent>("Cart-1", ReadOptions::new())
            .count(),
        5
    );
    assert!(store.stream_exists("Cart-2")?);
    assert_eq!(store.read_all::<CartEvent>(FeedOptions::new()).count(), 11);
    assert!(store.archive_stream("Cart-3")?.is_some());
    assert!(
        store
            .append_to_stream("Cart-3", &[added("hat", 1)])
            .is_err()
    );
    assert!(store.unarchive_stream("Cart-3")?.is_some());
    Ok(())
}

fn consume(store: &EventStore) -> anyhow::Result<()> {
    catch_up(store.consumer().projector(items("report")))?;
    let reactor = Reactor::new("reminders").each(|_: &Recorded<CartEvent>, context| {
        context.append_to_stream("Reminders", &[RawEvent::new("Sent", json!({}))])?;
        Ok(())
    });
    let consumer = store
        .consumer()
        .projector(items("report"))
        .reactor(reactor)
        .start()?;
    let appended = store.append_to_stream("Cart-5", &[added("shoes", 1)])?;
    for processor in ["report", "reminders"] {
        store.wait_for(processor, appended.last_global_position, LONG)?;
    }
    consumer.stop()?;
    store.processors().reset("report", 0)?;
    catch_up(store.consumer().projector(items("report")))?;
    Ok(())
}

fn catch_up(consumer: ConsumerBuilder) -> anyhow::Result<()> {
    assert_eq!(consumer.run_until_caught_up()?.end, RunEnd::CaughtUp);
    Ok(())
}

fn park(store: &EventStore) -> anyhow::Result<()> {
    let fines = |fails: bool| {
        let reactor = Reactor::new("fines").each(move |_: &Recorded<CartEvent>, _| {
            anyhow::ensure!(!fails, "postponed");
            Ok(())
        });
        store
            .consumer()
            .reactor(reactor.on_failure(FailurePolicy::park()))
    };
    catch_up(fines(true))?;
    let parked = || store.processors().parked("fines", ParkedOptions::new());
    assert!(!parked()?.is_empty());
    store.processors().replay("fines", &ParkedSelection::All)?;
    let consumer = fines(false).start()?;
    wait_until("all is replayed", || {
        parked().is_ok_and(|parked| parked.is_empty())
    });
    consumer.stop()?;
    Ok(())
}

fn rebuild(store: &EventStore) -> anyhow::Result<()> {
    store.rebuild("items").workers(2).keep_old().run()?;
    store.drop_old_model("items")?;
    store.rebuild_with(items("report")).run()?;
    Ok(())
}

fn look_after(store: &EventStore, other: &Database) -> anyhow::Result<()> {
    assert!(store.tenants().add("acme")?);
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    catch_up(acme.consumer().projector(items("report")))?;
    assert!(!acme.doctor()?.is_serious());
    store.tenants().remove("acme")?.with_all_data()?;

    let mut log = Vec::new();
    let exported = store.export(&mut log, ExportOptions::new())?;
    let imported = open(other)?.import(log.as_slice(), ImportOptions::new())?;
    assert_eq!(imported.imported, exported.messages);

    let report = store.doctor()?;
    assert!(!report.is_serious(), "{report:?}");
    assert!(
        store
            .prove_feed(1, store.feed_horizon(0)?.position)?
            .holds()
    );
    Ok(())
}

fn commands(database: &Database) -> anyhow::Result<()> {
    for command in [
        "doctor",
        "consumers list",
        "consumers parked fines",
        "consumers reset fines --to 0",
        "projections list",
        "tenants list",
        "stream Cart-1",
        "projections forget report",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        succeed(database, &arguments)?;
    }
    Ok(())
}

fn documents(database: &Database) -> anyhow::Result<()> {
    let client = PongoClient::connect(database.url())?;
    let books = client.collection::<Value>("books");
    books.create_index(&Index::unique("isbn"))?;
    books.create_index(&Index::field("shelf.number"))?;
    books.create_index(&Index::whole_document())?;
    for number in 0..5 {
        books.insert_one(&json!({ "_id": format!("b{number}"), "isbn": number, "copies": number, "tags": ["a", number],
                                  "shelf": { "number": number, "floor": null }, "title": format!("Title {number}") }))?;
    }
    for filter in [
        json!({ "_id": "b1" }),
        json!({ "_id": { "$in": ["b1", "b2"] } }),
        json!({ "_version": { "$gt": 0 } }),
        json!({ "isbn": 1 }),
        json!({ "isbn": { "$gt": 1, "$lte": 3 } }),
        json!({ "isbn": { "$in": [1, 2] } }),
        json!({ "isbn": { "$ne": 1 } }),
        json!({ "isbn": { "$nin": [1] } }),
        json!({ "shelf.number": { "$gte": 2 } }),
        json!({ "shelf.floor": null }),
        json!({ "tags": "a" }),
        json!({ "tags.1": 3 }),
        json!({ "tags": { "$size": 2 } }),
        json!({ "tags": { "$all": ["a", 1] } }),
        json!({ "tags": { "$elemMatch": { "$gt": 2 } } }),
        json!({ "title": { "$regex": "^title [1-3]", "$options": "i" } }),
        json!({ "title": { "$type": "string" } }),
        json!({ "shelf": { "$exists": true } }),
        json!({ "$or": [{ "isbn": 1 }, { "title": { "$lt": "Title 2" } }] }),
        json!({ "$nor": [{ "isbn": { "$not": { "$lt": 4 } } }] }),
    ] {
        assert!(books.count_documents(filter.clone())? > 0, "{filter}");
        books
            .find(filter)
            .sort(json!({ "shelf.number": -1 }))
            .select::<Value>(json!({ "title": 1 }))
            .page(2)?;
    }
    assert_eq!(books.distinct::<Value>("tags", json!({}))?.len(), 6);
    for update in [
        json!({ "$set": { "shelf.floor": 2, "tags.5": 1 } }),
        json!({ "$unset": { "shelf.floor": "" } }),
        json!({ "$inc": { "copies": 1 } }),
        json!({ "$inc": { "copies": 0.5, "shelf.number": -1 } }),
        json!({ "$mul": { "copies": 2 } }),
        json!({ "$min": { "copies": 0 }, "$max": { "isbn2": "z" } }),
        json!({ "$rename": { "title": "name" } }),
        json!({ "$currentDate": { "changed": true } }),
        json!({ "$push": { "tags": { "$each": [3, 1], "$sort": 1, "$slice": -4, "$position": 0 } } }),
        json!({ "$addToSet": { "tags": { "$each": ["a", "z"] } } }),
        json!({ "$pop": { "tags": 1 } }),
        json!({ "$pull": { "tags": "z" } }),
        json!({ "$pull": { "tags": { "$gt": 2 } } }),
    ] {
        assert!(
            books
                .update_one(json!({ "_id": "b3" }), update.clone())?
                .matched,
            "{update}"
        );
        books.update_many(json!({ "isbn": { "$gt": 3 } }), update)?;
    }
    client.with_transaction(|transaction| {
        let books = transaction.collection::<Value>("books");
        books.find_one_and_update(
            field("isbn").eq(1),
            Update::new().inc("copies", -1).push("lent_to", "anna"),
        )?;
        books.update_one_with(
            json!({ "_id": "new" }),
            Update::new().set("isbn", 99),
            UpdateOptions::new().upsert(),
        )?;
        books.replace_one(json!({ "_id": "b2" }), &json!({ "isbn": 2 }))?;
        books.insert_many(&[json!({ "isbn": 77 }), json!({ "isbn": 78 })])?;
        Ok(())
    })?;
    books.handle("b2", |book| {
        Ok(book.map(|_| json!({ "isbn": 2, "copies": 0 })))
    })?;
    for book in books.find(json!({})).batch_size(2).cursor()? {
        book?;
    }
    books.find(json!({ "isbn": 1 })).explain()?;
    books.delete_one(json!({ "_id": "b1" }))?;
    books.delete_many(json!({ "isbn": { "$gt": 70 } }))?;
    books.drop_index("books_isbn_unique").ok();
    books.rename("volumes")?;
    assert!(client.collection::<Value>("volumes").drop()?);
    Ok(())
}
