//! Serializing values as compact JSON.

use super::JsonError;
use super::strict::{Finding, JsonbFormatter, Strict};
use serde::Serialize;

/// Serializes a value as compact JSON.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    let ((), json) =
        write_json(|serializer| value.serialize(serializer).map_err(JsonError::Serde))?;
    Ok(json)
}

/// The serializer of [`to_json`].
type JsonSerializer<'json, 'finding> =
    Strict<'finding, &'json mut serde_json::Serializer<Vec<u8>, JsonbFormatter<'finding>>>;

/// Passes `write` a serializer for one JSON value. Returns its result and the JSON.
pub(crate) fn write_json<R, E: From<JsonError>>(
    write: impl FnOnce(JsonSerializer<'_, '_>) -> Result<R, E>,
) -> Result<(R, Vec<u8>), E> {
    let finding = Finding::default();
    let formatter = JsonbFormatter::new(&finding);
    let mut json = serde_json::Serializer::with_formatter(Vec::with_capacity(128), formatter);

    let written = write(Strict::new(&mut json, &finding));

    // Checked even if `write` succeeded: a `Serialize` that swallows an error leaves half a value.
    match finding.to_error() {
        Some(error) => Err(error.into()),
        None => Ok((written?, json.into_inner())),
    }
}
