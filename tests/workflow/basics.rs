use super::fixtures::{
    LONG, PROCESSOR, checkout, close, pay, place, recorded, run, stream, types, waiting,
};
use crate::support::{store, wait_until};
use emmett_postgresql::events::MessageKind;
use emmett_postgresql::operations::{ParkedOptions, ParkedSelection};
use emmett_postgresql::{FailurePolicy, NewMessage, RawEvent};
use serde_json::json;

const HOUR: u64 = 3_600_000;

#[test]
fn an_input_and_its_outputs_are_recorded_as_emmett_records_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    place(&store, "1", HOUR)?;
    pay(&store, "1")?;

    let handled = run(&store, checkout())?;

    assert_eq!(handled, 2);
    let messages = recorded(&store, &stream("1"))?;
    let found: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                &*message.message_type,
                message.kind,
                &message.metadata["action"],
            )
        })
        .collect();
    let (initiated, received) = (json!("InitiatedBy"), json!("Received"));
    let (sent, published) = (json!("Sent"), json!("Published"));
    assert_eq!(
        found,
        [
            ("checkout:Placed", MessageKind::Event, &initiated),
            ("Reserve", MessageKind::Command, &sent),
            ("checkout:Paid", MessageKind::Event, &received),
            ("Confirmed", MessageKind::Event, &published),
        ]
    );
    let placed = &recorded(&store, "Order-1")?[0];
    assert_eq!(messages[0].metadata["originalMessageId"], placed.message_id);
    assert_eq!(messages[0].metadata["input"], true);
    assert_eq!(messages[0].event.data, placed.event.data);
    assert_eq!(messages[1].metadata.get("input"), None);
    for message in &messages[..2] {
        assert_eq!(message.causation_id.as_ref(), Some(&placed.message_id));
        assert_eq!(message.correlation_id.as_ref(), Some(&placed.message_id));
    }
    let commands = recorded(&store, "Stock-1")?;
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].kind, MessageKind::Command);
    assert_eq!(commands[0].event, messages[1].event);
    assert_eq!(commands[0].causation_id.as_ref(), Some(&placed.message_id));
    assert!(
        commands[0].metadata.is_empty(),
        "{:?}",
        commands[0].metadata
    );
    Ok(())
}

#[test]
fn the_types_of_a_workflows_stream_can_be_read_as_a_category() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    place(&store, "1", HOUR)?;
    run(&store, checkout())?;

    let category = emmett_postgresql::FeedOptions::new().categories(&["emt:workflow:checkout"]);
    let all: Vec<_> = store
        .read_all::<RawEvent>(category)
        .map(|message| message.map(|message| message.message_type))
        .collect::<Result<_, _>>()?;
    assert_eq!(all, ["checkout:Placed", "Reserve"]);
    Ok(())
}

#[test]
fn a_reset_processor_decides_no_input_again() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    pay(&store, "1")?;
    place(&store, "2", HOUR)?;
    run(&store, checkout())?;
    let before = types(&store, &stream("1"))?;
    let mut client = database.client()?;
    assert_eq!(waiting(&mut client), 1);
    store.cancel_timer("checkout", "2", "payment")?;

    store.processors().reset(PROCESSOR, 0)?;
    let handled = run(&store, checkout())?;

    assert_eq!(handled, 3);
    assert_eq!(types(&store, &stream("1"))?, before);
    assert_eq!(types(&store, "Stock-1")?, ["Reserve"]);
    assert_eq!(waiting(&mut client), 0, "a replay sets no timer again");
    Ok(())
}

#[test]
fn an_input_without_an_id_is_ignored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    place(&store, "ignored", HOUR)?;
    let handled = run(&store, checkout())?;
    assert_eq!(handled, 0);
    assert_eq!(types(&store, &stream("ignored"))?, [""; 0]);
    Ok(())
}

#[test]
fn a_message_that_is_split_is_one_input_and_a_dropped_one_is_none() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let data = json!({ "order": "1", "deadline": HOUR });
    let former = ["Viewed", "PlacedAndPaid"].map(|name| RawEvent::new(name, data.clone()));
    store.append_to_stream("Order-1", &former)?;

    run(&store, checkout())?;

    let recorded_types = ["checkout:PlacedAndPaid", "Reserve", "Confirmed"];
    assert_eq!(types(&store, &stream("1"))?, recorded_types);
    assert_eq!(waiting(&mut database.client()?), 0);
    close(&store, "1")?;
    run(&store, checkout().version(2))?;
    let recorded_types = [&recorded_types[..], &["checkout:Closed"]].concat();
    assert_eq!(types(&store, &stream("1"))?, recorded_types);
    Ok(())
}

#[test]
fn a_complete_instance_gets_no_inputs_and_has_no_timers() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    close(&store, "1")?;
    pay(&store, "1")?;

    run(&store, checkout())?;

    let recorded_types = ["checkout:Placed", "Reserve", "checkout:Closed"];
    assert_eq!(types(&store, &stream("1"))?, recorded_types);
    pay(&store, "1")?;
    run(&store, checkout())?;
    assert_eq!(types(&store, &stream("1"))?, recorded_types);
    assert_eq!(waiting(&mut database.client()?), 0);
    Ok(())
}

#[test]
fn inputs_from_several_streams_reach_one_instance_in_order_with_many_workers() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let consumer = store
        .consumer()
        .workflow(checkout().workers(4))
        .batch_size(7)
        .start()?;
    let mut last = 0;
    for order in 0..50 {
        place(&store, &order.to_string(), HOUR)?;
        pay(&store, &order.to_string())?;
        last = close(&store, &order.to_string())?;
    }
    store.wait_for(PROCESSOR, last, LONG)?;
    consumer.stop()?;
    for order in 0..50 {
        let expected = [
            "checkout:Placed",
            "Reserve",
            "checkout:Paid",
            "Confirmed",
            "checkout:Closed",
        ];
        assert_eq!(types(&store, &stream(&order.to_string()))?, expected);
    }
    Ok(())
}

#[test]
fn an_input_that_fails_is_parked_with_the_later_inputs_of_its_instance() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    place(&store, "broken", HOUR)?;
    let failed = pay(&store, "broken")?;
    let later = close(&store, "broken")?;
    place(&store, "well", HOUR)?;
    let processor = || checkout().on_failure(FailurePolicy::park()).workers(2);

    run(&store, processor())?;

    let parked = store.processors().parked(PROCESSOR, ParkedOptions::new())?;
    let parked: Vec<_> = parked
        .iter()
        .map(|message| {
            let error = message.error.as_ref();
            let is_failed = error.is_some_and(|error| error.contains("it is broken"));
            (message.global_position, &*message.stream_name, is_failed)
        })
        .collect();
    let instance = stream("broken");
    assert_eq!(
        parked,
        [(failed, &*instance, true), (later, &*instance, false)],
        "the later input comes from another stream"
    );
    assert_eq!(types(&store, &stream("well"))?.len(), 2);

    let processors = store.processors();
    processors.discard(PROCESSOR, &ParkedSelection::Position(failed))?;
    run(&store, processor())?;
    assert_eq!(
        types(&store, &instance)?,
        ["checkout:Placed", "Reserve", "checkout:Closed"]
    );
    Ok(())
}

#[test]
fn streams_of_emmett_for_node_are_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let message = |message_type: &str, data, input: Option<&str>, action: &str| {
        let message = NewMessage::new(RawEvent::new(message_type, data)).metadata("action", action);
        match input {
            Some(id) => message
                .metadata("originalMessageId", id)
                .metadata("input", true),
            None => message,
        }
    };
    let placed = json!({ "order": "1", "deadline": 1 });
    let stored = [
        message("checkout:Placed", placed, Some("their-1"), "InitiatedBy"),
        message("Reserve", json!({ "order": "1" }), None, "Sent"),
        message(
            "checkout:TimedOut",
            json!(null),
            Some("their-2"),
            "Received",
        ),
        message("Cancelled", json!(null), None, "Published"),
    ];
    store.append_to_stream(&stream("1"), &stored)?;
    let paid = NewMessage::new(super::fixtures::OrderInput::Paid { order: "1".into() });
    store.append_to_stream("Payment-1", &[paid.message_id("their-3")])?;
    let repeated = NewMessage::new(super::fixtures::OrderInput::Closed { order: "1".into() });
    store.append_to_stream("Payment-1", &[repeated.message_id("their-2")])?;

    run(&store, checkout())?;

    let messages = recorded(&store, &stream("1"))?;
    let new: Vec<_> = messages[4..].iter().map(|new| &*new.message_type).collect();
    assert_eq!(
        new,
        ["checkout:Paid"],
        "it was cancelled, so nothing follows"
    );
    assert_eq!(messages[4].metadata["action"], "Received");
    Ok(())
}

#[test]
fn a_change_of_the_stream_by_another_program_is_decided_anew() -> anyhow::Result<()> {
    let (database, store) = store()?;
    place(&store, "1", HOUR)?;
    pay(&store, "1")?;
    // Another program appends to the stream of the instance, and commits only after the processor has read it.
    let mut client = database.client()?;
    let mut transaction = client.transaction()?;
    store.in_transaction(&mut transaction, |session| {
        let theirs = NewMessage::new(RawEvent::new("Cancelled", json!(null)));
        session.append_to_stream(&stream("1"), &[theirs.metadata("action", "Published")])?;
        Ok(())
    })?;
    let consumer = store.consumer().workflow(checkout()).start()?;
    let mut other = database.client()?;
    wait_until("the processor waits for the stream", || {
        let waits =
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')";
        other.query_one(waits, &[]).is_ok_and(|row| row.get(0))
    });
    transaction.commit()?;
    store.wait_for(PROCESSOR, 2, LONG)?;
    consumer.stop()?;

    assert_eq!(
        types(&store, &stream("1"))?,
        ["Cancelled", "checkout:Placed", "Reserve", "checkout:Paid"]
    );
    let processors = store.processors().list()?;
    assert_eq!(
        (processors[0].parked, &processors[0].last_error),
        (0, &None)
    );
    Ok(())
}
