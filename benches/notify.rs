//! The cost of an append with notifications to other processes, compared with an append without them.

use crate::append::{append, appenders};
use crate::harness::Harness;
use anyhow::Result;
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{ConnectionOptions, EventStore};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const THREADS: usize = 8;

/// Without a consumer, nothing is notified.
const ADD_CONSUMER: &str = "
    INSERT INTO emt_processor_slots (partition, processor, version, slot, position, owner, worker, expires_at)
    VALUES ('emt:default', 'carts', 1, 0, 0, 'somebody', 0, 'infinity')";

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let name = "append 1 event, 8 threads, notified";
    if !harness.wants(name) {
        return Ok(());
    }
    let database = crate::database(server)?;
    let mut listening = database.client()?;
    listening.batch_execute(ADD_CONSUMER)?;
    let channel = channel(&mut listening)?;
    listening.batch_execute(&format!("LISTEN {channel}"))?;
    let mut notified = appenders(&store(&database, true)?, THREADS, 1);
    let mut silent = appenders(&store(&database, false)?, THREADS, 1);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| hear(&mut listening, &done));
        let compared = harness.compare(
            name,
            |turn| append(&mut notified, turn),
            |turn| append(&mut silent, turn),
        );
        done.store(true, Ordering::Relaxed);
        compared
    })
}

fn store(database: &Database, notifications: bool) -> Result<EventStore> {
    Ok(EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(u32::try_from(THREADS)?))
        .notifications(notifications)
        .open()?)
}

fn channel(client: &mut Client) -> Result<String> {
    let sql = "SELECT 'emt_' || left(encode(sha256('public'), 'hex'), 16)";
    Ok(client.query_one(sql, &[])?.get(0))
}

/// Takes the notifications, as the listener of another process does.
fn hear(client: &mut Client, done: &AtomicBool) {
    let mut notifications = client.notifications();
    while !done.load(Ordering::Relaxed) {
        let mut next = notifications.timeout_iter(Duration::from_millis(100));
        while let Ok(Some(notification)) = next.next() {
            std::hint::black_box(notification);
        }
    }
}
