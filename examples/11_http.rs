//! A blocking HTTP front: versions as ETag, preconditions, keys of commands, and a status for each error.
//!
//! `cargo run --example 11_http`

use emmett_postgresql::decide::{DecideError, Decision, Evolve, stream};
use emmett_postgresql::{Error, Event, EventStore, ExpectedVersion, testing};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use tiny_http::{Header, Method, Request, Response, Server};

#[derive(Serialize, Deserialize)]
enum CartEvent {
    Added { items: u32 },
    Confirmed,
}
impl Event for CartEvent {
    const CATEGORY: &'static str = "Cart";
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Cart {
    items: u32,
    is_confirmed: bool,
}
impl Evolve for Cart {
    type Event = CartEvent;
    fn evolve(&mut self, event: &CartEvent) {
        match event {
            CartEvent::Added { items } => self.items += items,
            CartEvent::Confirmed => self.is_confirmed = true,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Command {
    Add { items: u32 },
    Confirm,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a cart has at most 10 items")]
    TooMany,
    #[error("the cart is empty")]
    Empty,
    #[error("the cart is confirmed")]
    Confirmed,
}

fn decide(cart: &Cart, command: &Command) -> Result<CartEvent, Refusal> {
    match *command {
        _ if cart.is_confirmed => Err(Refusal::Confirmed),
        Command::Add { items } if items > 10_u32.saturating_sub(cart.items) => {
            Err(Refusal::TooMany)
        }
        Command::Add { items } => Ok(CartEvent::Added { items }),
        Command::Confirm if cart.items == 0 => Err(Refusal::Empty),
        Command::Confirm => Ok(CartEvent::Confirmed),
    }
}

type Answer = Response<Cursor<Vec<u8>>>;

fn header(name: &str, value: impl std::fmt::Display) -> Header {
    let line = format!("{name}: {value}");
    line.parse().expect("names and values of this file")
}

fn answer(status: u16, body: &impl Serialize) -> Answer {
    let body = json!(body).to_string();
    Response::from_string(body)
        .with_status_code(status)
        .with_header(header("Content-Type", "application/json"))
}

fn problem(status: u16, text: impl std::fmt::Display) -> Answer {
    answer(status, &json!({ "error": text.to_string() }))
}

/// The answer to each error. A conflict is the client's if the client has named a version.
fn failed(error: DecideError<Refusal>, has_precondition: bool) -> Answer {
    let error = match error {
        DecideError::Refused(refusal @ Refusal::TooMany) => return problem(403, refusal),
        DecideError::Refused(refusal) => return problem(409, refusal),
        DecideError::Store(error) => error,
    };
    match error {
        Error::Conflict { actual, .. } if has_precondition => {
            problem(412, format!("the cart is at version {actual}"))
        }
        Error::InvalidInput { .. } | Error::Encode { .. } => problem(400, error),
        Error::StreamArchived { .. } => problem(410, "the cart is archived"),
        Error::CommandKeyReused { .. } => problem(422, error),
        error if error.is_outcome_unknown() => {
            let text = "it is unknown whether it was stored: repeat it under the same key";
            problem(503, text).with_header(header("Retry-After", 1))
        }
        error if error.is_unavailable() || error.is_retryable() || error.is_conflict() => {
            problem(503, "try again").with_header(header("Retry-After", 1))
        }
        error => {
            eprintln!("a request failed: {:#}", anyhow::Error::from(error));
            problem(500, "see the server's log")
        }
    }
}

/// The value of a header. Several lines of it are one list.
fn value(request: &Request, name: &'static str) -> Option<String> {
    let lines = request.headers().iter().filter(|h| h.field.equiv(name));
    let values: Vec<&str> = lines.map(|header| header.value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The version that the client expects. `If-Match` compares strongly: a weak tag, or one that is not ours, never matches.
fn precondition(request: &Request) -> Result<Option<ExpectedVersion>, Answer> {
    let (tag, none) = (value(request, "If-Match"), value(request, "If-None-Match"));
    let tag = match (tag, none.as_deref()) {
        (None, None) => return Ok(None),
        (None, Some("*")) => return Ok(Some(ExpectedVersion::DoesNotExist)),
        (Some(tag), None) if tag == "*" => return Ok(Some(ExpectedVersion::Exists)),
        (Some(tag), None) => tag,
        _ => return Err(problem(400, "send If-Match, or If-None-Match: *")),
    };
    let strong = tag.strip_prefix("W/").unwrap_or(&tag);
    let inner = strong.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let inner = inner.filter(|inner| !inner.contains('"'));
    let inner = inner.ok_or_else(|| problem(400, "If-Match takes one ETag, or *"))?;
    match inner.parse::<u64>() {
        Ok(version) if version > 0 && tag == format!("\"{version}\"") => Ok(Some(version.into())),
        _ => Err(problem(412, format!("the cart never had the ETag {tag}"))),
    }
}

fn with_etag(answer: Answer, version: u64) -> Answer {
    answer.with_header(header("ETag", format!("\"{version}\"")))
}

fn get(store: &EventStore, name: &str) -> Result<Answer, Answer> {
    let cart = store.decide(stream::<Cart>(name)).run(|_| Ok(None));
    let cart = cart.map_err(|error| failed(error, false))?;
    match cart.version {
        0 => Err(problem(404, "there is no such cart")),
        version => Ok(with_etag(answer(200, &cart.state), version)),
    }
}

fn post(store: &EventStore, name: &str, request: &mut Request) -> Result<Answer, Answer> {
    let expected = precondition(request)?;
    let key = value(request, "Idempotency-Key");
    let key = key.ok_or_else(|| problem(400, "send an Idempotency-Key"))?;
    let body = serde_json::from_reader(request.as_reader().take(10_000));
    let command: Command = body.map_err(|error| problem(400, error))?;
    if matches!(command, Command::Confirm) && expected.is_none() {
        return Err(problem(
            428,
            "confirm what you saw: send its ETag as If-Match",
        ));
    }
    let seen = stream::<Cart>(name).expected_version(expected.unwrap_or_default());
    let keyed = store.decide(seen).key(key).content(&(name, &command));
    let keyed = keyed.map_err(|error| failed(error.into(), false))?;
    let done = keyed.run(|cart| {
        let event = decide(cart, &command)?;
        let mut reply = cart.clone();
        reply.evolve(&event);
        Ok(Decision::new().append(name, [event]).reply(reply))
    });
    let done = done.map_err(|error| failed(error, expected.is_some()))?;
    let answer = answer(200, &done.reply);
    // The version now may be that of a later command, which this client has not seen.
    Ok(if done.was_decided_before {
        answer
    } else {
        with_etag(answer, done.version)
    })
}

fn handle(store: &EventStore, request: &mut Request) -> Result<Answer, Answer> {
    let id = request.url().strip_prefix("/carts/").unwrap_or_default();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(problem(404, "carts are at /carts/ID"));
    }
    let name = format!("Cart-{id}");
    match request.method() {
        Method::Get => get(store, &name),
        Method::Post => post(store, &name, request),
        _ => Err(problem(405, "GET or POST").with_header(header("Allow", "GET, POST"))),
    }
}

/// Serves with several threads until the closure ends.
pub fn serve<T: Send>(
    store: &EventStore,
    meanwhile: impl FnOnce(SocketAddr) -> T + Send,
) -> anyhow::Result<T> {
    const THREADS: usize = 4;
    let server = Server::http("127.0.0.1:0").map_err(anyhow::Error::from_boxed)?;
    let address = server.server_addr().to_ip();
    let address = address.ok_or_else(|| anyhow::anyhow!("not an IP address"))?;
    let work = || {
        for mut request in server.incoming_requests() {
            let answer = handle(store, &mut request).unwrap_or_else(|problem| problem);
            if let Err(error) = request.respond(answer) {
                eprintln!("a client did not wait for its answer: {error}");
            }
        }
    };
    std::thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(work)));
        let done = scope.spawn(|| meanwhile(address)).join();
        (0..THREADS).for_each(|_| server.unblock());
        done.map_err(|_| anyhow::anyhow!("the client panicked"))
    })
}

/// Sends a request. Returns the head of the answer, and its body.
pub fn send(
    to: SocketAddr,
    line: &str,
    headers: &str,
    body: &str,
) -> anyhow::Result<(String, String)> {
    let mut connection = TcpStream::connect(to)?;
    let length = body.len();
    write!(
        connection,
        "{line} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Ok((head.to_owned(), body.to_owned()))
}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    let (add, confirm) = (r#"{"Add":{"items":2}}"#, r#""Confirm""#);
    serve(&store, |address| {
        for (line, headers, body) in [
            (
                "POST /carts/1",
                "Idempotency-Key: a\r\nIf-None-Match: *\r\n",
                add,
            ),
            ("POST /carts/1", "Idempotency-Key: b\r\n", add),
            (
                "POST /carts/1",
                "Idempotency-Key: a\r\nIf-None-Match: *\r\n",
                add,
            ),
            (
                "POST /carts/1",
                "Idempotency-Key: a\r\n",
                r#"{"Add":{"items":3}}"#,
            ),
            ("GET /carts/1", "", ""),
            ("POST /carts/1", "Idempotency-Key: c\r\n", confirm),
            (
                "POST /carts/1",
                "Idempotency-Key: c\r\nIf-Match: \"1\"\r\n",
                confirm,
            ),
            (
                "POST /carts/1",
                "Idempotency-Key: c\r\nIf-Match: \"2\"\r\n",
                confirm,
            ),
            ("POST /carts/1", "Idempotency-Key: d\r\n", add),
        ] {
            let (head, reply) = send(address, line, headers, body)?;
            let status = head.get(9..12).unwrap_or_default();
            let etag = head.lines().find(|line| line.starts_with("ETag"));
            println!("{line} {} {body}", headers.trim_end().replace("\r\n", ", "));
            println!("  {status} {} {reply}", etag.unwrap_or_default());
        }
        println!("next: cargo run --example hotel");
        Ok(())
    })?
}
