//! Running `emmett`.

use emmett_postgresql::testing::Database;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the command gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The one JSON object on standard output.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        let objects = self.objects()?;
        anyhow::ensure!(objects.len() == 1, "not one object: {self:?}");
        Ok(objects.into_iter().next().unwrap_or_default())
    }

    /// The JSON objects, one a line.
    pub(crate) fn objects(&self) -> serde_json::Result<Vec<Value>> {
        self.stdout.lines().map(serde_json::from_str).collect()
    }
}

/// The command with these arguments, and without a database in its environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emmett"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG") || text == "EMMETT_DATABASE_URL" {
            command.env_remove(&name);
        }
    }
    command
}

pub(crate) fn finish(command: &mut Command) -> anyhow::Result<Run> {
    let output = command.output()?;
    Ok(Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<Run> {
    finish(&mut command(arguments))
}

/// Runs the command on a database.
pub(crate) fn run_on(database: &Database, arguments: &[&str]) -> anyhow::Result<Run> {
    finish(command(arguments).args(["--connection-string", database.url()]))
}

/// Runs the command on a database and returns what it printed; it has to succeed and to print no complaint.
pub(crate) fn succeed(database: &Database, arguments: &[&str]) -> anyhow::Result<String> {
    let run = run_on(database, arguments)?;
    anyhow::ensure!(
        run.code == 0 && run.stderr.is_empty(),
        "{arguments:?}: {run:?}"
    );
    Ok(run.stdout)
}

/// A file or directory that is removed with this value.
pub(crate) struct TestFile(PathBuf);

impl TestFile {
    pub(crate) fn new(name: &str, content: &str) -> anyhow::Result<Self> {
        let file = Self::at(name);
        std::fs::write(&file.0, content)?;
        Ok(file)
    }

    pub(crate) fn directory(name: &str) -> anyhow::Result<Self> {
        let directory = Self::at(name);
        std::fs::create_dir(&directory.0)?;
        Ok(directory)
    }

    fn at(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("emmett-cli-{}-{name}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn name(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
        drop(std::fs::remove_dir_all(&self.0));
    }
}
