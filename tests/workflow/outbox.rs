//! Outboxes: at least once, in order per key, parked after the retries, replayed.

use super::fixtures::LONG;
use crate::decide::Cart;
use crate::support::{store, wait_until};
use emmett_postgresql::decide::{Decision, stream};
use emmett_postgresql::events::MessageKind;
use emmett_postgresql::operations::{ParkedOptions, ParkedSelection};
use emmett_postgresql::{Error, EventStore, FailurePolicy, RawEvent, Reactor, Recorded};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn mail(number: u64) -> RawEvent {
    RawEvent::new("SendMail", json!({ "number": number }))
}

fn send(store: &EventStore, key: &str, number: u64) -> anyhow::Result<u64> {
    let decided = store
        .decide(stream::<Cart>("Cart-1"))
        .run(|_| Ok::<_, Error>(Decision::new().outbox("mail", key, mail(number))))?;
    Ok(decided.appended[0].last_global_position)
}

/// A recipient, and what it has got: the key and the number of each delivery.
#[derive(Clone, Default)]
struct Recipient {
    got: Arc<Mutex<Vec<(String, u64)>>>,
    is_broken: Arc<AtomicBool>,
}

impl Recipient {
    fn deliver(&self, command: &Recorded<RawEvent>) -> anyhow::Result<()> {
        let number = command.event.data["number"].as_u64().unwrap_or_default();
        let key = command.stream_name.trim_start_matches("emt:outbox:mail-");
        self.got.lock().push((key.to_owned(), number));
        let is_broken = self.is_broken.load(Ordering::SeqCst) && key == "broken";
        anyhow::ensure!(!is_broken, "the recipient answers 500");
        Ok(())
    }

    fn reactor(&self) -> Reactor {
        let recipient = self.clone();
        Reactor::new("mails").outbox("mail", move |command, _| recipient.deliver(command))
    }

    fn got(&self, key: &str) -> Vec<u64> {
        let got = self.got.lock();
        let of_key = got.iter().filter(|(of, _)| of == key);
        of_key.map(|(_, number)| *number).collect()
    }
}

#[test]
fn commands_of_a_decision_are_delivered_in_order_per_key() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let recipient = Recipient::default();
    let consumer = store
        .consumer()
        .reactor(recipient.reactor().workers(3))
        .start()?;
    let mut last = 0;
    for number in 0..30 {
        for key in ["anna", "bert", "c-d"] {
            last = send(&store, key, number)?;
        }
    }
    store.wait_for("mails", last, LONG)?;
    consumer.stop()?;

    for key in ["anna", "bert", "c-d"] {
        assert_eq!(recipient.got(key), (0..30).collect::<Vec<_>>());
    }
    let stored = store.read_stream::<RawEvent>("emt:outbox:mail-anna")?;
    assert_eq!(stored.events[0].kind, MessageKind::Command);
    Ok(())
}

#[test]
fn a_command_is_stored_with_the_events_of_its_decision_or_not_at_all() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let event = RawEvent::new("Confirmed", json!({}));
    let decision = || Decision::new().append("Order-1", [event.clone()]);
    let boundary = || stream::<Cart>("Cart-1");
    let refused = store
        .decide(boundary())
        .run(|_| Ok::<_, Error>(decision().outbox("two-words", "anna", mail(1))));
    let error = refused.expect_err("a topic with a dash").to_string();
    assert!(error.contains("two-words"), "{error}");
    for (topic, key) in [("", "anna"), ("mail", "")] {
        let refused = store
            .decide(boundary())
            .run(|_| Ok::<_, Error>(decision().outbox(topic, key, mail(1))));
        assert!(refused.is_err(), "{topic} {key}");
    }
    assert!(!store.stream_exists("Order-1")?);

    store
        .decide(boundary())
        .run(|_| Ok::<_, Error>(decision().outbox("mail", "anna", mail(1))))?;
    assert!(store.stream_exists("Order-1")?);
    assert!(store.stream_exists("emt:outbox:mail-anna")?);
    Ok(())
}

#[test]
fn a_reactor_of_a_topic_that_no_outbox_has_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let reactor = Reactor::new("mails").outbox("a-b", |_: &Recorded<RawEvent>, _| Ok(()));
    let refused = store.consumer().reactor(reactor).start();
    assert!(
        matches!(refused, Err(Error::InvalidInput { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_recipient_that_fails_gets_its_commands_by_a_replay_in_order() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let recipient = Recipient::default();
    recipient.is_broken.store(true, Ordering::SeqCst);
    let park = FailurePolicy::park().retries(2, Duration::from_millis(1));
    let consumer = store
        .consumer()
        .reactor(recipient.reactor().on_failure(park))
        .start()?;
    let mut last = 0;
    for number in 1..=3 {
        send(&store, "broken", number)?;
        last = send(&store, "well", number)?;
    }
    store.wait_for("mails", last, LONG)?;
    assert_eq!(
        recipient.got("broken"),
        [1, 1, 1],
        "three attempts, and no later command"
    );
    assert_eq!(recipient.got("well"), [1, 2, 3]);
    let parked = store.processors().parked("mails", ParkedOptions::new())?;
    assert_eq!(parked.len(), 3);

    recipient.is_broken.store(false, Ordering::SeqCst);
    store.processors().replay("mails", &ParkedSelection::All)?;
    wait_until("the commands were replayed", || {
        let parked = store.processors().parked("mails", ParkedOptions::new());
        parked.is_ok_and(|parked| parked.is_empty())
    });
    consumer.stop()?;
    assert_eq!(recipient.got("broken")[3..], [1, 2, 3]);
    Ok(())
}

#[test]
fn a_recipient_that_hangs_holds_up_its_own_commands_alone() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let recipient = Recipient::default();
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let delivering = recipient.clone();
    let reactor = Reactor::new("mails").outbox("mail", move |command, _| {
        if command.stream_name.ends_with("-hangs") {
            // Returns when the test drops the other end.
            let _ = held.recv();
        }
        delivering.deliver(command)
    });
    let consumer = store.consumer().reactor(reactor.workers(4)).start()?;
    let mut client = database.client()?;
    wait_until("each worker has a slot", || {
        let workers = "SELECT count(DISTINCT worker) FROM emt_processor_slots";
        let row = client.query_one(workers, &[]).expect("a row");
        row.get::<_, i64>(0) == 4
    });
    let keys: Vec<String> = (0..20).map(|key| format!("well{key}")).collect();
    let mut last = 0;
    for number in 1..=3 {
        send(&store, "hangs", number)?;
        for key in &keys {
            last = send(&store, key, number)?;
        }
    }

    wait_until("the other workers have delivered", || {
        let all = |key: &&String| recipient.got(key) == [1, 2, 3];
        keys.iter().filter(all).count() >= keys.len() / 2
    });
    assert_eq!(recipient.got("hangs"), [0_u64; 0]);

    drop(release);
    store.wait_for("mails", last, LONG)?;
    consumer.stop()?;
    for key in keys.iter().map(String::as_str).chain(["hangs"]) {
        assert_eq!(recipient.got(key), [1, 2, 3], "{key}");
    }
    Ok(())
}

#[test]
fn a_recipient_that_has_answered_gets_a_repetition_with_the_same_id() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let got = Arc::new(Mutex::new(Vec::new()));
    let deliveries = Arc::clone(&got);
    // The recipient takes the command, and its answer is lost.
    let reactor = Reactor::new("mails")
        .on_failure(FailurePolicy::park().retries(1, Duration::from_millis(1)))
        .outbox("mail", move |command: &Recorded<RawEvent>, _| {
            let mut got = deliveries.lock();
            got.push((command.message_id.clone(), command.stream_position));
            anyhow::ensure!(got.len() != 2, "the answer is lost");
            Ok(())
        });
    let mut last = 0;
    for number in 1..=3 {
        last = send(&store, "anna", number)?;
    }
    let consumer = store.consumer().reactor(reactor).start()?;
    store.wait_for("mails", last, LONG)?;
    consumer.stop()?;

    let got = got.lock();
    let versions: Vec<u64> = got.iter().map(|(_, version)| *version).collect();
    assert_eq!(versions, [1, 2, 2, 3]);
    assert_eq!(got[1].0, got[2].0, "the recipient recognises it by its id");
    Ok(())
}
