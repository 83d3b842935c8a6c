//! Answers of the HTTP front, and the status of each error.

use crate::refusal::Refusal;
use emmett_postgresql::decide::DecideError;
use emmett_postgresql::{Error, pongo};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Cursor;
use tiny_http::{Header, Response};

pub(crate) struct Answer {
    status: u16,
    body: Value,
    headers: Vec<(&'static str, String)>,
}

/// A request that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
pub(crate) struct BadRequest(pub(crate) u16, pub(crate) &'static str);

impl Answer {
    pub(crate) fn new(status: u16, body: impl Serialize) -> anyhow::Result<Self> {
        Ok(Self {
            status,
            body: serde_json::to_value(body)?,
            headers: Vec::new(),
        })
    }

    /// A conflict is the guest's if the guest has named a version. The text of a fault is for the log.
    pub(crate) fn of_error(error: &anyhow::Error, has_precondition: bool) -> Self {
        let status = match status(error) {
            412 if !has_precondition => 503,
            status => status,
        };
        let text = match status {
            500 => "the hotel has a fault".to_owned(),
            503 => "try again, under the same key".to_owned(),
            412 => "the booking has changed: look at it again".to_owned(),
            _ => format!("{error:#}"),
        };
        if status == 500 {
            eprintln!("a request failed: {error:#}");
        }
        let retry_after = (status == 503).then(|| ("Retry-After", "1".to_owned()));
        Self {
            status,
            body: json!({ "error": text }),
            headers: retry_after.into_iter().collect(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn at_version(self, version: u64) -> Self {
        self.with("ETag", format!("\"{version}\""))
    }

    pub(crate) fn into_response(self) -> Response<Cursor<Vec<u8>>> {
        let headers = self.headers.into_iter();
        let headers = headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok());
        let response = Response::from_string(self.body.to_string()).with_status_code(self.status);
        headers.fold(response, Response::with_header)
    }
}

fn status(error: &anyhow::Error) -> u16 {
    if let Some(BadRequest(status, _)) = error.downcast_ref() {
        return *status;
    }
    match error.downcast_ref::<DecideError<Refusal>>() {
        Some(DecideError::Refused(Refusal::NoSuchRoom | Refusal::NoSuchBooking)) => 404,
        Some(DecideError::Refused(_)) => 409,
        Some(DecideError::Store(error)) => status_of_store(error),
        None => status_of_read(error),
    }
}

/// Reads of documents have an error of their own.
fn status_of_read(error: &anyhow::Error) -> u16 {
    match error.downcast_ref::<pongo::Error>() {
        Some(error) if error.is_retryable() || error.is_unavailable() => 503,
        _ => error.downcast_ref().map_or(500, status_of_store),
    }
}

fn status_of_store(error: &Error) -> u16 {
    match error {
        Error::InvalidInput { .. } | Error::Encode { .. } => 400,
        Error::StreamArchived { .. } => 410,
        Error::CommandKeyReused { .. } => 422,
        error if error.is_conflict() => 412,
        error if error.is_retryable() || error.is_unavailable() => 503,
        error if error.is_outcome_unknown() => 503,
        _ => 500,
    }
}
