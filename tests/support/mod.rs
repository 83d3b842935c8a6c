//! Common parts of the tests: a store on a new database, one example domain, and waiting for signals.

pub(crate) mod child_process;
pub(crate) mod orders;
pub(crate) mod pgbouncer;
pub(crate) mod schema_files;
pub(crate) mod server_shell;
pub(crate) mod standby;

use emmett_postgresql::{ConnectionOptions, Event, EventStore, EventStoreBuilder, testing};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A database of its own for one test, with the schema.
pub(crate) fn database() -> testing::Database {
    testing::database().expect("a throwaway PostgreSQL")
}

/// A store on a database of its own. The database has to outlive it.
pub(crate) fn store() -> anyhow::Result<(testing::Database, EventStore)> {
    let database = database();
    let store = EventStore::open(database.url())?;
    Ok((database, store))
}

/// A database with so many tenants, from "tenant 1" on.
pub(crate) fn database_with_tenants(count: i32) -> anyhow::Result<testing::Database> {
    let server = testing::Server::shared()?;
    let sql = schema_files::event_store()?;
    let template = server.template(&format!("{count} tenants {sql}"), |url| {
        EventStore::builder(url)
            .connection_options(ConnectionOptions::new().pool_size(1))
            .open()?;
        let mut client = postgres::Client::connect(url, postgres::NoTls)?;
        // In parts: a transaction has room for so many locks only.
        let add = "SELECT count(emt_partition_create('tenant ' || number)) FROM generate_series($1::INTEGER, $2) AS number";
        for first in (1..=count).step_by(50) {
            client.query(add, &[&first, &count.min(first + 49)])?;
        }
        Ok(())
    })?;
    Ok(server.clone_database(&template)?)
}

/// A store whose connections nothing uses in the background, for tests that count or kill them.
pub(crate) fn quiet(url: &str) -> EventStoreBuilder {
    EventStore::builder(url).notifications(false)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub(crate) enum CartEvent {
    ProductItemAdded {
        product_id: String,
        quantity: u32,
        price: f64,
    },
    ProductItemRemoved {
        product_id: String,
        quantity: u32,
        price: f64,
    },
    ShoppingCartConfirmed {
        client_id: String,
        total_amount: f64,
    },
}

impl Event for CartEvent {}

pub(crate) fn added(product: &str, quantity: u32) -> CartEvent {
    CartEvent::ProductItemAdded {
        product_id: product.into(),
        quantity,
        price: 10.0,
    }
}

/// Waits until all inline projections that a store has registered are active or another version is.
pub(crate) fn wait_until_active(store: &EventStore) {
    use emmett_postgresql::projection::ProjectionStatus::{Active, Inactive};
    wait_until("all projections are active", || {
        let projections = store.registered_projections().expect("the registry");
        let mut states = projections.iter().map(|projection| projection.status);
        states.all(|status| matches!(status, Active | Inactive))
    });
}

/// Looks again and again until `met`, with a deadline, so that a test waits no longer than it has to.
pub(crate) fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !met() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::yield_now();
    }
}
