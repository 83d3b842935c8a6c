//! What an error of the server means: the one table of SQLSTATEs.
//!
//! No text of the server is read: it comes in the language of `lc_messages`.

#[cfg(test)]
mod tests;

use postgres::error::{DbError, Severity};

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This server cannot do it, its primary can: the connection leads to a standby. Nothing was done.
    WrongServer,
    /// The database was not well; the same again may succeed.
    Wait(Wait),
    /// The statement or its data: of a handler that fails so, the handler. The same again fails again.
    Statement,
    /// This library and this database do not fit: no handler is to blame.
    Ours,
    /// The statement was prepared before a migration; prepared again, it works. Nothing was done.
    StalePlan,
}

/// Why the database was not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Another transaction, a lock or a timeout was in the way. The session goes on, the transaction is rolled back.
    InTheWay,
    /// The server has no room, or something under it is broken.
    Exhausted,
    /// The server has ended the session, or not begun it, and says so: what it was doing is rolled back.
    SessionEnded,
    /// A pooler, or another server between, has lost the server: what was under way may have been committed.
    ServerLost,
}

impl Meaning {
    /// What the server says of a statement.
    pub(crate) fn of_statement(error: &DbError) -> Self {
        match Self::of_refusal(error) {
            known @ Self::Wait(Wait::SessionEnded | Wait::ServerLost) => known,
            // The table knows each end of a session that PostgreSQL itself reports, and after which nothing is stored.
            _ if ends_session(error) => Self::Wait(Wait::ServerLost),
            other => other,
        }
    }

    /// What the server says of an attempt to connect. It ends each with the severity that ends a session.
    pub(crate) fn of_refusal(error: &DbError) -> Self {
        match (error.code().code(), error.routine()) {
            ("0A000", Some("RevalidateCachedQuery")) => Self::StalePlan,
            // BEGIN READ WRITE on a standby; the other settings that this function checks are no business of a session's.
            ("0A000", Some("call_bool_check_hook")) => Self::WrongServer,
            (code, _) => Self::of_sqlstate(code),
        }
    }

    fn of_sqlstate(code: &str) -> Self {
        match code {
            "25006" | "SE002" => Self::WrongServer,
            "26000" => Self::StalePlan,
            "25P03" | "25P04" | "57P01" | "57P03" | "57P04" | "57P05" => {
                Self::Wait(Wait::SessionEnded)
            }
            // Sent by a signal handler, which may interrupt a commit.
            "57P02" => Self::Wait(Wait::ServerLost),
            "55006" | "55P03" | "57000" | "57014" => Self::Wait(Wait::InTheWay),
            // HV00N: the server cannot connect to a foreign server. XX: its data are damaged.
            "HV00N" | "XX001" | "XX002" => Self::Wait(Wait::Exhausted),
            "3D000" | "SE001" | "SE003" | "SE010" | "SE011" | "SE013" | "SE014" | "SE040" => {
                Self::Ours
            }
            _ => Self::of_class(code.get(..2).unwrap_or_default()),
        }
    }

    fn of_class(class: &str) -> Self {
        match class {
            "08" => Self::Wait(Wait::ServerLost),
            "40" | "72" => Self::Wait(Wait::InTheWay),
            "53" | "58" => Self::Wait(Wait::Exhausted),
            "28" | "F0" => Self::Ours,
            _ => Self::Statement,
        }
    }

    /// Whether the same again may succeed.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Self::WrongServer | Self::Wait(_) | Self::StalePlan)
    }

    /// Whether there is no server that could do it, for now.
    pub(crate) fn is_unavailable(self) -> bool {
        match self {
            Self::WrongServer => true,
            Self::Wait(wait) => wait != Wait::InTheWay,
            Self::Statement | Self::Ours | Self::StalePlan => false,
        }
    }
}

/// A pooler may leave the severity out that is in no language; its texts are English.
fn ends_session(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => ["FATAL", "PANIC"].contains(&error.severity()),
    }
}
