//! Projections into SQL tables of the application.

use super::{Projection, ProjectionContext};
use crate::events::{Event, EventSelection, HandledEvents, Recorded, RecordedMessage};

type Handler = dyn Fn(&EventSelection, &[&RecordedMessage], &mut ProjectionContext<'_>) -> anyhow::Result<()>
    + Send
    + Sync;
type Maintenance = Box<dyn Fn(&mut ProjectionContext<'_>) -> anyhow::Result<()> + Send + Sync>;

/// A projection that updates the application's own tables, in the transaction of the append.
///
/// ```
/// use emmett_postgresql::{Event, Recorded, SqlProjection};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum CartEvent { Confirmed { client_id: String, total: f64 } }
/// # impl Event for CartEvent {}
/// let sales = SqlProjection::new("sales", |events: &[Recorded<CartEvent>], context| {
///     for recorded in events {
///         let CartEvent::Confirmed { client_id, total } = &recorded.event;
///         let sales = context.table("sales")?;
///         context.execute(
///             &format!(
///                 "INSERT INTO {sales} AS s (client_id, total) VALUES ($1, $2)
///                  ON CONFLICT (client_id) DO UPDATE SET total = s.total + EXCLUDED.total"
///             ),
///             &[client_id, total],
///         )?;
///     }
///     Ok(())
/// })
/// .tables(&["sales"])
/// .init(|context| {
///     let sales = context.table("sales")?;
///     context.batch_execute(&format!(
///         "CREATE TABLE IF NOT EXISTS {sales} (client_id TEXT PRIMARY KEY, total DOUBLE PRECISION NOT NULL)"
///     ))?;
///     Ok(())
/// })
/// .truncate(|context| {
///     let sales = context.table("sales")?;
///     context.execute(&format!("DELETE FROM {sales}"), &[])?;
///     Ok(())
/// });
/// ```
///
/// A [rebuild](crate::EventStore::rebuild) beside the live read model has three requirements. The projection declares
/// its [tables](SqlProjection::tables), takes their names from the [context](ProjectionContext::table), and says how
/// they are [emptied](SqlProjection::truncate).
pub struct SqlProjection {
    name: String,
    version: u32,
    handled: HandledEvents,
    /// One handler for each enum, in the order of `handled`.
    handlers: Vec<Box<Handler>>,
    tables: Vec<String>,
    init: Maintenance,
    truncate: Option<Maintenance>,
}

impl std::fmt::Debug for SqlProjection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SqlProjection")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl SqlProjection {
    /// Creates a projection whose handler receives the events of an append and its transaction.
    pub fn new<E: Event>(
        name: impl Into<String>,
        handle: impl Fn(&[Recorded<E>], &mut ProjectionContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::named(name).on(handle)
    }

    /// Creates a projection without handlers. Add them with [`on`](SqlProjection::on).
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: 1,
            handled: HandledEvents::default(),
            handlers: Vec::new(),
            tables: Vec::new(),
            init: Box::new(|_| Ok(())),
            truncate: None,
        }
    }

    /// Adds a handler for the events of an enum. With several handlers, each call receives consecutive events of one
    /// enum, so that all events are handled in their original order.
    ///
    /// ```
    /// use emmett_postgresql::{Event, Recorded, SqlProjection};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum OrderEvent { Placed {} }
    /// # impl Event for OrderEvent { const CATEGORY: &'static str = "Order"; }
    /// # #[derive(Serialize, Deserialize)]
    /// # enum InvoiceEvent { Paid {} }
    /// # impl Event for InvoiceEvent { const CATEGORY: &'static str = "Invoice"; }
    /// let counts = SqlProjection::named("counts")
    ///     .on(|orders: &[Recorded<OrderEvent>], context| {
    ///         context.execute("UPDATE counts SET orders = orders + $1", &[&i64::try_from(orders.len())?])?;
    ///         Ok(())
    ///     })
    ///     .on(|invoices: &[Recorded<InvoiceEvent>], context| {
    ///         context.execute("UPDATE counts SET paid = paid + $1", &[&i64::try_from(invoices.len())?])?;
    ///         Ok(())
    ///     });
    /// ```
    #[must_use]
    pub fn on<E: Event>(
        mut self,
        handle: impl Fn(&[Recorded<E>], &mut ProjectionContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let decode_and_handle =
            move |events: &EventSelection,
                  messages: &[&RecordedMessage],
                  context: &mut ProjectionContext<'_>| {
                let events = events.decode_all(messages)?;
                if events.is_empty() {
                    return Ok(());
                }
                handle(&events, context)
            };
        self.handled.add::<E>();
        self.handlers.push(Box::new(decode_and_handle));
        self
    }

    /// Tables and collections that the projection writes, in the PostgreSQL schema of the store. Tables that others
    /// refer to come first. A rebuild builds new ones beside them. Defaults to none; the projection cannot be rebuilt
    /// then.
    #[must_use]
    pub fn tables(mut self, names: &[&str]) -> Self {
        self.tables = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Creates the tables. It runs each time a store that may migrate is opened, so it has to be idempotent. Defaults
    /// to doing nothing.
    #[must_use]
    pub fn init(
        mut self,
        init: impl Fn(&mut ProjectionContext<'_>) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.init = Box::new(init);
        self
    }

    /// Deletes the rows of the context's partition from the tables. A rebuild runs it in the transaction in which the
    /// new rows replace the old ones. Use `DELETE`: after a `TRUNCATE`, readers that were waiting would see empty
    /// tables.
    #[must_use]
    pub fn truncate(
        mut self,
        truncate: impl Fn(&mut ProjectionContext<'_>) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.truncate = Some(Box::new(truncate));
        self
    }

    /// Restricts the handler that was added last to these message types, and to [former](Event::FORMER_TYPES) messages that
    /// become these.
    ///
    /// A type that the enum does not have is an error when the store is opened, the consumer started, or the projection
    /// rebuilt. Defaults to all types of the enum.
    #[must_use]
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Restricts the handler that was added last to streams of these [categories](Event::CATEGORY). Defaults to the
    /// category of the enum.
    #[must_use]
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// Version of the projection's code. Defaults to 1.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }
}

impl Projection for SqlProjection {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn kind(&self) -> &'static str {
        "sql"
    }

    fn handles(&self) -> &HandledEvents {
        &self.handled
    }

    fn tables(&self) -> &[String] {
        &self.tables
    }

    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        (self.init)(&mut context.declaring(&self.tables))
    }

    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        let Some(truncate) = &self.truncate else {
            anyhow::bail!(
                "the projection does not say how its tables are emptied: call SqlProjection::truncate"
            )
        };
        truncate(&mut context.declaring(&self.tables))
    }

    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()> {
        let mut context = context.declaring(&self.tables);
        for (handlers, run) in self.handled.runs(messages) {
            for index in handlers {
                let events = &self.handled.selections()[index];
                (self.handlers[index])(events, run, &mut context)?;
            }
        }
        Ok(())
    }
}
