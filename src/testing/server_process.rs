use super::{ServerError, directory::Directory, programs, server_settings::ServerSettings};
use crate::database::{RetryPolicy, retry};
use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, ChildStdout, Stdio},
};

const LOOK_FOR_ANOTHER_PORT: RetryPolicy = RetryPolicy::times(4);
const PORT_OF_SOCKET: u16 = 5432;
const LINES_OF_LOG: usize = 50;

/// A throwaway server, and the shell script that stops and removes it when this process ends.
#[derive(Debug)]
pub(super) struct ServerProcess {
    script: Child,
    replies: BufReader<ChildStdout>,
    directory: Directory,
    port: u16,
}

impl ServerProcess {
    pub(super) fn start(settings: &ServerSettings) -> Result<Self, ServerError> {
        retry(
            &LOOK_FOR_ANOTHER_PORT,
            |_| Self::start_once(settings),
            |started| started.as_ref().is_err_and(lost_its_port),
        )
    }

    fn start_once(settings: &ServerSettings) -> Result<Self, ServerError> {
        let programs = programs::find()?;
        let mut server_process =
            Self::launch(settings, &programs).map_err(system("create a throwaway server"))?;
        server_process.wait_until_ready()?;
        Ok(server_process)
    }

    fn launch(settings: &ServerSettings, programs: &Path) -> io::Result<Self> {
        let port = if settings.localhost {
            free_port()?
        } else {
            PORT_OF_SOCKET
        };
        let directory = Directory::create()?;
        settings.write_files(&directory, port)?;
        let mut script = run_script(programs, &directory)?;
        let replies = script
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no pipe"))?;
        let replies = BufReader::new(replies);
        Ok(Self {
            script,
            replies,
            directory,
            port,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn restart_immediately(&mut self) -> Result<(), ServerError> {
        if let Some(script) = &mut self.script.stdin {
            script
                .write_all(b"restart\n")
                .map_err(system("request a restart"))?;
        }
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let mut reply = String::new();
        self.replies
            .read_line(&mut reply)
            .map_err(system("read the output of PostgreSQL"))?;
        if reply == "ready\n" {
            return Ok(());
        }
        Err(ServerError::NotStarted {
            log: self.end_of_log(),
        })
    }

    fn end_of_log(&self) -> String {
        let log = fs::read(self.directory().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_OF_LOG)..].join("\n")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Waiting closes the script's standard input first, which makes it stop the server.
        drop(self.script.wait());
    }
}

fn run_script(programs: &Path, directory: &Directory) -> io::Result<Child> {
    directory
        .command("/bin/sh")
        .args(["-c", include_str!("server_process.sh"), "server_process"])
        .args([programs, directory.path()])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn lost_its_port(error: &ServerError) -> bool {
    matches!(error, ServerError::NotStarted { log } if log.contains("could not bind"))
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::System { attempt, source }
}
