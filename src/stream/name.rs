//! The names of streams.

use crate::error::{Error, Result};
use crate::message::check_text;

/// A stream's primary key has to fit an index entry of 2,704 bytes together with the partition's name.
const LONGEST_STREAM_NAME: usize = 2_000;

pub(crate) fn check_stream_name(stream: &str) -> Result<()> {
    check_text("the stream name", stream)?;
    if stream.len() > LONGEST_STREAM_NAME {
        let reason = format!(
            "must not be longer than {LONGEST_STREAM_NAME} bytes, has {}",
            stream.len()
        );
        return Err(Error::invalid("the stream name", reason));
    }
    Ok(())
}

/// The part of a stream's name before the first `-`; a name without one has no type, which Emmett calls `emt:unknown`.
pub(crate) fn stream_type(stream: &str) -> &str {
    match stream.split_once('-') {
        Some((kind, _)) if !kind.is_empty() => kind,
        _ => "emt:unknown",
    }
}
