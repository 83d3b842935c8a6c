//! Panics in user code, as errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The payload of the unwinding by which a specification ends a process. It passes through [`caught`], so that nothing is
/// done that a process which has ended could not do.
pub(crate) struct ProcessEnd;

/// Runs code that may panic. The error names the code and contains the panic's message.
pub(crate) fn caught<T>(who: &str, run: impl FnOnce() -> T) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        if panic.is::<ProcessEnd>() {
            resume_unwind(panic);
        }
        anyhow::anyhow!("{who} panicked: {}", text(&*panic))
    })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default()
}
