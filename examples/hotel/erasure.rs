//! The erasure of a guest, by hand: no call of the library changes a stored event.

use crate::booking;
use crate::payment::{self, Payment};
use crate::read_models::{BOOKINGS, BookingView, GUESTS, GuestView};
use emmett_postgresql::workflow::stream_of;
use emmett_postgresql::{EventStore, Transaction};
use serde_json::json;
use std::time::Duration;

/// A guest stands in `GuestNamed`, and in the old program's `Made`. A workflow records its inputs as they were stored.
const ERASE_EVENTS: &str = "
    UPDATE emt_messages
       SET message_data = message_data || CASE WHEN message_data ? 'guest'
                                               THEN '{\"guest\": null}'::jsonb
                                               ELSE '{\"name\": null, \"email\": null}'::jsonb END
     WHERE partition = $1 AND stream_id = ANY ($2)
       AND $3 IN (message_data ->> 'email', message_data -> 'guest' ->> 'email')";

/// Processors that copy personal data: into documents, and into the streams of workflows.
const COPIERS: [&str; 2] = [GUESTS, payment::NAME];
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Erased {
    pub(crate) events: u64,
    pub(crate) documents: u64,
}

/// Erases a guest from a hotel. Earlier exports, and backups, are not reached from here.
pub(crate) fn erase(hotel: &EventStore, email: &str) -> anyhow::Result<Erased> {
    let by_guest = || json!({ "guest.email": email });
    let bookings = hotel.collection::<BookingView>(BOOKINGS).only_if_active();
    let streams: Vec<String> = bookings.distinct("_id", by_guest())?;

    let mut erased = hotel.with_session(|session| {
        let events = erase_events(session, &streams, email)?;
        let bookings = session.collection::<BookingView>(BOOKINGS);
        let changed = bookings.update_many(by_guest(), json!({ "$set": { "guest": null } }))?;
        let documents = changed.modified;
        Ok(Erased { events, documents })
    })?;
    // A processor that has read the old events may still write a copy of them.
    let seen = hotel.feed_horizon(0)?.head;
    for copier in COPIERS {
        hotel.wait_for(copier, seen, PATIENCE)?;
    }
    hotel.with_session(|session| {
        erased.events += erase_events(session, &workflows(&streams), email)?;
        let guests = session.collection::<GuestView>(GUESTS);
        erased.documents += guests.delete_many(json!({ "_id": email }))?;
        Ok(())
    })?;
    for stream in &streams {
        hotel.delete_snapshots(stream)?;
    }
    Ok(erased)
}

fn workflows(bookings: &[String]) -> Vec<String> {
    let ids = bookings.iter().filter_map(|stream| booking::id(stream));
    ids.map(stream_of::<Payment>).collect()
}

fn erase_events(
    transaction: &mut Transaction<'_>,
    streams: &[String],
    email: &str,
) -> anyhow::Result<u64> {
    let hotel = transaction.partition().to_owned();
    Ok(transaction.execute(ERASE_EVENTS, &[&hotel, &streams, &email])?)
}
