//! Parked messages: what is there, and what their processor shall do with them.

use super::Processors;
use crate::database::Sql;
use crate::error::Result;
use crate::events::stream::check_stream_name;
use crate::events::{RawEvent, Recorded, RecordedMessage, feed};
use crate::slots::{
    ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection, RequestOutcome, parked,
};

/// A parked message with what was stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParkedDetail {
    /// Why it is parked.
    pub parked: ParkedMessage,
    /// The stored message; `None` when it is no longer there.
    pub message: Option<Recorded<RawEvent>>,
}

impl Processors {
    /// The messages that a processor has parked, by their global positions.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::operations::ParkedOptions;
    /// for parked in store.processors().parked("cart-summaries", ParkedOptions::new())? {
    ///     let why = parked.error.as_deref().unwrap_or("waits behind an earlier one");
    ///     println!("{} {}: {why}", parked.global_position, parked.stream_name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown). [`Error::InvalidInput`](crate::Error::InvalidInput) for a
    /// limit of 0.
    pub fn parked(&self, name: &str, options: ParkedOptions) -> Result<Vec<ParkedMessage>> {
        check_stream(options.stream.as_deref())?;
        let version = self.version_parameter()?;
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            parked::list(sql, &self.partition, name, version, &options)
        })
    }

    /// The message that a processor has parked at a global position, with what was stored; `None` when it has not. Where
    /// several slots or versions have parked it: the one that failed on it.
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
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown).
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
        Ok(ParkedDetail {
            parked,
            message: stored.as_ref().map(RecordedMessage::decode).transpose()?,
        })
    }

    /// Asks a processor to handle parked messages again, in the order of each stream. What comes after the one at a
    /// position goes on with it.
    ///
    /// The running processor carries it out; see [`RequestOutcome::owner_running`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::operations::ParkedSelection;
    /// let outcome = store.processors().replay("cart-summaries", &ParkedSelection::All)?;
    /// println!("{} messages are handled again", outcome.marked);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown). [`Error::InvalidInput`](crate::Error::InvalidInput)
    /// for a position after an earlier parked message of its stream, and where the name has several versions and none was
    /// chosen.
    pub fn replay(&self, name: &str, selection: &ParkedSelection) -> Result<RequestOutcome> {
        self.request(name, selection, ParkedRequest::Replay)
    }

    /// Asks a processor to drop parked messages without handling them. Its read model is then without them; the later ones
    /// of their streams go on.
    ///
    /// The running processor carries it out; see [`RequestOutcome::owner_running`].
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
    /// [`ProcessorError::Unknown`](crate::error::ProcessorError::Unknown). [`Error::InvalidInput`](crate::Error::InvalidInput)
    /// where the name has several versions and none was chosen.
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
