//! Projections that fail during a rebuild.

use super::{assert_cleaned_up, damage, model, store_with};
use crate::support::{CartEvent, added};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, Recorded, SqlProjection, projection::Projection,
    rebuild::OnHistory,
};
use serde_json::Value;

fn full(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Version 2 of the items, which cannot write the document of one event.
fn cannot_bear(product: &'static str) -> impl Projection {
    DocumentProjection::multi_stream(
        "items",
        super::ids,
        move |item: Option<Value>, recorded: &Recorded<CartEvent>| match &recorded.event {
            CartEvent::ProductItemAdded { product_id, .. } if product_id == product => {
                // Not an object.
                Some(Value::Bool(true))
            }
            _ => item.or_else(|| Some(serde_json::json!({ "n": 1 }))),
        },
    )
    .version(2)
}

#[test]
fn a_failure_names_the_message_and_leaves_the_live_read_model_as_it_is() -> anyhow::Result<()> {
    let (database, store) = store_with(40)?;
    store.append_to_stream("Cart-bad", &[added("fine", 1), added("bad", 1)])?;
    super::append(&store, 40)?;
    damage(&store)?;
    let before = model(&store, "items")?;
    let failing = EventStore::builder(database.url())
        .inline_projection(cannot_bear("bad"))
        .on_history(OnHistory::Leave)
        .open()?;

    for workers in [1, 2] {
        let rebuild = failing.rebuild("items").batch_size(20).workers(workers);
        let error = full(rebuild.run().expect_err("it fails"));
        assert!(
            error.starts_with(
                "projection \"items\" failed: message 2 of stream \"Cart-bad\", type \"ProductItemAdded\", at global \
                 position 42: "
            ),
            "{error}"
        );
        assert!(error.contains("must be a JSON object"), "{error}");
    }

    assert_eq!(model(&store, "items")?, before);
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_cleaned_up(&database)
}

#[test]
fn a_failure_in_the_switch_names_the_message_too() -> anyhow::Result<()> {
    let (database, store) = store_with(10)?;
    let before = model(&store, "items")?;
    let failing = EventStore::builder(database.url())
        .inline_projection(cannot_bear("bad"))
        .on_history(OnHistory::Leave)
        .open()?;
    let mut last = 0;

    let failed = failing
        .rebuild("items")
        .on_progress(|progress| {
            if progress.handled == 10 && last == 0 {
                last = store
                    .append_to_stream("Cart-bad", &[added("fine", 1), added("bad", 1)])
                    .expect("an append")
                    .last_global_position;
            }
        })
        .run();

    let error = full(failed.expect_err("it fails"));
    assert!(
        error.contains(&format!(
            "message 2 of stream \"Cart-bad\", type \"ProductItemAdded\", at global position {last}"
        )),
        "{error}"
    );
    assert_eq!(model(&store, "items")?.len(), before.len() + 2);
    assert_cleaned_up(&database)
}

#[test]
fn an_unknown_projection_and_one_without_tables_are_refused() -> anyhow::Result<()> {
    let (database, _) = store_with(1)?;
    let store = EventStore::builder(database.url())
        .inline_projection(super::items())
        .inline_projection(SqlProjection::new("log", |_: &[Recorded<CartEvent>], _| {
            Ok(())
        }))
        .on_history(OnHistory::Leave)
        .open()?;

    for (name, words) in [
        ("nothing", "is not an inline projection of this store"),
        ("log", "declares no tables"),
    ] {
        let refused = store.rebuild(name).run();
        let Err(Error::InvalidInput { what, reason, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(what, format!("projection \"{name}\""));
        assert!(reason.contains(words), "{reason}");
    }
    let refused = store.rebuild_with(super::items()).run();
    assert!(refused.is_err_and(|error| error.to_string().contains("rebuild it by its name")));
    assert_cleaned_up(&database)
}
