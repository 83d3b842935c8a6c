//! Projections that fail halfway: nothing of them is committed.

use super::totals;
use crate::support::{CartEvent, added, database};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, ProjectionContext, Recorded, SqlProjection,
    StreamMessages, database::DatabaseError, error::ProjectionError,
};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Fails where somebody adds a bomb, after the document of another projection was written.
fn fails_at(bomb: fn(&mut ProjectionContext<'_>) -> anyhow::Result<()>) -> SqlProjection {
    SqlProjection::new("bombs", move |events: &[Recorded<CartEvent>], context| {
        let is_bomb = |recorded: &Recorded<_>| recorded.event == added("bomb", 1);
        if events.iter().any(is_bomb) {
            bomb(context)
        } else {
            Ok(())
        }
    })
}

struct Shop {
    database: Database,
    store: EventStore,
}

impl Shop {
    fn open(bomb: fn(&mut ProjectionContext<'_>) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let database = database();
        let store = EventStore::builder(database.url())
            .inline_projection(totals())
            .inline_projection(fails_at(bomb))
            .open()?;
        Ok(Self { database, store })
    }

    /// The stored messages, and the events that the read model has counted.
    fn counts(&self) -> anyhow::Result<(i64, i64)> {
        let row = self.database.client()?.query_one(
            "SELECT (SELECT count(*) FROM emt_messages),
                    (SELECT coalesce(sum((data->>'events')::BIGINT), 0)::BIGINT FROM totals)",
            &[],
        )?;
        Ok((row.get(0), row.get(1)))
    }

    /// A good append after everything that went wrong.
    fn assert_goes_on(&self, before: i64) -> anyhow::Result<()> {
        assert_eq!(self.counts()?, (before, before));
        self.store.append_to_stream("Cart-9", &[added("hat", 1)])?;
        assert_eq!(self.counts()?, (before + 1, before + 1));
        Ok(())
    }
}

fn refuse(_: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
    anyhow::bail!("it explodes")
}

#[test]
fn what_other_projections_wrote_is_taken_back() -> anyhow::Result<()> {
    let shop = Shop::open(refuse)?;

    let single = shop
        .store
        .append_to_stream("Cart-1", &[added("hat", 1), added("bomb", 1)]);
    let several = shop.store.append_to_streams(vec![
        StreamMessages::new("Cart-1", &[added("hat", 1)])?,
        StreamMessages::new("Cart-2", &[added("bomb", 1)])?,
    ]);

    for error in [single.err(), several.err()] {
        assert!(
            matches!(&error, Some(Error::Projection(ProjectionError::Failed { projection, .. })) if projection == "bombs"),
            "{error:?}"
        );
    }
    shop.assert_goes_on(0)
}

#[test]
fn a_projection_that_panics_takes_its_append_back() -> anyhow::Result<()> {
    let shop = Shop::open(|_| panic!("on purpose"))?;

    for _ in 0..12 {
        let append = || shop.store.append_to_stream("Cart-1", &[added("bomb", 1)]);
        assert!(catch_unwind(AssertUnwindSafe(append)).is_err());
    }

    shop.assert_goes_on(0)
}

#[test]
fn a_projection_whose_connection_is_killed_takes_its_append_back() -> anyhow::Result<()> {
    let shop = Shop::open(|context| {
        context.execute("SELECT pg_terminate_backend(pg_backend_pid())", &[])?;
        Ok(())
    })?;

    let error = shop
        .store
        .append_to_stream("Cart-1", &[added("bomb", 1)])
        .expect_err("it has no connection");

    assert!(error.is_retryable() && !error.is_conflict(), "{error:?}");
    shop.assert_goes_on(0)
}

#[test]
fn a_session_that_ignores_the_failure_of_a_projection_is_not_committed() -> anyhow::Result<()> {
    let shop = Shop::open(refuse)?;

    let one = shop.store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert!(
            session
                .append_to_stream("Cart-1", &[added("bomb", 1)])
                .is_err()
        );
        Ok(())
    });
    let several = shop.store.with_session(|session| {
        let streams = vec![StreamMessages::new("Cart-1", &[added("bomb", 1)])?];
        assert!(session.append_to_streams(streams).is_err());
        Ok(())
    });
    let mut client = shop.database.client()?;
    let mut transaction = client.transaction()?;
    let borrowed = shop.store.in_transaction(&mut transaction, |session| {
        assert!(
            session
                .append_to_stream("Cart-1", &[added("bomb", 1)])
                .is_err()
        );
        Ok(())
    });
    transaction.rollback()?;

    for outcome in [one, several, borrowed] {
        assert!(
            matches!(
                outcome,
                Err(Error::Database(DatabaseError::TransactionAborted { .. }))
            ),
            "{outcome:?}"
        );
    }
    shop.assert_goes_on(0)
}

#[test]
fn a_projection_that_fails_in_a_nested_part_takes_that_part_back_alone() -> anyhow::Result<()> {
    let shop = Shop::open(refuse)?;

    shop.store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let nested = session.nested(|nested| {
            nested.append_to_stream("Cart-1", &[added("hat", 1)])?;
            Ok(nested.append_to_stream("Cart-2", &[added("bomb", 1)])?)
        });
        assert!(
            matches!(
                nested,
                Err(Error::Projection(ProjectionError::Failed { .. }))
            ),
            "{nested:?}"
        );
        session.append_to_stream("Cart-3", &[added("hat", 1)])?;
        Ok(())
    })?;

    assert!(!shop.store.stream_exists("Cart-2")?);
    shop.assert_goes_on(2)
}

#[test]
fn a_unique_violation_of_a_projection_is_no_conflict() -> anyhow::Result<()> {
    let shop = Shop::open(|context| {
        context.batch_execute(
            "CREATE TABLE once (id INTEGER UNIQUE); INSERT INTO once VALUES (1), (1)",
        )?;
        Ok(())
    })?;

    let error = shop
        .store
        .append_to_stream("Cart-1", &[added("bomb", 1)])
        .expect_err("twice the same id");

    assert!(
        matches!(error, Error::Projection(ProjectionError::Failed { .. })),
        "{error:?}"
    );
    assert!(!error.is_conflict() && !error.is_retryable());
    shop.assert_goes_on(0)
}

#[test]
fn a_document_that_cannot_be_stored_or_read_fails_its_append() -> anyhow::Result<()> {
    let database = database();
    let prices = DocumentProjection::single_stream(
        "prices",
        |_: Option<Price>, recorded: &Recorded<CartEvent>| {
            let CartEvent::ProductItemAdded { price, .. } = recorded.event else {
                return None;
            };
            Some(Price {
                price: if price > 5.0 { f64::NAN } else { price },
            })
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(prices)
        .open()?;

    let not_stored = store.append_to_stream("Cart-1", &[added("hat", 1)]).err();
    database.client()?.batch_execute(
        r#"INSERT INTO prices (_id, data) VALUES ('Cart-2', '{"price": "free"}')"#,
    )?;
    let not_read = store.append_to_stream("Cart-2", &[added("hat", 1)]).err();

    for error in [not_stored, not_read] {
        let text = error.map(|error| format!("{:#}", anyhow::Error::from(error)));
        assert!(
            text.as_ref()
                .is_some_and(|text| text.starts_with("projection \"prices\" failed")),
            "{text:?}"
        );
    }
    assert!(!store.stream_exists("Cart-1")? && !store.stream_exists("Cart-2")?);
    let untouched = store
        .collection::<Value>("prices")
        .find(json!({}))
        .to_vec()?;
    assert_eq!(
        untouched,
        [json!({"_id": "Cart-2", "_version": 1, "price": "free"})]
    );
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Price {
    price: f64,
}
