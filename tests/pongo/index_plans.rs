//! With 100,000 documents, declared indexes serve the queries.

use super::indexes::declared;
use emmett_postgresql::pongo::{CollectionDefinition, Index, field};
use serde_json::{Value, json};

/// 100,000 documents of a tenant, and some of another.
const FILL: &str = "
    INSERT INTO orders (_id, data)
    SELECT 'order-' || n, jsonb_build_object(
               '_id', 'order-' || n, 'customer', jsonb_build_object('id', 'customer-' || n % 5000), 'total', n % 1000, 'size', n % 1000,
               'status', (ARRAY['open', 'paid', 'sent', 'done'])[n % 4 + 1], 'number', n, 'tags', jsonb_build_array('t' || n % 700))
      FROM generate_series(1, 100000) AS n;
    INSERT INTO orders (_id, _partition, data)
    SELECT 'order-' || n, 'acme', jsonb_build_object('_id', 'order-' || n, 'number', n) FROM generate_series(1, 1000) AS n;
    ANALYZE orders";

#[test]
fn with_100000_documents_the_declared_indexes_serve_the_queries() -> anyhow::Result<()> {
    let definition = CollectionDefinition::new("orders")
        .index(Index::field("customer.id").named("by_customer"))
        .index(Index::field("total").named("by_total"))
        .index(Index::fields(["status", "size"]).named("by_status_size"))
        .index(Index::fields(["status", "_id"]).named("by_status"))
        .index(Index::unique("number").named("by_number"));
    let (database, client) = declared(definition)?;
    postgres::Client::connect(database.url(), postgres::NoTls)?.batch_execute(FILL)?;
    let orders = client.collection::<Value>("orders");
    let plans = [
        (json!({"_id": "order-77"}), json!({}), "orders_pkey"),
        (
            json!({"customer.id": "customer-7"}),
            json!({}),
            "by_customer",
        ),
        (
            json!({"customer.id": {"$in": ["customer-7", "customer-8"]}}),
            json!({}),
            "by_customer",
        ),
        (json!({"number": 4711}), json!({}), "by_number"),
        (
            json!({"number": {"$gt": 4711, "$lt": 4720}}),
            json!({}),
            "by_number",
        ),
        (
            json!({"number": {"$gte": 99_990}}),
            json!({"number": 1}),
            "by_number",
        ),
        (json!({"total": 500}), json!({}), "by_total"),
        (
            json!({"status": "open", "size": {"$gte": 500, "$lt": 503}}),
            json!({}),
            "by_status_size",
        ),
        (json!({}), json!({"total": -1}), "by_total"),
        (json!({}), json!({"total": 1}), "by_total"),
        (
            json!({"total": {"$gte": 990}}),
            json!({"total": 1}),
            "by_total",
        ),
        (json!({}), json!({"status": 1, "size": 1}), "by_status_size"),
        (json!({}), json!({"status": -1}), "by_status"),
        (
            json!({"customer.id": {"$gte": "customer-4998"}}),
            json!({"customer.id": 1}),
            "by_customer",
        ),
    ];
    let mut differences = Vec::new();
    for (filter, sort, index) in plans {
        let mut find = orders.find(filter.clone());
        if sort != json!({}) {
            find = find.sort(sort.clone()).limit(20);
        }
        let plan = find.explain()?;
        // Only what is equal in the fields of the index is left to be sorted, by the id.
        let sorts_all =
            filter == json!({}) && plan.replace("Incremental Sort", "").contains("Sort  ");
        if !plan.contains(index) || plan.contains("Seq Scan") || sorts_all {
            differences.push(format!("{filter} {sort}: not by {index}\n{plan}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));

    let plan = orders
        .find(json!({}))
        .sort(json!({"status": -1}))
        .limit(20)
        .explain()?;
    assert!(!plan.contains("Sort"), "the id is in the index\n{plan}");

    // A filter without an index of its own by one of the whole document.
    orders.create_index(&Index::whole_document().named("everything"))?;
    for filter in [
        json!({"tags": "t7"}),
        json!({"tags": {"$all": ["t7"]}}),
        json!({"tags": {"$in": ["t7", "t8"]}}),
    ] {
        let plan = orders.find(filter.clone()).explain()?;
        assert!(plan.contains("everything"), "{filter}\n{plan}");
    }

    // The answers are those of a look at all documents.
    assert_eq!(
        orders.count_documents(json!({"customer.id": "customer-7"}))?,
        20
    );
    assert_eq!(
        orders.count_documents(field("number").gt(4711).and(field("number").lt(4720)))?,
        8
    );
    let page = orders.find(json!({})).sort(json!({"total": -1})).page(20)?;
    let next = page.next.expect("there is more");
    let second = orders
        .find(json!({}))
        .sort(json!({"total": -1}))
        .after(&next)
        .page(20)?;
    assert!(second.documents.iter().all(|order| order["total"] == 999));
    Ok(())
}
