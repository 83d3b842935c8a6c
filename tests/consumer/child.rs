//! Consumers in child processes.

use super::fixtures::{counts, journal};
use crate::support::CartEvent;
use crate::support::child_process::ChildProcess;
use emmett_postgresql::{
    EventStore, FailurePolicy, Projector, Reactor, Recorded, consumer::Consumer,
};
use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

const URL: &str = "EMT_TEST_CHILD_URL";
const KIND: &str = "EMT_TEST_CHILD_KIND";
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Keeps `counts` and `journal`, and reacts into `reactions`.
    Keeps,
    /// Says so when it handles an event, and waits for ever if the event has 13 items.
    Waits,
    /// Ends the process at an event with 13 items.
    Dies,
}

/// A process with a consumer; killed when it is dropped.
pub(crate) struct ChildConsumer(ChildProcess);

impl ChildConsumer {
    pub(crate) fn start(url: &str, kind: Kind) -> anyhow::Result<Self> {
        let kind = match kind {
            Kind::Keeps => "keeps",
            Kind::Waits => "waits",
            Kind::Dies => "dies",
        };
        let variables = [(URL, url), (KIND, kind)];
        let process = ChildProcess::start("consumer::child::is_a_consumer", &variables)?;
        Ok(Self(process))
    }
}

impl Deref for ChildConsumer {
    type Target = ChildProcess;

    fn deref(&self) -> &ChildProcess {
        &self.0
    }
}

impl DerefMut for ChildConsumer {
    fn deref_mut(&mut self) -> &mut ChildProcess {
        &mut self.0
    }
}

fn is_marked(event: &CartEvent) -> bool {
    matches!(event, CartEvent::ProductItemAdded { quantity: 13, .. })
}

/// Keeps a row for each event that was reacted to, by the transaction of the reactor.
pub(crate) fn reactions() -> Reactor {
    Reactor::new("reactions").each(|message: &Recorded<CartEvent>, context| {
        let position = i64::try_from(message.global_position)?;
        context.execute("INSERT INTO reactions (position) VALUES ($1)", &[&position])?;
        Ok(())
    })
}

fn started(store: &EventStore, kind: &str) -> anyhow::Result<Consumer> {
    let builder = store.consumer().lease(LEASE).batch_size(20);
    let projector = || Projector::new(journal("journal"));
    let consumer = match kind {
        "keeps" => builder
            .projector(Projector::new(counts("counts")).workers(2))
            .projector(projector())
            .reactor(reactions()),
        "waits" => builder.projector(Projector::new(emmett_postgresql::SqlProjection::new(
            "journal",
            |events: &[Recorded<CartEvent>], context| {
                for event in events {
                    let position = i64::try_from(event.global_position)?;
                    let sql = "INSERT INTO journal (position, stream) VALUES ($1, $2)";
                    context.execute(sql, &[&position, &&*event.stream_name])?;
                    if is_marked(&event.event) {
                        println!("\nhandling");
                        let mut line = String::new();
                        std::io::stdin().read_line(&mut line)?;
                    }
                }
                Ok(())
            },
        ))),
        _ => builder.reactor(
            Reactor::new("deadly")
                .each(|message: &Recorded<CartEvent>, context| {
                    if is_marked(&message.event) {
                        std::process::abort();
                    }
                    let position = i64::try_from(message.global_position)?;
                    context
                        .execute("INSERT INTO reactions (position) VALUES ($1)", &[&position])?;
                    Ok(())
                })
                .on_failure(FailurePolicy::stop()),
        ),
    };
    Ok(consumer.start()?)
}

/// Does nothing unless it is started as a child.
#[test]
fn is_a_consumer() -> anyhow::Result<()> {
    let (Ok(url), Ok(kind)) = (std::env::var(URL), std::env::var(KIND)) else {
        return Ok(());
    };
    let store = EventStore::open(&url)?;
    let consumer = started(&store, &kind)?;
    println!("\nstarted");
    if kind == "waits" {
        // Its handler reads what comes in.
        consumer.wait()?;
        return Ok(());
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(consumer.stop()?)
}
