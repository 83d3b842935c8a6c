//! Read models that are written in the append's transaction.

mod contended;
mod failing;
mod versions;

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, ProjectionContext, Recorded, SqlProjection,
    StreamMessages, error::ProjectionError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::thread;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Totals {
    events: u64,
    items: u64,
}

/// Counts each event in the document "all", and deletes the document when a cart is confirmed.
fn totals() -> DocumentProjection<Totals> {
    DocumentProjection::multi_stream(
        "totals",
        |_: &Recorded<CartEvent>| Some("all".to_owned()),
        |totals: Option<Totals>, recorded: &Recorded<CartEvent>| {
            let mut totals = totals.unwrap_or_default();
            totals.events += 1;
            match &recorded.event {
                CartEvent::ProductItemAdded { quantity, .. } => {
                    totals.items += u64::from(*quantity);
                }
                CartEvent::ProductItemRemoved { quantity, .. } => {
                    totals.items -= u64::from(*quantity);
                }
                CartEvent::ShoppingCartConfirmed { .. } => return None,
            }
            Some(totals)
        },
    )
}

fn all_totals(store: &EventStore) -> anyhow::Result<Option<Totals>> {
    Ok(store
        .collection::<Totals>("totals")
        .find_one(json!({"_id": "all"}))?)
}

fn stored_messages(database: &emmett_postgresql::testing::Database) -> anyhow::Result<i64> {
    let row = database.client()?.query_one(
        "SELECT (SELECT count(*) FROM emt_messages) + (SELECT count(*) FROM emt_streams)",
        &[],
    )?;
    Ok(row.get(0))
}

#[test]
fn many_writers_of_one_document_lose_no_count() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;

    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || append_in_many_ways(store, writer))
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;

    let events: u64 = written.iter().sum();
    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events,
            items: 2 * events
        })
    );
    Ok(())
}

/// 200 appends: single ones, several streams at once, and sessions. Returns the number of events.
fn append_in_many_ways(store: &EventStore, writer: u32) -> Result<u64, Error> {
    let mut events = 0;
    for number in 0..200 {
        let (one, other) = (
            format!("Cart-{writer}-{number}"),
            format!("Cart-{writer}-{number}-b"),
        );
        match number % 4 {
            0 => {
                let streams = vec![
                    StreamMessages::new(&other, &[added("a", 2)])?,
                    StreamMessages::new(&one, &[added("b", 2), added("c", 2)])?,
                ];
                store.append_to_streams(streams)?;
                events += 3;
            }
            1 => {
                store.with_session(|session| {
                    session.append_to_stream(&one, &[added("a", 2)])?;
                    session.append_to_stream(&other, &[added("b", 2)])?;
                    Ok(())
                })?;
                events += 2;
            }
            _ => {
                store.append_to_stream(&one, &[added("a", 2)])?;
                events += 1;
            }
        }
    }
    Ok(events)
}

#[test]
fn a_document_that_comes_and_goes_loses_no_event_under_many_writers() -> anyhow::Result<()> {
    let database = database();
    let goes_at_three = DocumentProjection::multi_stream(
        "totals",
        |_: &Recorded<CartEvent>| Some("all".to_owned()),
        |totals: Option<Totals>, _| {
            let mut totals = totals.unwrap_or_default();
            totals.events += 1;
            (totals.events < 3).then_some(totals)
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(goes_at_three)
        .open()?;

    thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..41 {
                    store
                        .append_to_stream(&format!("Cart-{writer}"), &[added("a", 1)])
                        .expect("an append");
                }
            });
        }
    });

    let remaining = all_totals(&store)?.map(|totals| totals.events);
    assert_eq!(remaining, Some(8 * 41 % 3));
    Ok(())
}

#[test]
fn events_of_one_append_for_one_document_are_folded_and_written_once() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;

    store.append_to_stream("Cart-1", &[added("a", 1), added("b", 2), added("c", 3)])?;
    store.append_to_stream("Cart-1", &[added("d", 4)])?;

    let document = store
        .collection::<Value>("totals")
        .find_one(json!({}))?
        .expect("a document");
    assert_eq!(
        document,
        json!({"_id": "all", "_version": 2, "events": 4, "items": 10})
    );
    Ok(())
}

#[test]
fn an_evolve_that_returns_nothing_deletes_the_document_or_creates_none() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;
    let confirmed = || CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    };

    store.append_to_stream("Cart-1", &[confirmed()])?;
    let none = database
        .client()?
        .query_one("SELECT count(*) FROM totals", &[])?;
    store.append_to_stream("Cart-1", &[added("a", 1)])?;
    let one = all_totals(&store)?;
    store.append_to_stream("Cart-1", &[confirmed()])?;

    assert_eq!(none.get::<_, i64>(0), 0);
    assert_eq!(
        one,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    assert_eq!(all_totals(&store)?, None);
    Ok(())
}

#[test]
fn an_event_may_belong_to_several_documents_or_none() -> anyhow::Result<()> {
    let database = database();
    let by_product = DocumentProjection::multi_stream(
        "products",
        |recorded: &Recorded<CartEvent>| match &recorded.event {
            CartEvent::ProductItemAdded { product_id, .. } => product_id
                .split('+')
                .chain(product_id.split('+').next())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        },
        |count: Option<Value>, _| {
            Some(json!({"n": count.and_then(|count| count["n"].as_u64()).unwrap_or(0) + 1}))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(by_product)
        .open()?;

    let confirmed = CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    };
    store.append_to_stream(
        "Cart-1",
        &[added("hat+shoe", 1), added("shoe", 1), confirmed],
    )?;

    let found = store
        .collection::<Value>("products")
        .find(json!({}))
        .sort(json!({"_id": 1}))
        .to_vec()?;
    let counts: Vec<_> = found
        .iter()
        .map(|product| (product["_id"].as_str(), product["n"].as_u64()))
        .collect();
    assert_eq!(counts, [(Some("hat"), Some(1)), (Some("shoe"), Some(2))]);
    Ok(())
}

#[test]
fn a_projection_handles_only_the_types_that_it_names() -> anyhow::Result<()> {
    let database = database();
    let removals = totals().can_handle(&["ProductItemAdded"]);
    let store = EventStore::builder(database.url())
        .inline_projection(removals)
        .open()?;

    let removed = CartEvent::ProductItemRemoved {
        product_id: "a".into(),
        quantity: 1,
        price: 1.0,
    };
    store.append_to_stream("Cart-1", &[added("a", 3), removed])?;

    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 1,
            items: 3
        })
    );
    Ok(())
}

type Handler = fn(&[Recorded<CartEvent>], &mut ProjectionContext<'_>) -> anyhow::Result<()>;

/// A table whose constraint is checked at commit.
fn sales(handler: Handler) -> SqlProjection {
    SqlProjection::new("sales", handler).init(|context| {
        context.batch_execute(
            "CREATE TABLE IF NOT EXISTS sales (
                 product TEXT NOT NULL CONSTRAINT once UNIQUE DEFERRABLE INITIALLY DEFERRED,
                 at TIMESTAMPTZ
             )",
        )?;
        Ok(())
    })
}

fn insert_hat(context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
    context.execute("INSERT INTO sales (product) VALUES ('hat')", &[])?;
    Ok(())
}

/// Each handler makes its append fail; what it did itself is gone, too.
#[test]
fn whatever_a_handler_does_wrong_stores_nothing() -> anyhow::Result<()> {
    let handlers: [(&str, Handler); 8] = [
        ("fails", |_, context| {
            insert_hat(context)?;
            anyhow::bail!("no sales today")
        }),
        ("swallows an error of the database", |_, context| {
            insert_hat(context)?;
            let _ = context.execute("SELECT 1 / 0", &[]);
            Ok(())
        }),
        ("commits", |_, context| {
            insert_hat(context)?;
            Ok(context.batch_execute("COMMIT")?)
        }),
        ("commits and swallows the refusal", |_, context| {
            insert_hat(context)?;
            let _ = context.batch_execute("/* now */ COMMIT; BEGIN");
            anyhow::bail!("found out")
        }),
        ("commits by a prepared statement", |_, context| {
            insert_hat(context)?;
            context.execute("commit", &[])?;
            Ok(())
        }),
        ("commits after another statement", |_, context| {
            Ok(context.batch_execute("INSERT INTO sales (product) VALUES ('a;b'); END;")?)
        }),
        ("rolls back", |_, context| {
            context.query("ROLLBACK", &[])?;
            Ok(())
        }),
        ("breaks a deferred constraint", |_, context| {
            insert_hat(context)?;
            insert_hat(context)
        }),
    ];
    for (what, handler) in handlers {
        let database = database();
        let store = EventStore::builder(database.url())
            .inline_projection(sales(handler))
            .open()?;

        let result = store.append_to_stream("Cart-1", &[added("a", 1)]);

        assert!(result.is_err(), "a handler that {what}");
        assert_eq!(stored_messages(&database)?, 0, "a handler that {what}");
        let sales = database
            .client()?
            .query_one("SELECT count(*) FROM sales", &[])?;
        assert_eq!(sales.get::<_, i64>(0), 0, "a handler that {what}");
        assert!(
            !store.stream_exists("Cart-1")?,
            "the store goes on after a handler that {what}"
        );
    }
    Ok(())
}

#[test]
fn the_error_of_a_projection_names_it_and_keeps_its_cause() -> anyhow::Result<()> {
    let database = database();
    let failing = sales(|_, _| anyhow::bail!("no sales today"));
    let store = EventStore::builder(database.url())
        .inline_projection(failing)
        .open()?;

    let error = store
        .append_to_stream("Cart-1", &[added("a", 1)])
        .expect_err("the projection fails");

    assert!(
        matches!(&error, Error::Projection(ProjectionError::Failed { projection, .. }) if projection == "sales")
    );
    assert_eq!(
        format!("{:#}", anyhow::Error::from(error)),
        "projection \"sales\" failed: no sales today"
    );
    Ok(())
}

#[test]
fn sql_projections_write_their_tables_with_the_append() -> anyhow::Result<()> {
    let database = database();
    let inserting = sales(|events, context| {
        for recorded in events {
            if let CartEvent::ProductItemAdded { product_id, .. } = &recorded.event {
                context.execute(
                    "INSERT INTO sales (product, at) VALUES ($1, $2)",
                    &[product_id, &recorded.recorded_at],
                )?;
            }
        }
        Ok(())
    });
    let store = EventStore::builder(database.url())
        .inline_projection(inserting)
        .open()?;

    store.append_to_stream("Cart-1", &[added("hat", 1), added("shoe", 1)])?;

    let same_time = database.client()?.query_one(
        "SELECT count(*) FROM sales JOIN emt_messages ON at = created AND message_data->>'productId' = product",
        &[],
    )?;
    assert_eq!(
        same_time.get::<_, i64>(0),
        2,
        "handlers see the time that is stored"
    );
    Ok(())
}

#[test]
fn a_rebuild_during_appends_misses_and_repeats_none() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;

    thread::scope(|scope| -> anyhow::Result<()> {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || -> Result<(), Error> {
                    for _ in 0..50 {
                        store.append_to_stream(&format!("Cart-{writer}"), &[added("a", 1)])?;
                    }
                    Ok(())
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            store.rebuild("totals").run()?;
        }
        for writer in writers {
            writer.join().expect("no panic")?;
        }
        Ok(())
    })?;

    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 200,
            items: 200
        })
    );
    store.rebuild("totals").run()?;
    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 200,
            items: 200
        }),
        "a second rebuild gives the same"
    );
    Ok(())
}

#[test]
fn projections_are_registered_with_their_types() -> anyhow::Result<()> {
    let database = database();
    EventStore::builder(database.url())
        .inline_projection(totals().can_handle(&["ProductItemAdded"]))
        .open()?;

    let row = database.client()?.query_one(
        "SELECT name, version, type, kind, status, definition FROM emt_projections",
        &[],
    )?;

    let texts: [&str; 4] = [row.get(0), row.get(2), row.get(3), row.get(4)];
    assert_eq!(texts, ["totals", "i", "document:multi_stream", "active"]);
    assert_eq!(row.get::<_, i32>(1), 1);
    assert_eq!(
        row.get::<_, Value>(5),
        json!({
            "handles": ["ProductItemAdded"],
            "categories": null,
            "events": [{
                "event": std::any::type_name::<CartEvent>(),
                "categories": null,
                "types": ["ProductItemAdded"],
            }],
        })
    );
    Ok(())
}

#[test]
fn two_projections_of_one_name_are_refused() {
    let database = database();

    let refused = EventStore::builder(database.url())
        .inline_projection(totals())
        .inline_projection(totals())
        .open();

    assert!(matches!(refused, Err(Error::InvalidInput { what, .. }) if what.contains("totals")));
}

#[test]
fn a_tenant_has_read_models_of_its_own() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    plain.tenants().add("acme")?;
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;
    let acme = store.tenant("acme")?;

    store.append_to_stream("Cart-1", &[added("a", 1)])?;
    acme.append_to_stream("Cart-1", &[added("a", 5)])?;

    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    assert_eq!(
        all_totals(&acme)?,
        Some(Totals {
            events: 1,
            items: 5
        })
    );
    Ok(())
}
