//! A complete `main`: signals, exit codes, progress.

use super::builder::ConsumerBuilder;
use super::job::{RunProgress, RunUntil};
use super::stop::StopHandle;
use super::thread::spawn;
use crate::error::{Error, ProcessorError, RunEnd, RunReport, counted};
use crate::progress::Progress;
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const FAILED: u8 = 1;
const WRONG_SETUP: u8 = 2;
/// `EX_TEMPFAIL` of `sysexits.h`.
const TRY_AGAIN: u8 = 75;

/// Runs a consumer as a complete program, for cron and Kubernetes: the `main` of a job, or of a service
/// ([`RunUntil::Stopped`]).
///
/// `set_up` opens the store and returns the consumer and its end. SIGTERM and SIGINT stop the run cleanly: running
/// batches are finished, and the leases are released. A second signal ends the process at once. The process can be
/// killed safely at any time: the next run resumes after the last committed batch.
///
/// A terminal shows a progress bar. A log gets one line a minute, with the last non-fatal error. Both are written to
/// standard error. At the end, the result of each processor is printed to standard output.
///
/// | Exit code | Meaning |
/// |---|---|
/// | 0 | the run reached its end, or was stopped on request |
/// | 1 | a handler failed, or the database failed permanently |
/// | 2 | wrong configuration: an error of `set_up`, or of the processors' options |
/// | 75 | temporary failure: the database is unreachable, or another process runs one of the processors; retry later |
///
/// ```no_run
/// use emmett_postgresql::{EventStore, RawEvent, Reactor, Recorded, RunUntil, run_main};
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     run_main(RunUntil::CaughtUp, || {
///         let store = EventStore::open(&std::env::var("EMMETT_DATABASE_URL")?)?;
///         let audit = Reactor::new("audit").each(|message: &Recorded<RawEvent>, _| {
///             println!("{} {}", message.global_position, message.message_type);
///             Ok(())
///         });
///         Ok(store.consumer().reactor(audit))
///     })
/// }
/// ```
pub fn run_main(
    until: RunUntil,
    set_up: impl FnOnce() -> anyhow::Result<ConsumerBuilder>,
) -> ExitCode {
    let signals = StopHandle::new();
    let set_up = stop_on_signals(&signals).and_then(|()| set_up());
    let builder = match set_up {
        Ok(builder) => builder,
        Err(error) => return ended_by(&format_args!("{error:#}"), setup_code(&error)),
    };
    match run(builder, until, &signals) {
        Ok(report) => {
            print_report(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = error_code(&error);
            if let Error::Processor(ProcessorError::JobFailed { report, .. }) = &error {
                print_report(report);
            }
            ended_by(&format_args!("{:#}", anyhow::Error::from(error)), code)
        }
    }
}

fn run(
    mut builder: ConsumerBuilder,
    until: RunUntil,
    signals: &StopHandle,
) -> Result<RunReport, Error> {
    builder.stop = StopHandle::child_of(&[&builder.stop, signals]);
    let last_error = LastError::default();
    last_error.listen(&mut builder);
    let (mut display, started) = (Progress::on_stderr(), Instant::now());
    let outcome = builder.run_with_progress(until, &mut |progress| {
        if let Some(error) = last_error.take() {
            display.remark(format!("last error: {error}"));
        }
        let words = words(&progress, started);
        display.show(progress.position, progress.target, &words);
    });
    display.clear();
    outcome
}

fn ended_by(error: &dyn Display, code: u8) -> ExitCode {
    note(&format_args!("error: {error}"));
    ExitCode::from(code)
}

/// Ignores errors: a closed standard error cannot be reported anywhere.
fn note(line: &dyn Display) {
    let _ = writeln!(stderr(), "{line}");
}

fn setup_code(error: &anyhow::Error) -> u8 {
    let is_passing = |error: &Error| error.is_retryable() || error.is_unavailable();
    let mut ours = error.chain().filter_map(|cause| cause.downcast_ref());
    if ours.any(is_passing) {
        TRY_AGAIN
    } else {
        WRONG_SETUP
    }
}

fn error_code(error: &Error) -> u8 {
    match error {
        Error::Processor(ProcessorError::Busy { .. }) => TRY_AGAIN,
        Error::Processor(ProcessorError::JobFailed { source, .. }) => {
            match source.downcast_ref::<Error>() {
                Some(cause) if cause.is_retryable() || cause.is_unavailable() => TRY_AGAIN,
                _ => FAILED,
            }
        }
        Error::InvalidInput { .. } => WRONG_SETUP,
        error if error.is_retryable() || error.is_unavailable() => TRY_AGAIN,
        _ => FAILED,
    }
}

/// The first signal stops the run. The next one ends the process, as if no handler were installed.
fn stop_on_signals(stop: &StopHandle) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    spawn("emt:signals", move || {
        for signal in signals.forever() {
            if stop.is_stopped() {
                let _ = emulate_default_handler(signal);
            }
            stop.stop();
        }
    })?;
    Ok(())
}

fn print_report(report: &RunReport) {
    // A closed standard output is no error, because the work is done.
    let mut out = stdout();
    for processor in &report.processors {
        let _ = writeln!(
            out,
            "{}: {} handled in {:.1?}, now at position {}",
            processor.name,
            counted(processor.handled, "message"),
            report.duration,
            processor.position
        );
    }
    if report.end == RunEnd::Stopped {
        let _ = writeln!(out, "stopped on request; the next run resumes here");
    }
}

/// The last non-fatal error that was not shown yet.
#[derive(Clone, Default)]
struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    /// Receives all errors of the processors, before their own hooks.
    fn listen(&self, builder: &mut ConsumerBuilder) {
        for processor in &mut builder.processors {
            let (last, own) = (self.clone(), processor.options.on_error.take());
            processor.options.on_error = Some(Box::new(move |error| {
                *last.0.lock() = Some(error.to_string());
                if let Some(own) = &own {
                    own(error);
                }
            }));
        }
    }

    fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

fn words(progress: &RunProgress, started: Instant) -> String {
    let seconds = started.elapsed().as_secs().max(1);
    let target = progress
        .target
        .map_or_else(String::new, |target| format!(" of {target}"));
    format!(
        "{} handled, at position {}{target}, {}/s",
        counted(progress.handled, "message"),
        progress.position,
        progress.handled / seconds
    )
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::consumer::job::RunProgress;
    use std::time::Instant;

    #[test]
    fn a_line_says_how_much_was_handled_and_how_far_that_is() {
        let mut progress = RunProgress {
            handled: 7,
            position: 40,
            target: Some(100),
        };
        let first = words(&progress, Instant::now());
        assert_eq!(first, "7 messages handled, at position 40 of 100, 7/s");
        progress.target = None;
        let endless = words(&progress, Instant::now());
        assert_eq!(endless, "7 messages handled, at position 40, 7/s");
    }
}
