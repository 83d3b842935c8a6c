//! Decoding a stored message into its events: one, unless the upcast hook splits or drops it.

use crate::error::{Error, Result};
use crate::events::event::{Event, RawEvent, StoredEvent};

/// The events of one stored message.
#[derive(Debug)]
pub(crate) struct Events<E> {
    /// A message that is not upcast needs no allocation.
    first: Option<E>,
    rest: std::vec::IntoIter<E>,
}

impl<E> Iterator for Events<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.first.take().or_else(|| self.rest.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.first.is_some()) + self.rest.len();
        (left, Some(left))
    }
}

impl<E> ExactSizeIterator for Events<E> {}

impl<E> DoubleEndedIterator for Events<E> {
    fn next_back(&mut self) -> Option<E> {
        self.rest.next_back().or_else(|| self.first.take())
    }
}

/// A stored message to decode, and its place for errors.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub(crate) stream: &'a str,
    pub(crate) version: u64,
    pub(crate) message_type: &'a str,
    pub(crate) schema_version: u32,
    pub(crate) data: &'a [u8],
}

impl Encoded<'_> {
    /// Decodes the message. Calls the upcast hook first if its version or type requires it. With `types`, keeps only the events
    /// that the hook makes of these types.
    pub(crate) fn decode<E: Event>(self, types: Option<&[String]>) -> Result<Events<E>> {
        if self.schema_version == E::SCHEMA_VERSION && !E::FORMER_TYPES.contains(&self.message_type)
        {
            return Ok(Events {
                first: Some(self.decode_as(self.message_type, self.data)?),
                rest: Vec::new().into_iter(),
            });
        }
        let mut events = Vec::new();
        for event in self.upcast::<E>()? {
            self.check_type::<E>(&event)?;
            if types.is_none_or(|types| types.contains(&event.event_type)) {
                let data = serde_json::to_vec(&event.data);
                let data = data.map_err(|error| self.cannot_be_upcast(error))?;
                events.push(self.decode_as(&event.event_type, &data)?);
            }
        }
        Ok(Events {
            first: None,
            rest: events.into_iter(),
        })
    }

    fn decode_as<E: Event>(self, event_type: &str, data: &[u8]) -> Result<E> {
        E::decode(event_type, data).map_err(|source| Error::Decode {
            stream: self.stream.to_owned(),
            version: self.version,
            message_type: self.message_type.to_owned(),
            source,
        })
    }

    fn upcast<E: Event>(self) -> Result<Vec<RawEvent>> {
        let data = serde_json::from_slice(self.data);
        E::upcast(StoredEvent {
            event_type: self.message_type.to_owned(),
            schema_version: self.schema_version,
            data: data.map_err(|error| self.cannot_be_upcast(error))?,
        })
        .map_err(|error| self.cannot_be_upcast(error))
    }

    /// Readers of the feed do not ask for a type that the enum neither has nor had. They would miss its events silently.
    fn check_type<E: Event>(self, event: &RawEvent) -> Result<()> {
        if event.event_type == self.message_type || E::FORMER_TYPES.contains(&self.message_type) {
            return Ok(());
        }
        Err(self.cannot_be_upcast(anyhow::anyhow!(
            "the hook makes `{}` of it, but `{}` is not among the FORMER_TYPES of {}: list it, so that feeds, projections and \
             reactors ask for it",
            event.event_type,
            self.message_type,
            std::any::type_name::<E>(),
        )))
    }

    fn cannot_be_upcast(self, source: impl Into<anyhow::Error>) -> Error {
        Error::Upcast {
            stream: self.stream.to_owned(),
            version: self.version,
            message_type: self.message_type.to_owned(),
            source: source.into(),
        }
    }
}
