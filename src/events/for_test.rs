//! Recorded messages without a store, for unit tests of handlers.

use crate::error::{Error, Result};
use crate::events::category::{categories, category};
use crate::events::event::Event;
use crate::events::message::{MessageKind, NewMetadata, Recorded, RecordedMessage};
use std::sync::Arc;
use std::time::SystemTime;

const MESSAGE_ID: &str = "test-message-1";
const STREAM: &str = "Test-1";

impl<E: Event> Recorded<E> {
    /// Creates an event as a store would have recorded it, for unit tests of handlers. Needs no database.
    ///
    /// It is the first message of its stream and of the store, without metadata, recorded at
    /// [`UNIX_EPOCH`](SystemTime::UNIX_EPOCH). The stream is the first of the event's [category](Event::CATEGORY), such as
    /// `Cart-1`; without a category, `Test-1`. All fields can be set.
    ///
    /// # Panics
    /// If the event cannot be stored. [`append_to_stream`](crate::EventStore::append_to_stream) returns an error instead.
    ///
    /// ```
    /// use emmett_postgresql::{Event, Recorded};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum CartEvent { ItemAdded { quantity: u32 } }
    /// impl Event for CartEvent {
    ///     const CATEGORY: &'static str = "Cart";
    /// }
    ///
    /// /// The handler of a projection.
    /// fn items(document: Option<u32>, recorded: &Recorded<CartEvent>) -> Option<u32> {
    ///     let CartEvent::ItemAdded { quantity } = recorded.event;
    ///     Some(document.unwrap_or(0) + quantity)
    /// }
    ///
    /// let mut recorded = Recorded::for_test(CartEvent::ItemAdded { quantity: 2 });
    /// assert_eq!(&*recorded.stream_name, "Cart-1");
    /// assert_eq!(items(Some(1), &recorded), Some(3));
    ///
    /// recorded.stream_name = "Cart-7".into();
    /// recorded.stream_position = 5;
    /// recorded.correlation_id = Some("checkout-4".into());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn for_test(event: E) -> Self {
        let (message_type, _) = storable(event.encode().map_err(|source| Error::Encode {
            stream: stream::<E>(),
            source,
        }));
        Self {
            message_type: message_type.into_owned(),
            schema_version: event.schema_version(),
            event,
            stream_name: stream::<E>().into(),
            stream_position: 1,
            global_position: 1,
            message_id: MESSAGE_ID.to_owned(),
            kind: MessageKind::Event,
            recorded_at: SystemTime::UNIX_EPOCH,
            correlation_id: None,
            causation_id: None,
            metadata: serde_json::Map::new(),
        }
    }
}

impl RecordedMessage {
    /// Creates a message as a store would have recorded it, for unit tests of handlers. Needs no database.
    ///
    /// The fields have the values of [`Recorded::for_test`]. [`from_recorded`](Self::from_recorded) creates one with other fields.
    ///
    /// # Panics
    /// If the event cannot be stored.
    ///
    /// ```
    /// use emmett_postgresql::{RawEvent, RecordedMessage};
    /// let message = RecordedMessage::for_test(RawEvent::new("ItemAdded", serde_json::json!({"quantity": 2})));
    /// assert_eq!((message.message_type(), message.stream_position()), ("ItemAdded", 1));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn for_test<E: Event>(event: E) -> Self {
        Self::from_recorded(&Recorded::for_test(event))
    }

    /// Creates the message that a store would have recorded for an event with these positions, ids and metadata. For unit
    /// tests.
    ///
    /// # Panics
    /// If the event or its metadata cannot be stored.
    ///
    /// ```
    /// use emmett_postgresql::{RawEvent, Recorded, RecordedMessage};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// let mut recorded = Recorded::for_test(RawEvent::new("ItemAdded", serde_json::json!({"quantity": 2})));
    /// recorded.stream_name = "Cart-7".into();
    /// recorded.global_position = 12;
    /// let message = RecordedMessage::from_recorded(&recorded);
    /// assert_eq!((message.stream_name(), message.global_position()), ("Cart-7", 12));
    /// assert!(message.decode::<RawEvent>()?.eq([recorded]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn from_recorded<E: Event>(recorded: &Recorded<E>) -> Self {
        let stream = || recorded.stream_name.to_string();
        let (_, data) = storable(recorded.event.encode().map_err(|source| Error::Encode {
            stream: stream(),
            source,
        }));
        let metadata = NewMetadata {
            correlation_id: recorded.correlation_id.clone(),
            causation_id: recorded.causation_id.clone(),
            own: recorded.metadata.clone(),
        };
        let metadata = storable(metadata.encode());
        let metadata = crate::json::to_json(&metadata).map_err(|source| Error::Encode {
            stream: stream(),
            source: source.into(),
        });
        Self {
            stream_name: Arc::clone(&recorded.stream_name),
            stream_position: recorded.stream_position,
            global_position: recorded.global_position,
            message_id: recorded.message_id.clone(),
            message_type: recorded.message_type.clone(),
            kind: recorded.kind,
            schema_version: recorded.schema_version,
            recorded_at: recorded.recorded_at,
            data,
            metadata: storable(metadata),
            damage: None,
        }
    }
}

/// Returns a stream that can hold events of this type.
fn stream<E: Event>() -> String {
    let Some(own) = categories::<E>().and_then(|names| names.into_iter().next()) else {
        return STREAM.to_owned();
    };
    let stream = format!("{own}-1");
    if category(&stream) == Some(&own) {
        return stream;
    }
    // A workflow.
    format!("{own}:1")
}

/// Panics if encoding failed: a test with an event that cannot be stored has to fail.
#[track_caller]
fn storable<T>(encoded: Result<T>) -> T {
    match encoded {
        Ok(encoded) => encoded,
        Err(error) => panic!("{:#}", anyhow::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum CartEvent {
        ItemAdded { price: f64 },
    }
    impl Event for CartEvent {
        const CATEGORY: &'static str = "Cart";
        const SCHEMA_VERSION: u32 = 3;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum WorkflowEvent {
        Began,
    }
    impl Event for WorkflowEvent {
        const CATEGORY: &'static str = "emt:workflow:checkout";
    }

    #[test]
    fn what_a_message_says_is_decoded_again() -> anyhow::Result<()> {
        let mut recorded = Recorded::for_test(CartEvent::ItemAdded { price: 0.1 });
        recorded.stream_name = "Cart-9".into();
        recorded.stream_position = 4;
        recorded.global_position = 40;
        recorded.kind = MessageKind::Command;
        recorded.correlation_id = Some("checkout-4".into());
        recorded.causation_id = Some("click-1".into());
        recorded.metadata.insert("client".into(), json!("anna"));
        let message = RecordedMessage::from_recorded(&recorded);
        assert!(message.decode::<CartEvent>()?.eq([recorded]));
        Ok(())
    }

    #[test]
    fn the_stream_is_one_of_the_events_category() -> anyhow::Result<()> {
        let message = RecordedMessage::for_test(WorkflowEvent::Began);
        assert_eq!(message.stream_name(), "emt:workflow:checkout:1");
        let began = message.decode::<WorkflowEvent>()?.next();
        assert_eq!(began.expect("an event").event, WorkflowEvent::Began);
        let cart = RecordedMessage::for_test(CartEvent::ItemAdded { price: 1.0 });
        let added = cart.decode::<CartEvent>()?.next();
        assert_eq!(added.expect("an event").schema_version, 3);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "Cart-1")]
    fn an_event_that_cannot_be_stored_is_told() {
        let _ = Recorded::for_test(CartEvent::ItemAdded { price: f64::NAN });
    }

    #[test]
    #[should_panic(expected = "messageId")]
    fn metadata_that_cannot_be_stored_is_told() {
        let mut recorded = Recorded::for_test(WorkflowEvent::Began);
        recorded.metadata.insert("messageId".into(), json!("mine"));
        let _ = RecordedMessage::from_recorded(&recorded);
    }
}
