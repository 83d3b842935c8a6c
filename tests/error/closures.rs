//! An error that user code returns to a transaction comes back unchanged, with its type.

use crate::support::{added, store};
use emmett_postgresql::pongo::{self, PongoClient};
use emmett_postgresql::{AppendOptions, Error, EventStore, Session, database::DatabaseError};
use postgres::NoTls;
use serde_json::{Value, json};

type Closure = fn(&mut Session<'_>) -> anyhow::Result<()>;
type IsKept = fn(&Error) -> bool;

/// One error of each room, and how a caller of the store sees it.
const CASES: [(Closure, IsKept); 5] = [
    (
        |session| {
            let expected = AppendOptions::new().expected_version(7);
            session.append_to_stream_with("Cart-1", &[added("hat", 1)], expected)?;
            Ok(())
        },
        |error| matches!(error, Error::Conflict { .. }),
    ),
    (
        |session| {
            let carts = session.collection::<Value>("carts");
            carts.handle(("1", 7), |_| panic!("not called"))?;
            Ok(())
        },
        |error| matches!(error, Error::Document(pongo::Error::Conflict(_))),
    ),
    (
        |session| {
            session
                .collection("carts")
                .insert_one(&json!({"_id": ""}))?;
            Ok(())
        },
        |error| matches!(error, Error::InvalidInput { .. }),
    ),
    (
        |session| {
            session.batch_execute("SELECT 1 / 0")?;
            Ok(())
        },
        |error| matches!(error, Error::Database(DatabaseError::Statement { .. })),
    ),
    (
        |_| anyhow::bail!("changed my mind"),
        |error| matches!(error, Error::Session { source, .. } if source.to_string() == "changed my mind"),
    ),
];

fn prepared() -> anyhow::Result<(emmett_postgresql::testing::Database, EventStore)> {
    let (database, store) = store()?;
    store.collection("carts").insert_one(&json!({"_id": "1"}))?;
    Ok((database, store))
}

#[test]
fn a_session_returns_an_error_of_any_room_as_it_is() -> anyhow::Result<()> {
    let (database, store) = prepared()?;
    let mut client = postgres::Client::connect(database.url(), NoTls)?;
    for (number, (closure, is_kept)) in CASES.into_iter().enumerate() {
        let alone = store.with_session(closure).expect_err("it fails");
        let nested = store
            .with_session(|session| Ok(session.nested(closure)?))
            .expect_err("it fails");
        let mut transaction = client.transaction()?;
        let borrowed = store
            .in_transaction(&mut transaction, closure)
            .expect_err("it fails");
        transaction.rollback()?;

        for error in [alone, nested, borrowed] {
            assert!(is_kept(&error), "{number}: {error:?}");
        }
    }
    Ok(())
}

#[test]
fn a_context_that_is_added_takes_no_type_away() -> anyhow::Result<()> {
    use anyhow::Context;
    let (_database, store) = prepared()?;
    for (closure, is_kept) in &CASES[..4] {
        let failed = store.with_session(|session| closure(session).context("while it was tried"));

        let error = failed.expect_err("it fails");
        assert!(is_kept(&error), "{error:?}");
    }
    Ok(())
}

#[test]
fn a_client_returns_an_error_of_documents_or_the_database_as_it_is() -> anyhow::Result<()> {
    let (database, _store) = prepared()?;
    let client = PongoClient::connect(database.url())?;

    let conflict = client.with_transaction(|transaction| {
        let carts = transaction.collection::<Value>("carts");
        Ok(carts.handle(("1", 7), |_| panic!("not called"))?)
    });
    let refused = client.with_transaction(|transaction| {
        transaction.batch_execute("SELECT 1 / 0")?;
        Ok(())
    });

    assert!(
        matches!(conflict, Err(pongo::Error::Conflict(_))),
        "{conflict:?}"
    );
    assert!(
        matches!(
            refused,
            Err(pongo::Error::Database(DatabaseError::Statement { .. }))
        ),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn an_error_of_the_store_comes_through_a_clients_transaction() -> anyhow::Result<()> {
    let (database, store) = prepared()?;
    let client = PongoClient::connect(database.url())?;
    let append = |_: &mut pongo::PongoTransaction<'_>| {
        let expected = AppendOptions::new().expected_version(7);
        Ok(store.append_to_stream_with("Cart-1", &[added("hat", 1)], expected)?)
    };

    let failed = client.with_transaction(append).expect_err("it fails");

    assert!(
        matches!(&failed, pongo::Error::Transaction { source, .. } if source.is::<Error>()),
        "{failed:?}"
    );
    let failed = Error::from(failed);
    assert!(matches!(failed, Error::Conflict { .. }), "{failed:?}");
    Ok(())
}
