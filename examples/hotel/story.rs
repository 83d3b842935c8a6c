//! The story of a day, from the old program's events to the night audit and an erasure.

use crate::erasure::{Erased, erase};
use crate::front::Front;
use crate::mails::{self, Letter, Mail};
use crate::night_audit::{self, Audit};
use crate::post_office::PostOffice;
use crate::read_models::{BOOKINGS, BookingView, ROOMS, RoomView};
use crate::reception::Reception;
use crate::visitor::{Reply, get, hold, pay, wish};
use crate::{HOTELS, old_program, open, start};
use anyhow::Context;
use emmett_postgresql::error::ProcessorError;
use emmett_postgresql::events::outbox_stream;
use emmett_postgresql::operations::{ExportOptions, ParkedSelection};
use emmett_postgresql::{Error, EventStore, RawEvent};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GUESTS_AT_ONCE: usize = 8;

struct Story {
    store: EventStore,
    alpenhof: EventStore,
    mails: Receiver<Letter>,
    office: Arc<PostOffice>,
    front: SocketAddr,
    /// The first night that is free in all rooms. Another run on the same database is another day.
    tonight: u32,
}

pub(crate) fn tell(url: &str) -> anyhow::Result<()> {
    the_old_program(url)?;
    let store = open(url)?;
    let (office, mails) = PostOffice::open();
    let office = Arc::new(office);
    let post = Arc::clone(&office);
    let consumer = start(&store, move |letter| post.send(letter))?;
    let receptions = open_hotels(&store)?;
    let tonight = first_free_night(&store)?;
    let alpenhof = store.tenant("alpenhof")?;
    Front::open(receptions)?.serve(|front| {
        Story {
            store,
            alpenhof,
            mails,
            office,
            front,
            tonight,
        }
        .day()
    })?;
    consumer.stop()?;
    Ok(())
}

pub(crate) fn audit(store: &EventStore) -> anyhow::Result<()> {
    for audit in night_audit::audit_all(store)? {
        let Audit {
            hotel,
            events,
            nights,
            paid,
        } = audit;
        println!("{hotel}: {events} new events; {nights} nights paid with {paid}");
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

fn the_old_program(url: &str) -> anyhow::Result<()> {
    heading("The old program leaves its events");
    let store = EventStore::open(url)?;
    for hotel in HOTELS {
        store.tenants().add(hotel)?;
    }
    let alpenhof = store.tenant("alpenhof")?;
    old_program::write_events(&alpenhof)?;
    for recorded in alpenhof.read_stream::<RawEvent>("Booking-1")?.events {
        println!("{} {}", recorded.stream_position, recorded.message_type);
    }
    Ok(())
}

fn open_hotels(store: &EventStore) -> anyhow::Result<BTreeMap<String, Reception>> {
    heading("The hotels open");
    let mut receptions = BTreeMap::new();
    for (hotel, room, price, hold_for) in [
        ("alpenhof", "101", 90, DAY),
        ("seeblick", "201", 120, Duration::ZERO),
    ] {
        let store = store.tenant(hotel)?;
        let reception = Reception { store, hold_for };
        reception.open_room(room, price)?;
        println!("{hotel}: room {room}, {price} a night, kept for {hold_for:?}");
        receptions.insert(hotel.to_owned(), reception);
    }
    let alpenhof = store.tenant("alpenhof")?;
    let bookings = alpenhof.collection::<BookingView>(BOOKINGS);
    let old = bookings.only_if_active().find_by_id("Booking-1")?;
    let old = old.context("no Booking-1")?;
    let guest = old.guest.map_or("(erased)".to_owned(), |guest| guest.name);
    println!("Booking-1, of the old program: {guest}, {}", old.state);
    Ok(receptions)
}

fn first_free_night(store: &EventStore) -> anyhow::Result<u32> {
    let mut first = 1;
    for hotel in HOTELS {
        let rooms = store.tenant(hotel)?.collection::<RoomView>(ROOMS);
        for room in rooms.find(json!({})).to_vec()? {
            let ends = room.taken.iter().map(|taken| taken.nights.until);
            first = ends.fold(first, u32::max);
        }
    }
    Ok(first)
}

impl Story {
    fn day(&self) -> anyhow::Result<()> {
        self.a_guest_pays()?;
        self.the_last_room()?;
        self.nobody_pays()?;
        self.a_mail_is_parked()?;
        heading("The night audit");
        audit(&self.store)?;
        self.an_erasure()?;
        heading("The doctor");
        println!("{} findings", self.alpenhof.doctor()?.findings.len());
        Ok(())
    }

    fn a_guest_pays(&self) -> anyhow::Result<()> {
        heading("Anna books and pays");
        let wish = wish("101", self.tonight, "anna@example.org");
        let key = format!("form-1-{}", self.tonight);
        let anna = || hold(self.front, "alpenhof", &key, &wish);
        let (held, again) = (anna()?, anna()?);
        println!("held: {}", held.status);
        let is_same = held.body == again.body;
        println!(
            "the same form again: {}, the same booking: {is_same}",
            again.status
        );
        self.print_mail("anna@example.org")?;

        let page = format!("alpenhof/bookings/{}", id(&held)?);
        let seen = get(self.front, &page)?;
        println!("seen: {}, ETag {}", seen.status, seen.etag);
        for (amount, etag) in [(90, "\"1\""), (1, &seen.etag), (90, &seen.etag)] {
            let reply = pay(self.front, &page, amount, etag)?;
            println!("pays {amount}, If-Match {etag}: {}", said(&reply));
        }
        self.print_mail("anna@example.org")
    }

    fn the_last_room(&self) -> anyhow::Result<()> {
        heading("The last room");
        let (front, night) = (self.front, self.tonight + 1);
        let book = |guest| {
            let wish = wish("101", night, &format!("guest{guest}@example.org"));
            hold(front, "alpenhof", &format!("form-{guest}-{night}"), &wish)
        };
        let replies = std::thread::scope(|scope| {
            let guests = (0..GUESTS_AT_ONCE).map(|guest| scope.spawn(move || book(guest)));
            let guests: Vec<_> = guests.collect();
            guests
                .into_iter()
                .map(ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut counts = BTreeMap::new();
        for reply in replies {
            let reply = reply.map_err(|_| anyhow::anyhow!("a guest panicked"))??;
            *counts.entry(said(&reply)).or_insert(0) += 1;
        }
        for (said, count) in counts {
            println!("{count} of {GUESTS_AT_ONCE} guests: {said}");
        }
        Ok(())
    }

    fn nobody_pays(&self) -> anyhow::Result<()> {
        heading("Dora does not pay in time");
        let wish = wish("201", self.tonight, "dora@example.org");
        let key = format!("form-1-{}", self.tonight);
        let held = hold(self.front, "seeblick", &key, &wish)?;
        println!("held: {}", held.status);
        self.print_mail("dora@example.org")?;
        self.print_mail("dora@example.org")?;
        let page = format!("seeblick/bookings/{}", id(&held)?);
        let seen = get(self.front, &page)?;
        let late = pay(self.front, &page, 120, &seen.etag)?;
        println!("pays too late: {}", said(&late));
        Ok(())
    }

    fn a_mail_is_parked(&self) -> anyhow::Result<()> {
        heading("A mail cannot be delivered");
        let night = self.tonight + 2;
        let wish = wish("101", night, "carl@faraway.example");
        let held = hold(self.front, "alpenhof", &format!("form-1-{night}"), &wish)?;
        let outbox = outbox_stream(mails::TOPIC, &id(&held)?)?;
        let command = self.alpenhof.read_stream::<Mail>(&outbox)?.events.remove(0);
        let position = command.global_position;
        match self.alpenhof.wait_for("mails", position, PATIENCE) {
            Err(Error::Processor(ProcessorError::MessageParked { error, .. })) => {
                println!("parked: {}", error.unwrap_or_default());
            }
            other => anyhow::bail!("expected a parked mail, got {other:?}"),
        }
        self.office.mend();
        let processors = self.alpenhof.processors();
        processors.replay("mails", &ParkedSelection::All)?;
        self.print_mail("carl@faraway.example")
    }

    fn an_erasure(&self) -> anyhow::Result<()> {
        heading("Zoë wants to be forgotten");
        let Erased { events, documents } = erase(&self.alpenhof, "zoe@example.org")?;
        println!("erased: {events} events, {documents} documents");
        let mut export = Vec::new();
        self.alpenhof.export(&mut export, ExportOptions::new())?;
        let export = String::from_utf8(export)?;
        let is_named = export.contains("zoe@example.org");
        println!("an export names her: {is_named}");
        Ok(())
    }

    /// Waits for a mail. Mails to others may come before it.
    fn print_mail(&self, email: &str) -> anyhow::Result<()> {
        loop {
            let letter = self.mails.recv_timeout(PATIENCE)?;
            if letter.guest.email == email {
                println!("mail from {} to {email}: {:?}", letter.hotel, letter.mail);
                return Ok(());
            }
        }
    }
}

fn id(held: &Reply) -> anyhow::Result<String> {
    let id = held.body["booking"].as_str();
    let id = id.with_context(|| format!("no booking: {held:?}"))?;
    Ok(id.to_owned())
}

fn said(reply: &Reply) -> String {
    match reply.body["error"].as_str() {
        Some(error) => format!("{}, {error}", reply.status),
        None => reply.status.to_string(),
    }
}
