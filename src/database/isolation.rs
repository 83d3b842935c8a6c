//! READ COMMITTED, which the feed and the appends require, for statements that are their own transactions.

use super::endpoint::{ConnectError, Endpoint};
use super::error::DatabaseError;
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps memory in the backend. A backend may return its memory to the system after each statement and get it again page by
/// page. That took a fifth of the time of inserting 100 documents. After a block of this size was freed, glibc keeps twice
/// as much (mallopt(3), `M_MMAP_THRESHOLD`, the dynamic threshold). With another C library this has no effect.
const PREPARE: &str = "SELECT pg_catalog.current_setting('default_transaction_isolation') FROM pg_catalog.length(pg_catalog.repeat('x', 524288))";

pub(super) const READ_COMMITTED: &str = "read committed";

/// How the statements of a pool run at READ COMMITTED. On most servers it is the default, and nothing is needed.
#[derive(Clone, Default)]
pub(crate) struct Isolation {
    /// Sessions are opened with it: the role's default is another level.
    by_session: Arc<AtomicBool>,
    /// Each statement runs in a transaction that requests it, because of a pooler, or because the pool is the caller's.
    by_transaction: Arc<AtomicBool>,
}

impl Isolation {
    /// Opens a session at READ COMMITTED, if the server allows it.
    pub(super) fn open(&self, endpoint: &Endpoint) -> Result<Client, OpenError> {
        if self.by_session.load(Ordering::Acquire)
            && let Some(client) = at_read_committed(endpoint)
        {
            return Ok(client);
        }
        let mut client = endpoint.connect().map_err(OpenError::Connect)?;
        if is_read_committed(&mut client).map_err(OpenError::Prepare)? {
            return Ok(client);
        }
        if let Some(client) = at_read_committed(endpoint) {
            self.by_session.store(true, Ordering::Release);
            return Ok(client);
        }
        self.by_transaction.store(true, Ordering::Release);
        Ok(client)
    }

    pub(super) fn is_by_transaction(&self) -> bool {
        self.by_transaction.load(Ordering::Acquire)
    }

    pub(super) fn set_by_transaction(&self) {
        self.by_transaction.store(true, Ordering::Release);
    }
}

/// Why no session was opened.
pub(super) enum OpenError {
    Connect(ConnectError),
    Prepare(postgres::Error),
}

/// Returns `None` if a pooler refuses or ignores the setting.
fn at_read_committed(endpoint: &Endpoint) -> Option<Client> {
    let mut client = endpoint.connect_at_read_committed().ok()?;
    is_read_committed(&mut client).ok()?.then_some(client)
}

fn is_read_committed(client: &mut Client) -> Result<bool, postgres::Error> {
    let answer = client.simple_query(PREPARE)?;
    Ok(answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some(READ_COMMITTED),
        _ => false,
    }))
}

/// Whether a statement failed with an error of another isolation level. There, the feed cannot be read, and a row that was
/// changed since the statement began is an error.
pub(super) fn may_be_isolation(error: &DatabaseError) -> bool {
    error
        .sqlstate()
        .is_some_and(|code| code.code() == "SE001" || *code == SqlState::T_R_SERIALIZATION_FAILURE)
}
