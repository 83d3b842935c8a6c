//! The names of streams.

use crate::database::check_key;
use crate::error::Result;

pub(crate) fn check_stream_name(stream: &str) -> Result<()> {
    Ok(check_key("the stream name", stream)?)
}

/// Returns the part of a stream's name before the first `-`. A name without a `-` has no type, which Emmett calls
/// `emt:unknown`.
pub(crate) fn stream_type(stream: &str) -> &str {
    match stream.split_once('-') {
        Some((kind, _)) if !kind.is_empty() => kind,
        _ => "emt:unknown",
    }
}
