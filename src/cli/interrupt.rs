//! What a signal means for a long command.

use super::output::Output;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Says on a signal what was left behind, and ends the process as the signal does by default.
pub(super) fn explain_interruption(left_behind: &'static str) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new()
        .name("emt:signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                Output::note(&format!("interrupted: {left_behind}"));
                let _ = emulate_default_handler(signal);
            }
        })?;
    Ok(())
}
