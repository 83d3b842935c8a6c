//! Commands whose output has no reader any more, or whose database disappears.

use super::process::{Run, TestFile, command, run_on};
use crate::support::store;
use emmett_postgresql::{EventStore, operations::ImportOptions};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};

/// More than a pipe holds.
fn fill(store: &EventStore) -> anyhow::Result<()> {
    let line = |number: u64| {
        format!(
            "{{\"streamName\":\"Case-1\",\"type\":\"Noted\",\"data\":{{\"text\":\"{number:0>200}\"}}}}\n"
        )
    };
    let log: String = (0..3_000).map(line).collect();
    store.import(log.as_bytes(), ImportOptions::new())?;
    Ok(())
}

fn outcome(child: Child) -> anyhow::Result<Run> {
    let output = child.wait_with_output()?;
    Ok(Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

#[test]
fn a_reader_who_has_seen_enough_ends_the_command_quietly() -> anyhow::Result<()> {
    let (database, store) = store()?;
    fill(&store)?;

    for arguments in [
        &["export"][..],
        &["stream", "Case-1"],
        &["stream", "Case-1", "--json"],
    ] {
        let mut command = command(arguments);
        command.args(["--connection-string", database.url()]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().expect("a pipe")).read_line(&mut first)?;
        let run = outcome(child)?;

        assert!(first.contains("Case-1") || first.contains("000"), "{first}");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() -> anyhow::Result<()> {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return Ok(());
    }
    let (database, store) = store()?;
    fill(&store)?;

    for arguments in [
        &["export"][..],
        &["stream", "Case-1"],
        &["tenants", "add", "acme"],
        &["migrate", "status"],
        &["migrate", "sql", "--print"],
    ] {
        let mut command = command(arguments);
        command.args(["--connection-string", database.url()]);
        let stdout = File::options().write(true).open(full)?;
        let run = outcome(command.stdout(stdout).stderr(Stdio::piped()).spawn()?)?;

        assert_eq!(run.code, 1, "{arguments:?}");
        assert!(
            run.stderr.contains("No space left on device"),
            "{arguments:?}: {}",
            run.stderr
        );
    }
    let run = run_on(&database, &["export", "/dev/full"])?;
    assert_eq!(run.code, 1, "{run:?}");
    Ok(())
}

/// Passes a connection on to a server's socket, until the client ends it or has sent so many bytes.
fn break_after(limit: usize, listener: &UnixListener, server: &Path) -> io::Result<()> {
    let (mut client, _) = listener.accept()?;
    let mut upstream = UnixStream::connect(server)?;
    let (mut answers, mut to_client) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || io::copy(&mut answers, &mut to_client));
        let mut buffer = [0; 1 << 14];
        let mut sent = 0;
        while sent < limit {
            let read = client.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            upstream.write_all(&buffer[..read])?;
            sent += read;
        }
        upstream.shutdown(std::net::Shutdown::Both)?;
        client.shutdown(std::net::Shutdown::Both)?;
        drop(answering.join());
        Ok(())
    })
}

#[test]
fn a_database_that_goes_away_in_the_middle_is_a_failure() -> anyhow::Result<()> {
    let server = emmett_postgresql::testing::Server::start()?;
    let url = server.url("postgres");
    EventStore::open(&url)?;
    let config: postgres::Config = url.parse()?;
    let [postgres::config::Host::Unix(directory)] = config.get_hosts() else {
        panic!("{url}")
    };
    let own = TestFile::directory("socket")?;
    let listener = UnixListener::bind(own.path().join(".s.PGSQL.5432"))?;
    let text = "x".repeat(100_000);
    let line = format!(
        "{{\"streamName\":\"Case-1\",\"type\":\"Noted\",\"data\":{{\"text\":\"{text}\"}}}}\n"
    );
    let log = TestFile::new("large.jsonl", &line.repeat(100))?;

    let through = format!(
        "host={} port=5432 user=postgres dbname=postgres",
        own.name()
    );
    let mut command = command(&["import", log.name(), "--connection-string", &through]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let socket = directory.join(".s.PGSQL.5432");
    // The first connection only tries whether there is a server.
    break_after(usize::MAX, &listener, &socket)?;
    let run = std::thread::scope(|scope| {
        scope.spawn(|| drop(break_after(3_000_000, &listener, &socket)));
        outcome(child)
    })?;

    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains("importing"), "{}", run.stderr);
    Ok(())
}
