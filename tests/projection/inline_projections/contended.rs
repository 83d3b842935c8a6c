//! Documents that several appends write at the same moment.

use super::{Totals, all_totals, totals};
use crate::support::{CartEvent, added, database, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, EventStore, NewMessage, Recorded, Session, StreamMessages,
};
use serde_json::{Value, json};

fn confirmed() -> CartEvent {
    CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    }
}

fn open() -> anyhow::Result<(Database, EventStore)> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(totals())
        .open()?;
    Ok((database, store))
}

/// Appends while the session holds the document, ends the session when the append waits, and returns the totals.
fn append_behind(
    (database, store): &(Database, EventStore),
    session: Session<'static>,
    end: fn(Session<'static>) -> emmett_postgresql::Result<()>,
) -> anyhow::Result<Option<Totals>> {
    let mut observer = database.client()?;
    let mut waiting = || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
        observer.query_one(sql, &[]).expect("an answer").get(0)
    };
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let appending = scope.spawn(|| store.append_to_stream("Cart-2", &[added("hat", 5)]));
        wait_until("the append waits for the document", || waiting() == 1);
        end(session)?;
        appending.join().expect("no panic")?;
        Ok(())
    })?;
    all_totals(store)
}

#[test]
fn a_document_that_another_transaction_creates_is_waited_for() -> anyhow::Result<()> {
    for (end, expected) in [
        (
            Session::commit as fn(_) -> _,
            Totals {
                events: 2,
                items: 6,
            },
        ),
        (
            Session::rollback,
            Totals {
                events: 1,
                items: 5,
            },
        ),
    ] {
        let shop = open()?;
        let mut session = shop.1.begin()?;
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;

        let found = append_behind(&shop, session, end)?;

        assert_eq!(found, Some(expected));
    }
    Ok(())
}

#[test]
fn a_document_that_another_transaction_deletes_is_waited_for() -> anyhow::Result<()> {
    for (end, expected) in [
        (
            Session::commit as fn(_) -> _,
            Totals {
                events: 1,
                items: 5,
            },
        ),
        (
            Session::rollback,
            Totals {
                events: 2,
                items: 6,
            },
        ),
    ] {
        let shop = open()?;
        shop.1.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let mut session = shop.1.begin()?;
        session.append_to_stream("Cart-1", &[confirmed()])?;

        let found = append_behind(&shop, session, end)?;

        assert_eq!(found, Some(expected));
    }
    Ok(())
}

#[test]
fn a_document_that_another_transaction_would_not_create_after_all_is_waited_for()
-> anyhow::Result<()> {
    for end in [Session::commit as fn(_) -> _, Session::rollback] {
        let shop = open()?;
        let mut session = shop.1.begin()?;
        // Leaves nothing behind, but looks whether there is something.
        session.append_to_stream("Cart-1", &[confirmed()])?;

        let found = append_behind(&shop, session, end)?;

        assert_eq!(
            found,
            Some(Totals {
                events: 1,
                items: 5
            })
        );
    }
    Ok(())
}

#[test]
fn appends_that_name_the_same_documents_in_opposite_orders_do_not_deadlock() -> anyhow::Result<()> {
    let database = database();
    let both = DocumentProjection::multi_stream(
        "sides",
        |recorded: &Recorded<CartEvent>| {
            let mut sides = vec![
                "left".to_owned(),
                "right".to_owned(),
                recorded.stream_name.to_string(),
            ];
            if recorded.event == added("backwards", 1) {
                sides.reverse();
            }
            sides
        },
        |count: Option<Value>, _| {
            let count = count.and_then(|count| count["n"].as_u64()).unwrap_or(0);
            Some(json!({"n": count + 1}))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(both)
        .open()?;

    std::thread::scope(|scope| -> anyhow::Result<()> {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || -> emmett_postgresql::Result<()> {
                    let direction = if writer % 2 == 0 {
                        "forwards"
                    } else {
                        "backwards"
                    };
                    for _ in 0..25 {
                        store
                            .append_to_stream(&format!("Cart-{writer}"), &[added(direction, 1)])?;
                    }
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("no panic"))?;
        Ok(())
    })?;

    for (side, count) in [
        ("left", 200),
        ("right", 200),
        ("Cart-0", 25),
        ("Cart-7", 25),
    ] {
        let found = store
            .collection::<Value>("sides")
            .find_one(json!({"_id": side}))?;
        assert_eq!(
            found.map(|found| found["n"].clone()),
            Some(json!(count)),
            "{side}"
        );
    }
    Ok(())
}

#[test]
fn repeated_appends_are_projected_once() -> anyhow::Result<()> {
    let (_database, store) = open()?;
    let message = |id: &str| NewMessage::new(added("hat", 1)).message_id(id);
    let append = |streams: &[&str]| {
        let streams = streams
            .iter()
            .map(|stream| StreamMessages::new(stream, &[message("a")]));
        store.append_to_streams(streams.collect::<Result<_, _>>()?)
    };

    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| store.append_to_stream("Cart-1", &[message("a")])))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic").map(|_| ()))
    })?;
    let one = all_totals(&store)?;
    let appended = append(&["Cart-1", "Cart-2"])?;
    append(&["Cart-2", "Cart-1"])?;

    assert_eq!(
        one,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    assert_eq!(
        (appended[0].already_appended, appended[1].already_appended),
        (true, false)
    );
    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 2,
            items: 2
        })
    );
    Ok(())
}
