use super::{ServerError, maintenance};
use postgres::Client;
use std::fmt;

/// A database of its own for one test; made by
/// [`Server::create_database`](super::Server::create_database) and
/// [`Server::clone_database`](super::Server::clone_database).
///
/// On a throwaway server it goes with the server. On one that ran before (`EMMETT_DATABASE_URL`) it
/// is dropped with this value, together with whatever connections it still has; a process that is
/// killed leaves it behind.
#[must_use = "a database on an existing server is dropped with this value"]
pub struct Database {
    name: String,
    url: String,
    drop_through: Option<String>,
}

impl Database {
    pub(super) fn new(name: String, url: String, drop_through: Option<String>) -> Self {
        Self {
            name,
            url,
            drop_through,
        }
    }

    /// The connection string.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name, unique on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection, without TLS.
    pub fn client(&self) -> Result<Client, ServerError> {
        maintenance::connect(&self.url)
    }

    fn remove(&self, through: &str) -> Result<(), ServerError> {
        maintenance::drop_database(&mut maintenance::connect(through)?, &self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(through) = &self.drop_through {
            drop(self.remove(through));
        }
    }
}

impl fmt::Debug for Database {
    /// The name alone: the connection string may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
