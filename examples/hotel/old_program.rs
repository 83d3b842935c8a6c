//! The events that the old program has stored. That program knew neither deadlines nor erasure.

use emmett_postgresql::{EventStore, RawEvent};
use serde_json::json;

/// Writes the events that the store has when the new program begins.
pub(crate) fn write_events(alpenhof: &EventStore) -> anyhow::Result<()> {
    if alpenhof.stream_exists("Room-101")? {
        return Ok(());
    }
    let nights = json!({ "from": 1, "until": 4 });
    let opened = RawEvent::new("Opened", json!({ "price": 90 }));
    let taken = RawEvent::new("NightsTaken", json!({ "booking": "1", "nights": nights }));
    alpenhof.append_to_stream("Room-101", &[opened, taken])?;
    let made = json!({
        "room": "101",
        "nights": nights,
        "price": 270,
        "name": "Zoë Zander",
        "email": "zoe@example.org",
    });
    let made = RawEvent::new("Made", made);
    let settled = RawEvent::new("Settled", json!({ "amount": 270 }));
    alpenhof.append_to_stream("Booking-1", &[made, settled])?;
    Ok(())
}
