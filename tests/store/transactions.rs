//! The methods of every transaction, of any origin.

use crate::support::{CartEvent, added, database, store};
use crossbeam_channel::unbounded;
use emmett_postgresql::pongo::PongoClient;
use emmett_postgresql::{
    EventStore, NewMessage, RawEvent, Reactor, Recorded, Result, SqlProjection, StreamMessages,
    Transaction, database::DatabaseError, testing,
};
use serde_json::{Value, json};

/// What is done in a transaction.
type Use = fn(&mut Transaction<'_>) -> anyhow::Result<()>;

/// Does it in one kind of transaction, and commits that.
type Kind = fn(&testing::Database, Use) -> Result<()>;

const KINDS: [(&str, Kind); 4] = [
    ("session", in_a_session),
    ("projection", in_a_projection),
    ("reactor", in_a_reactor),
    ("documents", in_a_transaction_of_documents),
];

fn in_a_session(database: &testing::Database, run: Use) -> Result<()> {
    EventStore::open(database.url())?.with_session(|session| run(session))
}

fn in_a_projection(database: &testing::Database, run: Use) -> Result<()> {
    let projection = SqlProjection::new("noted", move |_: &[Recorded<RawEvent>], context| {
        run(context)
    });
    let store = EventStore::builder(database.url())
        .inline_projection(projection)
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    Ok(())
}

fn in_a_reactor(database: &testing::Database, run: Use) -> Result<()> {
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let reactor = Reactor::new("noted").each(move |_: &Recorded<RawEvent>, context| run(context));
    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;
    Ok(())
}

fn in_a_transaction_of_documents(database: &testing::Database, run: Use) -> Result<()> {
    let client = PongoClient::connect(database.url())?;
    Ok(client.with_transaction(|transaction| run(transaction))?)
}

/// A database with a table and a collection for the transactions.
fn prepared() -> anyhow::Result<testing::Database> {
    let database = database();
    EventStore::open(database.url())?
        .collection::<Value>("things")
        .create()?;
    database
        .client()?
        .batch_execute("CREATE TABLE notes (text TEXT)")?;
    Ok(database)
}

/// How many notes and how many things are committed.
fn committed(database: &testing::Database) -> anyhow::Result<(i64, i64)> {
    let counts = "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM things)";
    let row = database.client()?.query_one(counts, &[])?;
    Ok((row.get(0), row.get(1)))
}

fn use_every_verb(transaction: &mut Transaction<'_>) -> anyhow::Result<()> {
    transaction
        .batch_execute("INSERT INTO notes VALUES ('one'); INSERT INTO notes VALUES (NULL)")?;
    let inserted = transaction.execute("INSERT INTO notes VALUES ($1)", &[&"two"])?;
    let notes = transaction.query("SELECT text FROM notes WHERE text >= $1", &[&"one"])?;
    let things = transaction.collection::<Value>("things");
    things.insert_one(&json!({"_id": "hat"}))?;
    let found = things.count_documents(json!({}))?;
    assert_eq!((inserted, notes.len(), found), (1, 2, 1));
    assert_eq!(transaction.partition(), "emt:default");
    Ok(())
}

#[test]
fn every_transaction_has_the_same_verbs() -> anyhow::Result<()> {
    for (kind, run_in) in KINDS {
        let database = prepared()?;

        run_in(&database, use_every_verb)?;

        assert_eq!(committed(&database)?, (3, 1), "{kind}");
    }
    Ok(())
}

fn ignore_refusals(transaction: &mut Transaction<'_>) -> anyhow::Result<()> {
    transaction.execute("INSERT INTO notes VALUES ('one')", &[])?;
    for refused in [
        transaction.execute("COMMIT", &[]).err(),
        transaction.query("COMMIT", &[]).err(),
        transaction.batch_execute("COMMIT").err(),
    ] {
        assert!(
            matches!(refused, Some(DatabaseError::TransactionControl { .. })),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn no_transaction_can_be_ended_by_a_statement() -> anyhow::Result<()> {
    for (kind, run_in) in KINDS {
        let database = prepared()?;

        let outcome = run_in(&database, ignore_refusals);

        assert!(outcome.is_err(), "{kind}");
        assert_eq!(committed(&database)?, (0, 0), "{kind}");
    }
    Ok(())
}

#[test]
fn a_reactor_reads_what_it_appended_and_can_fail_in_parts() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let reactor = Reactor::new("mails").each(|message: &Recorded<CartEvent>, context| {
        let mail = || RawEvent::new("MailSent", json!(message.stream_position));
        context.append_to_stream("Mail-1", &[mail()])?;
        let failed = context.nested(|part| -> anyhow::Result<()> {
            part.append_to_stream("Mail-2", &[mail()])?;
            anyhow::bail!("no second mail")
        });
        assert!(failed.is_err());
        assert!(!context.stream_exists("Mail-2")?);
        let read = context.read_stream::<RawEvent>("Mail-1")?;
        let count = context.aggregate_stream("Mail-1", || 0, |count, _: RawEvent| count + 1)?;
        assert_eq!((read.events.len(), count.state), (1, 1));
        Ok(())
    });
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let handles_carts = reactor.can_handle(&["ProductItemAdded"]);
    let _ = store
        .consumer()
        .reactor(handles_carts)
        .run_until_caught_up()?;

    assert_eq!(store.read_stream::<RawEvent>("Mail-1")?.current_version, 1);
    Ok(())
}

#[test]
fn all_that_a_reactor_appends_has_the_message_as_its_cause() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mail = || RawEvent::new("MailSent", json!(1));
    let reactor = Reactor::new("mails")
        .each(move |_: &Recorded<CartEvent>, context| {
            context.append_to_streams(vec![
                StreamMessages::new("Mail-1", &[mail()])?,
                StreamMessages::new("Mail-2", &[NewMessage::new(mail()).causation_id("mine")])?,
            ])?;
            context.nested(|part| Ok(part.append_to_stream("Mail-3", &[mail()])?))?;
            Ok(())
        })
        .can_handle(&["ProductItemAdded"]);
    let cause = NewMessage::new(added("hat", 1)).correlation_id("checkout");
    store.append_to_stream("Cart-1", &[cause])?;

    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;

    let cause = store.read_stream::<CartEvent>("Cart-1")?.events.remove(0);
    for (stream, id) in [
        ("Mail-1", &*cause.message_id),
        ("Mail-2", "mine"),
        ("Mail-3", &*cause.message_id),
    ] {
        let mail = store.read_stream::<RawEvent>(stream)?.events.remove(0);
        assert_eq!(mail.causation_id.as_deref(), Some(id), "{stream}");
        assert_eq!(mail.correlation_id.as_deref(), Some("checkout"), "{stream}");
    }
    Ok(())
}

#[test]
fn a_reactor_begins_a_transaction_with_its_first_statement() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let url = database.url().to_owned();
    let (seen, counts) = unbounded();
    let open = move || -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction'";
        let mut observer = postgres::Client::connect(&url, postgres::NoTls)?;
        Ok(observer.query_one(sql, &[])?.get(0))
    };
    let reactor = Reactor::new("mails").each(move |_: &Recorded<CartEvent>, context| {
        let things = context.collection::<Value>("things");
        let before = open()?;
        drop(things);
        context.query("SELECT 1", &[])?;
        seen.send((before, open()?))?;
        Ok(())
    });
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;

    assert_eq!(counts.try_iter().collect::<Vec<_>>(), [(0, 1)]);
    Ok(())
}
