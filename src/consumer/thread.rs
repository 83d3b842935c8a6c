//! Starting the threads of a consumer, and what a panic in one says.

use crate::error::{Error, Result};
use std::any::Any;
use std::thread::JoinHandle;

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // The operating system wants names without U+0000; Linux shows the first 15 bytes.
    let name = name.replace('\0', " ");
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|source| Error::Thread { source })
}

/// What a panic says.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default()
}
