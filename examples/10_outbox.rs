//! Commands for others, stored with the events that cause them: delivered to an HTTP endpoint and to a file.
//!
//! `cargo run --example 10_outbox`

use emmett_postgresql::decide::{Decision, Evolve, stream};
use emmett_postgresql::{Error, EventStore, FailurePolicy, RawEvent, Reactor, Recorded, testing};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

#[derive(Default)]
struct Order;
impl Evolve for Order {
    type Event = RawEvent;
    fn evolve(&mut self, _: &RawEvent) {}
}

/// Each delivery of a command has the same key, so that the recipient can tell a repeated one.
fn post(address: SocketAddr, command: &Recorded<RawEvent>) -> anyhow::Result<()> {
    let (body, key) = (command.event.data.to_string(), &command.message_id);
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head = format!("Idempotency-Key: {key}\r\nContent-Length: {}", body.len());
    write!(connection, "POST /mails HTTP/1.1\r\n{head}\r\n\r\n{body}\n")?;
    let mut status = String::new();
    BufReader::new(connection).read_line(&mut status)?;
    anyhow::ensure!(status.starts_with("HTTP/1.1 2"), "answered {status}");
    Ok(())
}

/// The endpoint: it is busy at the first request.
fn serve(listener: &TcpListener) -> anyhow::Result<()> {
    for status in ["503 Busy", "204 Done", "204 Done"] {
        let mut request = BufReader::new(listener.accept()?.0);
        let is_head = |line: &Result<String, _>| line.as_ref().is_ok_and(|line| !line.is_empty());
        request.by_ref().lines().take_while(is_head).for_each(drop);
        let mut body = String::new();
        request.read_line(&mut body)?;
        println!("endpoint: {} {status}", body.trim_end());
        write!(request.get_mut(), "HTTP/1.1 {status}\r\n\r\n")?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    for order in [1, 2] {
        let (name, data) = (format!("Order-{order}"), json!({ "order": order }));
        store.decide(stream::<Order>(&name)).run(|_| {
            let confirmed = RawEvent::new("Confirmed", data.clone());
            let decision = Decision::new().append(&name, [confirmed]);
            let decision = decision.outbox("mail", "anna", RawEvent::new("Mail", data.clone()));
            Ok::<_, Error>(decision.outbox("labels", "all", RawEvent::new("Print", data.clone())))
        })?;
    }

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mails = Reactor::new("mails")
        .outbox("mail", move |command, _| post(address, command))
        .on_failure(FailurePolicy::park().retries(5, Duration::from_millis(10)));
    let path = std::env::temp_dir().join(format!("emmett-labels-{}", std::process::id()));
    let file = std::fs::File::create(&path)?;
    let labels = Reactor::new("labels").outbox("labels", move |command: &Recorded<RawEvent>, _| {
        Ok(writeln!(&file, "{}", command.event.data)?)
    });
    std::thread::scope(|scope| {
        let endpoint = scope.spawn(|| serve(&listener));
        let consumer = store.consumer().reactor(mails).reactor(labels);
        let delivered = consumer.run_until_caught_up()?.handled();
        println!("delivered: {delivered} commands");
        endpoint
            .join()
            .map_err(|_| anyhow::anyhow!("the endpoint panicked"))?
    })?;
    for label in std::fs::read_to_string(&path)?.lines() {
        println!("file: {label}");
    }
    std::fs::remove_file(&path)?;
    println!("next: cargo run --example 11_http");
    Ok(())
}
