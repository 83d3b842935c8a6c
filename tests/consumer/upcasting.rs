//! Reactions to messages that the upcast hook splits into several events, or drops.

use crate::support::orders::{LINES, OrderEvent, append_old, line, viewed};
use crate::support::{CartEvent, store};
use emmett_postgresql::{Event, FailurePolicy, Reactor, Recorded};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Seen = Arc<Mutex<Vec<String>>>;

fn seen(seen: &Seen) -> Vec<String> {
    seen.lock().expect("a list").clone()
}

#[test]
fn each_handler_and_each_batch_gets_the_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let lists: [Seen; 4] = Default::default();
    let [each, batch, lines, mixed] = lists.clone();
    let reactors = [
        Reactor::new("each").each(move |recorded, _| {
            each.lock().expect("a list").push(line(recorded));
            Ok(())
        }),
        Reactor::new("batch").batch(move |events: &[Recorded<OrderEvent>], _| {
            anyhow::ensure!(!events.is_empty(), "a handler is called for events");
            batch
                .lock()
                .expect("a list")
                .extend(events.iter().map(line));
            Ok(())
        }),
        Reactor::new("lines")
            .can_handle(&["LineAdded"])
            .each(move |recorded, _| {
                lines.lock().expect("a list").push(line(recorded));
                Ok(())
            }),
        Reactor::new("mixed")
            .on(|_: &Recorded<CartEvent>, _| anyhow::bail!("there is no cart"))
            .on(move |recorded, _| {
                mixed.lock().expect("a list").push(line(recorded));
                Ok(())
            }),
    ];
    let mut consumer = store.consumer().batch_size(1);
    for reactor in reactors {
        consumer = consumer.reactor(reactor);
    }
    let report = consumer.run_until_caught_up()?;

    let expected = [&LINES[..], &LINES, &LINES[1..4], &LINES];
    for (list, expected) in lists.iter().zip(expected) {
        assert_eq!(seen(list), expected);
    }
    assert_eq!(report.handled(), 6 + 6 + 6 + 6, "reports count messages");
    for processor in store.processors().list()? {
        assert_eq!(processor.position, 6, "{}", processor.name);
    }
    Ok(())
}

#[test]
fn a_message_of_dropped_events_alone_is_passed_over() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Order-1", &[viewed(), viewed()])?;
    let strict = Reactor::new("strict")
        .batch(|events: &[Recorded<OrderEvent>], _| anyhow::bail!("{} events", events.len()));
    let _ = store.consumer().reactor(strict).run_until_caught_up()?;
    let strict = &store.processors().list()?[0];
    assert_eq!((strict.position, strict.parked), (2, 0));
    Ok(())
}

#[test]
fn a_message_is_retried_with_all_of_its_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append_old(&store)?;
    let list = Seen::default();
    let noted = Arc::clone(&list);
    let reactor = Reactor::new("mails")
        .each(move |recorded: &Recorded<OrderEvent>, context| {
            let text = line(recorded);
            context.append_to_stream(
                "Mail-1",
                &[CartEvent::ShoppingCartConfirmed {
                    client_id: text.clone(),
                    total_amount: 1.0,
                }],
            )?;
            let mut noted = noted.lock().expect("a list");
            let is_new = !noted.contains(&text);
            noted.push(text);
            anyhow::ensure!(!is_new || !noted[noted.len() - 1].ends_with("hat"), "once");
            Ok(())
        })
        .on_failure(FailurePolicy::stop().retries(1, Duration::ZERO));
    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;

    let mut expected = LINES[..2].to_vec();
    expected.extend(LINES);
    assert_eq!(seen(&list), expected);
    let mails = store.read_stream::<CartEvent>("Mail-1")?;
    let clients = mails.events.iter().map(|mail| match &mail.event {
        CartEvent::ShoppingCartConfirmed { client_id, .. } => client_id.as_str(),
        _ => "",
    });
    assert!(clients.eq(LINES), "what failed was undone");
    Ok(())
}

#[test]
fn the_hook_is_asked_for_former_types_of_the_feed() {
    let known = OrderEvent::known_types().expect("a list");
    for former in OrderEvent::FORMER_TYPES {
        assert!(known.iter().any(|name| name == former), "{former}");
    }
}
