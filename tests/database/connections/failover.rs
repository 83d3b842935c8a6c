//! A host name that temporarily points to a standby, as during a failover.

use super::proxy::Proxy;
use crate::support::standby::Standby;
use crate::support::{CartEvent, added, wait_until};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, Error, EventStore, RawEvent, Reactor, Recorded};
use postgres::{Client, NoTls};
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::time::Duration;

const CONNECTIONS: u32 = 4;

#[test]
fn connections_to_a_standby_are_replaced_once_the_name_leads_to_the_primary_again()
-> anyhow::Result<()> {
    let primary = Server::start()?;
    let primary_url = primary.url("postgres");
    let mut client = Client::connect(&primary_url, NoTls)?;
    let proxy = Proxy::to_server(&primary_url)?;
    let store = EventStore::builder(proxy.url())
        .connection_options(ConnectionOptions::new().pool_size(CONNECTIONS))
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let standby = Standby::start(&mut client)?;
    standby.wait_until_replayed(&mut client)?;
    let (survived, errors) = channel();
    let seen = Reactor::new("seen")
        .each(|_: &Recorded<RawEvent>, _| Ok(()))
        .on_error(move |error: &Error| _ = survived.send(error.is_retryable()));
    let consumer = store.consumer().reactor(seen).start()?;
    store.wait_for("seen", 1, Duration::from_secs(30))?;

    proxy.lead_to(standby.url())?;
    kill_all(&mut client)?;
    // Finds the dead connections.
    store.read_stream::<CartEvent>("Cart-1")?;
    let refused = store.append_to_stream("Cart-1", &[added("hat", 1)]);
    // A session begins there: it may only read.
    let append = |store: &EventStore| {
        store.with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?))
    };
    let begun = append(&store).map(drop);
    assert!(errors.recv()?, "the consumer waits");
    fill_pool(&store);
    proxy.lead_to(&primary_url)?;

    for error in [refused.map(drop), begun].map(|refused| refused.expect_err("a standby")) {
        assert!(error.is_retryable() && error.is_unavailable(), "{error:?}");
    }
    for _ in 0..8 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    }
    store.with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?))?;
    let head = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(head.current_version, 10);
    wait_until("the consumer has handled them", || {
        consumer.handled("seen") == 10
    });
    consumer.stop()?;
    Ok(())
}

/// Holds all connections of the pool at once, so that all lead to where the name leads now.
fn fill_pool(store: &EventStore) {
    let all = Barrier::new(CONNECTIONS as usize);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let read = store.aggregate_stream(
                    "Cart-1",
                    || (),
                    |(), _: CartEvent| {
                        all.wait();
                    },
                );
                read.expect("a standby can be read");
            });
        }
    });
}

fn kill_all(client: &mut Client) -> anyhow::Result<()> {
    let kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emmett'";
    client.execute(kill, &[])?;
    Ok(())
}
