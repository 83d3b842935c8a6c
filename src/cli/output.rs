//! The output of the command line.

use anyhow::Result;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints results to standard output, and everything else to standard error.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { json: false }
    }

    /// Prints a result: the text, or the object with `--json`.
    pub(super) fn result(&mut self, text: &str, object: &Value) -> Result<()> {
        if self.json {
            writeln!(Stdout, "{object}")?;
        } else {
            writeln!(Stdout, "{text}")?;
        }
        Ok(())
    }

    /// Prints an object, only with `--json`.
    pub(super) fn object(&mut self, object: &Value) -> Result<()> {
        if self.json {
            self.result("", object)
        } else {
            Ok(())
        }
    }

    /// Prints text, only without `--json`.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        if self.json {
            Ok(())
        } else {
            self.result(text, &Value::Null)
        }
    }

    /// Returns standard output for long results. The caller has to flush it.
    pub(super) fn stdout() -> impl Write {
        io::BufWriter::new(Stdout)
    }

    /// Prints a note that is not a result.
    pub(super) fn note(text: &str) {
        // Ignores errors: a closed standard error cannot be reported anywhere.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints the error of a command, without arguments that may contain a password.
    pub(super) fn error(error: &anyhow::Error, arguments: &[OsString]) {
        Self::note(&without_secrets(format!("error: {error:#}"), arguments));
    }

    /// Prints the reason why the arguments were refused, or the help.
    pub(super) fn refusal(refusal: &clap::Error, arguments: &[OsString]) -> ExitCode {
        let code = ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        let text = without_secrets(refusal.render().to_string(), arguments);
        if refusal.use_stderr() {
            Self::note(text.trim_end());
        } else {
            let _ = Stdout.write_all(text.as_bytes());
        }
        code
    }
}

/// Returns the text without arguments that may contain a password: a whole argument, or the value of `--option=value`.
fn without_secrets(mut text: String, arguments: &[OsString]) -> String {
    for argument in arguments.iter().filter_map(|argument| argument.to_str()) {
        let value = argument
            .split_once('=')
            .map_or(argument, |(_, value)| value);
        for secret in [argument, value] {
            if may_hold_password(secret) {
                // The text may contain the secret verbatim, or quoted.
                let quoted = format!("{secret:?}");
                text = text.replace(secret, "<connection string>");
                text = text.replace(quoted.trim_matches('"'), "<connection string>");
            }
        }
    }
    text
}

fn may_hold_password(argument: &str) -> bool {
    argument.contains("://") || argument.contains("password")
}

/// Standard output that detects a closed reader. This ends a command, but is no failure.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(mark_reader_gone)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(mark_reader_gone)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has closed it")]
struct ReaderGone;

/// Marks the error, because a broken connection to the database has the same kind, and is a failure.
fn mark_reader_gone(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone)
    } else {
        error
    }
}

/// Returns whether a command ended because the reader of its output has closed it.
pub(super) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
        .any(<dyn std::error::Error + Send + Sync>::is::<ReaderGone>)
}
