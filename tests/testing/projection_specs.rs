//! Specifications of projections, in memory and on a server.

mod failing_specs;

use crate::support::{CartEvent, added, database};
use emmett_postgresql::pongo::UpdateOptions;
use emmett_postgresql::testing::ProjectionSpec;
use emmett_postgresql::{
    DocumentProjection, Event, NewMessage, ProjectionContext, RawEvent, Recorded, SqlProjection,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CartSummary {
    total_items: u32,
    /// The version of the stream that the document has seen.
    #[serde(default)]
    seen: u64,
}

fn summary(total_items: u32, seen: u64) -> CartSummary {
    CartSummary { total_items, seen }
}

fn confirmed() -> CartEvent {
    CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 20.0,
    }
}

/// Counts items once: an event that the document has seen changes nothing. A confirmed cart is deleted.
fn cart_summaries() -> DocumentProjection<CartSummary> {
    DocumentProjection::single_stream(
        "cart_summaries",
        |cart: Option<CartSummary>, recorded: &Recorded<CartEvent>| {
            let mut cart = cart.unwrap_or_default();
            if cart.seen >= recorded.stream_position {
                return Some(cart);
            }
            cart.seen = recorded.stream_position;
            match &recorded.event {
                CartEvent::ProductItemAdded { quantity, .. } => cart.total_items += quantity,
                CartEvent::ProductItemRemoved { quantity, .. } => cart.total_items -= quantity,
                CartEvent::ShoppingCartConfirmed { .. } => return None,
            }
            Some(cart)
        },
    )
}

/// Counts items by product, also those that are delivered again.
fn product_totals() -> DocumentProjection<Value> {
    DocumentProjection::multi_stream(
        "product_totals",
        |recorded: &Recorded<CartEvent>| match &recorded.event {
            CartEvent::ProductItemAdded { product_id, .. } => Some(product_id.clone()),
            _ => None,
        },
        |total: Option<Value>, recorded| {
            let quantity = match &recorded.event {
                CartEvent::ProductItemAdded { quantity, .. } => u64::from(*quantity),
                _ => 0,
            };
            let before = total.and_then(|total| total["sold"].as_u64()).unwrap_or(0);
            Some(json!({"sold": before + quantity}))
        },
    )
}

#[test]
fn documents_are_specified_without_a_server() {
    ProjectionSpec::of(cart_summaries())
        .given("Cart-1", [added("shoes", 2)])
        .given("Cart-2", [added("shoes", 7)])
        .when("Cart-1", [added("hat", 1)])
        .twice()
        .document("Cart-1", summary(3, 2))
        .documents([("Cart-1", summary(3, 2)), ("Cart-2", summary(7, 1))]);
    ProjectionSpec::of(cart_summaries())
        .given("Cart-1", [added("shoes", 2)])
        .when("Cart-1", [confirmed()])
        .no_document("Cart-1")
        .no_documents();
    ProjectionSpec::of(product_totals())
        .when("Cart-1", [added("hat", 1), added("shoes", 2)])
        .when("Cart-2", [added("hat", 4), confirmed()])
        .documents([("hat", json!({"sold": 5})), ("shoes", json!({"sold": 2}))])
        .when("Cart-3", [added("hat", 1)])
        .document("hat", json!({"sold": 6}));
}

#[derive(Debug, Serialize, Deserialize)]
enum OrderEvent {
    Placed { customer: String },
}

impl Event for OrderEvent {
    const CATEGORY: &'static str = "Order";
}

#[test]
fn each_form_of_a_document_projection_runs_in_memory() {
    // Several enums, one of them by stream, with types and categories.
    let seen = |seen: Option<Value>, name: &str| {
        let mut names = seen.map_or_else(|| json!([]), |seen| seen["names"].clone());
        names.as_array_mut().unwrap().push(json!(name));
        Some(json!({"names": names}))
    };
    let projection = DocumentProjection::named("seen")
        .on_stream(
            move |document: Option<Value>, recorded: &Recorded<RawEvent>| {
                seen(document, &recorded.message_type)
            },
        )
        .can_handle(&["Paid"])
        .categories(&["Invoice"])
        .on(
            |recorded: &Recorded<OrderEvent>| {
                let OrderEvent::Placed { customer } = &recorded.event;
                vec![customer.clone(), "all".to_owned(), "all".to_owned()]
            },
            move |document, recorded| seen(document, &recorded.message_type),
        );
    let placed = || OrderEvent::Placed {
        customer: "anna".into(),
    };
    let raw = |name: &str| RawEvent::new(name, json!({}));
    ProjectionSpec::of(projection)
        .given("Order-1", [placed()])
        .when("Invoice-1", [raw("Paid"), raw("Sent")])
        .when("Elsewhere-1", [raw("Paid")])
        .documents([
            ("Invoice-1", json!({"names": ["Paid"]})),
            ("anna", json!({"names": ["Placed"]})),
            ("all", json!({"names": ["Placed"]})),
        ]);

    // Maps refuse `_id` and `_version`.
    let counts = || {
        DocumentProjection::single_stream(
            "counts",
            |counts: Option<HashMap<String, u32>>, recorded: &Recorded<RawEvent>| {
                let mut counts = counts.unwrap_or_default();
                *counts.entry(recorded.message_type.clone()).or_default() += 1;
                Some(counts)
            },
        )
    };
    ProjectionSpec::of(counts().without_ids())
        .given("Cart-1", [raw("Opened")])
        .when("Cart-1", [raw("Opened")])
        .document("Cart-1", json!({"Opened": 2}));
    ProjectionSpec::of(counts())
        .given("Cart-1", [raw("Opened")])
        .when("Cart-1", [raw("Opened")])
        .fails_with("call `without_ids()`");
}

#[test]
fn ids_and_versions_are_compared_where_the_document_has_them() {
    #[derive(Serialize, Deserialize)]
    struct Versioned {
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_version")]
        version: u64,
        read: u64,
    }
    let projection = || {
        DocumentProjection::single_stream(
            "versioned",
            |document: Option<Versioned>, _: &Recorded<RawEvent>| {
                Some(Versioned {
                    id: "ignored".into(),
                    version: 99,
                    read: document.map_or(0, |document| document.version),
                })
            },
        )
    };
    let event = || RawEvent::new("Happened", json!({}));
    let versioned = |version, read| Versioned {
        id: "Cart-1".into(),
        version,
        read,
    };
    let outcome = ProjectionSpec::of(projection())
        .given("Cart-1", [event()])
        .given("Cart-1", [event()])
        .when("Cart-1", [event()])
        .document("Cart-1", versioned(3, 2))
        .document("Cart-1", json!({"read": 2}))
        .when("Cart-1", [event(), event()])
        .document("Cart-1", json!({"_version": 4, "read": 99}));
    drop(outcome);
    ProjectionSpec::inline(&database(), projection())
        .given("Cart-1", [event()])
        .when("Cart-1", [event()])
        .document("Cart-1", versioned(2, 1));
}

#[test]
fn metadata_positions_and_times_reach_the_projection() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    let projection = DocumentProjection::single_stream(
        "facts",
        |_: Option<Value>, recorded: &Recorded<RawEvent>| {
            let day = recorded.recorded_at.duration_since(SystemTime::UNIX_EPOCH);
            Some(json!({
                "id": recorded.message_id,
                "by": recorded.metadata.get("by"),
                "cause": recorded.causation_id,
                "positions": [recorded.stream_position, recorded.global_position],
                "seconds": day.map_or(0, |day| day.as_secs()),
            }))
        },
    );
    let message = NewMessage::new(RawEvent::new("Opened", json!({})))
        .message_id("opened-1")
        .causation_id("click-1")
        .metadata("by", "anna");
    let other = RawEvent::new("Opened", json!({}));
    ProjectionSpec::of(projection)
        .recorded_at(at)
        .given("Cart-2", [other.clone(), other])
        .when("Cart-1", [message.clone()])
        .document(
            "Cart-1",
            json!({"id": "opened-1", "by": "anna", "cause": "click-1", "positions": [1, 3], "seconds": 86_400}),
        )
        .when("Cart-1", [message])
        .fails_with("a store would not append again");
}

/// Adds sales with SQL. The primary key is the client, or the message.
fn sales(once: bool) -> SqlProjection {
    let key = if once { "message" } else { "client" };
    SqlProjection::new(
        "sales",
        move |events: &[Recorded<CartEvent>], context: &mut ProjectionContext<'_>| {
            let sales = context.table("sales")?;
            for recorded in events {
                let CartEvent::ShoppingCartConfirmed {
                    client_id,
                    total_amount,
                } = &recorded.event
                else {
                    continue;
                };
                anyhow::ensure!(*total_amount > 0.0, "a sale of nothing by {client_id}");
                let insert = format!(
                    "INSERT INTO {sales} AS s VALUES ($1, $2, $3) ON CONFLICT ({key}) DO UPDATE
                     SET total = s.total + CASE WHEN {once} THEN 0 ELSE EXCLUDED.total END"
                );
                context.execute(&insert, &[&recorded.message_id, client_id, total_amount])?;
            }
            Ok(())
        },
    )
    .tables(&["sales"])
    .init(move |context| {
        let sales = context.table("sales")?;
        context.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {sales} (message TEXT, client TEXT, total FLOAT8, UNIQUE ({key}))"
        ))?;
        Ok(())
    })
}

const TOTALS: &str =
    "SELECT client, sum(total) AS total FROM sales GROUP BY client ORDER BY client;";

#[test]
fn sql_is_specified_on_a_server_inline_and_asynchronously() {
    let sales = Arc::new(sales(true));
    ProjectionSpec::inline(&database(), Arc::clone(&sales))
        .given("Cart-1", [confirmed()])
        .when("Cart-2", [added("hat", 1), confirmed()])
        .when("Cart-3", [confirmed()])
        .times(3)
        .rows(TOTALS, [json!({"client": "anna", "total": 60})])
        .no_rows("SELECT FROM sales WHERE client = 'bob'");
    ProjectionSpec::asynchronous(&database(), sales)
        .given("Cart-1", [confirmed()])
        .when("Cart-2", [added("hat", 1), confirmed()])
        .when("Cart-3", [confirmed()])
        .times(3)
        .rows(TOTALS, [json!({"client": "anna", "total": 60.0})]);
}

#[test]
fn documents_are_specified_on_a_server_too() {
    let carts = Arc::new(cart_summaries());
    ProjectionSpec::inline(&database(), Arc::clone(&carts))
        .given("Cart-1", [added("shoes", 2)])
        .when("Cart-1", [added("hat", 1)])
        .twice()
        .documents([("Cart-1", summary(3, 2))])
        .no_document("Cart-2");
    ProjectionSpec::asynchronous(&database(), carts)
        .given("Cart-1", [added("shoes", 2)])
        .when("Cart-1", [added("hat", 1)])
        .twice()
        .documents([("Cart-1", summary(3, 2))]);
}

/// Changes documents by an update with a filter, which needs a server.
fn shelves() -> SqlProjection {
    SqlProjection::new("stock", |events: &[Recorded<CartEvent>], context| {
        let shelves = context.collection::<Value>("shelves");
        for recorded in events {
            if let CartEvent::ProductItemAdded {
                product_id,
                quantity,
                ..
            } = &recorded.event
            {
                let taken = json!({"$inc": {"taken": quantity}});
                shelves.update_one_with(
                    json!({"_id": product_id}),
                    taken,
                    UpdateOptions::new().upsert(),
                )?;
            }
        }
        Ok(())
    })
    .tables(&["shelves"])
    .init(|context| {
        context.collection::<Value>("shelves").create()?;
        Ok(())
    })
}

#[test]
fn collections_of_sql_projections_are_named() {
    ProjectionSpec::inline(&database(), shelves())
        .when("Cart-1", [added("hat", 1), added("hat", 2)])
        .collection("shelves")
        .document("hat", json!({"taken": 3}));
}

#[test]
fn failures_of_the_handler_are_expected_by_their_text() {
    let free = || CartEvent::ShoppingCartConfirmed {
        client_id: "bob".into(),
        total_amount: 0.0,
    };
    let sales = Arc::new(sales(true));
    ProjectionSpec::inline(&database(), Arc::clone(&sales))
        .given("Cart-1", [confirmed()])
        .when("Cart-2", [free()])
        .twice()
        .fails_with("a sale of nothing by bob");
    ProjectionSpec::asynchronous(&database(), sales)
        .when("Cart-2", [free()])
        .fails_with("a sale of nothing by bob");
    let long = DocumentProjection::multi_stream(
        "long",
        |_: &Recorded<CartEvent>| Some("a".repeat(5_000)),
        |_: Option<Value>, _| Some(json!({})),
    );
    ProjectionSpec::of(long)
        .when("Cart-1", [added("hat", 1)])
        .fails_with("the document id");
}
