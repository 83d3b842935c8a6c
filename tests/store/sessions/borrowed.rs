//! Sessions inside a transaction of the caller.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{AppendOptions, Error, database::DatabaseError};
use serde_json::{Value, json};

#[test]
fn nothing_is_visible_before_the_caller_commits() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?)
    })?;
    let before = store.stream_exists("Cart-1")?;
    let again = store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?)
    })?;
    transaction.commit()?;

    assert!(!before);
    assert_eq!(again.next_expected_version, 2);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 2);
    Ok(())
}

#[test]
fn everything_that_a_session_can_do_works_there() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store
        .collection::<Value>("notes")
        .insert_one(&json!({"_id": "0"}))?;
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    store.in_transaction(&mut transaction, |session| {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let options = AppendOptions::new().expected_version(7);
        let conflict = session.append_to_stream_with("Cart-1", &[added("hat", 1)], options);
        assert!(
            matches!(conflict, Err(Error::Conflict { actual: 1, .. })),
            "{conflict:?}"
        );
        let failed = session.nested(|nested| -> anyhow::Result<()> {
            nested.append_to_stream("Cart-2", &[added("hat", 1)])?;
            nested.execute("SELECT 1 / 0", &[])?;
            Ok(())
        });
        assert!(failed.is_err());
        session
            .collection::<Value>("notes")
            .insert_one(&json!({"_id": "1"}))?;
        assert_eq!(
            session.read_stream::<CartEvent>("Cart-1")?.current_version,
            1
        );
        assert_eq!(session.query("SELECT FROM emt_streams", &[])?.len(), 1);
        Ok(())
    })?;
    transaction.commit()?;

    assert!(store.stream_exists("Cart-1")? && !store.stream_exists("Cart-2")?);
    assert_eq!(
        store
            .collection::<Value>("notes")
            .count_documents(json!({}))?,
        2
    );
    Ok(())
}

#[test]
fn a_failed_session_leaves_the_callers_transaction_to_the_caller() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    transaction.batch_execute("CREATE TABLE notes (note TEXT); SAVEPOINT before")?;
    let failed = store.in_transaction(&mut transaction, |session| -> anyhow::Result<()> {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        anyhow::bail!("no")
    });
    transaction.batch_execute("ROLLBACK TO SAVEPOINT before")?;
    transaction.commit()?;

    assert!(matches!(failed, Err(Error::Session { .. })), "{failed:?}");
    assert!(!store.stream_exists("Cart-1")?);
    client.batch_execute("SELECT FROM notes")?;
    Ok(())
}

#[test]
fn a_session_cannot_end_the_callers_transaction() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    let refused = store.in_transaction(&mut transaction, |session| {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        Ok(session.batch_execute("COMMIT")?)
    });
    transaction.rollback()?;

    assert!(
        matches!(
            refused,
            Err(Error::Database(DatabaseError::TransactionControl { .. }))
        ),
        "{refused:?}"
    );
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}
