//! An import whose process is killed resumes exactly where it stopped.

use super::logs::{assert_streams_are_whole, numbers, plain_log};
use crate::support::{store, wait_until};
use emmett_postgresql::testing::Database;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

/// `emmett import -` in batches of 10, which reads what the test writes.
fn importer(database: &Database) -> anyhow::Result<(Child, ChildStdin)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emmett"));
    command.args([
        "import",
        "-",
        "--batch-size",
        "10",
        "--connection-string",
        database.url(),
    ]);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn()?;
    let input = child.stdin.take().expect("a pipe");
    Ok((child, input))
}

/// Imports the whole log with another process and returns what that says.
fn import_rest(database: &Database, log: &str) -> anyhow::Result<String> {
    let (child, mut input) = importer(database)?;
    input.write_all(log.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn killed_between_two_batches_it_goes_on() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let log = plain_log(1..=100);

    let (mut child, mut input) = importer(&database)?;
    input.write_all(plain_log(1..=37).as_bytes())?;
    input.flush()?;
    wait_until("three batches are stored", || {
        numbers(&store).is_ok_and(|stored| stored.len() == 30)
    });
    child.kill()?;
    child.wait()?;
    let said = import_rest(&database, &log)?;

    assert_eq!(
        said,
        "imported 70 events from 100 lines; 30 lines already imported\n"
    );
    assert_eq!(numbers(&store)?, (1..=100).collect::<Vec<_>>());
    assert_streams_are_whole(&store)
}

#[test]
fn killed_in_the_middle_of_a_batch_it_leaves_nothing_of_it() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let log = plain_log(1..=100);
    let mut client = database.client()?;

    let (mut child, mut input) = importer(&database)?;
    input.write_all(plain_log(1..=20).as_bytes())?;
    wait_until("two batches are stored", || {
        numbers(&store).is_ok_and(|stored| stored.len() == 20)
    });
    let mut holder = client.transaction()?;
    holder.batch_execute("LOCK TABLE emt_messages_emt_default_active IN SHARE MODE")?;
    input.write_all(plain_log(21..=30).as_bytes())?;
    let mut watcher = database.client()?;
    wait_until("the third batch has noted its progress and waits", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ 'COPY'";
        watcher
            .query_one(waiting, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 1)
    });
    child.kill()?;
    child.wait()?;
    holder.commit()?;
    let said = import_rest(&database, &log)?;

    assert_eq!(
        said,
        "imported 80 events from 100 lines; 20 lines already imported\n"
    );
    assert_eq!(numbers(&store)?, (1..=100).collect::<Vec<_>>());
    assert_streams_are_whole(&store)
}

#[test]
fn killed_again_and_again_it_ends_with_every_line_once() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let log = plain_log(1..=60);

    for stored in [10, 20, 30, 40, 50] {
        let (mut child, mut input) = importer(&database)?;
        input.write_all(plain_log(1..=stored + 5).as_bytes())?;
        wait_until("one more batch is stored", || {
            numbers(&store).is_ok_and(|numbers| numbers.len() as u64 == stored)
        });
        child.kill()?;
        child.wait()?;
    }
    import_rest(&database, &log)?;

    assert_eq!(numbers(&store)?, (1..=60).collect::<Vec<_>>());
    assert_streams_are_whole(&store)
}
