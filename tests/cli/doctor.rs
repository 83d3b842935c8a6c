//! `emmett doctor`: its output and its exit code.

use super::process::{run_on, succeed};
use crate::operations::processors::Rows;
use crate::support::{added, store};
use serde_json::json;

#[test]
fn a_store_in_order_is_told_in_two_lines() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let told = succeed(&database, &["doctor"])?;
    let object = run_on(&database, &["doctor", "--json"])?.json()?;

    assert_eq!(
        told,
        "the feed can be read up to its head, position 1\nno problems found\n"
    );
    let feed = json!({ "head": 1, "horizon": 1, "heldBack": 0, "holders": [] });
    assert_eq!(
        object,
        json!({ "serious": false, "feed": feed, "findings": [] })
    );
    Ok(())
}

#[test]
fn an_open_append_is_named_and_no_failure_yet() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut client = database.client()?;
    client.batch_execute("BEGIN; SELECT emt_position_next()")?;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);

    let told = succeed(&database, &["doctor"])?;
    let object = run_on(&database, &["doctor", "--json"])?.json()?;

    let head =
        "the feed can be read up to position 1; an open append holds back 1 position up to 2\n";
    assert!(
        told.starts_with(&format!("{head}note: Session {pid} (")),
        "{told}"
    );
    assert!(
        told.contains(&format!(
            "\n    Let it commit or roll back; to end it: SELECT pg_catalog.pg_terminate_backend({pid}).\n"
        )),
        "{told}"
    );
    let holder = &object["feed"]["holders"][0];
    assert_eq!(
        (&holder["pid"], &holder["kind"]),
        (&json!(pid), &json!("transaction"))
    );
    assert_eq!(
        (&holder["position"], &holder["allTenants"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(object["findings"][0]["kind"], "feedHeld");
    Ok(())
}

#[test]
fn something_serious_has_exit_code_4() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut rows = Rows::of(&database)?;
    rows.register("carts", 1, 0)?;
    rows.change("carts", "status = 'failed', last_error = E'no\\nproduct'")?;

    let told = run_on(&database, &["doctor"])?;
    let object = run_on(&database, &["doctor", "--json"])?;

    assert_eq!((told.code, object.code), (4, 4));
    assert!(
        told.stdout.contains("\nserious: Processor \"carts\" (version 1) has failed at position 0: no product\n    Fix"),
        "{told:?}"
    );
    assert_eq!(object.json()?["serious"], true);
    succeed(&database, &["consumers", "reset", "carts", "--to", "0"])?;
    succeed(&database, &["doctor"])?;
    Ok(())
}

#[test]
fn a_part_of_the_feed_is_proved_or_not() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[added("shoes", 1), added("hat", 1), added("hat", 2)],
    )?;
    Rows::of(&database)?.register("carts", 1, 2)?;

    let part = succeed(&database, &["doctor", "--prove", "2", "3"])?;
    let processor = succeed(&database, &["doctor", "--prove-processor", "carts"])?;
    let beyond = succeed(&database, &["doctor", "--prove", "0", "200"])?;
    let backwards = run_on(&database, &["doctor", "--prove", "3", "1"])?;
    database
        .client()?
        .batch_execute("DELETE FROM emt_messages WHERE global_position = 2")?;
    let broken = run_on(&database, &["doctor", "--prove", "1", "3"])?;
    let object = run_on(&database, &["doctor", "--prove", "1", "3", "--json"])?;

    assert_eq!(
        part,
        "positions 2 to 3: 2 messages of 1 stream; no holes, all streams in order\n"
    );
    assert_eq!(
        processor,
        "positions 1 to 2: 2 messages of 1 stream; no holes, all streams in order\n"
    );
    assert_eq!(
        beyond,
        "positions 1 to 3: 3 messages of 1 stream; no holes, all streams in order\n\
         position 200 is beyond the head, so the proof ends there\n"
    );
    assert_eq!(
        (backwards.code, backwards.stderr.as_str()),
        (
            1,
            "error: positions 3 to 1: the part ends before it begins\n"
        )
    );
    let violation = "Stream \"Cart-1\" goes from version 1 to 3 at position 3: events are missing.";
    assert_eq!(
        (broken.code, broken.stdout),
        (
            4,
            format!("{violation}\npositions 1 to 3: 2 messages of 1 stream; 1 violation\n")
        )
    );
    let expected = json!({
        "holds": false, "from": 1, "to": 3, "askedTo": 3, "messages": 2, "streams": 1, "violationCount": 1,
        "violations": [violation],
    });
    assert_eq!((object.code, object.json()?), (4, expected));
    Ok(())
}
