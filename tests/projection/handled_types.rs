//! A type that a handler is restricted to, and that its events do not have, is refused.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, RawEvent, Reactor, Recorded, Result, SqlProjection,
};

fn document(types: &[&str]) -> DocumentProjection<u32> {
    DocumentProjection::single_stream("carts", |_, _: &Recorded<CartEvent>| Some(1))
        .can_handle(types)
}

fn sql(types: &[&str]) -> SqlProjection {
    SqlProjection::new("carts", |_: &[Recorded<CartEvent>], _| Ok(())).can_handle(types)
}

fn reactor(types: &[&str]) -> Reactor {
    Reactor::new("mails")
        .each(|_: &Recorded<CartEvent>, _| Ok(()))
        .can_handle(types)
}

/// Fails with a text that has these parts.
fn refused<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let error = result.expect_err("the type is unknown");
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

const WRONG: &[&str] = &["ShoppingCartConfirmed", "ProductItemAded"];

#[test]
fn a_type_that_the_enum_does_not_have_is_an_error_at_the_start() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let projection: &[&str] = &[
        "projection \"carts\"",
        "[\"ProductItemAded\"]",
        "CartEvent",
        "\"ProductItemAdded\"",
    ];
    let open = |builder: emmett_postgresql::EventStoreBuilder| builder.open();
    let builder = || EventStore::builder(database.url());
    refused(
        open(builder().inline_projection(document(WRONG))),
        projection,
    );
    refused(open(builder().inline_projection(sql(WRONG))), projection);

    let consumer = || store.consumer();
    refused(consumer().projector(document(WRONG)).start(), projection);
    let job = consumer().projector(sql(WRONG));
    refused(job.run_until_caught_up(), projection);
    refused(store.rebuild_with(document(WRONG)).run(), projection);
    refused(store.rebuild_with(document(WRONG)).request(), projection);

    let mails: &[&str] = &["processor \"mails\"", "[\"ProductItemAded\"]", "CartEvent"];
    refused(consumer().reactor(reactor(WRONG)).start(), mails);
    let before = Reactor::new("mails")
        .can_handle(WRONG)
        .batch(|_: &[Recorded<CartEvent>], _| Ok(()));
    refused(consumer().reactor(before).start(), mails);
    refused(
        consumer().reactor(reactor(&[])).start(),
        &["no message type"],
    );
    assert!(store.processors().list()?.is_empty());
    assert!(store.registered_projections()?.is_empty());
    Ok(())
}

#[test]
fn an_event_that_reads_all_types_can_be_asked_for_any() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let audit = Reactor::new("audit")
        .can_handle(&["ProductItemAdded", "TypeOfTomorrow"])
        .each(|_: &Recorded<RawEvent>, _| Ok(()));
    let report = store.consumer().reactor(audit).run_until_caught_up()?;
    assert_eq!(report.handled(), 1);
    Ok(())
}

#[test]
fn a_reactor_takes_its_options_before_its_handler_too() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[
            added("hat", 1),
            CartEvent::ShoppingCartConfirmed {
                client_id: "anna".into(),
                total_amount: 1.0,
            },
        ],
    )?;
    let reactor = Reactor::new("mails")
        .workers(4)
        .slots(8)
        .version(3)
        .can_handle(&["ProductItemAdded"])
        .each(|_: &Recorded<CartEvent>, _| Ok(()));

    let report = store.consumer().reactor(reactor).run_until_caught_up()?;

    assert_eq!(report.handled(), 1);
    let mails = &store.processors().list()?[0];
    assert_eq!((mails.version, mails.slots.len()), (3, 8));
    Ok(())
}
