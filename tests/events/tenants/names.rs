//! The valid names of tenants. Two names never share tables.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    Error, EventStore, FeedOptions, RawEvent, ReadOptions, Result, StreamMessages,
};
use serde_json::Map;

/// The reason why a name is refused.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::InvalidInput { reason, .. }) => reason,
        other => panic!("expected a refused name, got {other:?}"),
    }
}

#[test]
fn a_name_that_gives_no_table_name_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for (name, reason) in [
        ("", "must have 1 to 41 characters, has 0"),
        (&"a".repeat(42), "must have 1 to 41 characters, has 42"),
        (&"ü".repeat(42), "must have 1 to 41 characters, has 42"),
        ("a\0b", "must not contain the character U+0000"),
        ("shop_active", "must not end with _active or _archived"),
        ("shop-archived", "must not end with _active or _archived"),
    ] {
        assert_eq!(refusal(store.tenant(name)), reason);
        assert_eq!(refusal(store.tenants().add(name)), reason);
        assert_eq!(refusal(store.tenants().remove(name)), reason);
    }

    assert!(store.tenants().list()?.is_empty());
    Ok(())
}

#[test]
fn the_database_refuses_such_names_too() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let mut client = database.client()?;

    for name in ["", &"ü".repeat(42), "shop_active", "shop-archived"] {
        for function in ["emt_partition_create", "emt_add_partition"] {
            let refused = client.query(&format!("SELECT {function}($1)"), &[&name]);
            let code = refused
                .expect_err("no table names")
                .code()
                .map(|code| code.code().to_owned());
            assert_eq!(code.as_deref(), Some("SE004"), "{name:?}");
        }
    }

    Ok(())
}

#[test]
fn the_longest_names_work() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for name in [
        "a".repeat(41),
        "ü".repeat(41),
        "😀".repeat(40),
        "b".repeat(40),
    ] {
        assert!(store.tenants().add(&name)?);
        let tenant = store.tenant(&name)?;
        tenant.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        tenant.archive_stream("Cart-1")?;
        assert_eq!(tenant.read_all::<RawEvent>(FeedOptions::new()).count(), 1);
        store.tenants().remove(&name)?.with_all_data()?;
    }

    assert!(store.tenants().list()?.is_empty());
    Ok(())
}

#[test]
fn long_names_that_differ_in_their_last_character_have_functions_of_their_own() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let names = ["x", "y"].map(|last| "a".repeat(40) + last);
    for name in &names {
        store.tenants().add(name)?;
    }
    let append = |name: &str| -> anyhow::Result<()> {
        let tenant = store.tenant(name)?;
        tenant.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        let streams =
            ["Cart-1", "Cart-2"].map(|cart| StreamMessages::new(cart, &[added("hat", 1)]));
        tenant.append_to_streams(streams.into_iter().collect::<Result<_, _>>()?)?;
        Ok(())
    };
    names.iter().try_for_each(|name| append(name))?;
    for name in &names {
        let feed = store.tenant(name)?.read_all::<RawEvent>(FeedOptions::new());
        assert_eq!(feed.count(), 3, "{name}");
    }

    store.tenants().remove(&names[0])?.with_all_data()?;
    append(&names[1])?;
    store.tenants().remove(&names[1])?.with_all_data()?;
    Ok(())
}

#[test]
fn a_name_with_anothers_table_names_is_refused_and_the_other_is_named() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("a-b")?;

    for name in ["a_b", "a b", "a.b", "aäb"] {
        let reason = refusal(store.tenants().add(name));
        assert!(
            reason.contains("would have the table names of tenant \"a-b\""),
            "{reason}"
        );
    }
    let reason = refusal(store.tenants().add("emt_default"));

    assert!(
        reason.contains("would have the table names of tenant \"emt:default\""),
        "{reason}"
    );
    assert_eq!(store.tenants().list()?.len(), 1);
    assert!(store.tenants().add("A-B")?, "case tells names apart");
    Ok(())
}

#[test]
fn a_name_that_only_looks_like_a_tenants_table_names_reaches_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("a-b")?;
    let own = store.tenant("a-b")?;
    for store in [&store, &own] {
        store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
        store.archive_stream("Cart-2")?;
    }

    for name in ["a_b", "a.b", "emt_default"] {
        assert_reaches_nothing(&store.tenant(name)?)?;
    }

    for store in [&store, &own] {
        assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
        assert_eq!(store.stream_metadata("Cart-1")?, Some(Map::new()));
        assert!(!store.stream_exists("Cart-2")?);
    }
    Ok(())
}

fn assert_reaches_nothing(stranger: &EventStore) -> anyhow::Result<()> {
    for stream in ["Cart-1", "Cart-2"] {
        for options in [ReadOptions::new(), ReadOptions::new().include_archived()] {
            assert!(
                !stranger
                    .read_stream_with::<RawEvent>(stream, options)?
                    .exists
            );
            assert!(
                !stranger
                    .read_stream_with::<RawEvent>(stream, options.backwards())?
                    .exists
            );
        }
        assert!(!stranger.stream_exists(stream)?);
        assert_eq!(stranger.stream_metadata(stream)?, None);
        let metadata = Map::from_iter([("stolen".to_owned(), true.into())]);
        assert!(!stranger.set_stream_metadata(stream, &metadata)?);
        assert_unknown(stranger.archive_stream(stream));
        assert_unknown(stranger.unarchive_stream(stream));
        assert_unknown(stranger.append_to_stream(stream, &[added("shoes", 1)]));
    }
    let feed = stranger.read_all::<RawEvent>(FeedOptions::new());
    assert_unknown(feed.collect::<Result<Vec<_>>>());
    assert_unknown(stranger.feed_horizon(0));
    Ok(())
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(result: Result<T>) {
    assert!(
        matches!(result, Err(Error::UnknownTenant { .. })),
        "{result:?}"
    );
}

#[test]
fn the_tables_that_a_removed_tenant_left_are_not_given_to_another_name() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let removed = "it's \\ a-b";
    store.tenants().add(removed)?;
    store.tenants().remove(removed)?.with_all_data()?;

    let reason = refusal(store.tenants().add("it_s _ a_b"));
    assert!(store.tenants().add(removed)?);

    assert!(
        reason.contains("table names of another tenant, which was removed"),
        "{reason}"
    );
    let tenant = store.tenant(removed)?;
    assert_eq!(
        tenant
            .append_to_stream("Cart-1", &[added("shoes", 1)])?
            .next_expected_version,
        1
    );
    Ok(())
}
