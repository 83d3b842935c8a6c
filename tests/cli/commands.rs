//! Each command: its effect, its output, and its exit code.

use super::process::{TestFile, command, finish, run, run_on, succeed};
use crate::support::{added, schema_files, store, wait_until_active};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    DocumentProjection, EventStore, NewMessage, RawEvent, Recorded, events::MessageKind,
};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

fn empty_database() -> anyhow::Result<Database> {
    Ok(Server::shared()?.create_database()?)
}

fn migrated_database() -> anyhow::Result<Database> {
    let database = empty_database()?;
    succeed(&database, &["migrate", "run"])?;
    Ok(database)
}

const LOG: &str = "{\"streamName\":\"Case-1\",\"type\":\"Opened\",\"data\":{\"by\": \"Änne\"},\"messageId\":\"a\"}\n\
                   {\"streamName\":\"Case-2\",\"type\":\"Opened\",\"data\":{},\"messageId\":\"b\"}\n\
                   {\"streamName\":\"Case-1\",\"type\":\"Closed\",\"data\":null,\"messageId\":\"c\"}\n";

#[test]
fn migrate_creates_the_schema_once_and_status_tells_it_by_its_exit_code() -> anyhow::Result<()> {
    let database = empty_database()?;

    let missing = run_on(&database, &["migrate", "status"])?;
    assert_eq!(
        (missing.code, missing.stdout.as_str()),
        (3, "the schema is missing: run `emmett migrate run`\n")
    );
    let tried = succeed(&database, &["migrate", "run", "--dry-run"])?;
    assert_eq!(
        tried,
        "would apply: documents, schema (tried, and rolled back)\n"
    );
    assert_eq!(run_on(&database, &["migrate", "status"])?.code, 3);
    assert_eq!(
        succeed(&database, &["migrate", "run"])?,
        "applied: documents, schema\n"
    );
    assert_eq!(
        succeed(&database, &["migrate", "run"])?,
        "nothing to do: the schema is up to date\n"
    );
    assert_eq!(
        succeed(&database, &["migrate", "status"])?,
        "the schema is up to date (version 2)\n"
    );

    database
        .client()?
        .batch_execute("INSERT INTO emt_migrations (version, name) VALUES (3, 'later')")?;
    let newer = run_on(&database, &["migrate", "status"])?;
    assert_eq!((newer.code, newer.stdout.as_str()), (1, ""));
    assert!(
        newer
            .stderr
            .starts_with("error: the schema has version 3, newer"),
        "{}",
        newer.stderr
    );
    Ok(())
}

#[test]
fn migrate_speaks_json() -> anyhow::Result<()> {
    let database = empty_database()?;

    let status = run_on(&database, &["migrate", "status", "--json"])?;
    let tried = run_on(&database, &["--json", "migrate", "run", "--dryRun"])?;
    let applied = run_on(&database, &["migrate", "--json", "run"])?;
    let again = run_on(&database, &["migrate", "run", "--json"])?;
    let current = run_on(&database, &["migrate", "status", "--json"])?;

    assert_eq!(
        status.json()?,
        json!({ "state": "missing", "found": 0, "needed": 2 })
    );
    assert_eq!(
        tried.json()?,
        json!({ "applied": ["documents", "schema"], "skipped": [], "dryRun": true })
    );
    assert_eq!(
        applied.json()?,
        json!({ "applied": ["documents", "schema"], "skipped": [], "dryRun": false })
    );
    assert_eq!(
        again.json()?,
        json!({ "applied": [], "skipped": ["documents", "schema"], "dryRun": false })
    );
    assert_eq!(
        current.json()?,
        json!({ "state": "current", "found": 2, "needed": 2 })
    );
    assert_eq!(
        [
            status.code,
            tried.code,
            applied.code,
            again.code,
            current.code
        ],
        [3, 0, 0, 0, 0]
    );
    Ok(())
}

#[test]
fn migrate_sql_prints_the_schema_without_a_database() -> anyhow::Result<()> {
    let printed = run(&["migrate", "sql"])?;
    assert_eq!(printed.stdout, run(&["migrate", "sql", "--print"])?.stdout);
    let renamed = run(&["migrate", "sql", "--print", "--schema", "My Schéma-1"])?;
    let refused = run(&["migrate", "sql", "--print", "--schema", "O'Brien"])?;

    assert_eq!(
        (printed.code, printed.stdout),
        (0, schema_files::event_store()?)
    );
    assert!(
        renamed
            .stdout
            .contains("CREATE TABLE IF NOT EXISTS \"My Schéma-1\".emt_messages")
    );
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert_eq!(
        refused.stderr,
        "error: the schema name \"O'Brien\": must not contain '\n"
    );
    Ok(())
}

#[test]
fn the_printed_schema_of_any_name_applies() -> anyhow::Result<()> {
    let database = empty_database()?;

    let printed = run(&["migrate", "sql", "--print", "--schema", "My Schéma-1"])?;
    database.client()?.batch_execute(&printed.stdout)?;

    assert_eq!(
        run_on(&database, &["migrate", "status", "--schema", "My Schéma-1"])?.code,
        0
    );
    assert_eq!(run_on(&database, &["migrate", "status"])?.code, 3);
    Ok(())
}

#[test]
fn a_log_is_imported_once_and_exported_as_it_was() -> anyhow::Result<()> {
    let database = migrated_database()?;
    let log = TestFile::new("once.jsonl", LOG)?;
    let target = TestFile::new("exported.jsonl", "old content")?;

    assert_eq!(
        succeed(&database, &["import", log.name()])?,
        "imported 3 events from 3 lines\n"
    );
    let again = succeed(&database, &["import", log.name()])?;
    assert_eq!(
        again,
        "imported 0 events from 3 lines; 3 lines already imported\n"
    );
    let exported = succeed(&database, &["export"])?;
    let told = succeed(&database, &["export", target.name()])?;

    let with_positions = LOG
        .replace("\"a\"}", "\"a\",\"streamPosition\":1}")
        .replace("\"b\"}", "\"b\",\"streamPosition\":1}")
        .replace("\"c\"}", "\"c\",\"streamPosition\":2}");
    assert_eq!(without_times(&exported)?, with_positions);
    let without_positions = succeed(&database, &["export", "--without-positions"])?;
    assert!(
        !without_positions.contains("globalPosition") && exported.contains("\"globalPosition\":3}"),
        "{without_positions}"
    );
    assert_eq!(told, "exported 3 events, up to global position 3\n");
    assert_eq!(std::fs::read_to_string(target.path())?, exported);
    assert_eq!(
        succeed(&database, &["export", "--after", "2"])?
            .lines()
            .count(),
        1
    );
    assert_eq!(succeed(&database, &["export", "-", "--after", "3"])?, "");
    Ok(())
}

/// The lines without what the log did not say: when they were recorded, and where they stand in the store.
fn without_times(log: &str) -> anyhow::Result<String> {
    let mut lines = String::new();
    for line in log.lines() {
        let Some((rest, _)) = line.split_once(",\"recordedAt\":\"") else {
            anyhow::bail!("{line}");
        };
        lines.push_str(rest);
        lines.push_str("}\n");
    }
    Ok(lines)
}

#[test]
fn a_log_is_read_from_standard_input() -> anyhow::Result<()> {
    let database = migrated_database()?;
    let arguments = [
        "import",
        "-",
        "--batch-size",
        "2",
        "--json",
        "--connection-string",
        database.url(),
    ];

    let mut child = command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(LOG.as_bytes())?;
    let output = child.wait_with_output()?;

    let report: Value = serde_json::from_slice(&output.stdout)?;
    let expected = json!({ "imported": 3, "lines": 3, "skipped": 0, "lastGlobalPosition": 3 });
    assert_eq!((output.status.code(), report), (Some(0), expected));
    Ok(())
}

#[test]
fn import_and_export_speak_json() -> anyhow::Result<()> {
    let database = migrated_database()?;
    let log = TestFile::new("json.jsonl", LOG)?;
    let target = TestFile::new("json-exported.jsonl", "")?;

    let imported = run_on(
        &database,
        &["import", log.name(), "--json", "--name", "cases"],
    )?;
    let again = run_on(
        &database,
        &["import", log.name(), "--json", "--name", "cases"],
    )?;
    let exported = run_on(&database, &["export", target.name(), "--json"])?;

    assert_eq!(imported.json()?["imported"], 3);
    assert_eq!(
        (
            again.json()?["imported"].clone(),
            again.json()?["skipped"].clone()
        ),
        (json!(0), json!(3))
    );
    assert_eq!(exported.json()?, json!({ "exported": 3, "position": 3 }));
    Ok(())
}

#[test]
fn a_bad_line_or_file_is_named_and_the_exit_code_is_1() -> anyhow::Result<()> {
    let database = migrated_database()?;
    let bad = TestFile::new("bad.jsonl", &format!("{LOG}{{\n"))?;

    let line = run_on(&database, &["import", bad.name(), "--batch-size", "3"])?;
    let file = run_on(&database, &["import", "/no/such/file"])?;
    let directory = run_on(&database, &["import", "/"])?;
    let target = run_on(&database, &["export", "/no/such/directory/log"])?;

    assert_eq!([line.code, file.code, directory.code, target.code], [1; 4]);
    let expected = format!(
        "error: importing {}: line 4: ends before its JSON object does",
        bad.name()
    );
    assert!(line.stderr.starts_with(&expected), "{}", line.stderr);
    assert!(
        file.stderr
            .starts_with("error: opening /no/such/file: No such file"),
        "{}",
        file.stderr
    );
    assert!(
        directory.stderr.contains("Is a directory"),
        "{}",
        directory.stderr
    );
    assert!(
        target
            .stderr
            .starts_with("error: writing /no/such/directory/log: "),
        "{}",
        target.stderr
    );
    assert_eq!(
        succeed(&database, &["export"])?.lines().count(),
        3,
        "the first batch is stored"
    );
    Ok(())
}

#[test]
fn an_import_by_the_plain_command_is_followed_by_the_program_with_the_projection()
-> anyhow::Result<()> {
    let (database, _) = store()?;
    let counts =
        DocumentProjection::single_stream("counts", |_: Option<Value>, _: &Recorded<RawEvent>| {
            Some(json!({}))
        });
    let store = EventStore::builder(database.url())
        .inline_projection(counts)
        .open()?;
    let log = TestFile::new("followed.jsonl", LOG)?;

    let imported = run_on(&database, &["import", log.name()])?;
    wait_until_active(&store);

    assert_eq!(
        (imported.code, imported.stdout.as_str()),
        (0, "imported 3 events from 3 lines\n")
    );
    let documents = store.collection::<Value>("counts");
    assert!(documents.count_documents(json!({}))? > 0);
    Ok(())
}

#[test]
fn a_stream_is_printed_for_people() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Case-1",
        &[
            RawEvent::new("Opened", json!({ "by": "Änne" })),
            RawEvent::new("Closed", json!(null)),
        ],
    )?;

    let printed = succeed(&database, &["stream", "Case-1"])?;

    let lines: Vec<&str> = printed.lines().collect();
    let [head, first, second] = lines[..] else {
        panic!("{printed}")
    };
    assert_eq!(head, "stream \"Case-1\" is at version 2");
    assert!(
        first.starts_with("     1  20") && first.ends_with("Z  Opened  {\"by\":\"Änne\"}"),
        "{first}"
    );
    assert!(
        second.starts_with("     2  20") && second.ends_with("Z  Closed  null"),
        "{second}"
    );
    Ok(())
}

#[test]
fn a_stream_is_printed_for_programs() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let message = NewMessage::new(RawEvent::new("Opened", json!({ "by": "Änne" })))
        .kind(MessageKind::Command)
        .message_id("m-1")
        .correlation_id("c")
        .metadata("user", "anna");
    store.append_to_stream("Case-1", &[message])?;

    let mut object = run_on(&database, &["stream", "Case-1", "--json"])?.json()?;

    let time = object["recordedAt"].take();
    assert!(
        time.as_str()
            .is_some_and(|time| time.starts_with("20") && time.ends_with('Z')),
        "{time}"
    );
    let expected = json!({
        "streamName": "Case-1", "streamPosition": 1, "globalPosition": 1, "messageId": "m-1", "type": "Opened",
        "kind": "command", "schemaVersion": 1, "recordedAt": null, "correlationId": "c", "causationId": null,
        "data": { "by": "Änne" }, "metadata": { "user": "anna" },
    });
    assert_eq!(object, expected);
    Ok(())
}

#[test]
fn a_part_of_a_stream_is_printed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let events: Vec<_> = (1..=9).map(|number| added("shoes", number)).collect();
    store.append_to_stream("Case-1", &events)?;
    let versions = |arguments: &[&str]| -> anyhow::Result<Vec<u64>> {
        let run = run_on(
            &database,
            &[&["stream", "Case-1", "--json"], arguments].concat(),
        )?;
        Ok(run
            .objects()?
            .iter()
            .filter_map(|object| object["streamPosition"].as_u64())
            .collect())
    };

    assert_eq!(versions(&["--from", "7"])?, [7, 8, 9]);
    assert_eq!(versions(&["--to", "2"])?, [1, 2]);
    assert_eq!(
        versions(&["--from", "3", "--to", "5", "--backwards"])?,
        [5, 4, 3]
    );
    assert_eq!(versions(&["--max-count", "2"])?, [1, 2]);
    assert_eq!(versions(&["--max-count", "2", "--backwards"])?, [9, 8]);
    assert_eq!(versions(&["--from", "99"])?, [0; 0]);
    Ok(())
}

#[test]
fn a_stream_that_is_not_there_or_archived_has_exit_code_1() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Case-1", &[added("shoes", 1)])?;
    store.archive_stream("Case-1")?;

    let missing = run_on(&database, &["stream", "Case-2"])?;
    let archived = run_on(&database, &["stream", "Case-1"])?;

    assert_eq!(
        (missing.code, missing.stderr.as_str()),
        (1, "error: there is no stream \"Case-2\"\n")
    );
    assert_eq!(archived.code, 1);
    assert!(archived.stderr.contains("archived"), "{}", archived.stderr);
    assert_eq!(
        succeed(&database, &["stream", "Case-1", "--include-archived"])?
            .lines()
            .count(),
        2
    );
    Ok(())
}

#[test]
fn tenants_are_added_listed_and_removed() -> anyhow::Result<()> {
    let database = migrated_database()?;
    let log = TestFile::new("tenants.jsonl", LOG)?;

    assert_eq!(succeed(&database, &["tenants"])?, "no tenants\n");
    assert_eq!(
        succeed(&database, &["tenants", "add", "acme"])?,
        "added tenant \"acme\"\n"
    );
    assert_eq!(
        succeed(&database, &["tenants", "add", "acme"])?,
        "tenant \"acme\" exists already\n"
    );
    succeed(&database, &["import", log.name(), "--tenant", "acme"])?;
    let listed = succeed(&database, &["tenants", "list"])?;
    let looked = run_on(&database, &["tenants", "remove", "acme"])?;
    let removed = succeed(&database, &["tenants", "remove", "acme", "--with-all-data"])?;
    let gone = run_on(&database, &["tenants", "remove", "acme", "--with-all-data"])?;

    assert!(
        listed.starts_with("acme  since 20") && listed.ends_with("Z\n"),
        "{listed}"
    );
    assert_eq!(looked.code, 1);
    let advice = "error: tenant \"acme\" has 2 streams with 3 messages: repeat the command with --with-all-data";
    assert!(looked.stderr.starts_with(advice), "{}", looked.stderr);
    assert_eq!(
        removed,
        "removed tenant \"acme\" with 2 streams with 3 messages\n"
    );
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (1, "error: there is no tenant \"acme\"\n")
    );
    Ok(())
}

#[test]
fn tenants_speak_json() -> anyhow::Result<()> {
    let database = migrated_database()?;

    let none = run_on(&database, &["tenants", "--json"])?;
    let first = run_on(&database, &["tenants", "add", "acme", "--json"])?.json()?;
    let second = run_on(&database, &["tenants", "add", "acme", "--json"])?.json()?;
    let listed = run_on(&database, &["tenants", "list", "--json"])?.json()?;
    let looked = run_on(&database, &["tenants", "remove", "acme", "--json"])?;
    let removed = run_on(
        &database,
        &["tenants", "remove", "acme", "--with-all-data", "--json"],
    )?;

    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert_eq!(
        (first["added"].clone(), second["added"].clone()),
        (json!(true), json!(false))
    );
    assert_eq!(listed["name"], "acme");
    assert_eq!(
        (looked.code, looked.json()?["removed"].clone()),
        (1, json!(false))
    );
    let all = json!({ "name": "acme", "streams": 0, "messages": 0, "removed": true });
    assert_eq!((removed.code, removed.json()?), (0, all));
    Ok(())
}

#[test]
fn every_command_works_for_a_tenant_and_in_another_schema() -> anyhow::Result<()> {
    let database = empty_database()?;
    let log = TestFile::new("everywhere.jsonl", LOG)?;
    let schema = ["--schema", "My Schéma-1"];
    let tenant = ["--schema", "My Schéma-1", "--tenant", "acme"];
    let on = |arguments: &[&str], place: &[&str]| succeed(&database, &[arguments, place].concat());

    on(&["migrate", "run"], &schema)?;
    on(&["tenants", "add", "acme"], &schema)?;
    on(&["import", log.name()], &tenant)?;

    assert_eq!(on(&["export"], &tenant)?.lines().count(), 3);
    assert_eq!(on(&["stream", "Case-1"], &tenant)?.lines().count(), 3);
    assert_eq!(on(&["export"], &schema)?, "");
    let row = database
        .client()?
        .query_one("SELECT to_regclass('public.emt_streams') IS NULL", &[])?;
    assert!(row.get::<_, bool>(0), "nothing is in public");
    for arguments in [["stream", "Case-1"], ["import", log.name()]] {
        let unknown = run_on(
            &database,
            &[&arguments[..], &["--tenant", "nobody"], &schema].concat(),
        )?;
        assert_eq!(unknown.code, 1);
        assert!(
            unknown.stderr.ends_with("there is no tenant \"nobody\"\n"),
            "{}",
            unknown.stderr
        );
    }
    Ok(())
}

#[test]
fn only_migrate_run_creates_the_schema() -> anyhow::Result<()> {
    let database = empty_database()?;
    let log = TestFile::new("log.jsonl", LOG)?;
    let commands: [&[&str]; 12] = [
        &["stream", "Case-1"],
        &["doctor"],
        &["doctor", "--prove", "0", "1"],
        &["consumers"],
        &["consumers", "forget", "carts"],
        &["projections"],
        &["projections", "rebuild", "carts"],
        &["tenants"],
        &["tenants", "add", "acme"],
        &["export"],
        &["import", log.name()],
        &["repair", "sequence"],
    ];
    for arguments in commands {
        let refused = run_on(&database, arguments)?;
        assert_eq!(
            (
                refused.code,
                refused.stdout.as_str(),
                refused.stderr.as_str()
            ),
            (
                1,
                "",
                "error: the schema is missing: run `emmett migrate run`\n"
            ),
            "{arguments:?}"
        );
    }
    let tables: i64 = database
        .client()?
        .query_one(
            "SELECT count(*) FROM pg_class WHERE relname LIKE 'emt%'",
            &[],
        )?
        .get(0);
    assert_eq!(tables, 0);
    succeed(&database, &["migrate", "run"])?;
    succeed(&database, &["tenants"])?;
    Ok(())
}

#[test]
fn completions_are_scripts_of_the_shell() -> anyhow::Result<()> {
    for (shell, expected) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef emmett"),
        ("fish", "complete -c emmett"),
    ] {
        let script = run(&["completions", shell])?;
        assert_eq!(script.code, 0, "{script:?}");
        assert!(
            script.stdout.contains(expected),
            "{shell}: {}",
            script.stdout
        );
        assert!(script.stdout.contains("drop-old"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcl"])?.code, 2);
    Ok(())
}

#[test]
fn help_and_version_are_results() -> anyhow::Result<()> {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["help", "import"],
        &["migrate", "--help"],
        &["migrate", "run", "--help"],
        &["import", "--help"],
        &["export", "--help"],
        &["stream", "--help"],
        &["consumers", "--help"],
        &["consumers", "replay", "--help"],
        &["doctor", "--help"],
        &["tenants", "remove", "--help"],
    ] {
        let help = run(arguments)?;
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(
            help.stdout.contains("Usage: emmett"),
            "{arguments:?}: {}",
            help.stdout
        );
    }

    let help = run(&["--help"])?.stdout;
    for word in [
        "migrate",
        "import",
        "export",
        "stream",
        "consumers",
        "doctor",
        "tenants",
        "--connection-string",
        "--json",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word}");
    }
    let version = finish(&mut command(&["--version"]))?;
    assert_eq!(
        (version.code, version.stdout),
        (0, format!("emmett {}\n", env!("CARGO_PKG_VERSION")))
    );
    Ok(())
}

#[test]
fn a_sequence_behind_its_table_is_repaired_and_a_restore_is_told() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
    drop(store);
    let set_back = "SELECT setval('emt_global_message_position', 1)";
    database.client()?.batch_execute(set_back)?;

    let refused = run_on(&database, &["stream", "Cart-1"])?;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("run `emmett repair sequence`"),
        "{refused:?}"
    );
    assert_eq!(run_on(&database, &["doctor"])?.code, 4);

    assert_eq!(
        succeed(&database, &["repair", "sequence"])?,
        "set emt_global_message_position from 1 to 2\n\
         positions may have been drawn again meanwhile: the store is at epoch 1 now, and processors do not run until they are \
         reset\n"
    );
    assert_eq!(
        run_on(&database, &["--json", "repair", "sequence"])?.json()?,
        json!({ "found": 2, "head": 2, "epoch": 1, "kept": 2, "partitions": [], "repaired": false })
    );
    assert_eq!(
        succeed(&database, &["doctor"])?.lines().last(),
        Some("no problems found")
    );
    assert_eq!(
        succeed(&database, &["restored"])?,
        "the store is at epoch 2 now\n"
    );
    assert_eq!(
        run_on(&database, &["restored", "--to", "1", "--json"])?.json()?,
        json!({ "epoch": 3 })
    );
    assert_eq!(run_on(&database, &["restored", "--to", "3"])?.code, 1);
    Ok(())
}
