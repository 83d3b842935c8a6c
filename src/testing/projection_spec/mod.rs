//! Specifications of projections: given events, when more events are appended, then documents or rows.

mod engine;
mod in_memory;
mod on_server;
mod outcome;

pub use in_memory::InMemory;
pub use on_server::OnServer;
pub use outcome::ProjectionOutcome;

use self::engine::{Engine, error_text, prepared};
use super::Database;
use crate::error::Result;
use crate::events::Appendable;
use crate::projection::{DocumentProjection, Projection};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::SystemTime;

/// The specification of a projection: events, and the documents or rows that they lead to.
///
/// Emmett calls it `PostgreSQLProjectionSpec`. [`of`](ProjectionSpec::of) runs a [`DocumentProjection`] without a server, by the
/// code that a store runs. [`inline`](ProjectionSpec::inline) and [`asynchronous`](ProjectionSpec::asynchronous) run any
/// projection on a throwaway server: they are for SQL, for updates and filters, and for triggers and constraints.
///
/// ```
/// use emmett_postgresql::{DocumentProjection, Event, Recorded, testing::ProjectionSpec};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CartEvent {
///     ItemAdded { quantity: u32 },
///     Confirmed,
///     Cancelled,
/// }
/// impl Event for CartEvent {}
///
/// #[derive(Serialize, Deserialize, Default)]
/// struct CartSummary {
///     total_items: u32,
/// }
///
/// fn cart_summaries() -> DocumentProjection<CartSummary> {
///     DocumentProjection::single_stream("cart_summaries", |cart: Option<CartSummary>, recorded: &Recorded<_>| {
///         let mut cart = cart.unwrap_or_default();
///         match recorded.event {
///             CartEvent::ItemAdded { quantity } => cart.total_items += quantity,
///             CartEvent::Confirmed => {}
///             CartEvent::Cancelled => return None,
///         }
///         Some(cart)
///     })
/// }
///
/// ProjectionSpec::of(cart_summaries())
///     .given("Cart-1", [CartEvent::ItemAdded { quantity: 2 }])
///     .when("Cart-1", [CartEvent::Confirmed])
///     .twice()
///     .document("Cart-1", CartSummary { total_items: 2 });
///
/// ProjectionSpec::of(cart_summaries())
///     .given("Cart-1", [CartEvent::ItemAdded { quantity: 2 }])
///     .when("Cart-1", [CartEvent::Cancelled])
///     .no_document("Cart-1");
/// ```
///
/// Each `given` and each `when` is one append, at any version of the stream. Positions count from 1. Events with ids and
/// metadata are [`NewMessage`](crate::NewMessage)s.
#[derive(Debug)]
#[must_use = "a specification says what the projection writes"]
pub struct ProjectionSpec<E> {
    engine: E,
}

impl<D: Serialize + DeserializeOwned + 'static> ProjectionSpec<InMemory<D>> {
    /// Begins the specification of a document projection, which runs without a server.
    ///
    /// The projection reads and writes documents as from its table, with `_id` and `_version`. Inline and asynchronous
    /// projections write the same documents, so one specification covers both.
    ///
    /// # Panics
    /// When the projection would be refused by a store: without handlers, or with types that its events do not have.
    #[track_caller]
    pub fn of(projection: DocumentProjection<D>) -> Self {
        Self::begin(InMemory::new(projection))
    }

    /// Time at which the following events are recorded. Defaults to [`UNIX_EPOCH`](SystemTime::UNIX_EPOCH).
    pub fn recorded_at(mut self, time: SystemTime) -> Self {
        self.engine.recorded_at = time;
        self
    }
}

impl<'a> ProjectionSpec<OnServer<'a>> {
    /// Begins the specification of a projection that each append runs in its transaction, in a database of its own.
    ///
    /// ```
    /// use emmett_postgresql::{RawEvent, Recorded, SqlProjection, testing::{self, ProjectionSpec}};
    /// use serde_json::json;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sales = SqlProjection::new("sales", |events: &[Recorded<RawEvent>], context| {
    ///     let sales = context.table("sales")?;
    ///     for recorded in events {
    ///         let insert = format!("INSERT INTO {sales} VALUES ($1, $2) ON CONFLICT (cart) DO UPDATE SET total = $2");
    ///         context.execute(&insert, &[&&*recorded.stream_name, &recorded.event.data["total"].as_i64()])?;
    ///     }
    ///     Ok(())
    /// })
    /// .tables(&["sales"])
    /// .init(|context| {
    ///     let sales = context.table("sales")?;
    ///     Ok(context.batch_execute(&format!("CREATE TABLE IF NOT EXISTS {sales} (cart TEXT PRIMARY KEY, total BIGINT)"))?)
    /// });
    ///
    /// ProjectionSpec::inline(&testing::database()?, sales)
    ///     .when("Cart-1", [RawEvent::new("Confirmed", json!({"total": 30}))])
    ///     .twice()
    ///     .rows("SELECT cart, total FROM sales", [json!({"cart": "Cart-1", "total": 30})]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the store cannot be opened with the projection.
    #[track_caller]
    pub fn inline(database: &'a Database, projection: impl Projection) -> Self {
        Self::begin(OnServer::open(database, Arc::new(projection), true))
    }

    /// Begins the specification of a projection that a consumer runs, in a database of its own. After each append, the consumer
    /// runs until it has caught up.
    ///
    /// # Panics
    /// When the store or the consumer cannot be started with the projection.
    #[track_caller]
    pub fn asynchronous(database: &'a Database, projection: impl Projection) -> Self {
        Self::begin(OnServer::open(database, Arc::new(projection), false))
    }
}

impl<E: Engine> ProjectionSpec<E> {
    #[track_caller]
    fn begin(engine: Result<E>) -> Self {
        match engine {
            Ok(engine) => Self { engine },
            Err(error) => panic!("the projection cannot be run: {}", error_text(error)),
        }
    }

    /// Appends events that are there before. They are delivered once.
    ///
    /// # Panics
    /// When the events cannot be stored, or the projection cannot handle them.
    #[track_caller]
    pub fn given<A: Appendable>(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = A>,
    ) -> Self {
        let events: Vec<A> = events.into_iter().collect();
        if let Err(error) = self.engine.append(prepared(stream, &events)) {
            panic!(
                "the given events could not be handled: {}",
                error_text(error)
            );
        }
        self
    }

    /// Appends the events whose effect is specified. A failure is compared by
    /// [`fails_with`](ProjectionOutcome::fails_with), and fails all other expectations.
    ///
    /// # Panics
    /// When the events cannot be stored.
    #[track_caller]
    pub fn when<A: Appendable>(
        self,
        stream: &str,
        events: impl IntoIterator<Item = A>,
    ) -> ProjectionOutcome<E> {
        ProjectionOutcome::new(self.engine).when(stream, events)
    }
}
