//! Events of an older program, which the upcast hook splits, renames or drops.

use emmett_postgresql::{Error, Event, EventStore, RawEvent, Recorded, events::StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    Placed { customer: String },
    LineAdded { product: String },
    Confirmed,
}

impl Event for OrderEvent {
    const CATEGORY: &'static str = "Order";
    const FORMER_TYPES: &'static [&'static str] = &["PlacedWithLines", "Completed", "Viewed"];

    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        Ok(match stored.event_type.as_str() {
            "PlacedWithLines" => {
                let lines = stored.data["lines"].as_array();
                let lines = lines.ok_or_else(|| anyhow::anyhow!("it has no lines"))?;
                let added = lines
                    .iter()
                    .map(|line| RawEvent::new("LineAdded", json!({ "product": line })));
                let placed =
                    RawEvent::new("Placed", json!({ "customer": stored.data["customer"] }));
                std::iter::once(placed).chain(added).collect()
            }
            "Completed" => vec![RawEvent::new("Confirmed", json!(null))],
            "Viewed" => vec![],
            _ => vec![stored.into()],
        })
    }
}

impl OrderEvent {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Placed { customer } => format!("placed by {customer}"),
            Self::LineAdded { product } => format!("added {product}"),
            Self::Confirmed => "confirmed".to_owned(),
        }
    }
}

/// The version and the text of an event.
pub(crate) fn line(recorded: &Recorded<OrderEvent>) -> String {
    format!("{} {}", recorded.stream_position, recorded.event.text())
}

pub(crate) fn placed(lines: &[&str]) -> RawEvent {
    let data = json!({ "customer": "anna", "lines": lines });
    RawEvent::new("PlacedWithLines", data)
}

pub(crate) fn viewed() -> RawEvent {
    RawEvent::new("Viewed", json!({ "by": "bert" }))
}

/// Appends what an older program stored: six messages.
pub(crate) fn append_old(store: &EventStore) -> Result<(), Error> {
    let events = [
        viewed(),
        placed(&["hat", "shoe"]),
        viewed(),
        RawEvent::new("LineAdded", json!({ "product": "sock" })),
        RawEvent::new("Completed", json!({ "at": "noon" })),
        viewed(),
    ];
    store.append_to_stream("Order-1", &events)?;
    Ok(())
}

/// What they mean today.
pub(crate) const LINES: [&str; 5] = [
    "2 placed by anna",
    "2 added hat",
    "2 added shoe",
    "4 added sock",
    "5 confirmed",
];
