//! The questions that are asked of an error of the driver.

use super::sqlstate::{Meaning, Wait};
use postgres::error::{DbError, SqlState};
use std::error::Error as _;

/// Whether the same statement may succeed when it is sent again.
pub(crate) fn is_retryable(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error).is_some_and(Meaning::is_retryable)
}

/// Whether there was no server to ask, or the connection to it is gone.
pub(crate) fn is_unavailable(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error).is_some_and(Meaning::is_unavailable)
}

/// The connection has forgotten the statement already; prepared again, it works.
pub(crate) fn is_stale_plan(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::StalePlan)
}

/// Whether the database does not fit the program.
pub(super) fn is_misfit(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::Ours)
}

/// Whether the server has chosen the transaction to end a deadlock.
pub(super) fn is_victim(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// Whether the connection leads to a standby, which cannot do what was asked.
pub(super) fn is_wrong_server(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::WrongServer)
}

/// What the server says of a statement; `None` when it has said nothing.
fn meaning(error: &postgres::Error) -> Option<Meaning> {
    error.as_db_error().map(Meaning::of_statement)
}

/// Whether the server ended the session and said so: what it was doing was rolled back.
pub(super) fn ended_by_server(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::Wait(Wait::SessionEnded))
}

/// Whether the server is gone and has not said what became of the statement: nobody has, or a pooler has spoken for it.
pub(super) fn lost_server(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error) == Some(Meaning::Wait(Wait::ServerLost))
}

/// Whether the connection broke without a word from the server.
pub(super) fn lost_connection(error: &postgres::Error) -> bool {
    error.code().is_none()
        && (error.is_closed()
            || error
                .source()
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>))
}

/// What went wrong, in one text: the driver's own says "db error", and leaves the rest to its source.
pub(super) fn reason(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => said(refusal),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// The message of the server on one line, with its details and what to do.
fn said(refusal: &DbError) -> String {
    let missing_right = (*refusal.code() == SqlState::INSUFFICIENT_PRIVILEGE)
        .then_some("the owner of the schema gives a role its rights with emt_grant");
    let more = [refusal.detail(), refusal.hint(), missing_right];
    let more = more.into_iter().flatten().map(|text| format!("; {text}"));
    std::iter::once(refusal.message().to_owned())
        .chain(more)
        .collect()
}
