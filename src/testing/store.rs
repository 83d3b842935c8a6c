//! Databases that have the schema already.

use super::{Database, Server, ServerError};
use crate::database::{ConnectionOptions, SchemaPart, schema};
use crate::store::EventStore;

/// A fresh database with the schema of this library, on the [shared server](Server::shared).
///
/// It is a copy of a template that is migrated once, so it costs little.
///
/// ```
/// use emmett_postgresql::{EventStore, RawEvent, testing};
///
/// let database = testing::database()?;
/// let store = EventStore::open(database.url())?;
/// let appended = store.append_to_stream("Cart-1", &[RawEvent::new("Opened", serde_json::json!({}))])?;
/// assert_eq!(appended.next_expected_version, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no PostgreSQL, or it cannot be started.
pub fn database() -> Result<Database, ServerError> {
    let server = Server::shared()?;
    let template = server.template(&schema::sql("public", SchemaPart::EventStore), |url| {
        EventStore::builder(url)
            .connection_options(ConnectionOptions::new().pool_size(1))
            .open()?;
        Ok(())
    })?;
    server.clone_database(&template)
}
