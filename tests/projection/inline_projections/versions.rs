//! Appends by programs whose projections are not the active ones.

use super::{Totals, all_totals, totals};
use crate::support::{CartEvent, added, database};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{Error, EventStore, ProjectionError, StreamMessages};

fn open(database: &Database, version: u32) -> Result<EventStore, Error> {
    EventStore::builder(database.url())
        .inline_projection(totals().version(version))
        .open()
}

/// Every way to append; each must fail, with these words.
fn assert_refused(store: &EventStore, words: &str) -> anyhow::Result<()> {
    let streams = || -> Result<Vec<_>, Error> {
        Ok(vec![
            StreamMessages::new("Cart-1", &[added("hat", 1)])?,
            StreamMessages::new("Cart-2", &[added("hat", 1)])?,
        ])
    };
    let outcomes = [
        store.append_to_stream("Cart-1", &[added("hat", 1)]).err(),
        store.append_to_streams(streams()?).err(),
        store
            .with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?))
            .err(),
        store
            .with_session(|session| Ok(session.append_to_streams(streams()?)?))
            .err(),
    ];

    for outcome in outcomes {
        let error = outcome.ok_or_else(|| anyhow::anyhow!("appended"))?;
        assert!(
            matches!(error, Error::Projection(ProjectionError::Mismatch { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!store.stream_exists("Cart-2")?);
    Ok(())
}

#[test]
fn no_append_gets_past_another_version() -> anyhow::Result<()> {
    let database = database();
    open(&database, 1)?.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let newer = open(&database, 2)?;

    assert_refused(&newer, "version 2, the active one is 1")?;
    assert_eq!(
        all_totals(&newer)?,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    Ok(())
}

#[test]
fn no_append_gets_past_a_stale_read_model() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database, 1)?;
    database
        .client()?
        .batch_execute("UPDATE emt_projections SET status = 'stale'")?;

    assert_refused(&store, "stale")?;
    store.rebuild("totals").run()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    Ok(())
}

#[test]
fn a_registration_that_was_lost_is_made_again_by_the_next_append() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database, 1)?;
    database
        .client()?
        .batch_execute("DELETE FROM emt_projections")?;

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 1,
            items: 1
        })
    );
    Ok(())
}

#[test]
fn a_program_without_projections_appends_and_a_rebuild_catches_up() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database, 1)?;
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &[added("hat", 2)])?;

    let before = all_totals(&store)?;
    store.rebuild("totals").run()?;

    assert_eq!(before, None);
    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events: 1,
            items: 2
        })
    );
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    Ok(())
}
