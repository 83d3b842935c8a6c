//! The result of a decision: events for streams, and a reply.

use super::boundary::{Evolve, StreamBoundary};
use crate::error::Result;
use crate::events::{
    AppendOptions, Appendable, Event, MessageKind, NewMessage, OutgoingMessage, outbox_stream,
};
use std::sync::Arc;

/// The result of a decision: events for streams, and a reply to the caller.
///
/// A decision with one stream and no reply can also return a `Vec`, an `Option` or an array of events.
///
/// ```
/// use emmett_postgresql::{RawEvent, decide::Decision};
/// let paid = Decision::new()
///     .append("Account-1", [RawEvent::new("MoneySent", serde_json::json!({ "amount": 30 }))])
///     .append("Account-2", [RawEvent::new("MoneyReceived", serde_json::json!({ "amount": 30 }))])
///     .reply("receipt-7".to_owned());
/// # let _ = paid;
/// ```
#[derive(Debug)]
#[must_use]
pub struct Decision<R = ()> {
    pub(super) appends: Result<Vec<NewEvents>>,
    pub(super) reply: R,
}

/// Events for one stream.
#[derive(Debug)]
pub(super) struct NewEvents {
    pub(super) stream: Arc<str>,
    pub(super) messages: Vec<OutgoingMessage>,
}

impl Decision {
    /// Creates a decision without events and without a reply.
    pub fn new() -> Self {
        Self {
            appends: Ok(Vec::new()),
            reply: (),
        }
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Decision<R> {
    /// Appends events, or [`NewMessage`](crate::NewMessage)s, to a stream. A stream outside the boundary accepts them at any
    /// version.
    ///
    /// If a name or an event cannot be stored, [`run`](super::Decide::run) fails.
    pub fn append<A: Appendable>(
        mut self,
        stream: &str,
        messages: impl IntoIterator<Item = A>,
    ) -> Self {
        let messages: Vec<A> = messages.into_iter().collect();
        self.appends = self
            .appends
            .and_then(|appends| added(appends, stream, &messages));
        self
    }

    /// Puts a command into an outbox: a stream of commands with one topic and key, `emt:outbox:{topic}-{key}`. A reactor
    /// [delivers](crate::consumer::UnfinishedReactor::outbox) the commands at least once, and those of one key in order.
    ///
    /// If the topic is empty or has a `-`, or the key is empty, [`run`](super::Decide::run) fails.
    ///
    /// ```
    /// use emmett_postgresql::{RawEvent, decide::Decision};
    /// let confirmed = Decision::new()
    ///     .append("Order-1", [RawEvent::new("OrderConfirmed", serde_json::json!({}))])
    ///     .outbox("mail", "anna", RawEvent::new("SendReceipt", serde_json::json!({ "order": 1 })));
    /// # let _ = confirmed;
    /// ```
    pub fn outbox<C: Event>(self, topic: &str, key: &str, command: C) -> Self {
        match outbox_stream(topic, key) {
            Ok(stream) => {
                let command = NewMessage::new(command).kind(MessageKind::Command);
                self.append(&stream, [command])
            }
            Err(error) => Self {
                appends: self.appends.and(Err(error)),
                ..self
            },
        }
    }

    /// Sets the reply to the caller. [`run`](super::Decide::run) returns it, and stores it with a command's key. Defaults to
    /// `()`.
    pub fn reply<T>(self, reply: T) -> Decision<T> {
        Decision {
            appends: self.appends,
            reply,
        }
    }
}

impl<R> Decision<R> {
    /// Returns the messages, stream by stream, and the reply.
    pub(crate) fn into_messages(self) -> Result<(Vec<OutgoingMessage>, R)> {
        let messages = self.appends?.into_iter().flat_map(|new| new.messages);
        Ok((messages.collect(), self.reply))
    }
}

fn added<A: Appendable>(
    mut appends: Vec<NewEvents>,
    stream: &str,
    messages: &[A],
) -> Result<Vec<NewEvents>> {
    if messages.is_empty() {
        return Ok(appends);
    }
    let prepared = AppendOptions::new().prepare(stream, messages)?;
    match appends.iter_mut().find(|append| *append.stream == *stream) {
        Some(append) => append.messages.extend(prepared.messages),
        None => appends.push(NewEvents {
            stream: prepared.stream,
            messages: prepared.messages,
        }),
    }
    Ok(appends)
}

/// A return type of a decision's closure. It is a [`Decision`] or, for one stream, a `Vec`, `Option` or array of events.
pub trait IntoDecision<B> {
    /// The reply type; `()` if there are only events.
    type Reply;

    /// Converts the value into a decision about this boundary.
    fn into_decision(self, boundary: &B) -> Decision<Self::Reply>;
}

impl<B, R> IntoDecision<B> for Decision<R> {
    type Reply = R;

    fn into_decision(self, _boundary: &B) -> Self {
        self
    }
}

impl<S: Evolve> IntoDecision<StreamBoundary<S>> for Vec<S::Event> {
    type Reply = ();

    fn into_decision(self, boundary: &StreamBoundary<S>) -> Decision {
        Decision::new().append(&boundary.stream, self)
    }
}

impl<S: Evolve> IntoDecision<StreamBoundary<S>> for Option<S::Event> {
    type Reply = ();

    fn into_decision(self, boundary: &StreamBoundary<S>) -> Decision {
        Decision::new().append(&boundary.stream, self)
    }
}

impl<S: Evolve, const N: usize> IntoDecision<StreamBoundary<S>> for [S::Event; N] {
    type Reply = ();

    fn into_decision(self, boundary: &StreamBoundary<S>) -> Decision {
        Decision::new().append(&boundary.stream, self)
    }
}
