//! What the command line prints, and where.

use anyhow::Result;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Standard output for results, standard error for everything else.
pub(super) struct Output {
    pub(super) json: bool,
    stdout: io::Stdout,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            json: false,
            stdout: io::stdout(),
        }
    }

    /// Prints a result: the text for a person, or the object for a program.
    pub(super) fn result(&mut self, text: &str, object: &Value) -> Result<()> {
        let mut stdout = self.stdout.lock();
        if self.json {
            writeln!(stdout, "{object}")?;
        } else {
            writeln!(stdout, "{text}")?;
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

    pub(super) fn stdout(&mut self) -> io::BufWriter<io::StdoutLock<'static>> {
        io::BufWriter::new(self.stdout.lock())
    }

    /// A remark that is no result.
    pub(super) fn note(text: &str) {
        // Nobody can be told that standard error is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }

    pub(super) fn error(error: &anyhow::Error) {
        Self::note(&format!("error: {error:#}"));
    }

    /// Prints why the arguments were refused, or the help; never an argument that may hold a password.
    pub(super) fn refusal(&self, refusal: &clap::Error, arguments: &[OsString]) -> ExitCode {
        let code = ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        let mut text = refusal.render().to_string();
        for secret in arguments
            .iter()
            .filter_map(|argument| argument.to_str())
            .filter(|text| may_hold_password(text))
        {
            text = text.replace(secret, "<connection string>");
        }
        if refusal.use_stderr() {
            Self::note(text.trim_end());
        } else {
            let _ = self.stdout.lock().write_all(text.as_bytes());
        }
        code
    }
}

fn may_hold_password(argument: &str) -> bool {
    argument.contains("://") || argument.contains("password")
}

/// Whether whoever read our output has gone away, which ends a command but is no failure.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
