//! The refusals of the hotel.

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("a booking is for one night at least")]
    NoNights,
    #[error("the room is taken")]
    RoomTaken,
    #[error("there is no such booking")]
    NoSuchBooking,
    #[error("the booking is cancelled")]
    Cancelled,
    #[error("the price is {0}")]
    OtherPrice(u32),
}
