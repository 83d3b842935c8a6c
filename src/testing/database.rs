use super::{ServerError, maintenance};
use postgres::Client;
use std::fmt;

/// A separate database for one test. Created by
/// [`Server::create_database`](super::Server::create_database) and
/// [`Server::clone_database`](super::Server::clone_database).
///
/// Dropping the value drops the database, and closes its open connections. If the process is killed, the database
/// stays on an existing server (`EMMETT_TEST_DATABASE_URL`). A throwaway server is removed with all its databases.
#[must_use = "the database is dropped with this value"]
pub struct Database {
    name: String,
    url: String,
    drop_through: String,
}

impl Database {
    pub(super) fn new(name: String, url: String, drop_through: String) -> Self {
        Self {
            name,
            url,
            drop_through,
        }
    }

    /// Returns the connection string.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the name, which is unique on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection, without TLS.
    pub fn client(&self) -> Result<Client, ServerError> {
        maintenance::connect(&self.url)
    }

    fn remove(&self) -> Result<(), ServerError> {
        maintenance::drop_database(&mut maintenance::connect(&self.drop_through)?, &self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone already, and its databases with it.
        drop(self.remove());
    }
}

impl fmt::Debug for Database {
    /// Shows the name only, because the connection string may contain a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
