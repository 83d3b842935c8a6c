//! The reception of one hotel: what can be asked of it.

use crate::booking::{self, Booking, BookingEvent, Guest};
use crate::mails::{self, Mail};
use crate::refusal::Refusal;
use crate::room::{self, Nights, Room};
use emmett_postgresql::EventStore;
use emmett_postgresql::decide::{DecideError, Decided, Decision, StreamBoundary, stream};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) type Answer<B, R = ()> = Result<Decided<B, R>, DecideError<Refusal>>;

/// Guests who want rooms at the same time meet in the room's stream. Each is decided again after the other.
const RETRIES: u32 = 20;

pub(crate) struct Reception {
    pub(crate) store: EventStore,
    /// Time for which an unpaid booking keeps its room.
    pub(crate) hold_for: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BookingRequest {
    pub(crate) room: String,
    pub(crate) nights: Nights,
    pub(crate) guest: Guest,
}

impl Reception {
    pub(crate) fn open_room(&self, room: &str, price: u32) -> Answer<StreamBoundary<Room>> {
        let room = stream::<Room>(&room::stream_name(room));
        self.store.decide(room).run(|room| Ok(room.open(price)))
    }

    /// Holds a room for a guest, once under this key. Replies with the number of the booking.
    pub(crate) fn hold(
        &self,
        request: &BookingRequest,
        key: &str,
    ) -> Answer<(StreamBoundary<Room>, StreamBoundary<Booking>), String> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let (room, booking) = (room::stream_name(&request.room), booking::stream_name(&id));
        let until = seconds(SystemTime::now() + self.hold_for);
        self.store
            .decide((stream::<Room>(&room), stream::<Booking>(&booking)))
            .retries(RETRIES)
            .snapshot_every(100)
            .key(key)
            .content(request)?
            .run(|(state, _)| {
                let taken = state.take(&id, request.nights)?;
                let held = [
                    BookingEvent::Held {
                        room: request.room.clone(),
                        nights: request.nights,
                        price: state.price_of(request.nights),
                        until,
                    },
                    BookingEvent::GuestNamed {
                        guest: Some(request.guest.clone()),
                    },
                ];
                Ok(Decision::new()
                    .append(&room, [taken])
                    .append(&booking, held)
                    .outbox(mails::TOPIC, &id, Mail::PaymentRequest)
                    .reply(id.clone()))
            })
    }

    /// Pays the booking that the guest has seen at this version.
    pub(crate) fn pay(
        &self,
        id: &str,
        amount: u32,
        seen: u64,
        key: &str,
    ) -> Answer<StreamBoundary<Booking>> {
        self.store
            .decide(stream::<Booking>(&booking::stream_name(id)).expected_version(seen))
            .key(key)
            .content(&(id, amount))?
            .run(|booking| booking.pay(id, amount))
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
