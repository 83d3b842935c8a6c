//! READ COMMITTED, on which the feed and the appends rely, for statements that are transactions of their own.

use super::endpoint::{ConnectError, Endpoint};
use super::error::DatabaseError;
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A backend may give its memory back to the system after each statement, and get it again page by page for the next one: that took a
/// fifth of the time of inserting 100 documents. Once a block of this size was freed, glibc keeps twice as much (mallopt(3),
/// `M_MMAP_THRESHOLD`, the dynamic threshold). With another C library it does nothing.
const PREPARE: &str = "SELECT pg_catalog.current_setting('default_transaction_isolation') FROM pg_catalog.length(pg_catalog.repeat('x', 524288))";

pub(super) const READ_COMMITTED: &str = "read committed";

/// How the statements of a pool come to READ COMMITTED. Most servers have it as the default, and nothing is to be done.
#[derive(Clone, Default)]
pub(crate) struct Isolation {
    /// The sessions are opened with it: the role's default is another one.
    by_session: Arc<AtomicBool>,
    /// Each statement is put into a transaction that says it: there is a pooler, or the pool is the caller's.
    by_transaction: Arc<AtomicBool>,
}

impl Isolation {
    /// Opens a session at READ COMMITTED, where the server lets it.
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

/// `None` where a pooler refuses it or passes over it.
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

/// Whether a statement failed as it does at another isolation level only: the feed cannot be read there, and a row that was
/// changed since the statement began is an error.
pub(super) fn may_be_isolation(error: &DatabaseError) -> bool {
    error
        .sqlstate()
        .is_some_and(|code| code.code() == "SE001" || *code == SqlState::T_R_SERIALIZATION_FAILURE)
}
