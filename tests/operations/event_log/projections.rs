//! Imports and inline projections: folded exactly, or refused, or marked stale and rebuilt.

use super::logs::{import, numbers, plain_log};
use crate::support::store;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, ImportOptions, ImportReport, ProjectionError, RawEvent,
    Recorded, Result,
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

fn without_projections(store: &EventStore, log: &str) -> Result<ImportReport> {
    store.import(
        log.as_bytes(),
        ImportOptions::new().batch_size(10).without_projections(),
    )
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
fn a_program_without_the_projections_is_refused_and_stores_nothing() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    let partial = EventStore::builder(database.url())
        .inline_projection(cases())
        .open()?;
    import(&complete, &plain_log(1..=10), 10)?;

    for (program, missing) in [(&plain, "cases, digits"), (&partial, "digits")] {
        let refused = import(program, &plain_log(1..=20), 10);
        let Err(Error::InvalidInput { what, reason, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(what, "the import");
        assert!(
            reason.contains(&format!(
                "would leave the inline projections {missing} behind"
            )),
            "{reason}"
        );
    }

    assert_folded(&complete, 10)
}

#[test]
fn an_import_without_projections_marks_them_stale_until_they_are_rebuilt() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    import(&complete, &plain_log(1..=10), 10)?;

    let report = without_projections(&plain, &plain_log(1..=30))?;
    let append =
        || complete.append_to_stream("Case-1", &[RawEvent::new("Noted", json!({ "number": 31 }))]);
    let refused = append();

    assert_eq!(
        (report.imported, report.stale_projections),
        (20, vec!["cases".to_owned(), "digits".to_owned()])
    );
    let Err(Error::Projection(ProjectionError::Mismatch { message, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        message.starts_with("inline projection \"cases\" is stale"),
        "{message}"
    );
    assert!(message.contains("Rebuild it"), "{message}");
    complete.rebuild("cases").run()?;
    assert!(append().is_err_and(|error| error.to_string().contains("\"digits\" is stale")));
    complete.rebuild("digits").run()?;
    assert_folded(&complete, 30)?;
    append()?;
    assert_folded(&complete, 31)
}

#[test]
fn an_import_that_stores_nothing_marks_nothing_stale() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    let log = plain_log(1..=10);
    import(&complete, &log, 10)?;

    let report = without_projections(&plain, &log)?;

    assert_eq!((report.imported, report.stale_projections), (0, vec![]));
    import(&complete, &plain_log(1..=20), 10)?;
    assert_folded(&complete, 20)
}

#[test]
fn a_read_model_that_is_rebuilt_during_an_import_without_it_is_stale_again() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let complete = with_projections(database.url())?;
    let log = plain_log(1..=30);

    let options = ImportOptions::new()
        .batch_size(10)
        .without_projections()
        .on_progress(|progress| {
            if progress.imported == 10 {
                complete
                    .rebuild("cases")
                    .run()
                    .expect("a rebuild between two batches");
            }
        });
    let report = plain.import(log.as_bytes(), options)?;
    let refused =
        complete.append_to_stream("Case-1", &[RawEvent::new("Noted", json!({ "number": 31 }))]);

    assert_eq!(report.stale_projections, ["cases", "digits"]);
    assert!(
        matches!(
            refused,
            Err(Error::Projection(ProjectionError::Mismatch { .. }))
        ),
        "{refused:?}"
    );
    complete.rebuild("cases").run()?;
    complete.rebuild("digits").run()?;
    assert_folded(&complete, 30)
}

#[test]
fn a_projection_that_is_registered_during_an_import_stops_it() -> anyhow::Result<()> {
    let (database, plain) = store()?;
    let log = plain_log(1..=30);
    let mut complete = None;

    let options = ImportOptions::new().batch_size(10).on_progress(|_| {
        complete.get_or_insert_with(|| {
            with_projections(database.url()).expect("a store with projections")
        });
    });
    let stopped = plain.import(log.as_bytes(), options);

    let Err(Error::InvalidInput { reason, .. }) = stopped else {
        panic!("{stopped:?}")
    };
    assert!(reason.contains("cases, digits"), "{reason}");
    let complete = complete.expect("it was opened");
    assert_eq!(import(&complete, &log, 10)?.imported, 20);
    let later: Vec<u64> = (11..=30).filter(|number| number % 5 == 1).collect();
    assert_eq!(numbers_of(&complete, "Case-1")?, later);
    Ok(())
}

#[test]
fn a_program_with_an_older_version_of_a_projection_is_refused() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let newer = EventStore::builder(database.url())
        .inline_projection(cases().version(2))
        .open()?;
    let older = EventStore::builder(database.url())
        .inline_projection(cases())
        .open()?;

    let refused = import(&older, &plain_log(1..=10), 10);

    let Err(Error::Projection(ProjectionError::Mismatch { message, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        message.contains("this program has version 1, the active one is 2"),
        "{message}"
    );
    assert_eq!(numbers(&newer)?.len(), 0);
    Ok(())
}
