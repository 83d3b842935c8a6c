//! Read models: documents that are written with the events, documents that follow, and a table.

use crate::booking::{BookingEvent, Guest};
use crate::room::{Nights, RoomEvent};
use emmett_postgresql::{DocumentProjection, ProjectionContext, Recorded, SqlProjection};
use serde::{Deserialize, Serialize};

pub(crate) const BOOKINGS: &str = "bookings";
pub(crate) const ROOMS: &str = "rooms";
pub(crate) const GUESTS: &str = "guests";
pub(crate) const TURNOVER: &str = "turnover";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BookingView {
    #[serde(rename = "_id")]
    pub(crate) id: String,
    pub(crate) room: String,
    pub(crate) nights: Option<Nights>,
    pub(crate) price: u32,
    pub(crate) state: String,
    pub(crate) guest: Option<Guest>,
    /// The version of the stream. A guest who has seen the document has seen this version.
    pub(crate) version: u64,
}

pub(crate) fn bookings() -> DocumentProjection<BookingView> {
    DocumentProjection::single_stream(BOOKINGS, |view: Option<BookingView>, recorded| {
        let mut view = view.unwrap_or_default();
        view.version = recorded.stream_position;
        match &recorded.event {
            BookingEvent::Held {
                room,
                nights,
                price,
                ..
            } => {
                view.room.clone_from(room);
                view.nights = Some(*nights);
                view.price = *price;
                "held".clone_into(&mut view.state);
            }
            BookingEvent::GuestNamed { guest } => view.guest.clone_from(guest),
            BookingEvent::Paid { .. } => "paid".clone_into(&mut view.state),
            BookingEvent::Cancelled {} => "cancelled".clone_into(&mut view.state),
        }
        Some(view)
    })
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RoomView {
    #[serde(rename = "_id")]
    pub(crate) id: String,
    pub(crate) price: u32,
    pub(crate) taken: Vec<Taken>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) booking: String,
    pub(crate) nights: Nights,
}

pub(crate) fn rooms() -> DocumentProjection<RoomView> {
    DocumentProjection::single_stream(ROOMS, |view: Option<RoomView>, recorded| {
        let mut view = view.unwrap_or_default();
        match &recorded.event {
            RoomEvent::Opened { price } => view.price = *price,
            RoomEvent::NightsTaken { booking, nights } => view.taken.push(Taken {
                booking: booking.clone(),
                nights: *nights,
            }),
            RoomEvent::NightsFreed { booking } => view.taken.retain(|by| by.booking != *booking),
        }
        Some(view)
    })
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct GuestView {
    pub(crate) name: String,
    pub(crate) bookings: u32,
}

/// One document per guest, under the address. It follows in the background: no booking waits for it.
pub(crate) fn guests() -> DocumentProjection<GuestView> {
    DocumentProjection::multi_stream(
        GUESTS,
        |recorded| named(recorded).map(|guest| guest.email.clone()),
        |view: Option<GuestView>, recorded| {
            let mut view = view.unwrap_or_default();
            if let Some(guest) = named(recorded) {
                view.name.clone_from(&guest.name);
                view.bookings += 1;
            }
            Some(view)
        },
    )
}

fn named(recorded: &Recorded<BookingEvent>) -> Option<&Guest> {
    match &recorded.event {
        BookingEvent::GuestNamed { guest } => guest.as_ref(),
        _ => None,
    }
}

/// One row per booking, in one table for all hotels.
pub(crate) fn turnover() -> SqlProjection {
    SqlProjection::new(TURNOVER, |events: &[Recorded<BookingEvent>], context| {
        for recorded in events {
            count(recorded, context)?;
        }
        Ok(())
    })
    .can_handle(&["Held", "Paid", "Cancelled"])
    .tables(&[TURNOVER])
    .init(|context| {
        let turnover = context.table(TURNOVER)?;
        context.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {turnover} (
                 hotel TEXT, booking TEXT, nights BIGINT NOT NULL, paid BIGINT NOT NULL,
                 PRIMARY KEY (hotel, booking))"
        ))?;
        Ok(())
    })
    .truncate(|context| {
        let (turnover, hotel) = (context.table(TURNOVER)?, context.partition().to_owned());
        context.execute(
            &format!("DELETE FROM {turnover} WHERE hotel = $1"),
            &[&hotel],
        )?;
        Ok(())
    })
}

fn count(
    recorded: &Recorded<BookingEvent>,
    context: &mut ProjectionContext<'_>,
) -> anyhow::Result<()> {
    let (turnover, hotel) = (context.table(TURNOVER)?, context.partition().to_owned());
    let booking = &&*recorded.stream_name;
    match &recorded.event {
        BookingEvent::Held { nights, .. } => context.execute(
            &format!("INSERT INTO {turnover} VALUES ($1, $2, $3, 0)"),
            &[&hotel, booking, &i64::from(nights.count())],
        )?,
        BookingEvent::Paid { amount } => context.execute(
            &format!("UPDATE {turnover} SET paid = $3 WHERE hotel = $1 AND booking = $2"),
            &[&hotel, booking, &i64::from(*amount)],
        )?,
        BookingEvent::Cancelled {} => context.execute(
            &format!("DELETE FROM {turnover} WHERE hotel = $1 AND booking = $2"),
            &[&hotel, booking],
        )?,
        BookingEvent::GuestNamed { .. } => 0,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use emmett_postgresql::RawEvent;
    use emmett_postgresql::testing::{self, ProjectionSpec};
    use serde_json::{Value, json};

    fn held() -> BookingEvent {
        BookingEvent::Held {
            room: "101".to_owned(),
            nights: Nights { from: 1, until: 4 },
            price: 270,
            until: 60,
        }
    }

    fn named(email: &str) -> BookingEvent {
        let (name, email) = ("Zoë".to_owned(), email.to_owned());
        BookingEvent::GuestNamed {
            guest: Some(Guest { name, email }),
        }
    }

    fn made(name: Value, email: Value) -> RawEvent {
        let nights = json!({ "from": 1, "until": 4 });
        let data =
            json!({ "room": "101", "nights": nights, "price": 270, "name": name, "email": email });
        RawEvent::new("Made", data)
    }

    fn zoe(state: &str, version: u64) -> Value {
        json!({
            "room": "101",
            "nights": { "from": 1, "until": 4 },
            "price": 270,
            "state": state,
            "guest": { "name": "Zoë", "email": "zoe@example.org" },
            "version": version,
        })
    }

    #[test]
    fn old_events_and_new_ones_make_the_same_booking() {
        ProjectionSpec::of(bookings())
            .when("Booking-1", [held(), named("zoe@example.org")])
            .when("Booking-1", [BookingEvent::Paid { amount: 270 }])
            .document("Booking-1", zoe("paid", 3));
        ProjectionSpec::of(bookings())
            .when("Booking-1", [made("Zoë".into(), "zoe@example.org".into())])
            .document("Booking-1", zoe("held", 1))
            .when(
                "Booking-1",
                [RawEvent::new("Settled", json!({ "amount": 270 }))],
            )
            .document("Booking-1", zoe("paid", 2));
    }

    #[test]
    fn an_erased_guest_has_no_document() {
        ProjectionSpec::of(guests())
            .when("Booking-1", [made(Value::Null, Value::Null)])
            .when("Booking-2", [BookingEvent::GuestNamed { guest: None }])
            .no_documents();
    }

    #[test]
    fn a_guest_is_known_by_the_address() {
        ProjectionSpec::of(guests())
            .when("Booking-1", [named("zoe@example.org")])
            .when("Booking-2", [named("zoe@example.org")])
            .document("zoe@example.org", json!({ "name": "Zoë", "bookings": 2 }));
    }

    #[test]
    fn a_room_knows_its_taken_nights() {
        let nights = Nights { from: 1, until: 4 };
        let taken = |booking: &str| RoomEvent::NightsTaken {
            booking: booking.to_owned(),
            nights,
        };
        let freed = RoomEvent::NightsFreed {
            booking: "1".to_owned(),
        };
        ProjectionSpec::of(rooms())
            .given("Room-101", [RoomEvent::Opened { price: 90 }, taken("1")])
            .when("Room-101", [freed, taken("2")])
            .document(
                "Room-101",
                json!({ "price": 90, "taken": [{ "booking": "2", "nights": { "from": 1, "until": 4 } }] }),
            );
    }

    #[test]
    fn turnover_counts_paid_nights_and_forgets_cancelled_ones() -> anyhow::Result<()> {
        let rows = "SELECT booking, nights, paid FROM turnover";
        ProjectionSpec::asynchronous(&testing::database()?, turnover())
            .when("Booking-1", [made("Zoë".into(), "zoe@example.org".into())])
            .when(
                "Booking-1",
                [RawEvent::new("Settled", json!({ "amount": 270 }))],
            )
            .rows(
                rows,
                [json!({ "booking": "Booking-1", "nights": 3, "paid": 270 })],
            )
            .when("Booking-1", [BookingEvent::Cancelled {}])
            .no_rows(rows);
        Ok(())
    }
}
