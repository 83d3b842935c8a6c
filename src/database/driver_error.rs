//! Questions about an error of the driver.

use super::sqlstate::{Meaning, Wait};
use postgres::error::{DbError, SqlState};
use std::error::Error as _;

/// Whether sending the same statement again may succeed.
pub(crate) fn is_retryable(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error).is_some_and(Meaning::is_retryable)
}

/// Whether no server was reachable, or the connection to it was lost.
pub(crate) fn is_unavailable(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error).is_some_and(Meaning::is_unavailable)
}

/// Whether a cached plan was stale. The connection has already discarded the statement; preparing it again helps.
pub(crate) fn is_stale_plan(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::StalePlan)
}

/// Whether the database and the program do not match.
pub(super) fn is_misfit(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::Ours)
}

/// Whether the server ended the transaction to resolve a deadlock.
pub(super) fn is_victim(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// Whether the connection leads to a standby, which cannot execute the statement.
pub(super) fn is_wrong_server(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::WrongServer)
}

/// Returns the meaning of the server's answer; `None` if the server did not answer.
fn meaning(error: &postgres::Error) -> Option<Meaning> {
    error.as_db_error().map(Meaning::of_statement)
}

/// Whether the server ended the session and reported so: its work was rolled back.
pub(super) fn ended_by_server(error: &postgres::Error) -> bool {
    meaning(error) == Some(Meaning::Wait(Wait::SessionEnded))
}

/// Whether the server was lost and the statement's outcome is unknown: the connection broke, or a pooler reported the loss.
pub(super) fn lost_server(error: &postgres::Error) -> bool {
    lost_connection(error) || meaning(error) == Some(Meaning::Wait(Wait::ServerLost))
}

/// Whether the connection broke without a message from the server.
pub(super) fn lost_connection(error: &postgres::Error) -> bool {
    error.code().is_none()
        && (error.is_closed()
            || error
                .source()
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>))
}

/// Returns the cause in one text: the driver's own text says "db error" and leaves the rest to its source.
pub(super) fn reason(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => said(refusal),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// Returns the server's message on one line, with its details and the next step.
fn said(refusal: &DbError) -> String {
    let missing_right = (*refusal.code() == SqlState::INSUFFICIENT_PRIVILEGE)
        .then_some("the owner of the schema grants a role its rights with emt_grant");
    let more = [refusal.detail(), refusal.hint(), missing_right];
    let more = more.into_iter().flatten().map(|text| format!("; {text}"));
    std::iter::once(refusal.message().to_owned())
        .chain(more)
        .collect()
}
