//! The statuses of the HTTP front in `examples/11_http.rs`.

#[expect(dead_code, unreachable_pub, reason = "it is an example, with a `main`")]
#[path = "../../examples/11_http.rs"]
mod front;

use crate::support::store;
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, EventStore};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

const ADD: &str = r#"{"Add":{"items":1}}"#;

struct Client(SocketAddr);

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(field, value)| (field == name).then_some(value))
    }
}

impl Client {
    fn send(&self, line: &str, headers: &[&str], body: &str) -> Reply {
        let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
        let (head, body) = front::send(self.0, line, &headers, body).expect("an answer");
        let status = head[9..12].parse().expect("a status");
        Reply { status, head, body }
    }

    /// The status of a command under a key with this precondition.
    fn post(&self, cart: &str, key: &str, precondition: &str, body: &str) -> u16 {
        let key = format!("Idempotency-Key: {key}");
        let mut headers = vec![key.as_str()];
        if !precondition.is_empty() {
            headers.push(precondition);
        }
        self.send(&format!("POST /carts/{cart}"), &headers, body)
            .status
    }
}

#[test]
fn preconditions_are_compared_with_the_version() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    front::serve(&store, |address| {
        let client = Client(address);
        let post = |cart: &str, key: &str, guard: &str| client.post(cart, key, guard, ADD);

        assert_eq!(post("1", "missing", "If-Match: *"), 412);
        assert_eq!(post("1", "missing", "If-Match: \"0\""), 412);
        assert_eq!(post("1", "first", "If-None-Match: *"), 200);
        assert_eq!(post("1", "again", "If-None-Match: *"), 412);
        assert_eq!(post("1", "second", "If-Match: *"), 200);
        assert_eq!(post("1", "third", "If-Match: \"2\""), 200);
        for (number, (tag, status)) in [
            ("\"2\"", 412),
            ("\"4\"", 412),
            ("\"18446744073709551615\"", 412),
            // Never one of ours, or weak: no strong comparison is true.
            ("W/\"3\"", 412),
            ("W/\"2\"", 412),
            ("\"abc\"", 412),
            ("\"03\"", 412),
            ("\"+3\"", 412),
            ("\"\"", 412),
            ("\"99999999999999999999\"", 412),
            // No tag, or several.
            ("3", 400),
            ("\"3", 400),
            ("W/3", 400),
            ("w/\"3\"", 400),
            ("\"3\", \"4\"", 400),
            ("W/\"3\", \"4\"", 400),
            ("*, \"3\"", 400),
        ]
        .into_iter()
        .enumerate()
        {
            let guard = format!("If-Match: {tag}");
            assert_eq!(post("1", &format!("tag-{number}"), &guard), status, "{tag}");
        }
        let two = ["Idempotency-Key: two", "If-Match: \"3\"", "If-Match: \"4\""];
        assert_eq!(client.send("POST /carts/1", &two, ADD).status, 400);
        let both = [
            "Idempotency-Key: two",
            "If-Match: \"3\"",
            "If-None-Match: *",
        ];
        assert_eq!(client.send("POST /carts/1", &both, ADD).status, 400);
        assert_eq!(post("1", "none", "If-None-Match: \"3\""), 400);

        let cart = client.send("GET /carts/1", &[], "");
        assert_eq!((cart.status, cart.header("ETag")), (200, Some("\"3\"")));
    })
}

#[test]
fn a_key_gives_the_first_reply_again_and_no_second_effect() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    front::serve(&store, |address| {
        let client = Client(address);
        let add = |cart: &str, headers: &[&str]| {
            client.send(&format!("POST /carts/{cart}"), headers, ADD)
        };
        let new = ["Idempotency-Key: a", "If-None-Match: *"];

        let first = add("1", &new);
        let other = add("1", &["Idempotency-Key: b"]);
        let repeated = add("1", &new);

        assert_eq!((first.status, first.header("ETag")), (200, Some("\"1\"")));
        assert_eq!(other.header("ETag"), Some("\"2\""));
        assert_eq!((repeated.status, &repeated.body), (200, &first.body));
        // It would be the version of a command that this client has not seen.
        assert_eq!(repeated.header("ETag"), None);
        assert_eq!(client.post("1", "a", "", r#"{"Add":{"items":2}}"#), 422);
        assert_eq!(client.post("2", "a", "", ADD), 422, "for another cart");
        let cart = client.send("GET /carts/1", &[], "");
        assert_eq!(cart.header("ETag"), Some("\"2\""));

        // A refused command leaves its key to be used again.
        assert_eq!(client.post("1", "c", "", r#"{"Add":{"items":9}}"#), 403);
        assert_eq!(client.post("1", "c", "", ADD), 200);
    })
}

#[test]
fn refusals_and_faulty_requests_have_their_own_statuses() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    front::serve(&store, |address| {
        let client = Client(address);
        let confirm = r#""Confirm""#;
        let key = "Idempotency-Key: k";

        assert_eq!(client.post("1", "a", "If-None-Match: *", confirm), 409);
        assert_eq!(client.post("1", "b", "", r#"{"Add":{"items":11}}"#), 403);
        assert_eq!(client.post("1", "c", "", confirm), 428);
        for body in ["", "{", "\"Pay\"", r#"{"Add":{"items":-1}}"#, "\u{fffd}"] {
            assert_eq!(client.post("1", "d", "", body), 400, "{body}");
        }
        assert_eq!(client.send("POST /carts/1", &[], ADD).status, 400, "no key");
        let long = format!("Idempotency-Key: {}", "k".repeat(2001));
        assert_eq!(client.send("POST /carts/1", &[&long], ADD).status, 400);
        for path in [
            "/",
            "/carts",
            "/carts/",
            "/carts/1/2",
            "/carts/%31",
            "/carts/2",
        ] {
            let found = client.send(&format!("GET {path}"), &[], "");
            assert_eq!(found.status, 404, "{path}");
        }
        let deleted = client.send("DELETE /carts/1", &[key], "");
        assert_eq!(
            (deleted.status, deleted.header("Allow")),
            (405, Some("GET, POST"))
        );

        assert_eq!(client.post("3", "e", "", ADD), 200);
        store.archive_stream("Cart-3").expect("archived");
        assert_eq!(client.post("3", "f", "", ADD), 410);
    })
}

#[test]
fn of_many_clients_that_saw_one_version_one_wins() -> anyhow::Result<()> {
    const CLIENTS: usize = 8;
    let (_database, store) = store()?;
    front::serve(&store, |address| {
        let client = Client(address);
        let together = |guard: &str| {
            let post = |number| client.post("1", &format!("{guard}-{number}"), guard, ADD);
            std::thread::scope(|scope| {
                let post = &post;
                let sent: Vec<_> = (0..CLIENTS)
                    .map(|number| scope.spawn(move || post(number)))
                    .collect();
                let ended = sent.into_iter().map(|one| one.join().expect("no panic"));
                ended.collect::<Vec<u16>>()
            })
        };

        for guard in ["If-None-Match: *", "If-Match: \"1\""] {
            let statuses = together(guard);
            let won = statuses.iter().filter(|status| **status == 200).count();
            assert_eq!(won, 1, "{statuses:?}");
            let kinds: HashSet<u16> = statuses.into_iter().collect();
            assert_eq!(kinds, HashSet::from([200, 412]), "{guard}");
        }
    })
}

#[test]
fn without_a_database_a_client_is_told_to_try_again() -> anyhow::Result<()> {
    let server = Server::start()?;
    let store = EventStore::builder(&server.url("postgres"))
        .connection_options(ConnectionOptions::new().connection_timeout(Duration::from_millis(200)))
        .open()?;
    front::serve(&store, move |address| {
        let client = Client(address);
        assert_eq!(client.post("1", "a", "", ADD), 200);

        drop(server);
        let posted = client.send("POST /carts/1", &["Idempotency-Key: b"], ADD);
        let read = client.send("GET /carts/1", &[], "");

        for reply in [posted, read] {
            assert_eq!(
                (reply.status, reply.header("Retry-After")),
                (503, Some("1"))
            );
        }
    })
}
