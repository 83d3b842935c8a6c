//! Starting the threads of a consumer.

use crate::error::{Error, Result};
use std::thread::JoinHandle;

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // The operating system wants names without U+0000; Linux shows the first 15 bytes.
    let name = name.replace('\0', " ");
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|source| Error::Thread { source })
}
