//! The meaning of a server's error: the one table of SQLSTATEs.
//!
//! The server's texts are not read: their language depends on `lc_messages`.

#[cfg(test)]
mod tests;

use postgres::error::{DbError, Severity};

/// The origin of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This server cannot execute it, but its primary can: the connection leads to a standby. Nothing was changed.
    WrongServer,
    /// The database was temporarily unable; a retry may succeed.
    Wait(Wait),
    /// The statement or its data. In a handler, the fault is the handler's. A retry fails again.
    Statement,
    /// This library and this database do not match; no handler is at fault.
    Ours,
    /// The statement was prepared before a migration; preparing it again helps. Nothing was changed.
    StalePlan,
}

/// The cause of a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Another transaction, a lock or a timeout interfered. The session continues; the transaction is rolled back.
    InTheWay,
    /// The server has no room left, or the system under it is broken.
    Exhausted,
    /// The server ended the session, or did not begin it, and reported so. Its work is rolled back.
    SessionEnded,
    /// A pooler or another server in between lost the server. Work in progress may have been committed.
    ServerLost,
}

impl Meaning {
    /// Returns the meaning of the server's answer to a statement.
    pub(crate) fn of_statement(error: &DbError) -> Self {
        match Self::of_refusal(error) {
            known @ Self::Wait(Wait::SessionEnded | Wait::ServerLost) => known,
            // The table has every end of a session that PostgreSQL itself reports and after which nothing is stored.
            _ if ends_session(error) => Self::Wait(Wait::ServerLost),
            other => other,
        }
    }

    /// Returns the meaning of a refused connection. Every refusal has the severity that ends a session.
    pub(crate) fn of_refusal(error: &DbError) -> Self {
        match (error.code().code(), error.routine()) {
            ("0A000", Some("RevalidateCachedQuery")) => Self::StalePlan,
            // BEGIN READ WRITE on a standby. This function checks other settings too, but no session uses those.
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

    /// Whether a retry may succeed.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Self::WrongServer | Self::Wait(_) | Self::StalePlan)
    }

    /// Whether currently no server can execute it.
    pub(crate) fn is_unavailable(self) -> bool {
        match self {
            Self::WrongServer => true,
            Self::Wait(wait) => wait != Wait::InTheWay,
            Self::Statement | Self::Ours | Self::StalePlan => false,
        }
    }
}

/// A pooler may omit the untranslated severity; its texts are English.
fn ends_session(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => ["FATAL", "PANIC"].contains(&error.severity()),
    }
}
