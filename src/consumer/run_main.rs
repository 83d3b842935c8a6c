//! A whole `main`: signals, exit codes, progress.

use super::builder::ConsumerBuilder;
use super::job::{RunProgress, RunUntil};
use super::stop::StopHandle;
use super::thread::spawn;
use crate::error::{Error, ProcessorError, RunEnd, RunReport, counted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FAILED: u8 = 1;
const WRONG_SETUP: u8 = 2;
/// As sendmail says it.
const TRY_AGAIN: u8 = 75;

/// How often a log is told how far a run is.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Runs a consumer as a whole program, for cron and Kubernetes: the `main` of a job, or of a service
/// ([`RunUntil::Stopped`]).
///
/// `set_up` opens the store and says what to run. SIGTERM and SIGINT stop the run cleanly: batches in hand are finished, and
/// the leases are given back. The second signal ends the process at once. It is safe to kill the process at any time: the next
/// run goes on after the last batch that was committed.
///
/// On a terminal there is a progress bar. A log gets one line a minute, with the last error that was survived. Both are on
/// standard error; what each processor has done is printed to standard output at the end.
///
/// | Exit code | Meaning |
/// |---|---|
/// | 0 | the end was reached, or the run was stopped on request |
/// | 1 | it failed: a handler, or the database for good |
/// | 2 | it was set up wrongly: an error of `set_up`, or of the processors' options |
/// | 75 | try again later: the database is not there, or another process runs one of the processors |
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
    let mut display = Progress::new(stderr().is_terminal(), LINE_EVERY, last_error);
    let outcome = builder.run_with_progress(until, &mut |progress| {
        if let Some(line) = display.show(&progress) {
            note(&line);
        }
    });
    display.clear();
    outcome
}

fn ended_by(error: &dyn Display, code: u8) -> ExitCode {
    note(&format_args!("error: {error}"));
    ExitCode::from(code)
}

/// Nobody can be told that standard error is closed.
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

/// The first signal stops the run, the next one ends the process as if nothing listened.
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
    // A closed standard output changes nothing: the work is done.
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
        let _ = writeln!(out, "stopped on request; the next run goes on here");
    }
}

/// The last error that was survived since it was shown.
#[derive(Clone, Default)]
struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    /// Hears of all errors of the processors, before their own hooks.
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

    fn take(&self) -> String {
        let error = self.0.lock().take();
        error.map_or_else(String::new, |error| format!("; last error: {error}"))
    }
}

/// Shows how far a run is: on a terminal by a bar, else by a line now and then.
struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    line_every: Duration,
    last_line: Instant,
    started: Instant,
    last_error: LastError,
}

impl Progress {
    fn new(is_terminal: bool, line_every: Duration, last_error: LastError) -> Self {
        let target = if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            is_terminal,
            line_every,
            last_line: Instant::now(),
            started: Instant::now(),
            last_error,
        }
    }

    /// Returns the line that a log shall get, if it is time for one.
    fn show(&mut self, progress: &RunProgress) -> Option<String> {
        if self.is_terminal {
            self.draw(progress);
            return None;
        }
        if self.last_line.elapsed() < self.line_every {
            return None;
        }
        self.last_line = Instant::now();
        Some(format!(
            "{}{}",
            self.words(progress),
            self.last_error.take()
        ))
    }

    fn draw(&self, progress: &RunProgress) {
        if let (Some(target), None) = (progress.target, self.bar.length())
            && let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}%  {msg}")
        {
            self.bar.set_style(style);
            self.bar.set_length(target);
        }
        self.bar.set_position(progress.position);
        self.bar.set_message(self.words(progress));
        let error = self.last_error.take();
        if !error.is_empty() {
            self.bar.println(error.trim_start_matches("; "));
        }
    }

    fn words(&self, progress: &RunProgress) -> String {
        let seconds = self.started.elapsed().as_secs().max(1);
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

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{LastError, Progress};
    use crate::consumer::job::RunProgress;
    use std::time::Duration;

    const PROGRESS: RunProgress = RunProgress {
        handled: 7,
        position: 40,
        target: Some(100),
    };

    #[test]
    fn a_log_gets_a_line_with_the_last_error_when_it_is_time() {
        let last_error = LastError::default();
        let mut progress = Progress::new(false, Duration::ZERO, last_error.clone());
        *last_error.0.lock() = Some("no connection".to_owned());

        let first = progress.show(&PROGRESS).expect("it is time");
        assert!(
            first.starts_with("7 messages handled, at position 40 of 100, "),
            "{first}"
        );
        assert!(first.ends_with("/s; last error: no connection"), "{first}");
        let second = progress.show(&PROGRESS).expect("it is time");
        assert!(second.ends_with("/s"), "an error is shown once: {second}");
    }

    #[test]
    fn a_log_gets_no_line_before_it_is_time_and_none_beside_a_bar() {
        let mut progress = Progress::new(false, Duration::from_secs(600), LastError::default());
        assert_eq!(progress.show(&PROGRESS), None);
        let mut progress = Progress::new(true, Duration::ZERO, LastError::default());
        assert_eq!(progress.show(&PROGRESS), None);
    }
}
