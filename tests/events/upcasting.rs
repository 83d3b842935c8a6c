//! A stored message that the upcast hook splits into several events, or drops.

use crate::support::orders::{LINES, OrderEvent, append_old, line, placed, viewed};
use crate::support::store;
use emmett_postgresql::decide::{Decision, Evolve, stream};
use emmett_postgresql::{
    Error, Event, EventStore, FeedOptions, NewMessage, RawEvent, ReadOptions, Recorded,
    events::StoredEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::convert::Infallible;

fn lines<'e>(events: impl IntoIterator<Item = &'e Recorded<OrderEvent>>) -> Vec<String> {
    events.into_iter().map(line).collect()
}

fn read(store: &EventStore, options: ReadOptions) -> Result<Vec<String>, Error> {
    let read = store.read_stream_with::<OrderEvent>("Order-1", options)?;
    Ok(lines(&read.events))
}

fn iterated(store: &EventStore, options: ReadOptions) -> Result<Vec<String>, Error> {
    let events = store.read_stream_iter::<OrderEvent>("Order-1", options);
    events
        .map(|recorded| recorded.map(|recorded| line(&recorded)))
        .collect()
}

#[test]
fn a_stream_is_read_and_folded_as_what_its_messages_mean_today() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let noted = |mut lines: Vec<String>, recorded: Recorded<OrderEvent>| {
        lines.push(line(&recorded));
        lines
    };

    let read = store.read_stream::<OrderEvent>("Order-1")?;
    let folded = store.aggregate_stream_with("Order-1", ReadOptions::new(), Vec::new, noted)?;

    assert_eq!(lines(&read.events), LINES);
    assert_eq!(folded.state, LINES);
    let versions = (read.current_version, folded.current_version);
    assert_eq!(versions, (6, 6), "a dropped message counts");
    Ok(())
}

#[test]
fn the_events_of_a_message_share_all_that_was_stored_beside_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let message = NewMessage::new(placed(&["hat"]))
        .message_id("order-1")
        .correlation_id("checkout-4")
        .metadata("client", "anna");
    store.append_to_stream("Order-1", &[message])?;

    let raw = store.read_stream::<RawEvent>("Order-1")?.events.remove(0);
    let read = store.read_stream::<OrderEvent>("Order-1")?.events;
    let fed = store.read_all::<OrderEvent>(FeedOptions::new());
    let fed = fed.collect::<Result<Vec<_>, _>>()?;

    assert_eq!(lines(&read), ["1 placed by anna", "1 added hat"]);
    assert_eq!(read, fed);
    for recorded in read {
        assert_eq!(recorded.message_type, "PlacedWithLines");
        assert_eq!(recorded.global_position, raw.global_position);
        assert_eq!(recorded.message_id, raw.message_id);
        assert_eq!(recorded.correlation_id, raw.correlation_id);
        assert_eq!(recorded.metadata, raw.metadata);
        assert_eq!(recorded.recorded_at, raw.recorded_at);
    }
    Ok(())
}

#[test]
fn a_limit_counts_messages_and_backwards_is_the_reverse() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let all = ReadOptions::new;
    let reversed: Vec<&str> = LINES.into_iter().rev().collect();

    for read in [read, iterated] {
        assert_eq!(read(&store, all().max_count(2))?, LINES[..3]);
        assert_eq!(read(&store, all().from(3).max_count(2))?, LINES[3..4]);
        assert_eq!(read(&store, all().backwards())?, reversed);
        assert_eq!(
            read(&store, all().backwards().max_count(3))?,
            reversed[..2],
            "the last one is dropped"
        );
    }
    Ok(())
}

#[test]
fn an_iterator_goes_on_after_pages_whose_messages_are_all_dropped() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let dropped: Vec<RawEvent> = (0..1_200).map(|_| viewed()).collect();
    store.append_to_stream("Order-1", &dropped)?;
    store.append_to_stream("Order-1", &[placed(&["hat", "shoe"])])?;
    store.append_to_stream("Order-1", &dropped)?;
    let expected = ["1201 placed by anna", "1201 added hat", "1201 added shoe"];

    assert_eq!(iterated(&store, ReadOptions::new())?, expected);
    let backwards = iterated(&store, ReadOptions::new().backwards())?;
    assert!(backwards.iter().rev().eq(&expected), "{backwards:?}");
    let few = ReadOptions::new().max_count(1_201);
    assert_eq!(iterated(&store, few)?, expected);
    let fewer = ReadOptions::new().max_count(1_200);
    assert_eq!(iterated(&store, fewer)?, [""; 0]);
    let fed = store.read_all::<OrderEvent>(FeedOptions::new().batch_size(500));
    let fed = fed.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(lines(&fed), expected);
    Ok(())
}

#[test]
fn an_iterator_reads_one_message_at_a_time_whatever_becomes_of_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let options = ReadOptions::new().max_batch_bytes(1);
    assert_eq!(iterated(&store, options)?, LINES);
    let reversed: Vec<&str> = LINES.into_iter().rev().collect();
    assert_eq!(iterated(&store, options.backwards())?, reversed);
    Ok(())
}

#[test]
fn the_feed_stands_before_a_message_until_its_last_event_is_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let positions: Vec<u64> = store
        .read_stream::<RawEvent>("Order-1")?
        .events
        .iter()
        .map(|recorded| recorded.global_position)
        .collect();
    let mut feed = store.read_all::<OrderEvent>(FeedOptions::new());

    for (event, position) in LINES.iter().zip([0, 0, 2, 4, 5]) {
        let recorded = feed.next().expect("an event")?;
        assert_eq!(line(&recorded), *event);
        if position > 0 {
            assert!(feed.position() >= positions[position - 1], "{event}");
        } else {
            assert!(feed.position() < positions[1], "{event}");
        }
    }
    let resumed = FeedOptions::new().after(positions[0]);
    assert_eq!(store.read_all::<OrderEvent>(resumed).count(), 5);
    assert!(feed.next().is_none());
    assert_eq!(feed.position(), positions[5], "after the dropped message");
    Ok(())
}

#[derive(Debug, Default)]
struct Order {
    lines: Vec<String>,
}

impl Evolve for Order {
    type Event = OrderEvent;

    fn evolve(&mut self, event: &OrderEvent) {
        self.lines.push(event.text());
    }
}

#[test]
fn a_decision_is_made_on_the_events_and_on_the_version_of_the_message() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let texts = LINES.map(|line| line[2..].to_owned());
    let add = |order: &Order| {
        assert_eq!(order.lines, texts);
        Ok::<_, Infallible>([OrderEvent::LineAdded {
            product: "cap".to_owned(),
        }])
    };

    let done = store
        .decide(stream::<Order>("Order-1"))
        .retries(0)
        .run(add)?;

    assert_eq!(done.version, 7);
    assert_eq!(done.state.lines.len(), 6);
    let boundary = (stream::<Order>("Order-1"), stream::<Order>("Order-2"));
    let both = store
        .decide(boundary)
        .retries(0)
        .key("look")
        .run(|(order, _)| {
            assert_eq!(order.lines.len(), 6);
            Ok::<_, Infallible>(Decision::new())
        })?;
    assert_eq!(both.version, (7, 0));
    Ok(())
}

/// Its hook is called for what it appends itself.
#[derive(Debug, Serialize, Deserialize)]
enum Pairs {
    Pair(u32, u32),
    One(u32),
}

impl Event for Pairs {
    const FORMER_TYPES: &'static [&'static str] = &["Pair"];

    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        let numbers = stored.data.as_array().into_iter().flatten();
        Ok(numbers
            .map(|number| RawEvent::new("One", number.clone()))
            .collect())
    }
}

#[derive(Debug, Default)]
struct Sum(u32, usize);

impl Evolve for Sum {
    type Event = Pairs;

    fn evolve(&mut self, event: &Pairs) {
        match event {
            Pairs::One(number) => *self = Self(self.0 + number, self.1 + 1),
            Pairs::Pair(..) => unreachable!("the hook splits it"),
        }
    }
}

#[test]
fn the_state_after_a_decision_is_the_one_that_is_read_next() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let sum = || stream::<Sum>("Sum-1");
    let decide = |_: &Sum| Ok::<_, Infallible>([Pairs::Pair(3, 4)]);
    let done = store.decide(sum()).run(decide)?;
    let read = store.decide(sum()).run(|_| Ok::<_, Infallible>(None))?;
    let (done, read) = (done.state, read.state);
    assert_eq!((done.0, done.1), (7, 2));
    assert_eq!((read.0, read.1), (7, 2));
    Ok(())
}

#[test]
fn an_error_of_the_hook_names_the_stored_message_in_each_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let broken = RawEvent::new("PlacedWithLines", json!({ "customer": "anna" }));
    store.append_to_stream("Order-1", &[viewed(), broken])?;
    let expected = "message 2 of stream \"Order-1\", type \"PlacedWithLines\", cannot be upcast: it has no lines";
    let text = |error: Error| format!("{:#}", anyhow::Error::from(error));

    let read = read(&store, ReadOptions::new()).expect_err("the hook fails");
    let iterated = iterated(&store, ReadOptions::new()).expect_err("the hook fails");
    let fed = store.read_all::<OrderEvent>(FeedOptions::new()).next();
    let fed = fed.expect("an item").expect_err("the hook fails");
    let decided = store
        .decide(stream::<Order>("Order-1"))
        .run(|_| Ok::<_, Infallible>(None));

    for error in [read, iterated, fed] {
        assert_eq!(text(error), expected);
    }
    let decided = anyhow::Error::from(decided.expect_err("the hook fails"));
    assert!(format!("{decided:#}").contains(expected), "{decided:#}");
    Ok(())
}

/// Forgets to say that it had another type.
#[derive(Debug, Serialize, Deserialize)]
enum Forgetful {
    Confirmed,
}

impl Event for Forgetful {
    const SCHEMA_VERSION: u32 = 2;

    fn upcast(mut stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        "Confirmed".clone_into(&mut stored.event_type);
        Ok(vec![stored.into()])
    }
}

#[test]
fn a_type_that_feeds_do_not_ask_for_cannot_become_another() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Order-1", &[RawEvent::new("Completed", json!({}))])?;

    let error = store.read_stream::<Forgetful>("Order-1");

    let error = error.expect_err("the feed would not find it");
    assert!(matches!(&error, Error::Upcast { version: 1, .. }));
    let text = format!("{:#}", anyhow::Error::from(error));
    for part in [
        "\"Completed\"",
        "`Confirmed`",
        "FORMER_TYPES of",
        "Forgetful",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}
