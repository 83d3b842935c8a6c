//! Reactors that read streams, decide, and append, in one transaction with their checkpoint.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{AppendOptions, DocumentProjection, Error, RawEvent, Reactor, Recorded};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;

fn note(number: u64) -> RawEvent {
    RawEvent::new("Noted", json!({ "number": number }))
}

#[test]
fn two_decisions_of_one_batch_on_one_stream_see_each_other_and_happen_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    let mails: Arc<Mutex<Vec<u64>>> = Arc::default();
    let sent = Arc::clone(&mails);
    let reactor = Reactor::new("decider").each(move |message: &Recorded<CartEvent>, context| {
        let exists = context.stream_exists("Notes-1")?;
        assert_eq!(exists, message.global_position > 1);
        let read = context.read_stream::<RawEvent>("Notes-1")?;
        let sum = context.aggregate_stream(
            "Notes-1",
            || 0,
            |sum: u64, noted: RawEvent| sum + noted.data["number"].as_u64().unwrap_or(0),
        )?;
        assert_eq!(
            (sum.state, sum.current_version),
            (read.current_version, read.current_version)
        );
        sent.lock().push(message.global_position);
        let expected = AppendOptions::new().expected_version(read.current_version);
        context.append_to_stream_with("Notes-1", &[note(1)], expected)?;
        Ok(())
    });

    let report = store.consumer().reactor(reactor).run_until_caught_up()?;

    assert_eq!(report.handled(), 2);
    assert_eq!(*mails.lock(), [1, 2], "each mail is sent once");
    assert_eq!(store.read_stream::<RawEvent>("Notes-1")?.current_version, 2);
    Ok(())
}

/// The text that `on_error` gets of a processor that fails at position 3 of 5.
fn reported(
    processor: impl FnOnce(
        &emmett_postgresql::EventStore,
        Arc<Mutex<Vec<String>>>,
    ) -> emmett_postgresql::consumer::ConsumerBuilder,
) -> anyhow::Result<Vec<String>> {
    let (_database, store) = store()?;
    for number in 1..=5 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    let errors: Arc<Mutex<Vec<String>>> = Arc::default();
    let failed = processor(&store, Arc::clone(&errors)).run_until_caught_up();
    assert!(matches!(failed, Err(Error::Processor(_))), "{failed:?}");
    let errors = errors.lock().clone();
    Ok(errors)
}

#[test]
fn the_warning_of_a_failing_batch_names_the_message_that_failed() -> anyhow::Result<()> {
    let errors = reported(|store, errors| {
        let reactor = Reactor::new("mails")
            .on_error(move |error| errors.lock().push(error.to_string()))
            .each(|message: &Recorded<CartEvent>, _| {
                anyhow::ensure!(message.global_position != 3, "out of paper");
                Ok(())
            });
        store.consumer().reactor(reactor)
    })?;
    for error in &errors {
        for part in ["position 3", "stream \"Cart-3\"", "out of paper"] {
            assert!(error.contains(part), "{errors:?}");
        }
    }
    assert!(!errors.is_empty());
    Ok(())
}

#[test]
fn the_warning_of_a_batch_that_fails_as_a_whole_names_all_of_it_then_the_message()
-> anyhow::Result<()> {
    let errors = reported(|store, errors| {
        let carts = DocumentProjection::single_stream(
            "carts",
            |_: Option<serde_json::Value>, message: &Recorded<CartEvent>| {
                assert!(message.global_position != 3, "out of paper");
                Some(json!({}))
            },
        );
        let projector = emmett_postgresql::Projector::new(carts)
            .on_error(move |error| errors.lock().push(error.to_string()));
        store.consumer().projector(projector)
    })?;
    assert!(
        errors[0].contains("5 messages together, at positions 1 to 5"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("position 3: message 1 of stream \"Cart-3\""),
        "{errors:?}"
    );
    Ok(())
}
