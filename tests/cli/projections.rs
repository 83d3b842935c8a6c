//! `emmett projections`, of the plain command and of a program with its own projection.

use super::examples::example;
use super::process::{Run, finish, run_on, succeed};
use crate::support::{added, store};
use emmett_postgresql::EventStore;
use emmett_postgresql::testing::Database;
use serde_json::{Value, json};

/// The command that has the projection `cart_sizes`.
fn own(database: &Database, arguments: &[&str]) -> anyhow::Result<Run> {
    let mut command = example("own_command")?;
    command
        .args(arguments)
        .args(["--connection-string", database.url()]);
    finish(&mut command)
}

fn with_events() -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    for number in 0..30 {
        store.append_to_stream(&format!("Cart-{}", number % 3), &[added("hat", 1)])?;
    }
    Ok((database, store))
}

#[test]
fn a_program_with_the_projection_lists_and_rebuilds_it() -> anyhow::Result<()> {
    let (database, store) = with_events()?;

    assert_eq!(succeed(&database, &["projections"])?, "no projections\n");
    let unregistered = own(&database, &["projections"])?;
    let nothing = succeed(&database, &["projections"])?;
    own(&database, &["migrate", "run"])?;
    let listed = own(&database, &["projections"])?;
    let rebuilt = own(
        &database,
        &["projections", "rebuild", "cart_sizes", "--workers", "2"],
    )?;
    let again = own(
        &database,
        &[
            "--json",
            "projections",
            "rebuild",
            "cart_sizes",
            "--batch-size",
            "7",
            "--keep-old",
        ],
    )?;
    let active = succeed(&database, &["projections"])?;
    let old = succeed(&database, &["projections", "old"])?;
    let dropped = succeed(&database, &["projections", "drop-old", "cart_sizes"])?;
    let forgotten = succeed(&database, &["projections", "forget", "cart_sizes"])?;

    // Its collection is missing, and a look creates and registers nothing.
    assert_eq!(
        (unregistered.code, unregistered.stdout.as_str()),
        (1, ""),
        "{unregistered:?}"
    );
    assert_eq!(nothing, "no projections\n");
    assert_eq!(
        listed.stdout,
        "cart_sizes  version 1  document:single_stream  inline  building\n"
    );
    assert_eq!(
        (rebuilt.code, rebuilt.stderr.as_str()),
        (0, ""),
        "{rebuilt:?}"
    );
    let words = "rebuilt projection \"cart_sizes\" from 30 events in ";
    assert!(rebuilt.stdout.starts_with(words), "{rebuilt:?}");
    let again = again.json()?;
    assert_eq!(
        (&again["name"], &again["handled"], &again["position"]),
        (&json!("cart_sizes"), &json!(30), &json!(30))
    );
    assert_eq!(again["kept"], json!(["cart_sizes_v1"]));
    assert_eq!(old, "cart_sizes_v1  old model of \"cart_sizes\"\n");
    assert!(active.ends_with("inline  active\n"), "{active}");
    assert_eq!(
        forgotten,
        "forgot projection \"cart_sizes\"; its read model stays as it is\n"
    );
    assert_eq!(dropped, "dropped the old read model of \"cart_sizes\"\n");
    let sizes = store.collection::<Value>("cart_sizes");
    let documents = sizes.find(json!({ "events": 10 })).to_vec()?;
    assert_eq!(documents.len(), 3);
    Ok(())
}

#[test]
fn projections_speak_json() -> anyhow::Result<()> {
    let (database, _store) = with_events()?;
    own(&database, &["migrate", "run"])?;

    let listed = run_on(&database, &["--json", "projections", "list"])?.json()?;

    assert_eq!(
        listed,
        json!({
            "name": "cart_sizes", "version": 1, "kind": "document:single_stream", "type": "inline",
            "status": "building", "missed": null, "failure": null, "rebuilding": null
        })
    );
    Ok(())
}

#[test]
fn a_program_without_the_projection_leaves_a_request() -> anyhow::Result<()> {
    let (database, store) = with_events()?;
    own(&database, &["migrate", "run"])?;

    let asked = run_on(&database, &["projections", "rebuild", "cart_sizes"])?;

    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(
        asked
            .stdout
            .contains("a consumer of a program with the projection carries it out"),
        "{asked:?}"
    );
    let outcome = store.requested_rebuild("cart_sizes")?;
    assert_eq!(
        outcome,
        emmett_postgresql::rebuild::RequestedRebuild::Waiting
    );
    Ok(())
}

#[test]
fn a_projection_that_nobody_has_registered_is_an_error() -> anyhow::Result<()> {
    let (database, _store) = with_events()?;

    let refused = run_on(&database, &["projections", "rebuild", "nothing"])?;

    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (1, ""),
        "{refused:?}"
    );
    assert!(
        refused
            .stderr
            .contains("there is no projection \"nothing\""),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_program_migrates_the_collections_that_it_declares() -> anyhow::Result<()> {
    let (database, _) = store()?;

    let status = own(&database, &["migrate", "status"])?;
    let printed = own(&database, &["migrate", "sql", "--print"])?;
    let tried = own(&database, &["migrate", "run", "--dry-run"])?;
    let applied = own(&database, &["migrate", "run"])?;
    let again = own(&database, &["migrate", "status"])?;

    assert_eq!(
        (status.code, status.stdout.as_str()),
        (
            3,
            "missing: collection cart_sizes, index cart_sizes_events_idx\n"
        )
    );
    assert!(
        printed
            .stdout
            .contains("CREATE INDEX IF NOT EXISTS \"cart_sizes_events_idx\""),
        "{}",
        printed.stdout
    );
    assert_eq!(
        tried.stdout,
        "would apply: collection cart_sizes, index cart_sizes_events_idx (tried, and rolled back)\n"
    );
    assert_eq!(
        applied.stdout,
        "applied: collection cart_sizes, index cart_sizes_events_idx\n"
    );
    assert_eq!(again.code, 0, "{again:?}");
    Ok(())
}
