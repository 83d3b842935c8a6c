//! A guest at a browser: the least of an HTTP client.

use crate::booking::Guest;
use crate::reception::BookingRequest;
use crate::room::Nights;
use anyhow::Context;
use serde::Serialize;
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
fn send(
    front: SocketAddr,
    request: &str,
    headers: &[(&str, &str)],
    body: &impl Serialize,
) -> anyhow::Result<Reply> {
    let body = serde_json::to_string(body)?;
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

/// A room for one night.
pub(crate) fn wish(room: &str, night: u32, email: &str) -> BookingRequest {
    let name = email.split('@').next().unwrap_or(email).to_owned();
    BookingRequest {
        room: room.to_owned(),
        nights: Nights {
            from: night,
            until: night + 1,
        },
        guest: Guest {
            name,
            email: email.to_owned(),
        },
    }
}

/// Sends a form. A browser without an answer sends it again, under the same key.
pub(crate) fn hold(
    front: SocketAddr,
    hotel: &str,
    key: &str,
    wish: &BookingRequest,
) -> anyhow::Result<Reply> {
    let key = [("Idempotency-Key", key)];
    send(front, &format!("POST /{hotel}/bookings"), &key, wish)
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
