//! The command line: what it prints, and with which exit code it ends.

use crate::support::{added, database, store};
use emmett_postgresql::testing::{Database, Server};
use serde_json::Value;
use std::io::Read;
use std::process::{Command, Output, Stdio};

fn emmett(database: &Database, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emmett"))
        .args(arguments)
        .env("EMMETT_DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json_lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn migrations_run_print_and_tell_their_state() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;

    let missing = emmett(&database, &["migrate", "status"]);
    let dry = emmett(&database, &["migrate", "run", "--dry-run"]);
    let still_missing = emmett(&database, &["migrate", "status", "--json"]);
    let run = emmett(&database, &["migrate", "run"]);
    let again = emmett(&database, &["migrate", "run", "--json"]);
    let current = emmett(&database, &["migrate", "status"]);
    let sql = emmett(
        &database,
        &["migrate", "sql", "--print", "--schema", "my schema"],
    );

    assert_eq!(missing.status.code(), Some(3), "{}", printed(&missing));
    assert!(printed(&dry).contains("would apply: schema"));
    assert_eq!(json_lines(&still_missing)[0]["state"], "missing");
    assert!(run.status.success() && printed(&run).contains("applied: schema"));
    assert_eq!(json_lines(&again)[0]["skipped"][0], "schema");
    assert_eq!(current.status.code(), Some(0));
    assert!(printed(&sql).contains("CREATE TABLE IF NOT EXISTS \"my schema\".emt_messages"));
    Ok(())
}

#[test]
fn every_spelling_of_the_connection_string_is_taken() -> anyhow::Result<()> {
    let database = database();

    for arguments in [
        ["migrate", "status", "--connection-string", database.url()],
        ["migrate", "status", "--connectionString", database.url()],
        ["--connection-string", database.url(), "migrate", "status"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_emmett"))
            .args(arguments)
            .env_remove("EMMETT_DATABASE_URL")
            .output()?;
        assert!(output.status.success(), "{}", printed(&output));
    }
    let none = Command::new(env!("CARGO_BIN_EXE_emmett"))
        .arg("tenants")
        .env_remove("EMMETT_DATABASE_URL")
        .output()?;
    assert_eq!(none.status.code(), Some(1));
    assert!(printed(&none).contains("--connection-string"));
    Ok(())
}

#[test]
fn streams_are_printed_for_people_and_for_programs() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[added("hat", 1), added("shoe", 2), added("shirt", 3)],
    )?;

    let people = emmett(&database, &["stream", "Cart-1"]);
    let programs = emmett(
        &database,
        &["stream", "Cart-1", "--json", "--from", "2", "--backwards"],
    );
    let missing = emmett(&database, &["stream", "Cart-2"]);
    store.archive_stream("Cart-1")?;
    let archived = emmett(&database, &["stream", "Cart-1"]);
    let included = emmett(
        &database,
        &[
            "stream",
            "Cart-1",
            "--include-archived",
            "--max-count",
            "1",
            "--json",
        ],
    );

    assert!(printed(&people).contains("is at version 3") && printed(&people).contains("\"hat\""));
    let versions: Vec<_> = json_lines(&programs)
        .iter()
        .map(|event| event["streamPosition"].as_u64())
        .collect();
    assert_eq!(versions, [Some(3), Some(2)]);
    assert_eq!(
        (missing.status.code(), archived.status.code()),
        (Some(1), Some(1))
    );
    assert!(printed(&missing).contains("there is no stream \"Cart-2\""));
    assert_eq!(json_lines(&included)[0]["data"]["productId"], "hat");
    Ok(())
}

#[test]
fn tenants_are_added_listed_and_removed_when_asked_twice() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let none = emmett(&database, &["tenants"]);
    let added_one = emmett(&database, &["tenants", "add", "acme"]);
    store
        .tenant("acme")?
        .append_to_stream("Cart-1", &[added("a", 1)])?;

    let listed = emmett(&database, &["tenants", "list", "--json"]);
    let asked = emmett(&database, &["tenants", "remove", "acme"]);
    let seen = emmett(&database, &["--tenant", "acme", "stream", "Cart-1"]);
    let removed = emmett(&database, &["tenants", "remove", "acme", "--with-all-data"]);
    let gone = emmett(&database, &["--tenant", "acme", "stream", "Cart-1"]);

    assert!(
        printed(&none).contains("no tenants")
            && printed(&added_one).contains("added tenant \"acme\"")
    );
    assert_eq!(json_lines(&listed)[0]["name"], "acme");
    assert_eq!(asked.status.code(), Some(1));
    assert!(
        printed(&asked).contains("1 streams with 1 messages")
            && printed(&asked).contains("--with-all-data")
    );
    assert!(seen.status.success() && removed.status.success());
    assert!(printed(&gone).contains("there is no tenant \"acme\""));
    Ok(())
}

#[test]
fn logs_go_in_and_out() -> anyhow::Result<()> {
    let database = database();
    let file = std::env::temp_dir().join(format!("{}.jsonl", database.name()));
    let line = r#"{"streamName":"Cart-1","type":"X","data":{"a":1}}"#;
    std::fs::write(&file, format!("{line}\n{line}\n"))?;
    let path = file.to_str().expect("a path");

    let imported = emmett(&database, &["import", path]);
    let again = emmett(&database, &["import", path, "--json"]);
    let exported = emmett(&database, &["export"]);
    let rest = emmett(&database, &["export", "--after", "1"]);
    let to_file = emmett(&database, &["export", path]);
    std::fs::write(&file, format!("{line}\nnot JSON\n"))?;
    let bad = emmett(&database, &["import", path, "--name", "bad"]);
    let missing = emmett(&database, &["import", "/does/not/exist"]);
    std::fs::remove_file(&file)?;

    assert!(
        printed(&imported).contains("imported 2 events from 2 lines"),
        "{}",
        printed(&imported)
    );
    assert_eq!(
        (
            json_lines(&again)[0]["imported"].as_u64(),
            json_lines(&again)[0]["skipped"].as_u64()
        ),
        (Some(0), Some(2))
    );
    assert_eq!(
        (json_lines(&exported).len(), json_lines(&rest).len()),
        (2, 1)
    );
    assert!(printed(&to_file).contains("exported 2 events"));
    assert_eq!(bad.status.code(), Some(1));
    assert!(printed(&bad).contains("line 2"), "{}", printed(&bad));
    assert!(printed(&missing).contains("/does/not/exist"));
    Ok(())
}

#[test]
fn wrong_arguments_end_with_two_and_help_with_zero() {
    let database = database();

    for wrong in [
        &["nonsense"][..],
        &[],
        &["import"],
        &["migrate", "sql"],
        &["import", "-", "--batch-size", "0"],
        &["stream", "x", "--from", "-1"],
    ] {
        assert_eq!(emmett(&database, wrong).status.code(), Some(2), "{wrong:?}");
    }
    for help in [
        &["--help"][..],
        &["help", "import"],
        &["--version"],
        &["migrate", "run", "--help"],
    ] {
        assert!(emmett(&database, help).status.success(), "{help:?}");
    }
}

#[test]
fn no_password_is_ever_printed() {
    let database = database();
    let secret = "topsecret";
    let url = format!("postgresql://somebody:{secret}@127.0.0.1:1/nothing?connect_timeout=1");
    let list = format!("host=127.0.0.1 port=1 user=somebody password={secret}");

    for arguments in [
        &["tenants", "--connection-string", &url][..],
        &["tenants", "--connection-string", &list],
        &[
            "tenants",
            "--connection-string",
            &format!("{url}&nonsense=1"),
        ],
        &["import", &url, "extra"],
        &["migrate", "run", &url],
        &[&url],
        &["stream", "x", "--max-count", &url],
        &[&format!("--connection-stringg={url}")],
    ] {
        let output = emmett(&database, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!printed(&output).contains(secret), "{}", printed(&output));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for number in 0..30 {
        let events: Vec<_> = (0..100)
            .map(|item| added(&format!("product {number} {item}"), item))
            .collect();
        store.append_to_stream("Cart-1", &events)?;
    }

    let mut export = Command::new(env!("CARGO_BIN_EXE_emmett"))
        .args(["export", "--connection-string", database.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut first = [0; 100];
    export
        .stdout
        .take()
        .expect("a pipe")
        .read_exact(&mut first)?;
    let output = export.wait_with_output()?;

    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(printed(&output), "");
    Ok(())
}

#[test]
fn a_database_that_is_not_migrated_is_left_alone_when_asked() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;

    let refused = emmett(&database, &["--no-migration", "tenants"]);

    assert_eq!(refused.status.code(), Some(1));
    assert!(
        printed(&refused).contains("the schema is missing"),
        "{}",
        printed(&refused)
    );
    Ok(())
}
