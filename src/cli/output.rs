//! What the command line prints, and where.

use anyhow::Result;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Standard output for results, standard error for everything else.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { json: false }
    }

    /// Prints a result: the text for a person, or the object for a program.
    pub(super) fn result(&mut self, text: &str, object: &Value) -> Result<()> {
        if self.json {
            writeln!(Stdout, "{object}")?;
        } else {
            writeln!(Stdout, "{text}")?;
        }
        Ok(())
    }

    /// Prints an object, if a program listens.
    pub(super) fn object(&mut self, object: &Value) -> Result<()> {
        if self.json {
            self.result("", object)
        } else {
            Ok(())
        }
    }

    /// Prints text, if a person reads.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        if self.json {
            Ok(())
        } else {
            self.result(text, &Value::Null)
        }
    }

    /// For long results. Has to be flushed.
    pub(super) fn stdout() -> impl Write {
        io::BufWriter::new(Stdout)
    }

    /// A remark that is no result.
    pub(super) fn note(text: &str) {
        // Nobody can be told that standard error is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints why a command failed; never an argument that may hold a password.
    pub(super) fn error(error: &anyhow::Error, arguments: &[OsString]) {
        Self::note(&without_secrets(format!("error: {error:#}"), arguments));
    }

    /// Prints why the arguments were refused, or the help.
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

/// The text without the arguments that may hold a password: whole, or the value of `--option=value`.
fn without_secrets(mut text: String, arguments: &[OsString]) -> String {
    for argument in arguments.iter().filter_map(|argument| argument.to_str()) {
        let value = argument
            .split_once('=')
            .map_or(argument, |(_, value)| value);
        for secret in [argument, value] {
            if may_hold_password(secret) {
                // As it is, and as it stands in quotes.
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

/// Standard output, which tells apart that its reader has gone: that ends a command, but is no failure.
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
#[error("nobody reads the output any more")]
struct ReaderGone;

/// A connection to the database breaks with the same kind of error, and that is a failure.
fn mark_reader_gone(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone)
    } else {
        error
    }
}

/// Whether a command ended because whoever read its output has gone away.
pub(super) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
        .any(<dyn std::error::Error + Send + Sync>::is::<ReaderGone>)
}
