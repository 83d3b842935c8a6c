//! Round trips, counted between the store and the server.

use super::proxy::Proxy;
use crate::support::{CartEvent, added, database, quiet};
use emmett_postgresql::{
    ConnectionOptions, DocumentProjection, EventStore, FeedOptions, ReadOptions, Recorded,
    StreamMessages,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashSet;
use std::time::Instant;

/// A store whose statements the proxy reads.
fn watched_store() -> anyhow::Result<(emmett_postgresql::testing::Database, Proxy, EventStore)> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url()).open()?;
    Ok((database, proxy, store))
}

#[derive(Serialize, Deserialize, Default)]
struct Cart {
    items: u32,
}

fn carts(name: &str) -> DocumentProjection<Cart> {
    DocumentProjection::single_stream(name, |cart: Option<Cart>, recorded: &Recorded<_>| {
        let mut cart = cart.unwrap_or_default();
        if let CartEvent::ProductItemAdded { quantity, .. } = recorded.event {
            cart.items += quantity;
        }
        Some(cart)
    })
}

#[test]
fn an_append_is_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let (appended, turns) = proxy.watch(|| store.append_to_stream("Cart-1", &[added("hat", 1)]));

    assert_eq!(appended?.next_expected_version, 2);
    assert_eq!(turns.len(), 1, "{turns:?}");
    Ok(())
}

#[test]
fn a_hundred_events_are_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let events: Vec<_> = (0..100).map(|number| added("hat", number)).collect();

    let (appended, turns) = proxy.count(|| store.append_to_stream("Cart-1", &events));

    assert_eq!(appended?.next_expected_version, 101);
    assert_eq!(turns, 1);
    Ok(())
}

#[test]
fn an_append_to_several_streams_is_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    let streams = || -> anyhow::Result<Vec<_>> {
        let names = ["Cart-1", "Cart-2", "Cart-3"];
        Ok(names
            .map(|name| StreamMessages::new(name, &[added("hat", 1)]))
            .into_iter()
            .collect::<Result<_, _>>()?)
    };
    store.append_to_streams(streams()?)?;

    let again = streams()?;
    let (appended, turns) = proxy.count(|| store.append_to_streams(again));

    assert_eq!(appended?.len(), 3);
    assert_eq!(turns, 1);
    Ok(())
}

#[test]
fn an_append_with_an_inline_projection_is_five_round_trips() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url())
        .inline_projection(carts("carts"))
        .open()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let (appended, turns) = proxy.watch(|| store.append_to_stream("Cart-1", &[added("hat", 1)]));

    assert_eq!(appended?.next_expected_version, 2);
    assert_eq!(turns.len(), 5, "{turns:#?}");
    Ok(())
}

#[test]
fn each_further_inline_projection_adds_the_two_round_trips_of_its_document() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url())
        .inline_projection(carts("carts"))
        .inline_projection(carts("more_carts"))
        .inline_projection(carts("confirmed_carts").can_handle(&["ShoppingCartConfirmed"]))
        .open()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let (appended, turns) = proxy.watch(|| store.append_to_stream("Cart-1", &[added("hat", 1)]));

    appended?;
    assert_eq!(turns.len(), 5 + 2, "{turns:#?}");
    Ok(())
}

#[test]
fn reading_is_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
    let fold = || store.aggregate_stream("Cart-1", || 0, |count, _: CartEvent| count + 1);
    store.read_stream::<CartEvent>("Cart-1")?;
    store.stream_exists("Cart-1")?;

    let (read, reading) = proxy.count(|| store.read_stream::<CartEvent>("Cart-1"));
    let (folded, folding) = proxy.count(fold);
    let (exists, looking) = proxy.count(|| store.stream_exists("Cart-1"));

    assert_eq!((read?.events.len(), folded?.state, exists?), (2, 2, true));
    assert_eq!((reading, folding, looking), (1, 1, 1));
    Ok(())
}

#[test]
fn iterators_take_one_round_trip_a_page() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    let events: Vec<_> = (0..2_500).map(|number| added("hat", number)).collect();
    store.append_to_stream("Cart-1", &events)?;
    let iterate = || {
        let events = store.read_stream_iter::<CartEvent>("Cart-1", ReadOptions::new());
        events.count()
    };
    iterate();

    let (count, turns) = proxy.count(iterate);

    assert_eq!(count, 2_500);
    assert_eq!(turns, 3);
    Ok(())
}

#[test]
fn a_connection_that_was_just_used_is_handed_out_without_asking_the_server() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let (before, begun) = (proxy.pings(), Instant::now());

    for number in 0..50 {
        store.append_to_stream("Cart-1", &[added("hat", number)])?;
    }

    // On a machine that is slow enough, a connection rests for a second.
    let pings = u64::try_from(proxy.pings() - before)?;
    assert!(pings <= begun.elapsed().as_secs());
    Ok(())
}

#[test]
fn a_session_adds_its_begin_and_its_commit() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    let session = || {
        store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
            session.append_to_stream("Cart-2", &[added("shoes", 1)])?;
            Ok(())
        })
    };
    session()?;

    let (done, turns) = proxy.watch(session);

    done?;
    assert_eq!(turns.len(), 4, "{turns:#?}");
    Ok(())
}

#[test]
fn a_query_of_documents_is_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    let carts = store.collection::<Cart>("carts");
    carts.insert_one(&Cart { items: 3 })?;

    let (found, turns) = proxy.count(|| carts.find_one(json!({"items": {"$gte": 3}})));

    assert!(found?.is_some());
    assert_eq!(turns, 1);
    Ok(())
}

#[test]
fn no_statement_is_prepared_twice_on_a_connection() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url())
        .inline_projection(carts("carts"))
        .connection_options(ConnectionOptions::new().pool_size(4))
        .open()?;

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let store = &store;
                scope.spawn(move || use_everything(store, worker))
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no panic"))
    })?;

    let prepared = proxy.prepared();
    let different: HashSet<_> = prepared.iter().collect();
    assert!(proxy.connections() > 1);
    assert_eq!(prepared.len(), different.len(), "{prepared:#?}");
    Ok(())
}

fn use_everything(store: &EventStore, worker: u32) -> anyhow::Result<()> {
    for round in 0..10 {
        let stream = format!("Cart-{worker}-{round}");
        store.append_to_stream(&stream, &[added("shoes", 1)])?;
        store.append_to_streams(vec![StreamMessages::new(&stream, &[added("hat", 1)])?])?;
        store.read_stream::<CartEvent>(&stream)?;
        store.read_stream_with::<CartEvent>(&stream, ReadOptions::new().backwards())?;
        store.read_all::<CartEvent>(FeedOptions::new()).count();
        store
            .collection::<Cart>("carts")
            .count_documents(json!({}))?;
        store.with_session(|session| {
            session.append_to_stream(&stream, &[added("socks", 1)])?;
            session.query("SELECT $1::INTEGER", &[&1])?;
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_document_of_a_tenant_is_one_round_trip() -> anyhow::Result<()> {
    let (_database, proxy, store) = watched_store()?;
    store.tenants().add("acme")?;
    let things = store
        .tenant("acme")?
        .collection::<serde_json::Value>("things");
    things.insert_one(&json!({"_id": "1"}))?;
    things.find_by_id("1")?;

    let (inserted, written) = proxy.watch(|| things.insert_one(&json!({"_id": "2"})));
    let (found, read) = proxy.watch(|| things.find_by_id("2"));

    assert!(inserted.is_ok() && found?.is_some());
    assert_eq!((written.len(), read.len()), (1, 1), "{written:?} {read:?}");
    Ok(())
}
