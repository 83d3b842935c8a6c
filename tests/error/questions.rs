//! The questions that callers ask of errors, for the errors of all rooms.

use crate::database::connections::proxy::{Loss, Proxy};
use crate::support::{added, database, quiet, store};
use emmett_postgresql::pongo::{self, PongoClient};
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, Error, EventStore, RawEvent, Recorded, SqlProjection,
    database::DatabaseError,
};
use serde_json::{Value, json};
use std::time::Duration;

/// What a caller is told: to decide again, to try again, to look what happened, to wait for the database.
type Answers = [bool; 4];

const NONE: Answers = [false; 4];
const CONFLICT: Answers = [true, false, false, false];
const RETRYABLE: Answers = [false, true, false, false];
const UNAVAILABLE: Answers = [false, true, false, true];
const UNKNOWN: Answers = [false, false, true, true];

/// The answers of one type of error.
macro_rules! answers {
    ($error:expr, $is_conflict:expr) => {
        [
            $is_conflict,
            $error.is_retryable(),
            $error.is_outcome_unknown(),
            $error.is_unavailable(),
        ]
    };
}

fn of_database(error: &DatabaseError) -> Answers {
    answers!(error, false)
}

fn of_documents(error: &pongo::Error) -> Answers {
    answers!(error, error.is_conflict())
}

fn of_store(error: &Error) -> Answers {
    answers!(error, error.is_conflict())
}

#[test]
fn what_the_server_says_decides_in_all_rooms_alike() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let client = PongoClient::connect(database.url())?;
    let raising = SqlProjection::new("raising", |events: &[Recorded<RawEvent>], context| {
        for recorded in events {
            context.batch_execute(recorded.event.data.as_str().unwrap_or_default())?;
        }
        Ok(())
    });
    let projecting = EventStore::builder(database.url())
        .inline_projection(raising)
        .open()?;

    for (sqlstate, expected) in [
        ("40P01", RETRYABLE),
        ("40001", RETRYABLE),
        ("55P03", RETRYABLE),
        ("53300", UNAVAILABLE),
        ("57P01", UNAVAILABLE),
        ("57P02", UNAVAILABLE),
        ("57P03", UNAVAILABLE),
        ("57P05", UNAVAILABLE),
        ("25P03", UNAVAILABLE),
        ("57014", RETRYABLE),
        ("25006", UNAVAILABLE),
        ("SE002", UNAVAILABLE),
        ("53100", UNAVAILABLE),
        ("08P01", UNAVAILABLE),
        ("23505", NONE),
        ("42501", NONE),
    ] {
        let raise =
            format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$");
        let mut session = store.begin()?;
        let refused = session.batch_execute(&raise).expect_err("it is raised");
        let in_session = store.with_session(|session| Ok(session.batch_execute(&raise)?));
        let in_documents =
            client.with_transaction(|transaction| Ok(transaction.batch_execute(&raise)?));
        let event = RawEvent::new("Raised", json!(raise));
        let projected = projecting.append_to_stream("Cart-1", &[event]);

        assert_eq!(of_database(&refused), expected, "{sqlstate}");
        let in_session = in_session.expect_err("it is raised");
        assert_eq!(of_store(&in_session), expected, "{sqlstate}");
        let in_documents = in_documents.expect_err("it is raised");
        assert_eq!(of_documents(&in_documents), expected, "{sqlstate}");
        let projected = projected.expect_err("it is raised");
        assert_eq!(of_store(&projected), expected, "{sqlstate}: {projected:?}");
    }
    Ok(())
}

#[test]
fn a_conflict_asks_for_another_decision_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let carts = store.collection::<Value>("carts");
    carts.insert_one(&json!({"_id": "1"}))?;

    let expected = AppendOptions::new().expected_version(7);
    let stream = store.append_to_stream_with("Cart-1", &[added("hat", 1)], expected);
    let document = carts.handle(("1", 7), |_| panic!("not called"));

    assert_eq!(of_store(&stream.expect_err("another version")), CONFLICT);
    let document = document.expect_err("another version");
    assert_eq!(of_documents(&document), CONFLICT);
    assert_eq!(of_store(&document.into()), CONFLICT);
    let taken = carts.insert_one(&json!({"_id": "1"})).expect_err("taken");
    assert_eq!(of_documents(&taken), NONE);
    Ok(())
}

#[test]
fn a_server_that_cannot_be_reached_is_unavailable_and_a_wrong_name_is_not() {
    let database = database();
    let url = database.url();
    for (connection_string, expected) in [
        ("host=/nowhere dbname=shop user=anna", UNAVAILABLE),
        ("postgresql://localhost:port/shop", NONE),
        (&url.replace(database.name(), "no_such_database"), NONE),
    ] {
        let store = EventStore::open(connection_string).expect_err("no server");
        let client = PongoClient::connect(connection_string).expect_err("no server");

        assert_eq!(of_store(&store), expected, "{store:?}");
        assert_eq!(of_documents(&client), expected, "{client:?}");
    }
}

#[test]
fn an_exhausted_pool_is_unavailable() -> anyhow::Result<()> {
    let database = database();
    let options = ConnectionOptions::new()
        .pool_size(1)
        .connection_timeout(Duration::from_secs(1));
    let store = quiet(database.url()).connection_options(options).open()?;
    let _only = store.begin()?;

    let append = store.append_to_stream("Cart-1", &[added("hat", 1)]);
    let count = store
        .collection::<Value>("carts")
        .count_documents(json!({}));
    let state = store.schema().state();

    assert_eq!(of_store(&append.expect_err("no connection")), UNAVAILABLE);
    assert_eq!(
        of_documents(&count.expect_err("no connection")),
        UNAVAILABLE
    );
    assert_eq!(of_database(&state.expect_err("no connection")), UNAVAILABLE);
    Ok(())
}

#[test]
fn a_connection_lost_during_a_write_leaves_its_outcome_unknown() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url()).open()?;
    let carts = store.collection::<Value>("carts");
    carts.insert_one(&json!({"_id": "1"}))?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    proxy.lose(Loss::Answer, "emt_append_in_");
    let append = store.append_to_stream("Cart-1", &[added("hat", 1)]);
    proxy.lose(Loss::Answer, "INSERT INTO");
    let insert = carts.insert_one(&json!({"_id": "2"}));
    proxy.lose(Loss::Answer, "SAVEPOINT emt_commit");
    let session = store.with_session(|session| Ok(session.execute("SELECT 1", &[])?));

    let append = append.expect_err("its answer is lost");
    assert_eq!(of_store(&append), UNKNOWN, "{append:?}");
    let insert = insert.expect_err("its answer is lost");
    assert_eq!(of_documents(&insert), UNKNOWN, "{insert:?}");
    assert_eq!(of_store(&insert.into()), UNKNOWN);
    let session = session.expect_err("its answer is lost");
    assert_eq!(of_store(&session), UNKNOWN, "{session:?}");
    Ok(())
}

#[test]
fn a_connection_lost_before_the_commit_is_unavailable_and_retryable() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url()).open()?;
    proxy.lose(Loss::Statement, "SELECT 'lost'");

    let session = store.with_session(|session| Ok(session.execute("SELECT 'lost'", &[])?));

    let session = session.expect_err("the connection is lost");
    assert_eq!(of_store(&session), UNAVAILABLE, "{session:?}");
    Ok(())
}
