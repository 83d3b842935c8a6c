//! Consumers in processes of their own, which can be stopped and killed: this test binary, started again.

use super::fixtures::{counts, journal};
use crate::support::CartEvent;
use emmett_postgresql::{Consumer, EventStore, FailurePolicy, Projector, Reactor, Recorded};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
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
pub(crate) struct ChildConsumer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl ChildConsumer {
    pub(crate) fn start(url: &str, kind: Kind) -> anyhow::Result<Self> {
        let kind = match kind {
            Kind::Keeps => "keeps",
            Kind::Waits => "waits",
            Kind::Dies => "dies",
        };
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", "consumer::child::is_a_consumer", "--nocapture"])
            .env(URL, url)
            .env(KIND, kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut child = Self { process, output };
        child.wait_for("started")?;
        Ok(child)
    }

    /// Reads what it says, until it says this.
    pub(crate) fn wait_for(&mut self, said: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        while !line.trim_end().ends_with(said) {
            line.clear();
            anyhow::ensure!(
                self.output.read_line(&mut line)? > 0,
                "the child ended before it said {said}"
            );
        }
        Ok(())
    }

    /// Sends a signal, STOP or CONT.
    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.process.id().to_string()])
            .status()?;
        anyhow::ensure!(sent.success(), "kill -{signal} failed");
        Ok(())
    }

    /// Closes its standard input, which ends it, or lets its handler go on.
    pub(crate) fn end_input(&mut self) {
        drop(self.process.stdin.take());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it has ended by itself.
    fn wait(&mut self) -> anyhow::Result<()> {
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.wait()
    }
}

impl Drop for ChildConsumer {
    fn drop(&mut self) {
        let _ = self.kill();
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
