//! Signals during a long command.

use super::output::Output;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// On a signal, prints the state that is left, and ends the process as the signal does by default.
pub(super) fn explain_interruption(state: &'static str) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new()
        .name("emt:signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                Output::note(&format!("interrupted: {state}"));
                let _ = emulate_default_handler(signal);
            }
        })?;
    Ok(())
}
