//! Decisions: read a state, decide, append, and retry after a conflict.
//!
//! [`EventStore::decide`] and [`Session::decide`] begin a decision. [`Evolve`] folds the state, [`stream`] names a stream to
//! read and guard, and a closure decides.

mod boundary;
mod command;
mod decided;
mod decider;
mod decision;
mod error;
mod executor;
mod loaded;

pub use boundary::{Boundary, Evolve, Snapshots, StreamBoundary, stream};
pub use command::{Decide, KeyedDecide};
pub use decided::Decided;
pub use decider::Decider;
pub use decision::{Decision, IntoDecision};
pub use error::DecideError;

use crate::error::Result;
use crate::events::{command_key, snapshot};
use crate::store::{EventStore, Session};
use std::time::Duration;

impl EventStore {
    /// Begins a decision about the streams of a boundary. It reads them in one snapshot, calls a closure, and appends its
    /// events at the versions that were read. After a conflict, it reads and decides again.
    ///
    /// The read takes one round trip; so does the append.
    ///
    /// ```
    /// use emmett_postgresql::decide::{DecideError, Evolve, stream};
    /// use emmett_postgresql::{Event, EventStore};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum CartEvent {
    ///     ItemAdded { quantity: u32 },
    ///     Confirmed,
    /// }
    /// impl Event for CartEvent {}
    ///
    /// #[derive(Debug, PartialEq)]
    /// enum CartError {
    ///     Empty,
    /// }
    ///
    /// #[derive(Default)]
    /// struct Cart {
    ///     items: u32,
    ///     is_confirmed: bool,
    /// }
    ///
    /// impl Evolve for Cart {
    ///     type Event = CartEvent;
    ///     fn evolve(&mut self, event: &CartEvent) {
    ///         match event {
    ///             CartEvent::ItemAdded { quantity } => self.items += quantity,
    ///             CartEvent::Confirmed => self.is_confirmed = true,
    ///         }
    ///     }
    /// }
    ///
    /// impl Cart {
    ///     fn confirm(&self) -> Result<Option<CartEvent>, CartError> {
    ///         match (self.items, self.is_confirmed) {
    ///             (0, _) => Err(CartError::Empty),
    ///             (_, true) => Ok(None),
    ///             (_, false) => Ok(Some(CartEvent::Confirmed)),
    ///         }
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = EventStore::open(database.url())?;
    /// let empty = store.decide(stream::<Cart>("Cart-1")).run(Cart::confirm);
    /// assert!(matches!(empty, Err(DecideError::Refused(CartError::Empty))));
    ///
    /// store.append_to_stream("Cart-1", &[CartEvent::ItemAdded { quantity: 2 }])?;
    /// # let confirm = || -> Result<_, DecideError<CartError>> {
    /// let done = store.decide(stream::<Cart>("Cart-1")).retries(5).run(Cart::confirm)?;
    /// # Ok(done) };
    /// # let done = confirm().expect("confirmed");
    /// assert_eq!((done.version, done.state.is_confirmed), (2, true));
    /// # Ok(())
    /// # }
    /// ```
    pub fn decide<B: Boundary>(&self, boundary: B) -> Decide<&Self, B> {
        Decide::new(self, boundary)
    }

    /// Deletes the [snapshots](Decide::snapshot_every) of a stream, of all types of states, and returns their number. The next
    /// decision reads all events. Needed after events were changed by hand, such as for an erasure.
    ///
    /// # Errors
    /// If the database refuses the deletion.
    pub fn delete_snapshots(&self, stream: &str) -> Result<u64> {
        self.connections()
            .run(true, |sql| snapshot::delete(sql, self.partition(), stream))
    }

    /// Returns the number of command keys of the store (this tenant) that are at least so old, by the server's clock. All keys
    /// for [`Duration::ZERO`].
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn command_keys(&self, age: Duration) -> Result<u64> {
        self.connections()
            .run(true, |sql| command_key::count(sql, self.partition(), age))
    }

    /// Deletes the command keys of the store (this tenant) that are at least so old, and returns their number. A command that is
    /// repeated after that is carried out again, so keep keys for longer than callers repeat.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// const DAY: u64 = 24 * 60 * 60;
    /// let deleted = store.delete_command_keys(std::time::Duration::from_secs(30 * DAY))?;
    /// println!("{deleted} keys deleted");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a statement fails. Keys that were deleted before stay deleted.
    pub fn delete_command_keys(&self, age: Duration) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let some = self.connections().run(true, |sql| {
                command_key::delete_some(sql, self.partition(), age)
            })?;
            if some == 0 {
                return Ok(deleted);
            }
            deleted += some;
        }
    }
}

impl Session<'_> {
    /// Begins a decision in the session; see [`EventStore::decide`]. The decision sees the session's own appends. It is not
    /// retried: after a conflict, run the session again.
    pub fn decide<B: Boundary>(&mut self, boundary: B) -> Decide<&mut Self, B> {
        Decide::once(self, boundary)
    }
}
