//! Appends whose connection is lost while it is unknown whether they were stored.

use crate::database::connections::proxy::{Loss, Proxy};
use crate::support::{CartEvent, added, database, quiet};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, NewMessage, Recorded, StreamMessages,
    database::DatabaseError,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// As `PgBouncer` says it.
const CRASHED: Loss = Loss::Pooler("08P01");

#[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
struct Cart {
    items: u32,
}

fn carts() -> DocumentProjection<Cart> {
    DocumentProjection::single_stream("carts", |cart: Option<Cart>, recorded: &Recorded<_>| {
        let mut cart = cart.unwrap_or_default();
        if let CartEvent::ProductItemAdded { quantity, .. } = recorded.event {
            cart.items += quantity;
        }
        Some(cart)
    })
}

/// A store whose connections break when told to, and one in the same database that never loses any.
struct Stores {
    _database: Database,
    proxy: Proxy,
    lossy: EventStore,
    sound: EventStore,
}

impl Stores {
    fn open() -> anyhow::Result<Self> {
        let database = database();
        let proxy = Proxy::to(&database)?;
        let lossy = quiet(proxy.url()).open()?;
        // Prepares the statements: what is lost then is the statement itself.
        lossy.append_to_stream("Cart-0", &[added("socks", 1)])?;
        Ok(Self {
            proxy,
            lossy,
            sound: EventStore::open(database.url())?,
            _database: database,
        })
    }

    fn open_with_projection() -> anyhow::Result<Self> {
        let database = database();
        let proxy = Proxy::to(&database)?;
        let store = |url: &str| quiet(url).inline_projection(carts()).open();
        Ok(Self {
            lossy: store(proxy.url())?,
            sound: store(database.url())?,
            proxy,
            _database: database,
        })
    }

    fn stored(&self, stream: &str) -> anyhow::Result<usize> {
        Ok(self.sound.read_stream::<CartEvent>(stream)?.events.len())
    }

    fn items(&self, stream: &str) -> anyhow::Result<Option<u32>> {
        let carts = self.sound.collection::<Cart>("carts");
        Ok(carts
            .find_one(json!({"_id": stream}))?
            .map(|cart| cart.items))
    }
}

fn with_id() -> NewMessage<CartEvent> {
    NewMessage::new(added("hat", 1)).message_id("added-1")
}

#[test]
fn an_append_with_own_ids_is_repeated_and_stored_once() -> anyhow::Result<()> {
    for (loss, already_appended) in [
        (Loss::Answer, true),
        (CRASHED, true),
        (Loss::Statement, false),
    ] {
        let stores = Stores::open()?;
        stores.proxy.lose(loss, "emt_append_in_");

        let appended = stores.lossy.append_to_stream("Cart-1", &[with_id()])?;

        assert_eq!(appended.already_appended, already_appended, "{loss:?}");
        assert_eq!(appended.next_expected_version, 1);
        assert_eq!(stores.stored("Cart-1")?, 1);
        assert_eq!(stores.proxy.connections(), 3);
    }
    Ok(())
}

#[test]
fn the_outcome_of_an_append_without_own_ids_is_unknown() -> anyhow::Result<()> {
    for (loss, stored) in [(Loss::Answer, 1), (CRASHED, 1), (Loss::Statement, 0)] {
        let stores = Stores::open()?;
        stores.proxy.lose(loss, "emt_append_in_");

        let outcome = stores.lossy.append_to_stream("Cart-1", &[added("hat", 1)]);

        let error = outcome.expect_err("the answer is lost");
        assert!(
            matches!(error, Error::Database(DatabaseError::UnknownOutcome { .. })),
            "{error:?}"
        );
        assert!(!error.is_retryable() && !error.is_conflict());
        assert_eq!(stores.stored("Cart-1")?, stored, "{loss:?}");
        stores
            .lossy
            .append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(stores.stored("Cart-1")?, stored + 1);
    }
    Ok(())
}

#[test]
fn an_append_to_several_streams_is_repeated_if_all_ids_are_own() -> anyhow::Result<()> {
    for (loss, already_appended) in [
        (Loss::Answer, true),
        (CRASHED, true),
        (Loss::Statement, false),
    ] {
        let stores = Stores::open()?;
        let streams = || -> Result<Vec<_>, Error> {
            Ok(vec![
                StreamMessages::new("Cart-1", &[with_id()])?,
                StreamMessages::new("Cart-2", &[with_id()])?,
            ])
        };
        stores.proxy.lose(loss, "emt_append_several_in_");

        let appended = stores.lossy.append_to_streams(streams()?)?;

        let repeated = appended.iter().map(|one| one.already_appended);
        assert!(repeated.eq([already_appended; 2]), "{loss:?}");
        assert_eq!((stores.stored("Cart-1")?, stores.stored("Cart-2")?), (1, 1));
    }
    Ok(())
}

#[test]
fn the_outcome_of_an_append_to_several_streams_is_unknown_if_one_has_no_ids() -> anyhow::Result<()>
{
    for (loss, stored) in [(Loss::Answer, 1), (CRASHED, 1), (Loss::Statement, 0)] {
        let stores = Stores::open()?;
        let streams = vec![
            StreamMessages::new("Cart-1", &[with_id()])?,
            StreamMessages::new("Cart-2", &[added("hat", 1)])?,
        ];
        stores.proxy.lose(loss, "emt_append_several_in_");

        let outcome = stores.lossy.append_to_streams(streams);

        assert!(matches!(
            outcome,
            Err(Error::Database(DatabaseError::UnknownOutcome { .. }))
        ));
        let counts = (stores.stored("Cart-1")?, stores.stored("Cart-2")?);
        assert_eq!(counts, (stored, stored), "{loss:?}");
    }
    Ok(())
}

#[test]
fn an_append_with_own_ids_that_loses_its_commit_is_projected_once() -> anyhow::Result<()> {
    for (loss, already_appended) in [
        (Loss::Answer, true),
        (CRASHED, true),
        (Loss::Statement, false),
    ] {
        let stores = Stores::open_with_projection()?;
        stores.proxy.lose(loss, "; COMMIT");

        let appended = stores.lossy.append_to_stream("Cart-1", &[with_id()])?;

        assert_eq!(appended.already_appended, already_appended, "{loss:?}");
        assert_eq!(
            (stores.stored("Cart-1")?, stores.items("Cart-1")?),
            (1, Some(1))
        );
    }
    Ok(())
}

#[test]
fn the_outcome_of_a_lost_commit_without_own_ids_is_unknown_but_whole() -> anyhow::Result<()> {
    for (loss, stored, items) in [
        (Loss::Answer, 1, Some(1)),
        (CRASHED, 1, Some(1)),
        (Loss::Statement, 0, None),
    ] {
        let stores = Stores::open_with_projection()?;
        stores.proxy.lose(loss, "; COMMIT");

        let outcome = stores.lossy.append_to_stream("Cart-1", &[added("hat", 1)]);

        assert!(
            matches!(
                outcome,
                Err(Error::Database(DatabaseError::UnknownOutcome { .. }))
            ),
            "{outcome:?}"
        );
        let found = (stores.stored("Cart-1")?, stores.items("Cart-1")?);
        assert_eq!(found, (stored, items), "{loss:?}");
    }
    Ok(())
}

#[test]
fn a_connection_lost_before_the_commit_stores_nothing_and_is_retryable() -> anyhow::Result<()> {
    let stores = Stores::open_with_projection()?;
    let append = |stream: &str| stores.lossy.append_to_stream(stream, &[with_id()]);
    append("Cart")?;
    let (appended, turns) = stores.proxy.watch(|| append("Cart-0"));
    appended?;
    let [_begin, before_the_commit @ .., _commit] = &turns[..] else {
        anyhow::bail!("{turns:?}")
    };
    let losses = before_the_commit
        .iter()
        .flat_map(|sql| [(sql, Loss::Answer), (sql, CRASHED), (sql, Loss::Statement)]);

    for (number, (sql, loss)) in (1..).zip(losses) {
        let stream = format!("Cart-{number}");
        stores.proxy.lose(loss, sql);
        let outcome = append(&stream);
        let found = (stores.stored(&stream)?, stores.items(&stream)?);
        append(&stream)?;

        let error = outcome.expect_err("the connection is lost");
        assert!(error.is_retryable(), "{sql}, {loss:?}: {error:?}");
        assert_eq!(found, (0, None));
        assert_eq!(stores.items(&stream)?, Some(1));
    }
    Ok(())
}

#[test]
fn a_session_that_loses_its_commit_has_an_unknown_outcome() -> anyhow::Result<()> {
    for (loss, stored) in [(Loss::Answer, 1), (CRASHED, 1), (Loss::Statement, 0)] {
        let stores = Stores::open()?;
        stores.proxy.lose(loss, "; COMMIT");

        let outcome = stores.lossy.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("hat", 1)])?;
            session.append_to_stream("Cart-2", &[added("hat", 1)])?;
            Ok(())
        });

        assert!(
            matches!(
                outcome,
                Err(Error::Database(DatabaseError::UnknownOutcome { .. }))
            ),
            "{outcome:?}"
        );
        let counts = (stores.stored("Cart-1")?, stores.stored("Cart-2")?);
        assert_eq!(counts, (stored, stored), "{loss:?}");
    }
    Ok(())
}

#[test]
fn a_read_that_loses_its_answer_is_repeated() -> anyhow::Result<()> {
    let stores = Stores::open()?;
    stores.lossy.read_stream::<CartEvent>("Cart-0")?;
    for loss in [Loss::Answer, CRASHED, Loss::Statement] {
        stores.proxy.lose(loss, "message_data");

        let read = stores.lossy.read_stream::<CartEvent>("Cart-0")?;

        assert_eq!(read.events.len(), 1, "{loss:?}");
    }
    Ok(())
}

#[test]
fn whatever_a_pooler_says_of_a_lost_server_the_outcome_is_unknown() -> anyhow::Result<()> {
    for sqlstate in [
        "08P01", "08000", "08003", "08006", "08007", "58000", "57P02", "XX000", "0A000",
    ] {
        let stores = Stores::open()?;
        stores.proxy.lose(Loss::Pooler(sqlstate), "emt_append_in_");

        let outcome = stores.lossy.append_to_stream("Cart-1", &[added("hat", 1)]);

        let error = outcome.expect_err("the answer is lost");
        assert!(error.is_outcome_unknown(), "{sqlstate}: {error:?}");
        assert!(
            !error.is_retryable(),
            "{sqlstate}: a repeat is stored twice"
        );
        assert_eq!(stores.stored("Cart-1")?, 1);
    }
    Ok(())
}
