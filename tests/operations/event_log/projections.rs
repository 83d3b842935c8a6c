//! Imports and inline projections: events are folded exactly once, by the import or by followers.

use super::logs::{import, numbers, plain_log};
use crate::support::{store, wait_until_active};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, RawEvent, Recorded, Result, error::ProjectionError,
    operations::ImportOptions,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One document per stream: how many events, and the sum of their numbers, in their order.
fn cases() -> DocumentProjection<Value> {
    DocumentProjection::single_stream(
        "cases",
        |case: Option<Value>, recorded: &Recorded<RawEvent>| {
            let mut case = case.unwrap_or_else(|| json!({ "events": 0, "numbers": [] }));
            case["events"] = json!(case["events"].as_u64().unwrap_or(0) + 1);
            if let Some(numbers) = case["numbers"].as_array_mut() {
                numbers.push(recorded.event.data["number"].clone());
            }
            Some(case)
        },
    )
}

/// One document per last digit, from the events of all streams.
fn digits() -> DocumentProjection<Value> {
    DocumentProjection::multi_stream(
        "digits",
        |recorded: &Recorded<RawEvent>| {
            recorded.event.data["number"]
                .as_u64()
                .map(|number| (number % 10).to_string())
        },
        |digit: Option<Value>, recorded| {
            let sum = digit.and_then(|digit| digit["sum"].as_u64()).unwrap_or(0);
            Some(json!({ "sum": sum + recorded.event.data["number"].as_u64().unwrap_or(0) }))
        },
    )
}

fn with_projections(url: &str) -> Result<EventStore> {
    EventStore::builder(url)
        .inline_projection(cases())
        .inline_projection(digits())
        .open()
}

fn numbers_of(store: &EventStore, stream: &str) -> anyhow::Result<Vec<u64>> {
    let case = store
        .collection::<Value>("cases")
        .find_one(json!({ "_id": stream }))?
        .unwrap_or_default();
    let numbers: Vec<u64> = serde_json::from_value(case["numbers"].clone())?;
    anyhow::ensure!(case["events"] == numbers.len(), "{case}");
    Ok(numbers)
}

/// Both read models say what the numbers from 1 on give.
fn assert_folded(store: &EventStore, last: u64) -> anyhow::Result<()> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for number in 1..=last {
        *sums.entry((number % 10).to_string()).or_default() += number;
    }
    for case in 0..5 {
        let expected: Vec<u64> = (1..=last).filter(|number| number % 5 == case).collect();
        assert_eq!(numbers_of(store, &format!("Case-{case}"))?, expected);
    }
    let digits = store
        .collection::<Value>("digits")
        .find(json!({}))
        .to_vec()?;
    let found = digits
        .iter()
        .filter_map(|digit| Some((digit["_id"].as_str()?.to_owned(), digit["sum"].as_u64()?)));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), sums);
    Ok(())
}

#[test]
fn projections_are_folded_exactly_whatever_the_batches() -> anyhow::Result<()> {
    for batch_size in [1, 7, 1_000] {
        let (database, _) = store()?;
        let store = with_projections(database.url())?;

        import(&store, &plain_log(1..=100), batch_size)?;
        import(&store, &plain_log(1..=150), batch_size)?;

        assert_folded(&store, 150)?;
    }
    Ok(())
}

#[test]
fn a_projection_that_fails_undoes_its_batch() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = with_projections(database.url())?;
    let failing = EventStore::builder(database.url())
        .inline_projection(cases())
        .inline_projection(digits())
        .inline_projection(emmett_postgresql::SqlProjection::new(
            "fails",
            |events: &[Recorded<RawEvent>], _| {
                anyhow::ensure!(
                    events
                        .iter()
                        .all(|recorded| recorded.event.data["number"] != 25),
                    "number 25"
                );
                Ok(())
            },
        ))
        .open()?;

    let refused = import(&failing, &plain_log(1..=40), 10);

    let Err(Error::Projection(ProjectionError::Failed {
        projection, source, ..
    })) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (projection.as_str(), source.to_string().as_str()),
        ("fails", "number 25")
    );
    assert_eq!(numbers(&store)?.len(), 20);
    assert_folded(&store, 20)
}

#[test]
fn an_import_without_the_projections_is_followed() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    let partial = EventStore::builder(database.url())
        .inline_projection(cases())
        .open()?;
    import(&complete, &plain_log(1..=10), 10)?;

    assert_eq!(import(&plain, &plain_log(1..=20), 3)?.imported, 10);
    assert_eq!(import(&partial, &plain_log(1..=30), 10)?.imported, 10);
    wait_until_active(&complete);

    assert_folded(&complete, 30)?;
    complete.append_to_stream("Case-1", &[RawEvent::new("Noted", json!({ "number": 31 }))])?;
    assert_folded(&complete, 31)
}

#[test]
fn a_read_model_that_is_rebuilt_during_an_import_without_it_follows() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    let log = plain_log(1..=30);

    let options = ImportOptions::new().batch_size(10).on_progress(|progress| {
        if progress.imported == 10 {
            complete
                .rebuild("cases")
                .run()
                .expect("a rebuild between two batches");
        }
    });
    plain.import(log.as_bytes(), options)?;
    wait_until_active(&complete);

    assert_folded(&complete, 30)
}

#[test]
fn a_projection_that_is_registered_during_an_import_is_built_and_follows() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let log = plain_log(1..=30);
    let mut complete = None;

    let options = ImportOptions::new().batch_size(10).on_progress(|_| {
        complete.get_or_insert_with(|| {
            with_projections(database.url()).expect("a store with projections")
        });
    });
    plain.import(log.as_bytes(), options)?;
    let complete = complete.expect("it was opened");
    wait_until_active(&complete);

    assert_folded(&complete, 30)
}

#[test]
fn an_import_by_an_older_version_is_followed_by_the_newer_one() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let newer = EventStore::builder(database.url())
        .inline_projection(cases().version(2))
        .inline_projection(digits())
        .open()?;
    let older = EventStore::builder(database.url())
        .inline_projection(cases())
        .open()?;

    import(&older, &plain_log(1..=10), 10)?;
    wait_until_active(&newer);

    assert_eq!(numbers(&newer)?.len(), 10);
    assert_folded(&newer, 10)
}
