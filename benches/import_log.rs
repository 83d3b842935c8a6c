//! The content of the imported log.

/// Ten events a stream, in one batch.
pub(crate) const STREAMS: usize = 500;
pub(crate) const EVENTS: usize = 5_000;

pub(crate) const DATA: &str =
    r#"{"productId":"shoes-1","quantity":2,"price":99.99,"note":"wrap it as a present, please"}"#;

pub(crate) fn stream(number: usize) -> String {
    format!("ShoppingCart-{}", number % STREAMS)
}
