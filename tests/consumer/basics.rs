use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::support::{CartEvent, added, store, wait_until};
use crossbeam_channel::{bounded, unbounded};
use emmett_postgresql::{
    Error, Event, FailurePolicy, Projector, RawEvent, Reactor, Recorded,
    consumer::{RunEnd, StartFrom},
    error::ProcessorError,
    operations::ParkedOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_projector_keeps_a_read_model_that_can_be_waited_for() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("shoe", 2)])?;
    let consumer = store.consumer().projector(counts("counts")).start()?;

    let appended = store.append_to_stream("Cart-1", &[added("sock", 4)])?;
    store.wait_for("counts", appended.last_global_position, LONG)?;

    let cart = counted(&store, "counts", "Cart-1")?.expect("a document");
    assert_eq!((cart.events, cart.items), (3, 7));
    assert_eq!(consumer.handled("counts"), 3);
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_consumer_that_is_started_again_goes_on_where_it_stopped() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for round in 0..3 {
        let consumer = store.consumer().projector(journal("journal")).start()?;
        let appended = store.append_to_stream(
            &format!("Cart-{round}"),
            &[added("hat", 1), added("hat", 1)],
        )?;
        store.wait_for("journal", appended.last_global_position, LONG)?;
        consumer.stop()?;
    }

    let mut client = database.client()?;
    assert_eq!(journaled(&mut client, "journal")?, stored(&mut client)?);
    Ok(())
}

#[test]
fn processors_at_different_positions_are_all_served() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for number in 0..50 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }
    let _ = store
        .consumer()
        .projector(journal("early"))
        .run_until_caught_up()?;
    for number in 0..50 {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", 1)])?;
    }

    let consumer = store
        .consumer()
        .projector(journal("early"))
        .projector(journal("late"))
        .batch_size(7)
        .start()?;
    let last = u64::try_from(*stored(&mut database.client()?)?.last().expect("events"))?;
    store.wait_for("early", last, LONG)?;
    store.wait_for("late", last, LONG)?;
    consumer.stop()?;

    let mut client = database.client()?;
    let stored = stored(&mut client)?;
    assert_eq!(journaled(&mut client, "early")?, stored);
    assert_eq!(journaled(&mut client, "late")?, stored);
    Ok(())
}

#[derive(Serialize, Deserialize)]
enum MailEvent {
    MailSent { cart: String },
}
impl Event for MailEvent {}

#[test]
fn a_reactor_gets_each_event_and_appends_with_its_cause() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (seen, events) = unbounded();
    let reactor = Reactor::new("mails").each(move |message: &Recorded<CartEvent>, context| {
        seen.send(message.global_position)?;
        let cart = message.stream_name.to_string();
        context.append_to_stream("Mail-1", &[MailEvent::MailSent { cart }])?;
        Ok(())
    });
    let consumer = store.consumer().reactor(reactor).start()?;

    let first = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(events.recv_timeout(LONG)?, first.last_global_position);
    store.wait_for("mails", first.last_global_position, LONG)?;

    let cause = store.read_stream::<CartEvent>("Cart-1")?.events.remove(0);
    let mail = store.read_stream::<MailEvent>("Mail-1")?.events.remove(0);
    assert_eq!(mail.causation_id.as_deref(), Some(&*cause.message_id));
    assert_eq!(mail.correlation_id.as_deref(), Some(&*cause.message_id));
    consumer.stop()?;
    Ok(())
}

#[test]
fn only_the_types_that_are_handled_reach_the_handler_and_the_checkpoint_passes_the_others()
-> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (seen, events) = unbounded();
    let reactor = Reactor::new("confirmations")
        .each(move |message: &Recorded<RawEvent>, _| Ok(seen.send(message.message_type.clone())?))
        .can_handle(&["ShoppingCartConfirmed"]);
    let consumer = store.consumer().reactor(reactor).start()?;

    let confirmed = CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    };
    store.append_to_stream("Cart-1", &[added("hat", 1), confirmed])?;
    let last = store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    store.wait_for("confirmations", last.last_global_position, LONG)?;

    assert_eq!(
        events.try_iter().collect::<Vec<_>>(),
        ["ShoppingCartConfirmed"]
    );
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_processor_can_begin_at_the_end_or_at_a_position() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let first = store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 1)])?;
    let consumer = store
        .consumer()
        .projector(Projector::new(journal("news")).start_from(StartFrom::End))
        .projector(
            Projector::new(journal("part"))
                .start_from(StartFrom::Position(first.global_positions[0])),
        )
        .start()?;
    let later = store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    store.wait_for("news", later.last_global_position, LONG)?;
    store.wait_for("part", later.last_global_position, LONG)?;
    consumer.stop()?;

    let mut client = database.client()?;
    let all = stored(&mut client)?;
    assert_eq!(journaled(&mut client, "news")?, all[2..]);
    assert_eq!(journaled(&mut client, "part")?, all[1..]);
    Ok(())
}

#[test]
fn a_processor_stops_behind_the_message_that_meets_its_condition() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[added("hat", 1), added("hat", 2), added("hat", 3)],
    )?;
    let two = |message: &emmett_postgresql::RecordedMessage| message.stream_position() == 2;
    let consumer = store
        .consumer()
        .projector(Projector::new(journal("journal")).stop_after(two))
        .start()?;
    consumer.wait()?;

    let mut client = database.client()?;
    assert_eq!(
        journaled(&mut client, "journal")?,
        stored(&mut client)?[..2]
    );
    Ok(())
}

#[test]
fn hooks_tell_of_start_end_and_of_having_caught_up() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (said, hears) = unbounded();
    let (start, stop, caught_up) = (said.clone(), said.clone(), said);
    let reactor = Reactor::new("quiet")
        .each(|_: &Recorded<RawEvent>, _| Ok(()))
        .on_start(move || start.send("start".to_owned()).expect("heard"))
        .on_stop(move || stop.send("stop".to_owned()).expect("heard"))
        .on_caught_up(move |position| {
            caught_up
                .send(format!("caught up at {position}"))
                .expect("heard");
        });
    let consumer = store.consumer().reactor(reactor).start()?;

    assert_eq!(hears.recv_timeout(LONG)?, "start");
    assert_eq!(hears.recv_timeout(LONG)?, "caught up at 0");
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(hears.recv_timeout(LONG)?, "caught up at 1");
    consumer.stop()?;
    assert_eq!(hears.recv_timeout(LONG)?, "stop");
    Ok(())
}

#[test]
fn tenants_have_consumers_of_their_own() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    let consumer = acme.consumer().projector(counts("counts")).start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let appended = acme.append_to_stream("Cart-1", &[added("hat", 5)])?;
    acme.wait_for("counts", appended.last_global_position, LONG)?;

    assert_eq!(
        counted(&acme, "counts", "Cart-1")?
            .expect("a document")
            .items,
        5
    );
    assert_eq!(counted(&store, "counts", "Cart-1")?, None);
    consumer.stop()?;
    Ok(())
}

#[test]
fn messages_that_others_append_are_noticed_without_a_word() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let consumer = store
        .consumer()
        .projector(journal("journal"))
        .poll_interval(Duration::from_millis(20))
        .start()?;
    database.client()?.batch_execute(
        "SELECT emt_append_to_stream(
            ARRAY['1'], ARRAY['{\"productId\": \"hat\", \"quantity\": 1, \"price\": 1}'::JSONB], ARRAY['{}'::JSONB],
            ARRAY['1'], ARRAY['ProductItemAdded'], ARRAY['E'], 'Cart-1', 'Cart')",
    )?;
    let mut client = database.client()?;
    wait_until("the message has arrived", || {
        journaled(&mut client, "journal").is_ok_and(|positions| positions == [1])
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn waiting_for_what_does_not_come_ends_with_an_error_that_says_how_far_it_is() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let short = Duration::from_millis(50);
    let error = store
        .wait_for("nobody", 1, short)
        .expect_err("nobody comes");
    assert!(
        matches!(
            error,
            Error::Processor(ProcessorError::WaitTimeout { reached: None, .. })
        ),
        "{error}"
    );

    let consumer = store.consumer().projector(counts("counts")).start()?;
    let error = store
        .wait_for("counts", 100, short)
        .expect_err("nothing is appended");
    assert!(
        matches!(
            error,
            Error::Processor(ProcessorError::WaitTimeout {
                reached: Some(0),
                ..
            })
        ),
        "{error}"
    );
    consumer.stop()?;
    Ok(())
}

#[test]
fn what_cannot_be_a_consumer_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let refused = |outcome: Result<emmett_postgresql::consumer::Consumer, Error>| {
        outcome.expect_err("is refused").to_string()
    };
    let nothing = |name: &str| Reactor::new(name).each(|_: &Recorded<RawEvent>, _| Ok(()));

    assert_eq!(
        refused(store.consumer().start()),
        "the consumer: has no processors: add a projector or a reactor"
    );
    assert!(refused(store.consumer().reactor(nothing("")).start()).contains("must not be empty"));
    let twice = store.consumer().reactor(nothing("a")).reactor(nothing("a"));
    assert_eq!(
        refused(twice.start()),
        "processor \"a\": is given twice: remove one of them, or rename it"
    );
    let none = store.consumer().reactor(nothing("a").workers(0));
    assert!(refused(none.start()).contains("at least one worker"));

    store
        .consumer()
        .reactor(nothing("b").slots(4))
        .start()?
        .stop()?;
    let other = store.consumer().reactor(nothing("b").slots(8));
    let text = refused(other.start());
    assert!(text.contains("4 slots") && text.contains('8'), "{text}");
    Ok(())
}

#[test]
fn what_cannot_be_stored_or_makes_no_sense_is_refused_and_not_cut() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let nothing = |name: &str| Reactor::new(name).each(|_: &Recorded<RawEvent>, _| Ok(()));
    let consumer = |reactor| store.consumer().reactor(reactor);
    let beyond = 3_000_000_000;
    let from = StartFrom::Position(u64::MAX);
    for (refused, expected) in [
        (
            consumer(nothing("a").version(beyond)),
            "the version of reactor \"a\"",
        ),
        (consumer(nothing("a").slots(beyond)), "the number of slots"),
        (
            consumer(nothing("a").workers(beyond).slots(1)),
            "the number of workers",
        ),
        (
            consumer(nothing("a").start_from(from)),
            "the position to start from",
        ),
        (consumer(nothing("a")).batch_size(0), "the batch size"),
        (
            consumer(nothing("a")).poll_interval(Duration::ZERO),
            "the poll interval",
        ),
        (consumer(nothing("a")).lease(Duration::MAX), "the lease"),
    ] {
        let error = refused.start().map(drop).expect_err(expected);
        assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let error = store
        .processors()
        .version(beyond)
        .list()
        .expect_err("no such version");
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    let projection = counts("counts").version(beyond);
    let error = store
        .rebuild_with(projection)
        .run()
        .expect_err("no such version");
    assert!(
        error
            .to_string()
            .contains("the version of projection \"counts\""),
        "{error}"
    );
    for rebuild in [
        store.rebuild_with(counts("counts")).workers(0),
        store.rebuild_with(counts("counts")).batch_size(0),
    ] {
        let error = rebuild.run().expect_err("nothing to work with");
        assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    }
    Ok(())
}

#[test]
fn what_the_registry_should_not_hold_is_an_error() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let report = store
        .consumer()
        .projector(counts("counts"))
        .run_until_caught_up()?;
    assert_eq!(report.end, RunEnd::CaughtUp);
    for (change, expected) in [
        (
            "status = 'paused'",
            "the status of projection \"counts\" is stored as \"paused\"",
        ),
        (
            "status = 'active', type = 'x'",
            "the type of projection \"counts\" is stored as \"x\"",
        ),
        ("type = 'a', version = -1", "column version is stored as -1"),
    ] {
        database
            .client()?
            .batch_execute(&format!("UPDATE emt_projections SET {change}"))?;
        let error = store.registered_projections().expect_err(expected);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    Ok(())
}

#[test]
fn what_the_slots_and_the_parked_messages_should_not_hold_is_an_error() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let fails = Reactor::new("audit")
        .each(|_: &Recorded<RawEvent>, _| anyhow::bail!("no"))
        .on_failure(FailurePolicy::park());
    let report = store.consumer().reactor(fails).run_until_caught_up()?;
    assert_eq!(report.end, RunEnd::CaughtUp);
    let parked = || store.processors().parked("audit", ParkedOptions::new());
    assert_eq!(parked()?.len(), 1);

    let mut client = database.client()?;
    client.batch_execute("UPDATE emt_parked_messages SET request = 'ignore'")?;
    let error = parked().expect_err("no such request");
    assert!(
        error
            .to_string()
            .contains("\"ignore\", but must be \"replay\""),
        "{error}"
    );
    let none = ParkedOptions::new().limit(0);
    let error = store
        .processors()
        .parked("audit", none)
        .expect_err("a list of nothing");
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");

    client.batch_execute("UPDATE emt_processor_slots SET crashes = -1")?;
    let error = store.processors().list().expect_err("no such number");
    assert!(
        error.to_string().contains("crashes is stored as -1"),
        "{error}"
    );
    client.batch_execute("UPDATE emt_processor_slots SET crashes = 0, status = 'paused'")?;
    let error = store.processors().list().expect_err("no such status");
    assert!(error.to_string().contains("\"paused\""), "{error}");
    Ok(())
}

#[test]
fn stopping_names_the_threads_that_hang_and_another_consumer_takes_over() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (enter, entered) = bounded(1);
    let (go, may_go) = bounded::<()>(0);
    let (end, ended) = bounded(1);
    let hanging = Reactor::new("mails").each(move |_: &Recorded<RawEvent>, context| {
        enter.send(())?;
        let _ = may_go.recv();
        context.append_to_stream("Mail-1", &[RawEvent::new("Sent", json!({}))])?;
        Ok(())
    });
    let hanging = hanging.on_stop(move || end.send(()).unwrap_or_default());
    let quick = Reactor::new("mails").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let lease = Duration::from_millis(300);
    let consumer = store.consumer().reactor(hanging).lease(lease).start()?;
    let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    entered.recv()?;

    let error = consumer
        .stop_within(Duration::from_millis(10))
        .expect_err("its handler does not return");
    let Error::Processor(ProcessorError::StillRunning { threads, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!(threads, &["emt:mails/0"]);
    assert!(
        error.to_string().ends_with("within 10ms: emt:mails/0"),
        "{error}"
    );

    let other = store.consumer().reactor(quick).lease(lease).start()?;
    store.wait_for(
        "mails",
        appended.last_global_position,
        Duration::from_secs(60),
    )?;
    drop(go);
    ended.recv_timeout(LONG)?;
    other.stop()?;
    assert!(
        !store.stream_exists("Mail-1")?,
        "what the first did came too late"
    );
    Ok(())
}
