//! Reports the progress of long work on standard error: a bar on a terminal, a line a minute in a log.

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Interval between lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Progress {
    bar: ProgressBar,
    log: Option<Log>,
    /// Time and position of the first report.
    began: Option<(Instant, u64)>,
}

struct Log {
    line_every: Duration,
    last_line: Instant,
    /// Appended to the next line.
    remark: Option<String>,
}

impl Progress {
    pub(crate) fn on_stderr() -> Self {
        if stderr().is_terminal() {
            Self::on_terminal(ProgressDrawTarget::stderr())
        } else {
            Self::in_log(LINE_EVERY)
        }
    }

    fn on_terminal(target: ProgressDrawTarget) -> Self {
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            log: None,
            began: None,
        }
    }

    fn in_log(line_every: Duration) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            log: Some(Log {
                line_every,
                last_line: Instant::now(),
                remark: None,
            }),
            began: None,
        }
    }

    /// Shows that the work has reached `position`, of `end` if the end is known.
    pub(crate) fn show(&mut self, position: u64, end: Option<u64>, words: &dyn Display) {
        if let Some(line) = self.draw(position, end, words) {
            note(&line);
        }
    }

    /// Draws the bar, or returns the line for the log if one is due.
    fn draw(&mut self, position: u64, end: Option<u64>, words: &dyn Display) -> Option<String> {
        let left = self.left(position, end);
        let text = || format!("{words}{left}");
        let Some(log) = &mut self.log else {
            draw_bar(&self.bar, position, end, text());
            return None;
        };
        if log.last_line.elapsed() < log.line_every {
            return None;
        }
        log.last_line = Instant::now();
        let remark = log.remark.take();
        let remark = remark.map_or_else(String::new, |remark| format!("; {remark}"));
        Some(format!("{}{remark}", text()))
    }

    /// Returns the estimated time to the end, at the average speed so far.
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate; positions fit 52 bits but for a last digit"
    )]
    fn left(&mut self, position: u64, end: Option<u64>) -> String {
        let &mut (started, first) = self.began.get_or_insert((Instant::now(), position));
        let done = position.saturating_sub(first);
        match end {
            Some(end) if done > 0 && position < end => {
                let share = (end - position) as f64 / done as f64;
                let left = started.elapsed().as_secs_f64() * share;
                match Duration::try_from_secs_f64(left) {
                    Ok(left) => format!(", {} left", HumanDuration(left)),
                    Err(_) => String::new(),
                }
            }
            _ => String::new(),
        }
    }

    /// Shows a remark: at once on a terminal, at the end of the next line in a log.
    #[cfg(feature = "job")]
    pub(crate) fn remark(&mut self, text: String) {
        match &mut self.log {
            Some(log) => log.remark = Some(text),
            None => self.bar.println(text),
        }
    }

    /// Removes the bar from the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn draw_bar(bar: &ProgressBar, position: u64, end: Option<u64>, text: String) {
    if let (Some(end), known) = (end, bar.length()) {
        if known.is_none()
            && let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}%  {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_length(end);
    }
    bar.set_position(position);
    bar.set_message(text);
}

/// Ignores errors: a closed standard error cannot be reported anywhere.
fn note(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::Progress;
    use indicatif::ProgressDrawTarget;
    use std::time::{Duration, Instant};

    #[test]
    fn a_log_gets_a_line_with_the_last_remark_when_it_is_time() {
        let mut progress = Progress::in_log(Duration::ZERO);
        let first = progress.draw(40, Some(100), &"7 messages");
        assert_eq!(first.as_deref(), Some("7 messages"));
        #[cfg(feature = "job")]
        {
            progress.remark("last error: no pool".to_owned());
            progress.remark("last error: no connection".to_owned());
            let second = progress.draw(40, Some(100), &"8 messages");
            assert_eq!(
                second.as_deref(),
                Some("8 messages; last error: no connection")
            );
        }
        let third = progress.draw(40, Some(100), &"9 messages");
        assert_eq!(
            third.as_deref(),
            Some("9 messages"),
            "a remark is shown once"
        );
    }

    #[test]
    fn a_log_gets_no_line_before_it_is_time_and_none_beside_a_bar() {
        let mut log = Progress::in_log(Duration::from_secs(600));
        assert_eq!(log.draw(1, None, &"1 message"), None);
        let mut terminal = Progress::on_terminal(ProgressDrawTarget::hidden());
        assert_eq!(terminal.draw(1, Some(2), &"1 message"), None);
        assert_eq!(terminal.bar.length(), Some(2));
        assert_eq!(terminal.bar.position(), 1);
    }

    #[test]
    fn the_time_left_follows_from_the_speed_since_the_first_look() {
        let mut progress = Progress::in_log(Duration::ZERO);
        let began = Instant::now().checked_sub(Duration::from_secs(600));
        progress.began = began.map(|began| (began, 500));
        // 100 of 400 positions in ten minutes.
        let line = progress.draw(600, Some(900), &"100 events");
        assert_eq!(line.as_deref(), Some("100 events, 30 minutes left"));
        let at_end = progress.draw(900, Some(900), &"400 events");
        assert_eq!(at_end.as_deref(), Some("400 events"));
        let endless = progress.draw(901, None, &"401 events");
        assert_eq!(endless.as_deref(), Some("401 events"));
    }
}
