//! A server that crashes and restarts.

use crate::support::{CartEvent, added, wait_until_active};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, NewMessage, Recorded, database::DatabaseError,
};
use serde_json::{Value, json};

fn counts() -> DocumentProjection<Value> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<CartEvent>| {
        let count = count.and_then(|count| count["n"].as_u64()).unwrap_or(0);
        Some(json!({"n": count + 1}))
    })
}

#[test]
fn a_store_survives_the_crash_of_its_server_with_everything_that_was_committed()
-> anyhow::Result<()> {
    // A crash of the server, not of the machine: what was handed to the operating system is kept.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()?;
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    let projecting = EventStore::builder(database.url())
        .inline_projection(counts())
        .open()?;
    let message = || NewMessage::new(added("hat", 1)).message_id("a");
    let stored = store.append_to_stream("Cart-1", &[message()])?;
    projecting.append_to_stream("Cart-2", &[added("hat", 1)])?;
    let mut open = store.begin()?;
    open.append_to_stream("Cart-3", &[added("hat", 1)])?;

    server.restart_immediately()?;

    let lost = open
        .append_to_stream("Cart-3", &[added("hat", 1)])
        .expect_err("its connection is gone");
    assert!(lost.is_retryable(), "{lost:?}");
    assert!(open.commit().is_err());
    let again = store.append_to_stream("Cart-1", &[message()])?;
    assert_eq!(
        (again.already_appended, again.global_positions),
        (true, stored.global_positions)
    );
    projecting.append_to_stream("Cart-2", &[added("hat", 1)])?;
    // The other program has appended without the projection, so it follows.
    wait_until_active(&projecting);
    let count = projecting
        .collection::<Value>("counts")
        .find_one(json!({"_id": "Cart-2"}))?;
    assert_eq!(count.map(|count| count["n"].clone()), Some(json!(2)));
    assert_eq!(store.read_stream::<CartEvent>("Cart-2")?.current_version, 2);
    assert!(!store.stream_exists("Cart-3")?);
    Ok(())
}

#[test]
fn writers_go_on_across_crashes_and_store_everything_once() -> anyhow::Result<()> {
    const APPENDS: u64 = 80;
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()?;
    let database = server.create_database()?;
    let store = EventStore::builder(database.url())
        .inline_projection(counts())
        .open()?;
    let write = |writer: u64| -> Result<(), Error> {
        let stream = format!("Cart-{writer}");
        for number in 0..APPENDS {
            let message = NewMessage::new(added("hat", 1)).message_id(number.to_string());
            while let Err(error) = store.append_to_stream(&stream, std::slice::from_ref(&message)) {
                // Own ids make it safe to repeat what is unknown.
                if !error.is_retryable()
                    && !matches!(error, Error::Database(DatabaseError::UnknownOutcome { .. }))
                {
                    return Err(error);
                }
            }
        }
        Ok(())
    };

    std::thread::scope(|scope| -> anyhow::Result<()> {
        let writers: Vec<_> = (0..3)
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        for crash in 1..=2 {
            crate::support::wait_until("they are at work", || {
                store
                    .read_stream::<CartEvent>("Cart-0")
                    .is_ok_and(|read| read.current_version >= crash * 20)
            });
            server.restart_immediately()?;
        }
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("no panic"))?;
        Ok(())
    })?;

    for writer in 0..3 {
        let stream = format!("Cart-{writer}");
        let read = store.read_stream::<CartEvent>(&stream)?;
        let ids = read
            .events
            .iter()
            .map(|recorded| recorded.message_id.clone());
        assert!(
            ids.eq((0..APPENDS).map(|number| number.to_string())),
            "{stream}"
        );
        let count = store
            .collection::<Value>("counts")
            .find_one(json!({"_id": stream}))?;
        assert_eq!(count.map(|count| count["n"].clone()), Some(json!(APPENDS)));
    }
    Ok(())
}
