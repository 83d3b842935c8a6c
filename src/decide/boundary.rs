//! Boundaries: the streams that a decision reads and guards.

use crate::database::ExpectedVersion;
use crate::error::Result;
use crate::events::{Event, MessageRow, OutgoingMessage, SnapshotFormat, check_category};
use crate::json::{JsonError, from_stored, to_json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A state that is folded from the events of a stream. Decisions are made on it.
///
/// ```
/// use emmett_postgresql::{Event, decide::Evolve};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CartEvent {
///     ItemAdded { quantity: u32 },
///     Confirmed,
/// }
/// impl Event for CartEvent {}
///
/// #[derive(Default)]
/// struct Cart {
///     items: u32,
///     is_confirmed: bool,
/// }
///
/// impl Evolve for Cart {
///     type Event = CartEvent;
///
///     fn evolve(&mut self, event: &CartEvent) {
///         match event {
///             CartEvent::ItemAdded { quantity } => self.items += quantity,
///             CartEvent::Confirmed => self.is_confirmed = true,
///         }
///     }
/// }
/// ```
pub trait Evolve: Default {
    /// The events of the stream.
    type Event: Event;

    /// Version of the state's code. [Snapshots](super::Decide::snapshot_every) of another version are not used. Raise it when
    /// the fields of the state change, or when `evolve` gives another state for the same events. Defaults to 1.
    const VERSION: u32 = 1;

    /// Applies an event to the state. An event has already happened, so it cannot be refused.
    fn evolve(&mut self, event: &Self::Event);
}

/// Returns the boundary of one stream, which a decision reads and guards.
///
/// ```
/// # use emmett_postgresql::{RawEvent, decide::Evolve};
/// use emmett_postgresql::decide::stream;
/// # #[derive(Default)]
/// # struct Cart;
/// # impl Evolve for Cart {
/// #     type Event = RawEvent;
/// #     fn evolve(&mut self, _: &RawEvent) {}
/// # }
/// let one = stream::<Cart>("Cart-1");
/// let two = (stream::<Cart>("Cart-1"), stream::<Cart>("Cart-2"));
/// ```
pub fn stream<S: Evolve>(name: &str) -> StreamBoundary<S> {
    StreamBoundary {
        stream: name.into(),
        expected: ExpectedVersion::Any,
        snapshots: None,
        state: PhantomData,
    }
}

/// A stream that a decision reads and guards. Made by [`stream`].
pub struct StreamBoundary<S> {
    pub(super) stream: Arc<str>,
    expected: ExpectedVersion,
    snapshots: Option<SnapshotCodec<S>>,
    state: PhantomData<fn() -> S>,
}

impl<S> StreamBoundary<S> {
    /// Sets the version that the stream must have: the version that a user saw, such as that of an `If-Match`. Another version
    /// is an [`Error::Conflict`](crate::Error::Conflict). The closure is not called then, and nothing is retried. A command that
    /// was executed before under its key still gets its reply. An archived stream has no version: `actual` is 0. A decision without
    /// events compares the version that it has read, and guards nothing. Defaults to [`ExpectedVersion::Any`].
    ///
    /// ```
    /// # use emmett_postgresql::decide::{DecideError, Evolve};
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// use emmett_postgresql::decide::stream;
    /// # #[derive(Default)]
    /// # struct Cart;
    /// # impl Evolve for Cart {
    /// #     type Event = RawEvent;
    /// #     fn evolve(&mut self, _: &RawEvent) {}
    /// # }
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = EventStore::open(database.url())?;
    /// let confirm = |_: &Cart| Ok::<_, &str>([RawEvent::new("Confirmed", serde_json::json!({}))]);
    ///
    /// let seen = stream::<Cart>("Cart-1").expected_version(3);
    /// match store.decide(seen).run(confirm) {
    ///     Err(DecideError::Store(error)) => assert!(error.is_conflict()),
    ///     _ => unreachable!("the cart is new"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn expected_version(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl<S> fmt::Debug for StreamBoundary<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StreamBoundary")
            .field(&self.stream)
            .finish()
    }
}

/// The streams that a decision reads and guards: one [`stream`], or a tuple of up to eight boundaries.
///
/// No other append to these streams can happen between the read and the append. If one does, the append conflicts and the
/// decision is retried. This also guards streams that are only read.
pub trait Boundary: Parts {}

/// The types and operations that all boundaries share.
pub trait Parts {
    /// The states, in the shape of the boundary.
    type States;
    /// The states as the closure sees them.
    type View<'a>;
    /// One version per stream, in the shape of the boundary.
    type Versions;

    #[doc(hidden)]
    const STREAMS: usize;

    #[doc(hidden)]
    fn name_streams(&self, names: &mut Vec<Arc<str>>);

    /// Adds the version that the caller expects of each stream.
    #[doc(hidden)]
    fn expected_versions(&self, expected: &mut Vec<ExpectedVersion>);

    #[doc(hidden)]
    fn begin(&self) -> Result<Self::States>;

    /// Adds the format of each stream's snapshots; `None` for a stream without.
    #[doc(hidden)]
    fn snapshot_formats(&self, formats: &mut Vec<Option<SnapshotFormat>>);

    /// Replaces the state of a stream by that of a snapshot.
    #[doc(hidden)]
    fn restore(
        &self,
        states: &mut Self::States,
        number: usize,
        json: &[u8],
    ) -> Result<(), JsonError>;

    /// Writes the state of a stream as JSON; `None` for a stream without snapshots.
    #[doc(hidden)]
    fn snapshot(&self, states: &Self::States, number: usize) -> Option<Result<Vec<u8>, JsonError>>;

    #[doc(hidden)]
    fn view(states: &Self::States) -> Self::View<'_>;

    #[doc(hidden)]
    fn versions(versions: &[u64]) -> Self::Versions;

    #[doc(hidden)]
    fn fold(states: &mut Self::States, number: usize, row: &MessageRow<'_>) -> Result<()>;

    #[doc(hidden)]
    fn apply(states: &mut Self::States, number: usize, appended: &NewEvent<'_>) -> Result<()>;
}

/// A boundary whose states can be stored as snapshots: each is [`Serialize`] and [`DeserializeOwned`].
pub trait Snapshots: Boundary {
    #[doc(hidden)]
    #[must_use]
    fn with_snapshots(self) -> Self;
}

/// Functions that write and read a state as JSON.
struct SnapshotCodec<S> {
    write: fn(&S) -> Result<Vec<u8>, JsonError>,
    read: fn(&[u8]) -> Result<S, JsonError>,
}

impl<S> Clone for SnapshotCodec<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for SnapshotCodec<S> {}

impl<S: Evolve + Serialize + DeserializeOwned + 'static> Snapshots for StreamBoundary<S> {
    fn with_snapshots(mut self) -> Self {
        self.snapshots = Some(SnapshotCodec {
            write: to_json,
            read: from_stored,
        });
        self
    }
}

/// An event that a decision appends.
#[doc(hidden)]
#[derive(Debug)]
pub struct NewEvent<'a> {
    pub(super) stream: &'a str,
    pub(super) version: u64,
    pub(super) message: &'a OutgoingMessage,
}

impl<S: Evolve + 'static> Boundary for StreamBoundary<S> {}

impl<S: Evolve + 'static> Parts for StreamBoundary<S> {
    type States = S;
    type View<'a> = &'a S;
    type Versions = u64;

    const STREAMS: usize = 1;

    fn name_streams(&self, names: &mut Vec<Arc<str>>) {
        names.push(Arc::clone(&self.stream));
    }

    fn expected_versions(&self, expected: &mut Vec<ExpectedVersion>) {
        expected.push(self.expected);
    }

    fn begin(&self) -> Result<S> {
        check_category::<S::Event>(&self.stream)?;
        Ok(S::default())
    }

    fn snapshot_formats(&self, formats: &mut Vec<Option<SnapshotFormat>>) {
        let format = || SnapshotFormat::of::<S>(S::VERSION);
        formats.push(self.snapshots.map(|_| format()));
    }

    fn restore(&self, state: &mut S, _number: usize, json: &[u8]) -> Result<(), JsonError> {
        if let Some(codec) = self.snapshots {
            *state = (codec.read)(json)?;
        }
        Ok(())
    }

    fn snapshot(&self, state: &S, _number: usize) -> Option<Result<Vec<u8>, JsonError>> {
        self.snapshots.map(|codec| (codec.write)(state))
    }

    fn view(state: &S) -> &S {
        state
    }

    fn versions(versions: &[u64]) -> u64 {
        versions.first().copied().unwrap_or_default()
    }

    fn fold(state: &mut S, _number: usize, row: &MessageRow<'_>) -> Result<()> {
        row.decode(|recorded| state.evolve(&recorded.event))
    }

    fn apply(state: &mut S, _number: usize, new: &NewEvent<'_>) -> Result<()> {
        let events = new.message.decode(new.stream, new.version)?;
        events.for_each(|event| state.evolve(&event));
        Ok(())
    }
}

macro_rules! tuple_boundary {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Boundary),+> Boundary for ($($part,)+) {}

        impl<$($part: Snapshots),+> Snapshots for ($($part,)+) {
            fn with_snapshots(self) -> Self {
                ($(self.$index.with_snapshots(),)+)
            }
        }

        impl<$($part: Boundary),+> Parts for ($($part,)+) {
            type States = ($($part::States,)+);
            type View<'a> = ($($part::View<'a>,)+);
            type Versions = ($($part::Versions,)+);

            const STREAMS: usize = 0 $(+ $part::STREAMS)+;

            fn name_streams(&self, names: &mut Vec<Arc<str>>) {
                $(self.$index.name_streams(names);)+
            }

            fn expected_versions(&self, expected: &mut Vec<ExpectedVersion>) {
                $(self.$index.expected_versions(expected);)+
            }

            fn begin(&self) -> Result<Self::States> {
                Ok(($(self.$index.begin()?,)+))
            }

            fn snapshot_formats(&self, formats: &mut Vec<Option<SnapshotFormat>>) {
                $(self.$index.snapshot_formats(formats);)+
            }

            fn restore(
                &self,
                states: &mut Self::States,
                number: usize,
                json: &[u8],
            ) -> Result<(), JsonError> {
                let mut first = 0;
                $(
                    if number < first + $part::STREAMS {
                        return self.$index.restore(&mut states.$index, number - first, json);
                    }
                    first += $part::STREAMS;
                )+
                let _ = first;
                Ok(())
            }

            fn snapshot(
                &self,
                states: &Self::States,
                number: usize,
            ) -> Option<Result<Vec<u8>, JsonError>> {
                let mut first = 0;
                $(
                    if number < first + $part::STREAMS {
                        return self.$index.snapshot(&states.$index, number - first);
                    }
                    first += $part::STREAMS;
                )+
                let _ = first;
                None
            }

            fn view(states: &Self::States) -> Self::View<'_> {
                ($($part::view(&states.$index),)+)
            }

            fn versions(versions: &[u64]) -> Self::Versions {
                let mut left = versions.iter().copied();
                ($({
                    let own: Vec<u64> = left.by_ref().take($part::STREAMS).collect();
                    $part::versions(&own)
                },)+)
            }

            fn fold(states: &mut Self::States, number: usize, row: &MessageRow<'_>) -> Result<()> {
                let mut first = 0;
                $(
                    if number < first + $part::STREAMS {
                        return $part::fold(&mut states.$index, number - first, row);
                    }
                    first += $part::STREAMS;
                )+
                let _ = first;
                Ok(())
            }

            fn apply(states: &mut Self::States, number: usize, new: &NewEvent<'_>) -> Result<()> {
                let mut first = 0;
                $(
                    if number < first + $part::STREAMS {
                        return $part::apply(&mut states.$index, number - first, new);
                    }
                    first += $part::STREAMS;
                )+
                let _ = first;
                Ok(())
            }
        }
    };
}

tuple_boundary!(A 0, B 1);
tuple_boundary!(A 0, B 1, C 2);
tuple_boundary!(A 0, B 1, C 2, D 3);
tuple_boundary!(A 0, B 1, C 2, D 3, E 4);
tuple_boundary!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple_boundary!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple_boundary!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
