//! Parked messages, and requests to replay or discard them.

use super::Processors;
use crate::database::Sql;
use crate::error::Result;
use crate::events::stream::check_stream_name;
use crate::events::{RawEvent, Recorded, RecordedMessage, feed};
use crate::slots::{
    ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection, RequestOutcome, parked,
};

/// A parked message with its stored content.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParkedDetail {
    /// The parked message, with its error.
    pub parked: ParkedMessage,
    /// The stored message; `None` if it was deleted.
    pub message: Option<Recorded<RawEvent>>,
}

impl Processors {
    /// Lists the messages that a processor has parked, by global position.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::operations::ParkedOptions;
    /// for parked in store.processors().parked("cart-summaries", ParkedOptions::new())? {
    ///     let why = parked.error.as_deref().unwrap_or("waits for an earlier message of its stream");
    ///     println!("{} {}: {why}", parked.global_position, parked.stream_name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput) for a limit of 0.
    pub fn parked(&self, name: &str, options: ParkedOptions) -> Result<Vec<ParkedMessage>> {
        check_stream(options.stream.as_deref())?;
        let version = self.version_parameter()?;
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            parked::list(sql, &self.partition, name, version, &options)
        })
    }

    /// Returns the message that a processor has parked at a global position, with its stored content. Returns `None`
    /// if it has parked none there. If several slots or versions have parked it, the failed one is returned.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// if let Some(detail) = store.processors().parked_message("cart-summaries", 1_234)? {
    ///     println!("{:?}: {:?}", detail.parked.error, detail.message.map(|message| message.event.data));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    pub fn parked_message(&self, name: &str, position: u64) -> Result<Option<ParkedDetail>> {
        let version = self.version_parameter()?;
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            let parked = parked::at(sql, &self.partition, name, version, position)?;
            parked.map(|parked| self.detail(sql, parked)).transpose()
        })
    }

    fn detail(&self, sql: &mut dyn Sql, parked: ParkedMessage) -> Result<ParkedDetail> {
        let position = parked.global_position;
        let stored = feed::message_at(sql, &self.partition, position)?;
        let message = stored.as_ref().map(RecordedMessage::decode);
        let mut events = message.transpose()?.into_iter().flatten();
        Ok(ParkedDetail {
            parked,
            message: events.next(),
        })
    }

    /// Requests that a processor handles parked messages again, in the order of each stream. After the message at a
    /// position, the later parked messages of its stream are handled, too.
    ///
    /// The running processor carries the request out. See [`RequestOutcome::owner_running`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::operations::ParkedSelection;
    /// let outcome = store.processors().replay("cart-summaries", &ParkedSelection::All)?;
    /// println!("{} messages will be handled again", outcome.marked);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput) for a position with an earlier parked message in its
    ///   stream.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput) when the name has several versions and none was selected.
    pub fn replay(&self, name: &str, selection: &ParkedSelection) -> Result<RequestOutcome> {
        self.request(name, selection, ParkedRequest::Replay)
    }

    /// Requests that a processor discards parked messages without handling them. Its read model then lacks them. Later
    /// messages of their streams continue.
    ///
    /// The running processor carries the request out. See [`RequestOutcome::owner_running`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::operations::ParkedSelection;
    /// store.processors().discard("cart-summaries", &ParkedSelection::Position(1_234))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown) when there is no such processor.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput) when the name has several versions and none was selected.
    pub fn discard(&self, name: &str, selection: &ParkedSelection) -> Result<RequestOutcome> {
        self.request(name, selection, ParkedRequest::Discard)
    }

    fn request(
        &self,
        name: &str,
        selection: &ParkedSelection,
        request: ParkedRequest,
    ) -> Result<RequestOutcome> {
        if let ParkedSelection::Stream(stream) = selection {
            check_stream_name(stream)?;
        }
        self.change(name, |sql, key| key.request(sql, selection, request))
    }
}

fn check_stream(stream: Option<&str>) -> Result<()> {
    stream.map_or(Ok(()), check_stream_name)
}
