//! What a decision says: events for streams, and a reply.

use super::boundary::{Evolve, StreamBoundary};
use crate::error::Result;
use crate::events::{AppendOptions, Appendable, OutgoingMessage};
use std::sync::Arc;

/// Events for streams, and a reply to the caller. Where one stream gets events and there is no reply, a `Vec`, an `Option` or an
/// array of events says the same.
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
    /// No events, and no reply.
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
    /// Adds events, or [`NewMessage`](crate::NewMessage)s, for a stream. A stream outside the boundary gets them at any version.
    ///
    /// A name or an event that cannot be stored is an error of [`run`](super::Decide::run).
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

    /// The reply to the caller: it returns from [`run`](super::Decide::run), and is stored with a command's key. Defaults to `()`.
    pub fn reply<T>(self, reply: T) -> Decision<T> {
        Decision {
            appends: self.appends,
            reply,
        }
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

/// What the closure of a decision may return: a [`Decision`]; for a boundary of one stream also a `Vec`, an `Option` or an array
/// of its events.
pub trait IntoDecision<B> {
    /// The reply; `()` where there are only events.
    type Reply;

    /// The decision about this boundary.
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
