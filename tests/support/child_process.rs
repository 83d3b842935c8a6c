//! Programs in child processes, which can be stopped and killed: this test binary, started again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A process that runs one test, which does nothing where it is not started so; killed when it is dropped.
pub(crate) struct ChildProcess {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl ChildProcess {
    /// Starts a test with these variables in its environment, and waits until it says that it has started.
    pub(crate) fn start(test: &str, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", test, "--nocapture"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut child = Self { process, output };
        child.wait_for("started")?;
        Ok(child)
    }

    /// Reads what it says, until it says this.
    pub(crate) fn wait_for(&mut self, said: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        while !line.trim_end().ends_with(said) {
            line.clear();
            anyhow::ensure!(
                self.output.read_line(&mut line)? > 0,
                "the child ended before it said {said}"
            );
        }
        Ok(())
    }

    /// Reads the next line that it says.
    pub(crate) fn next_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(
            self.output.read_line(&mut line)? > 0,
            "the child ended before it said anything more"
        );
        Ok(line.trim_end().to_owned())
    }

    /// Says something to it.
    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.process.stdin.as_mut();
        Ok(writeln!(input.expect("its input is open"), "{line}")?)
    }

    /// Sends a signal, STOP or CONT.
    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.process.id().to_string()])
            .status()?;
        anyhow::ensure!(sent.success(), "kill -{signal} failed");
        Ok(())
    }

    /// Closes its standard input, which ends it, or lets its handler go on.
    pub(crate) fn end_input(&mut self) {
        drop(self.process.stdin.take());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.wait()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
