//! The whole, over HTTP, and what happens at once.

use crate::erasure::erase;
use crate::front::Front;
use crate::mails::Letter;
use crate::night_audit::{Audit, audit, audit_all};
use crate::read_models::{BOOKINGS, BookingView, GUESTS, ROOMS, RoomView, guests};
use crate::reception::Reception;
use crate::visitor::{get, hold, pay, wish};
use crate::{HOTELS, old_program, open, payment, start};
use emmett_postgresql::EventStore;
use emmett_postgresql::operations::ExportOptions;
use emmett_postgresql::testing::{Database, database};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ZOE: &str = "zoe@example.org";

/// A database with both hotels, and the events of the old program.
fn chain() -> anyhow::Result<(Database, EventStore)> {
    let database = database()?;
    let old = EventStore::open(database.url())?;
    for hotel in HOTELS {
        old.tenants().add(hotel)?;
    }
    old_program::write_events(&old.tenant("alpenhof")?)?;
    let store = open(database.url())?;
    Ok((database, store))
}

fn reception(store: &EventStore, hotel: &str) -> anyhow::Result<Reception> {
    let store = store.tenant(hotel)?;
    let hold_for = DAY;
    let reception = Reception { store, hold_for };
    reception.open_room("101", 90)?;
    Ok(reception)
}

fn front(store: &EventStore) -> anyhow::Result<Front> {
    let mut receptions = BTreeMap::new();
    for hotel in HOTELS {
        receptions.insert(hotel.to_owned(), reception(store, hotel)?);
    }
    Front::open(receptions)
}

fn at_once<T: Send>(guests: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..guests)
            .map(|guest| scope.spawn(move || ask(guest)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

#[test]
fn of_many_guests_at_once_one_gets_the_last_room_of_each_hotel() -> anyhow::Result<()> {
    let (_database, store) = chain()?;
    front(&store)?.serve(|front| {
        let replies = at_once(16, |guest| {
            let wish = wish("101", 9, &format!("guest{guest}@example.org"));
            hold(front, HOTELS[guest % 2], &format!("form-{guest}"), &wish)
        });
        let mut statuses = Vec::new();
        for reply in replies {
            statuses.push(reply?.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses[..2], [201; 2]);
        assert_eq!(statuses[2..], [409; 14]);
        for hotel in HOTELS {
            let rooms = store.tenant(hotel)?.collection::<RoomView>(ROOMS);
            let room = rooms.find_by_id("Room-101")?.unwrap_or_default();
            let taken = room.taken.iter().filter(|taken| taken.nights.from == 9);
            assert_eq!(taken.count(), 1, "{hotel}");
        }
        Ok(())
    })
}

#[test]
fn a_request_that_is_repeated_at_once_makes_one_booking() -> anyhow::Result<()> {
    let (_database, store) = chain()?;
    front(&store)?.serve(|front| {
        let book = |night| {
            hold(
                front,
                "seeblick",
                "form-1",
                &wish("101", night, "anna@example.org"),
            )
        };
        let replies = at_once(8, |_| book(9));
        let mut bookings = Vec::new();
        for reply in replies {
            bookings.push(reply?.body.to_string());
        }
        bookings.dedup();
        assert_eq!(bookings.len(), 1, "{bookings:?}");
        let other = book(10)?;
        assert_eq!(other.status, 422, "{other:?}");
        Ok(())
    })
}

#[test]
fn a_guest_pays_what_was_seen() -> anyhow::Result<()> {
    let (_database, store) = chain()?;
    front(&store)?.serve(|front| {
        let held = hold(
            front,
            "alpenhof",
            "form-1",
            &wish("101", 9, "anna@example.org"),
        )?;
        let id = held.body["booking"].as_str().unwrap_or_default();
        let page = format!("alpenhof/bookings/{id}");
        let seen = get(front, &page)?;
        assert_eq!((seen.status, seen.etag.as_str()), (200, "\"2\""));

        for (amount, etag, status) in [
            (90, "\"1\"", 412),
            (90, "W/\"2\"", 412),
            (89, "\"2\"", 409),
            (90, "\"2\"", 200),
            (90, "\"2\"", 200),
            (90, "\"3\"", 200),
        ] {
            let reply = pay(front, &page, amount, etag)?;
            assert_eq!(reply.status, status, "{amount} {etag}: {reply:?}");
        }
        assert_eq!(get(front, &page)?.body["state"], "paid");
        assert_eq!(get(front, "alpenhof/bookings/none")?.status, 404);
        assert_eq!(get(front, "ritz/rooms")?.status, 404);
        Ok(())
    })
}

/// Everything that a hotel has stored in events, documents, and the table.
fn everything(hotel: &EventStore) -> anyhow::Result<String> {
    let mut all = Vec::new();
    hotel.export(&mut all, ExportOptions::new())?;
    for collection in [BOOKINGS, GUESTS, ROOMS] {
        let documents = hotel.collection::<Value>(collection);
        for document in documents.find(serde_json::json!({})).to_vec()? {
            all.extend(document.to_string().into_bytes());
        }
    }
    Ok(String::from_utf8(all)?)
}

#[test]
fn an_erased_guest_is_in_no_event_no_document_and_no_rebuilt_read_model() -> anyhow::Result<()> {
    let (_database, store) = chain()?;
    let alpenhof = store.tenant("alpenhof")?;
    let consumer = start(&store, |_: Letter| Ok(()))?;
    let held = reception(&store, "alpenhof")?.hold(&wish("101", 9, ZOE), "form-1")?;
    let position = held
        .appended
        .iter()
        .map(|one| one.last_global_position)
        .max();
    for processor in [GUESTS, payment::NAME, "mails"] {
        alpenhof.wait_for(processor, position.unwrap_or_default(), DAY)?;
    }
    assert!(everything(&alpenhof)?.contains(ZOE));

    let erased = erase(&alpenhof, ZOE)?;
    consumer.stop()?;
    // The event and its copy in the workflow's stream of the old booking, and the event of the new one.
    assert_eq!((erased.events, erased.documents), (3, 3));
    let erased = everything(&alpenhof)?;
    assert!(
        !erased.contains(ZOE) && !erased.contains("Zander"),
        "{erased}"
    );

    alpenhof.rebuild(BOOKINGS).run()?;
    alpenhof.rebuild_with(guests()).run()?;
    assert!(!everything(&alpenhof)?.contains(ZOE));
    let old = alpenhof
        .collection::<BookingView>(BOOKINGS)
        .find_by_id("Booking-1")?;
    assert_eq!(old.map(|old| old.state), Some("paid".to_owned()));
    Ok(())
}

#[test]
fn the_night_audit_counts_up_to_midnight_and_goes_on_the_next_night() -> anyhow::Result<()> {
    let (_database, store) = chain()?;
    let alpenhof = reception(&store, "alpenhof")?;
    let midnight = alpenhof.store.feed_horizon(0)?.position;
    let request = wish("101", 9, "anna@example.org");
    let id = alpenhof.hold(&request, "form-1")?.reply;
    alpenhof.pay(&id, 90, 2, "form-2")?;

    let counted = |events, nights, paid| Audit {
        hotel: "alpenhof".to_owned(),
        events,
        nights,
        paid,
    };
    assert_eq!(
        audit(&alpenhof.store, "alpenhof", midnight)?,
        counted(2, 3, 270)
    );
    assert_eq!(audit_all(&store)?[0], counted(2, 4, 360));
    assert_eq!(audit_all(&store)?[0], counted(0, 4, 360));
    Ok(())
}
