//! `emmett keys`.

use super::process::{run_on, succeed};
use crate::decide::Cart;
use crate::support::{database, store};
use emmett_postgresql::decide::stream;
use serde_json::json;

#[test]
fn keys_are_counted_and_old_ones_deleted() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for key in ["old", "new"] {
        store
            .decide(stream::<Cart>("Cart-1"))
            .key(key)
            .run(Cart::add)?;
    }
    database.client()?.batch_execute(
        "UPDATE emt_command_keys SET created = now() - INTERVAL '31 days' WHERE command_key = 'old'",
    )?;

    assert_eq!(succeed(&database, &["keys"])?, "2 command keys\n");
    let old = ["keys", "--older-than", "30d"];
    assert_eq!(succeed(&database, &old)?, "1 command key\n");
    let counted = run_on(&database, &[&old[..], &["--json"]].concat())?;
    assert_eq!(counted.json()?, json!({ "count": 1 }));
    let deleted = succeed(&database, &[&old[..], &["--delete"]].concat())?;
    assert_eq!(deleted, "deleted 1 command key\n");
    assert_eq!(succeed(&database, &["keys"])?, "1 command key\n");

    let kept = store
        .decide(stream::<Cart>("Cart-1"))
        .key("new")
        .run(Cart::add)?;
    assert!(kept.was_decided_before);
    Ok(())
}

#[test]
fn an_age_that_is_none_and_a_deletion_of_all_keys_are_refused() -> anyhow::Result<()> {
    let database = database();
    for (age, said) in [
        ("soon", "write a number and a unit"),
        ("30", "write a number and a unit"),
        ("-3d", "an age is not negative"),
    ] {
        let argument = format!("--older-than={age}");
        let refused = run_on(&database, &["keys", &argument])?;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let all = run_on(&database, &["keys", "--delete"])?;
    assert_eq!(all.code, 2, "{all:?}");
    assert!(all.stderr.contains("--older-than"), "{all:?}");
    Ok(())
}
