//! Commands for others, stored with the events that cause them: delivered to an HTTP endpoint and to a file.
//!
//! `cargo run --example 10_outbox`

use emmett_postgresql::decide::{Decision, Evolve, stream};
use emmett_postgresql::{Error, Event, EventStore, FailurePolicy, Reactor, Recorded, testing};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Confirmed,
}
impl Event for OrderEvent {}

#[derive(Default)]
struct Order;
impl Evolve for Order {
    type Event = OrderEvent;
    fn evolve(&mut self, _: &OrderEvent) {}
}

#[derive(Serialize, Deserialize)]
enum Command {
    SendMail { text: String },
    PrintLabel { order: u32 },
}
impl Event for Command {}

/// The recipient sees a repeated delivery by its key.
fn post(address: SocketAddr, key: &str, body: &str) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = body.len();
    write!(
        connection,
        "POST /mails HTTP/1.1\r\nHost: {address}\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut status = String::new();
    BufReader::new(connection).read_line(&mut status)?;
    anyhow::ensure!(status.starts_with("HTTP/1.1 2"), "answered {status}");
    Ok(())
}

/// Answers requests: with 503 to the first one.
fn serve(listener: &TcpListener, requests: usize) -> std::io::Result<()> {
    for number in 0..requests {
        let mut reader = BufReader::new(listener.accept()?.0);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            let header = line.trim_end().strip_prefix("Content-Length: ");
            length = header
                .and_then(|length| length.parse().ok())
                .unwrap_or(length);
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = if number == 0 { "503 Busy" } else { "204 Done" };
        println!("endpoint: {} {status}", String::from_utf8_lossy(&body));
        write!(reader.get_mut(), "HTTP/1.1 {status}\r\n\r\n")?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    let confirmed = |order: u32, client: &str| {
        let text = format!("order {order} is confirmed");
        let decision = Decision::new().append(&format!("Order-{order}"), [OrderEvent::Confirmed]);
        let decision = decision.outbox("mail", client, Command::SendMail { text });
        decision.outbox("labels", "all", Command::PrintLabel { order })
    };
    for order in [1, 2] {
        let boundary = stream::<Order>(&format!("Order-{order}"));
        let decide = |_: &Order| Ok::<_, Error>(confirmed(order, "anna"));
        store.decide(boundary).run(decide)?;
    }

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mails = Reactor::new("mails")
        .outbox(
            "mail",
            move |command: &Recorded<Command>, _| match &command.event {
                Command::SendMail { text } => post(address, &command.message_id, text),
                Command::PrintLabel { .. } => Ok(()),
            },
        )
        .on_failure(FailurePolicy::park().retries(5, Duration::from_millis(10)));
    let path = std::env::temp_dir().join(format!("emmett-labels-{}", std::process::id()));
    let labels_path = path.clone();
    let labels = Reactor::new("labels").outbox("labels", move |command: &Recorded<Command>, _| {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&labels_path)?;
        Ok(writeln!(
            file,
            "{}",
            serde_json::to_string(&command.event)?
        )?)
    });
    std::thread::scope(|scope| {
        let endpoint = scope.spawn(|| serve(&listener, 3));
        let delivered = store
            .consumer()
            .reactor(mails)
            .reactor(labels)
            .run_until_caught_up()?;
        println!("delivered: {} commands", delivered.handled());
        endpoint
            .join()
            .map_err(|_| anyhow::anyhow!("the endpoint panicked"))??;
        anyhow::Ok(())
    })?;
    for line in std::fs::read_to_string(&path)?.lines() {
        println!("file: {line}");
    }
    std::fs::remove_file(&path)?;
    println!("next: cargo run --features cli --example shopping_cart");
    Ok(())
}
