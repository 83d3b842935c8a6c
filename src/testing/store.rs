//! Databases with the library's schema.

use super::{Database, Server, ServerError};
use crate::database::{ConnectionOptions, SchemaPart, schema};
use crate::store::EventStore;

/// Creates a database with the schema of this library, on the [shared server](Server::shared).
///
/// It is a copy of a template that is migrated once, so it is created quickly.
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
/// When PostgreSQL is not found, or cannot be started.
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
