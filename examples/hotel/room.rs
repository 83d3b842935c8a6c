//! A room, and the nights for which it is taken.

use crate::refusal::Refusal;
use emmett_postgresql::Event;
use emmett_postgresql::decide::Evolve;
use serde::{Deserialize, Serialize};

pub(crate) fn stream_name(room: &str) -> String {
    format!("Room-{room}")
}

/// Nights by their number in the season. The guest leaves before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nights {
    pub(crate) from: u32,
    pub(crate) until: u32,
}

impl Nights {
    pub(crate) fn count(self) -> u32 {
        self.until.saturating_sub(self.from)
    }

    fn overlap(self, other: Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) enum RoomEvent {
    Opened { price: u32 },
    NightsTaken { booking: String, nights: Nights },
    NightsFreed { booking: String },
}

impl Event for RoomEvent {
    const CATEGORY: &'static str = "Room";
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Room {
    /// The price of a night; none before the room is opened.
    price: Option<u32>,
    taken: Vec<(String, Nights)>,
}

impl Evolve for Room {
    type Event = RoomEvent;

    fn evolve(&mut self, event: &RoomEvent) {
        match event {
            RoomEvent::Opened { price } => self.price = Some(*price),
            RoomEvent::NightsTaken { booking, nights } => {
                self.taken.push((booking.clone(), *nights));
            }
            RoomEvent::NightsFreed { booking } => self.taken.retain(|(by, _)| by != booking),
        }
    }
}

impl Room {
    /// Nothing happens to a room that is open.
    pub(crate) fn open(&self, price: u32) -> Option<RoomEvent> {
        let is_new = self.price.is_none();
        is_new.then_some(RoomEvent::Opened { price })
    }

    pub(crate) fn price_of(&self, nights: Nights) -> u32 {
        self.price
            .unwrap_or_default()
            .saturating_mul(nights.count())
    }

    pub(crate) fn take(&self, booking: &str, nights: Nights) -> Result<RoomEvent, Refusal> {
        if self.price.is_none() {
            return Err(Refusal::NoSuchRoom);
        }
        if nights.count() == 0 {
            return Err(Refusal::NoNights);
        }
        if self.taken.iter().any(|(_, taken)| taken.overlap(nights)) {
            return Err(Refusal::RoomTaken);
        }
        let booking = booking.to_owned();
        Ok(RoomEvent::NightsTaken { booking, nights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emmett_postgresql::testing::given;

    fn opened() -> RoomEvent {
        RoomEvent::Opened { price: 90 }
    }

    fn taken(booking: &str, from: u32, until: u32) -> RoomEvent {
        let nights = Nights { from, until };
        RoomEvent::NightsTaken {
            booking: booking.to_owned(),
            nights,
        }
    }

    fn take(from: u32, until: u32) -> impl Fn(&Room) -> Result<[RoomEvent; 1], Refusal> {
        move |room| Ok([room.take("b", Nights { from, until })?])
    }

    #[test]
    fn a_room_is_taken_for_free_nights_only() {
        given::<Room>([opened(), taken("a", 5, 7)])
            .when(take(7, 8))
            .then([taken("b", 7, 8)]);
        for (from, until) in [(4, 6), (6, 9), (5, 7), (1, 20)] {
            given::<Room>([opened(), taken("a", 5, 7)])
                .when(take(from, until))
                .refused(&Refusal::RoomTaken);
        }
    }

    #[test]
    fn freed_nights_can_be_taken_again() {
        let freed = RoomEvent::NightsFreed {
            booking: "a".to_owned(),
        };
        given::<Room>([opened(), taken("a", 5, 7), freed])
            .when(take(5, 7))
            .then([taken("b", 5, 7)]);
    }

    #[test]
    fn only_a_room_that_is_open_is_taken_and_not_for_no_night() {
        given::<Room>([])
            .when(take(5, 7))
            .refused(&Refusal::NoSuchRoom);
        given::<Room>([opened()])
            .when(take(7, 7))
            .refused(&Refusal::NoNights);
    }

    #[test]
    fn a_room_is_opened_once() {
        let open = |room: &Room| Ok::<_, Refusal>(room.open(90));
        given::<Room>([]).when(open).then([opened()]);
        given::<Room>([opened()]).when(open).then_nothing();
    }
}
