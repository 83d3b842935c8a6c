//! A guest at a browser: the least of an HTTP client.

use anyhow::Context;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: String,
    pub(crate) body: Value,
}

/// Sends a request with headers and a body.
pub(crate) fn send(
    front: SocketAddr,
    request: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> anyhow::Result<Reply> {
    let body = body.to_string();
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let (headers, length) = (lines.collect::<String>(), body.len());
    let mut connection = TcpStream::connect(front)?;
    write!(
        connection,
        "{request} HTTP/1.1\r\nHost: hotel\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    parse(&reply).with_context(|| format!("answered {reply}"))
}

fn parse(reply: &str) -> anyhow::Result<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?;
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: "));
    Ok(Reply {
        status: status.parse()?,
        etag: etag.unwrap_or_default().to_owned(),
        body: serde_json::from_str(body)?,
    })
}

/// Asks for a room, for one night. A browser that is not sure sends the request again, under the same key.
pub(crate) fn hold(
    front: SocketAddr,
    room: &str,
    night: u32,
    email: &str,
) -> anyhow::Result<Reply> {
    let (hotel, room) = room.split_once('/').context("no hotel")?;
    let name = email.split('@').next();
    let body = json!({
        "room": room,
        "nights": { "from": night, "until": night + 1 },
        "guest": { "name": name, "email": email },
    });
    let key = format!("{room}-{night}-{email}");
    send(
        front,
        &format!("POST /{hotel}/bookings"),
        &[("Idempotency-Key", &key)],
        &body,
    )
}

pub(crate) fn get(front: SocketAddr, page: &str) -> anyhow::Result<Reply> {
    send(front, &format!("GET /{page}"), &[], &Value::Null)
}

pub(crate) fn pay(front: SocketAddr, page: &str, amount: u32, etag: &str) -> anyhow::Result<Reply> {
    let key = format!("{page}-{amount}-{etag}");
    let headers = [("If-Match", etag), ("Idempotency-Key", key.as_str())];
    send(
        front,
        &format!("POST /{page}/payment"),
        &headers,
        &json!({ "amount": amount }),
    )
}
