//! `emmett consumers`: its output and its requests.

use super::process::{run_on, succeed};
use crate::operations::processors::Rows;
use crate::support::{added, store};
use emmett_postgresql::EventStore;
use emmett_postgresql::testing::Database;
use serde_json::{Value, json};

/// A store with four messages of two streams in turn, and one processor that has parked two of them.
fn shop() -> anyhow::Result<(Database, EventStore, Rows)> {
    let (database, store) = store()?;
    for number in 0..4 {
        let stream = format!("Cart-{}", number % 2);
        store.append_to_stream(&stream, &[added("shoes", number)])?;
    }
    let mut rows = Rows::of(&database)?;
    rows.register("carts", 1, 3)?;
    rows.park("carts", 1, Some("no such\nproduct"))?;
    rows.park("carts", 3, None)?;
    Ok((database, store, rows))
}

/// The texts of a line of a table, which stand at least two spaces apart.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect()
}

#[test]
fn processors_are_listed_in_columns() -> anyhow::Result<()> {
    let (database, _store, mut rows) = shop()?;
    rows.register("a much longer name", 2, 4)?;
    rows.take("carts", "host-1/4711", 600)?;
    rows.change(
        "carts",
        "last_error = E'line one\\nline two \\x1b[31m' || repeat('x', 99)",
    )?;

    let listed = succeed(&database, &["consumers"])?;

    let lines: Vec<&str> = listed.lines().collect();
    let [head, longer, carts] = lines[..] else {
        panic!("{listed}")
    };
    assert_eq!(
        columns(head),
        [
            "PROCESSOR",
            "VERSION",
            "STATE",
            "POSITION",
            "HEAD",
            "LAG",
            "LAG TIME",
            "OWNER",
            "LEASE",
            "PARKED",
            "LAST ERROR"
        ]
    );
    assert_eq!(
        columns(longer),
        [
            "a much longer name",
            "1",
            "stopped",
            "4",
            "4",
            "0",
            "-",
            "-",
            "-",
            "0",
            "-"
        ]
    );
    let carts_columns = columns(carts);
    assert_eq!(carts_columns[..6], ["carts", "1", "running", "3", "4", "1"]);
    assert!(carts_columns[6].ends_with(" s"), "{carts}");
    assert_eq!(carts_columns[7], "host-1/4711");
    assert!(carts_columns[8].ends_with(" min"), "{carts}");
    assert_eq!(carts_columns[9], "1 + 1 waiting");
    let error = carts_columns[10];
    assert!(
        error.starts_with("line one line two  [31mxx") || error.starts_with("line one line two"),
        "{carts}"
    );
    assert!(carts.ends_with('…') && !carts.contains('\u{1b}'), "{carts}");
    for (title, text) in [
        ("STATE", "running"),
        ("OWNER", "host-1"),
        ("PARKED", "1 + 1"),
    ] {
        assert_eq!(head.find(title), carts.find(text), "{listed}");
    }
    assert_eq!(
        succeed(&database, &["consumers", "list"])?.lines().count(),
        3
    );
    Ok(())
}

#[test]
fn a_store_without_processors_says_so() -> anyhow::Result<()> {
    let (database, _store) = store()?;
    assert_eq!(succeed(&database, &["consumers"])?, "no processors\n");
    assert_eq!(succeed(&database, &["consumers", "--json"])?, "");
    Ok(())
}

#[test]
fn processors_speak_json() -> anyhow::Result<()> {
    let (database, _store, mut rows) = shop()?;
    rows.take("carts", "host-1/4711", 600)?;

    let mut object = run_on(&database, &["consumers", "--json"])?.json()?;

    assert!(object["lagSeconds"].take().is_f64());
    let slot = &mut object["slots"][0];
    for field in ["heldSeconds", "leaseSeconds"] {
        assert!(slot[field].take().is_f64(), "{field}");
    }
    assert!(slot["updatedAt"].take().is_string());
    let expected = json!({
        "processor": "carts", "version": 1, "state": "running", "position": 3, "head": 4, "epoch": 0,
        "storeEpoch": 0, "lag": 1, "lagSeconds": null, "parked": 1, "waiting": 1, "lastError": null,
        "survived": null,
        "slots": [{
            "slot": 0, "position": 3, "epoch": 1, "owner": "host-1/4711", "worker": 7, "heldSeconds": null,
            "leaseSeconds": null, "crashes": 0, "attempts": 0, "failed": false, "lastError": null, "retryAt": null,
            "survived": null, "busySeconds": null, "updatedAt": null,
        }],
    });
    assert_eq!(object, expected);

    rows.expire("carts")?;
    let object = run_on(&database, &["consumers", "--json"])?.json()?;
    assert_eq!(object["state"], "leaseExpired");
    assert_eq!(object["slots"][0]["leaseSeconds"], 0.0);
    Ok(())
}

#[test]
fn parked_messages_are_listed() -> anyhow::Result<()> {
    let (database, _store, mut rows) = shop()?;
    rows.register("idle", 1, 0)?;

    let listed = succeed(&database, &["consumers", "parked", "carts"])?;
    let lines: Vec<&str> = listed.lines().collect();
    let [head, failed, waiting] = lines[..] else {
        panic!("{listed}")
    };
    assert_eq!(
        columns(head),
        [
            "POSITION", "STREAM", "VERSION", "TYPE", "ATTEMPTS", "SINCE", "REQUEST", "ERROR"
        ]
    );
    let failed = columns(failed);
    assert_eq!(failed[..5], ["1", "Cart-0", "1", "ProductItemAdded", "3"]);
    assert_eq!(failed[6..], ["-", "no such product"]);
    assert_eq!(
        columns(waiting)[6..],
        ["-", "waits for an earlier message of its stream"]
    );

    let objects = run_on(&database, &["consumers", "parked", "carts", "--json"])?.objects()?;
    assert_eq!(objects.len(), 2);
    let mut first = objects[0].clone();
    assert!(first["parkedAt"].take().is_string());
    let expected = json!({
        "globalPosition": 1, "streamName": "Cart-0", "streamPosition": 1, "type": "ProductItemAdded", "attempts": 3,
        "error": "no such\nproduct", "request": null, "parkedAt": null, "processorVersion": 1, "slot": 0,
    });
    assert_eq!(first, expected);
    let positions = |arguments: &[&str]| -> anyhow::Result<Vec<u64>> {
        let run = run_on(
            &database,
            &[&["consumers", "parked", "carts", "--json"], arguments].concat(),
        )?;
        let objects = run.objects()?;
        Ok(objects
            .iter()
            .filter_map(|object| object["globalPosition"].as_u64())
            .collect())
    };
    assert_eq!(positions(&["--limit", "1"])?, [1]);
    assert_eq!(positions(&["--after", "1"])?, [3]);
    assert_eq!(positions(&["--stream", "Cart-1"])?, [0; 0]);
    assert_eq!(
        succeed(&database, &["consumers", "parked", "idle"])?,
        "no parked messages\n"
    );
    Ok(())
}

#[test]
fn a_parked_message_is_shown() -> anyhow::Result<()> {
    let (database, _store, _rows) = shop()?;

    let shown = succeed(&database, &["consumers", "show", "carts", "1"])?;
    let object = run_on(&database, &["consumers", "show", "carts", "1", "--json"])?.json()?;
    let nothing = run_on(&database, &["consumers", "show", "carts", "2"])?;

    for line in [
        "position  1",
        "stream    Cart-0, version 1",
        "type      ProductItemAdded",
        "error     no such product",
        "data      {\"productId\":\"shoes\",\"quantity\":0,\"price\":10.0}",
        "metadata  {}",
    ] {
        let same = |shown: &str| {
            let data = |text: &str| {
                text.strip_prefix("data      ")
                    .map(serde_json::from_str::<Value>)
            };
            match (data(shown), data(line)) {
                (Some(Ok(shown)), Some(Ok(line))) => shown == line,
                _ => shown == line,
            }
        };
        assert!(shown.lines().any(same), "{line}: {shown}");
    }
    assert_eq!(object["error"], "no such\nproduct");
    assert_eq!(object["message"]["data"]["productId"], "shoes");
    assert_eq!(
        (nothing.code, nothing.stderr.as_str()),
        (
            1,
            "error: processor \"carts\" has no parked message at position 2\n"
        )
    );
    Ok(())
}

#[test]
fn replay_and_discard_say_whether_anybody_carries_it_out() -> anyhow::Result<()> {
    let (database, _store, mut rows) = shop()?;

    let alone = succeed(&database, &["consumers", "replay", "carts", "--all"])?;
    assert_eq!(
        alone,
        "replay requested for 2 messages\nno owner is running: the request is carried out when the processor is started\n"
    );
    rows.take("carts", "host-1/4711", 600)?;
    let owned = succeed(
        &database,
        &["consumers", "replay", "carts", "--stream", "Cart-0"],
    )?;
    assert_eq!(owned, "replay requested for 2 messages\n");
    let parked = succeed(&database, &["consumers", "parked", "carts"])?;
    assert_eq!(parked.matches("  replay  ").count(), 2, "{parked}");
    let discard = ["consumers", "discard", "carts", "--position", "1", "--json"];
    let discarded = run_on(&database, &discard)?.json()?;
    let expected = json!({
        "processor": "carts", "request": "discard", "marked": 1, "following": 0, "ownerRunning": true,
    });
    assert_eq!(discarded, expected);

    for (selection, what) in [
        (["--position", "2"], "at position 2"),
        (["--stream", "Cart-1"], "of stream \"Cart-1\""),
    ] {
        let nothing = run_on(
            &database,
            &[&["consumers", "replay", "carts"][..], &selection].concat(),
        )?;
        let error = format!("error: processor \"carts\" has no parked message {what}\n");
        assert_eq!((nothing.code, nothing.stderr), (1, error));
    }
    rows.register("idle", 1, 0)?;
    let idle = succeed(&database, &["consumers", "discard", "idle", "--all"])?;
    assert_eq!(idle, "no parked messages\n");
    Ok(())
}

#[test]
fn what_waited_goes_on_after_a_discarded_message() -> anyhow::Result<()> {
    let (database, _store, mut rows) = shop()?;
    rows.take("carts", "host-1/4711", 600)?;

    let discarded = succeed(
        &database,
        &["consumers", "discard", "carts", "--position", "1"],
    )?;

    assert_eq!(
        discarded,
        "discard requested for 1 message; 1 later message released\n"
    );
    Ok(())
}

#[test]
fn a_processor_is_reset_and_forgotten() -> anyhow::Result<()> {
    let (database, store, mut rows) = shop()?;
    rows.take("carts", "host-1/4711", 600)?;

    let beyond = run_on(&database, &["consumers", "reset", "carts", "--to", "5"])?;
    assert_eq!(
        (beyond.code, beyond.stderr.as_str()),
        (
            1,
            "error: position 5: is beyond the last drawn position, 4\n"
        )
    );
    let reset = succeed(&database, &["consumers", "reset", "carts", "--to", "1"])?;
    assert_eq!(
        reset,
        "reset processor \"carts\": it resumes after position 1; discarded 2 parked messages\n"
    );
    assert_eq!(store.processors().position("carts")?, 1);
    let again = run_on(
        &database,
        &["consumers", "reset", "carts", "--to", "0", "--json"],
    )?
    .json()?;
    let expected = json!({ "processor": "carts", "position": 0, "slots": 1, "unparked": 0, "ownerRunning": true });
    assert_eq!(again, expected);

    let held = run_on(&database, &["consumers", "forget", "carts"])?;
    assert_eq!(
        (held.code, held.stderr.as_str()),
        (
            1,
            "error: processor \"carts\" is held by \"host-1/4711\": stop it first\n"
        )
    );
    rows.expire("carts")?;
    assert_eq!(
        succeed(&database, &["consumers", "forget", "carts"])?,
        "forgot processor \"carts\"\n"
    );
    let gone = run_on(&database, &["consumers", "forget", "carts"])?;
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (
            1,
            "error: there is no processor \"carts\"; there are none\n"
        )
    );
    Ok(())
}

#[test]
fn a_version_is_chosen_where_there_are_several() -> anyhow::Result<()> {
    let (database, store, _rows) = shop()?;
    database
        .client()?
        .batch_execute("SELECT emt_processor_register('emt:default', 'carts', 2, 1, 4)")?;

    let unclear = run_on(&database, &["consumers", "forget", "carts"])?;
    assert_eq!(
        (unclear.code, unclear.stderr.as_str()),
        (
            1,
            "error: processor \"carts\": has the versions 1, 2: choose one with `Processors::version` or `--of-version`\n"
        )
    );
    succeed(
        &database,
        &["consumers", "forget", "carts", "--of-version", "1"],
    )?;
    assert_eq!(store.processors().list()?[0].version, 2);
    Ok(())
}

#[test]
fn consumers_of_a_tenant_are_its_own() -> anyhow::Result<()> {
    let (database, _store, _rows) = shop()?;
    succeed(&database, &["tenants", "add", "acme"])?;

    assert_eq!(
        succeed(&database, &["consumers", "--tenant", "acme"])?,
        "no processors\n"
    );
    let unknown = run_on(&database, &["consumers", "--tenant", "nobody"])?;
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (1, "error: there is no tenant \"nobody\"\n")
    );
    Ok(())
}
