//! The HTTP front of the hotels. A version is an `ETag`, an expected version an `If-Match`, a command's key an `Idempotency-Key`.
//!
//! | Request | |
//! |---|---|
//! | `GET /{hotel}/rooms` | the rooms with their taken nights |
//! | `POST /{hotel}/bookings` | holds a room |
//! | `GET /{hotel}/bookings/{id}` | a booking, with its `ETag` |
//! | `POST /{hotel}/bookings/{id}/payment` | pays a booking |

use crate::answer::{Answer, BadRequest};
use crate::booking;
use crate::read_models::{BOOKINGS, BookingView, ROOMS, RoomView};
use crate::reception::{BookingRequest, Reception};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use tiny_http::{Method, Request, Server};

const THREADS: usize = 4;
const LARGEST_BODY: u64 = 10_000;

pub(crate) struct Front {
    server: Server,
    receptions: BTreeMap<String, Reception>,
}

#[derive(Deserialize)]
struct Payment {
    amount: u32,
}

/// Ends the threads of the front, also after a panic.
struct Closing<'s>(&'s Server);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        (0..THREADS).for_each(|_| self.0.unblock());
    }
}

impl Front {
    pub(crate) fn open(receptions: BTreeMap<String, Reception>) -> anyhow::Result<Self> {
        let server = Server::http("127.0.0.1:0").map_err(anyhow::Error::from_boxed)?;
        Ok(Self { server, receptions })
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let address = self.server.server_addr().to_ip();
        address.ok_or_else(|| anyhow::anyhow!("the front has no address"))
    }

    /// Serves while the closure runs.
    pub(crate) fn serve<T>(
        &self,
        while_open: impl FnOnce(SocketAddr) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let address = self.address()?;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| self.work());
            }
            let _closing = Closing(&self.server);
            while_open(address)
        })
    }

    fn work(&self) {
        for request in self.server.incoming_requests() {
            self.answer(request);
        }
    }

    fn answer(&self, mut request: Request) {
        let has_precondition = header(&request, "If-Match").is_some();
        let answer = self.route(&mut request);
        let answer = answer.unwrap_or_else(|error| Answer::of_error(&error, has_precondition));
        if let Err(error) = request.respond(answer.into_response()) {
            eprintln!("a guest did not wait for the answer: {error}");
        }
    }

    fn route(&self, request: &mut Request) -> anyhow::Result<Answer> {
        let (method, url) = (request.method().clone(), request.url().to_owned());
        let mut parts = url.trim_matches('/').split('/');
        let reception = parts.next().and_then(|hotel| self.receptions.get(hotel));
        let reception = reception.ok_or(BadRequest(404, "there is no such hotel"))?;
        let path: Vec<&str> = parts.collect();
        match (&method, path.as_slice()) {
            (Method::Get, ["rooms"]) => rooms(reception),
            (Method::Post, ["bookings"]) => hold(reception, request),
            (Method::Get, ["bookings", id]) => booking(reception, id),
            (Method::Post, ["bookings", id, "payment"]) => pay(reception, id, request),
            _ => Err(BadRequest(404, "there is no such page").into()),
        }
    }
}

fn rooms(reception: &Reception) -> anyhow::Result<Answer> {
    let rooms = reception.store.collection::<RoomView>(ROOMS);
    let rooms = rooms.find(json!({})).sort(json!({ "_id": 1 })).to_vec()?;
    Answer::new(200, &rooms)
}

fn hold(reception: &Reception, request: &mut Request) -> anyhow::Result<Answer> {
    let key = idempotency_key(request)?;
    let wanted: BookingRequest = body(request)?;
    let held = reception.hold(&wanted, &key)?;
    let answer = Answer::new(201, json!({ "booking": held.reply }))?;
    Ok(answer.with("Location", format!("bookings/{}", held.reply)))
}

fn booking(reception: &Reception, id: &str) -> anyhow::Result<Answer> {
    let bookings = reception.store.collection::<BookingView>(BOOKINGS);
    let view = bookings.find_by_id(&booking::stream_name(id))?;
    let view = view.ok_or(BadRequest(404, "there is no such booking"))?;
    Ok(Answer::new(200, &view)?.at_version(view.version))
}

fn pay(reception: &Reception, id: &str, request: &mut Request) -> anyhow::Result<Answer> {
    let (seen, key) = (if_match(request)?, idempotency_key(request)?);
    let Payment { amount } = body(request)?;
    let paid = reception.pay(id, amount, seen, &key)?;
    let answer = Answer::new(200, json!({ "paid": amount }))?;
    // The version now may be that of a later command, which this guest has not seen.
    if paid.was_decided_before {
        return Ok(answer);
    }
    Ok(answer.at_version(paid.version))
}

fn body<T: DeserializeOwned>(request: &mut Request) -> anyhow::Result<T> {
    let body = serde_json::from_reader(request.as_reader().take(LARGEST_BODY));
    body.map_err(|_| BadRequest(400, "the page takes another body").into())
}

fn header<'r>(request: &'r Request, name: &'static str) -> Option<&'r str> {
    let mut headers = request.headers().iter();
    let header = headers.find(|header| header.field.equiv(name))?;
    Some(header.value.as_str())
}

fn idempotency_key(request: &Request) -> anyhow::Result<String> {
    let key = header(request, "Idempotency-Key");
    let key = key.ok_or(BadRequest(400, "an Idempotency-Key is needed"))?;
    Ok(key.to_owned())
}

/// A guest pays what the guest has seen.
fn if_match(request: &Request) -> anyhow::Result<u64> {
    let etag = header(request, "If-Match");
    let etag = etag.ok_or(BadRequest(428, "send the ETag of the booking as If-Match"))?;
    let version = etag
        .strip_prefix('"')
        .and_then(|etag| etag.strip_suffix('"'));
    let version = version.and_then(|version| version.parse().ok());
    Ok(version.ok_or(BadRequest(412, "the booking never had this ETag"))?)
}
