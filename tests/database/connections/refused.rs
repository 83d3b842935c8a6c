//! Unreachable or refusing servers: the error comes at once, and without the password.

use crate::support::wait_until;
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, Error, EventStore, database::DatabaseError};
use std::net::TcpListener;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const SECRET: &str = "s3cr3t-p4ss";

/// Everything that an error shows.
fn shown(error: &Error) -> String {
    let mut text = format!("{error:?} {error:#?}");
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        text = format!("{text} {error} {error:?}");
        cause = error.source();
    }
    text
}

/// Asserts that opening fails soon, saying these words and not the password.
fn assert_refused(url: &str, words: &[&str]) {
    let began = Instant::now();

    let builder = EventStore::builder(url);
    let builder_shown = format!("{builder:?}");
    let error = builder.open().expect_err("refused");

    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let text = shown(&error);
    for word in words {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert!(
        !text.contains(SECRET) && !builder_shown.contains(SECRET),
        "{text} {builder_shown}"
    );
}

/// A server with users who need a password: clerk and cashier.
fn strict_server() -> anyhow::Result<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = SERVER.get() {
        return Ok(server);
    }
    let server = start_strict_server()?;
    Ok(SERVER.get_or_init(|| server))
}

fn start_strict_server() -> anyhow::Result<Server> {
    let server = Server::builder().listen_on_localhost().start()?;
    let url = server.url("postgres");
    let mut client = postgres::Client::connect(&url, postgres::NoTls)?;
    let rules: String = client.query_one("SHOW hba_file", &[])?.get(0);
    client.batch_execute(&format!(
        "CREATE ROLE clerk LOGIN PASSWORD '{SECRET}';
         CREATE ROLE cashier LOGIN PASSWORD '{SECRET}';
         COPY (VALUES ('local all clerk,cashier scram-sha-256'), ('host all clerk,cashier all scram-sha-256'),
                      ('local all all trust'), ('host all all all trust')) TO '{rules}';
         SELECT pg_reload_conf()"
    ))?;
    client.batch_execute("CREATE DATABASE shop OWNER clerk")?;
    client.batch_execute("CREATE DATABASE office OWNER cashier")?;
    wait_until("the password is asked for", || {
        let without = url.replace("user=postgres", "user=clerk");
        postgres::Client::connect(&without, postgres::NoTls).is_err()
    });
    Ok(server)
}

#[test]
fn a_refusing_server_is_reported_at_once_and_without_the_password() -> anyhow::Result<()> {
    let server = strict_server()?;
    let url = |user: &str, password: &str, database: &str| {
        server
            .localhost_url(database)
            .map(|url| url.replace("postgres@", &format!("{user}:{password}@")))
            .unwrap_or_default()
    };
    let list = |password: &str| {
        let socket = server.url("shop");
        let (_, parameters) = socket.split_once('?').unwrap_or_default();
        let parameters = parameters
            .replace('&', " ")
            .replace("user=postgres", "user=clerk");
        format!("dbname=shop {parameters} password={password}")
    };

    EventStore::open(&url("clerk", SECRET, "shop"))?;
    EventStore::open(&list(SECRET))?;
    let wrong = format!("{SECRET}-wrong");
    for url in [url("clerk", &wrong, "shop"), list(&wrong)] {
        assert_refused(
            &url,
            &["cannot connect", "password authentication failed", "clerk"],
        );
    }
    assert_refused(
        &url("clerk", SECRET, "storehouse"),
        &["cannot connect", "storehouse", "does not exist"],
    );
    assert_refused(
        &url("nobody", SECRET, "shop"),
        &["cannot connect", "nobody", "does not exist"],
    );
    Ok(())
}

#[test]
fn a_password_that_is_changed_later_does_not_show_either() -> anyhow::Result<()> {
    let server = strict_server()?;
    let url = server
        .localhost_url("office")
        .unwrap_or_default()
        .replace("postgres@", &format!("cashier:{SECRET}@"));
    let store = EventStore::builder(&url)
        .connection_options(
            ConnectionOptions::new()
                .pool_size(2)
                .connection_timeout(Duration::from_secs(2)),
        )
        .open()?;
    let _first = store.begin()?;
    postgres::Client::connect(&server.url("postgres"), postgres::NoTls)?
        .batch_execute("ALTER ROLE cashier PASSWORD 'another'")?;

    let mut text = String::new();
    wait_until("the pool says why there is no second connection", || {
        let error = store.begin().expect_err("the password is wrong");
        assert!(
            matches!(error, Error::Database(DatabaseError::Pool { .. })),
            "{error:?}"
        );
        text = shown(&error);
        text.contains("password authentication failed")
    });

    let store = format!("{store:?}");
    assert!(
        !text.contains(SECRET) && !store.contains(SECRET),
        "{text} {store}"
    );
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_reported_at_once_and_without_the_password() -> anyhow::Result<()> {
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let port_text = port.to_string();
    let words = ["cannot connect", &*port_text, "127.0.0.1"];

    assert_refused(
        &format!("postgresql://clerk:{SECRET}@127.0.0.1:{port}/shop"),
        &words,
    );
    assert_refused(
        &format!("host=127.0.0.1 port={port} user=clerk password={SECRET} dbname=shop"),
        &words,
    );
    assert_refused(
        &format!("postgresql:///shop?host=/nowhere&user=clerk&password={SECRET}"),
        &["cannot connect", "/nowhere"],
    );
    Ok(())
}

#[test]
fn a_connection_string_that_makes_no_sense_is_refused_without_showing_it() {
    for wrong in [
        format!("postgresql://clerk:{SECRET}@localhost:port/shop"),
        format!("postgresql://clerk:{SECRET}@localhost/shop?colour=red"),
        format!("host=localhost password={SECRET} colour=red"),
        format!("host=localhost password='{SECRET}"),
        format!("mysql://clerk:{SECRET}@localhost/shop"),
    ] {
        let error = EventStore::open(&wrong).expect_err("refused");

        assert!(
            matches!(error, Error::Database(DatabaseError::ConnectionString(_))),
            "{error:?}"
        );
        assert!(!shown(&error).contains(SECRET), "{}", shown(&error));
    }
}
