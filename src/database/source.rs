//! The source of a pool: a connection string, or the caller.

use super::connection_options::ConnectionOptions;
use super::error::{DatabaseError, Result};
use super::pool::Connections;
use crate::database::endpoint::Endpoint;
use postgres::Client;
use r2d2::ManageConnection;

pub(crate) enum ConnectionSource {
    ConnectionString(String),
    Pool(Connections),
}

impl ConnectionSource {
    pub(crate) fn pool<M: ManageConnection<Connection = Client>>(pool: r2d2::Pool<M>) -> Self {
        Self::Pool(Connections::foreign(pool))
    }

    /// The options only affect a pool that the library opens.
    pub(crate) fn open(self, options: &ConnectionOptions) -> Result<Connections> {
        match self {
            Self::Pool(connections) => Ok(connections),
            Self::ConnectionString(text) => own_pool(&text, options),
        }
    }
}

fn own_pool(connection_string: &str, options: &ConnectionOptions) -> Result<Connections> {
    options.check()?;
    let endpoint = Endpoint::parse(connection_string).map_err(DatabaseError::ConnectionString)?;
    // Connects once first: the pool would retry until its timeout, but a wrong password should be reported at once.
    endpoint
        .connect()
        .map_err(|source| DatabaseError::Connect {
            server: endpoint.describe(),
            source,
        })?;
    Ok(Connections::open(endpoint, options))
}
