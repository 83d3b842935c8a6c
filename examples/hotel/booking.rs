//! A booking, from the held room to the payment, and the events of the program that was here before.

use crate::mails::{self, Mail};
use crate::refusal::Refusal;
use crate::room::{self, Nights, RoomEvent};
use emmett_postgresql::decide::{Decision, Evolve};
use emmett_postgresql::events::StoredEvent;
use emmett_postgresql::{Event, RawEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) fn stream_name(booking: &str) -> String {
    format!("Booking-{booking}")
}

pub(crate) fn id(stream: &str) -> Option<&str> {
    stream.strip_prefix("Booking-")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) email: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum BookingEvent {
    /// The room is kept until this time, in seconds since 1970.
    Held {
        room: String,
        nights: Nights,
        price: u32,
        until: u64,
    },
    /// The only event with personal data. `None` after an erasure.
    GuestNamed {
        guest: Option<Guest>,
    },
    Paid {
        amount: u32,
    },
    /// It was not paid in time.
    Cancelled {},
}

impl Event for BookingEvent {
    const CATEGORY: &'static str = "Booking";
    const FORMER_TYPES: &'static [&'static str] = &["Made", "Settled"];

    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        Ok(match stored.event_type.as_str() {
            "Made" => split(&stored.data),
            "Settled" => vec![RawEvent::new("Paid", stored.data)],
            _ => vec![stored.into()],
        })
    }
}

/// The old program had no deadlines, and knew the guest with the booking. An erased guest has no name there.
fn split(made: &Value) -> Vec<RawEvent> {
    let held = json!({
        "room": made["room"],
        "nights": made["nights"],
        "price": made["price"],
        "until": 0,
    });
    let guest = match &made["name"] {
        Value::Null => Value::Null,
        name => json!({ "name": name, "email": made["email"] }),
    };
    let named = json!({ "guest": guest });
    vec![
        RawEvent::new("Held", held),
        RawEvent::new("GuestNamed", named),
    ]
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) enum Booking {
    #[default]
    Unknown,
    Held {
        room: String,
        price: u32,
    },
    Paid {
        room: String,
    },
    Cancelled,
}

impl Evolve for Booking {
    type Event = BookingEvent;

    fn evolve(&mut self, event: &BookingEvent) {
        *self = match (std::mem::take(self), event) {
            (_, BookingEvent::Held { room, price, .. }) => Self::Held {
                room: room.clone(),
                price: *price,
            },
            (Self::Held { room, .. }, BookingEvent::Paid { .. }) => Self::Paid { room },
            (_, BookingEvent::Cancelled {}) => Self::Cancelled,
            (unchanged, _) => unchanged,
        };
    }
}

impl Booking {
    pub(crate) fn pay(&self, booking: &str, amount: u32) -> Result<Decision, Refusal> {
        match self {
            Self::Unknown => Err(Refusal::NoSuchBooking),
            Self::Cancelled => Err(Refusal::Cancelled),
            Self::Held { price, .. } if *price != amount => Err(Refusal::OtherPrice(*price)),
            Self::Paid { .. } => Ok(Decision::new()),
            Self::Held { .. } => Ok(Decision::new()
                .append(&stream_name(booking), [BookingEvent::Paid { amount }])
                .outbox(mails::TOPIC, booking, Mail::Receipt)),
        }
    }

    /// The deadline has passed. A payment may have come first, and then it counts. Nights can be freed at any version of their room,
    /// so its stream is not read.
    pub(crate) fn expire(&self, booking: &str) -> Decision {
        let Self::Held { room, .. } = self else {
            return Decision::new();
        };
        let freed = RoomEvent::NightsFreed {
            booking: booking.to_owned(),
        };
        Decision::new()
            .append(&stream_name(booking), [BookingEvent::Cancelled {}])
            .append(&room::stream_name(room), [freed])
            .outbox(mails::TOPIC, booking, Mail::Cancellation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emmett_postgresql::testing::given;

    fn held() -> BookingEvent {
        BookingEvent::Held {
            room: "101".to_owned(),
            nights: Nights { from: 1, until: 3 },
            price: 180,
            until: 60,
        }
    }

    fn paid() -> BookingEvent {
        BookingEvent::Paid { amount: 180 }
    }

    fn pay(amount: u32) -> impl Fn(&Booking) -> Result<Decision, Refusal> {
        move |booking| booking.pay("7", amount)
    }

    #[test]
    fn a_booking_is_paid_once_and_exactly() {
        given::<Booking>([held()])
            .when(pay(179))
            .refused(&Refusal::OtherPrice(180));
        given::<Booking>([held(), paid()])
            .when(pay(180))
            .then_nothing();
    }

    #[test]
    fn what_does_not_exist_or_is_cancelled_is_not_paid() {
        given::<Booking>([])
            .when(pay(180))
            .refused(&Refusal::NoSuchBooking);
        given::<Booking>([held(), BookingEvent::Cancelled {}])
            .when(pay(180))
            .refused(&Refusal::Cancelled);
    }

    #[test]
    fn a_payment_before_the_end_of_the_hold_counts() {
        let expire = |booking: &Booking| Ok::<_, Refusal>(booking.expire("7"));
        given::<Booking>([held(), paid()])
            .when(expire)
            .then_nothing();
    }
}
