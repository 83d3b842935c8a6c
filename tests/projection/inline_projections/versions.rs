//! Appends by programs whose projections are not the active ones.

use super::{Totals, all_totals, totals};
use crate::support::{CartEvent, added, database, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{Error, EventStore, StreamMessages, projection::ProjectionStatus};

fn open(database: &Database, version: u32) -> Result<EventStore, Error> {
    EventStore::builder(database.url())
        .inline_projection(totals().version(version))
        .open()
}

fn statuses(store: &EventStore) -> anyhow::Result<Vec<(u32, ProjectionStatus)>> {
    let projections = store.registered_projections()?;
    Ok(projections
        .iter()
        .map(|projection| (projection.version, projection.status))
        .collect())
}

/// Every way to append; how many events that were, and which projections ran in each.
fn append_in_every_way(store: &EventStore) -> anyhow::Result<(u64, Vec<Vec<String>>)> {
    let streams = || -> Result<Vec<_>, Error> {
        Ok(vec![
            StreamMessages::new("Cart-1", &[added("hat", 1)])?,
            StreamMessages::new("Cart-2", &[added("hat", 1)])?,
        ])
    };
    let mut appended = vec![store.append_to_stream("Cart-1", &[added("hat", 1)])?];
    appended.extend(store.append_to_streams(streams()?)?);
    appended.push(
        store
            .with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?))?,
    );
    appended.extend(store.with_session(|session| Ok(session.append_to_streams(streams()?)?))?);
    let events = appended.len() as u64;
    Ok((
        events,
        appended.into_iter().map(|one| one.projections).collect(),
    ))
}

#[test]
fn a_raised_version_is_built_and_the_older_program_goes_on() -> anyhow::Result<()> {
    let database = database();
    let older = open(&database, 1)?;
    older.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let newer = open(&database, 2)?;
    let (by_newer, ran) = append_in_every_way(&newer)?;
    let (by_older, none) = append_in_every_way(&older)?;
    wait_until_active(&newer);

    assert!(ran.iter().all(|names| names == &["totals"]), "{ran:?}");
    assert!(none.iter().all(Vec::is_empty), "{none:?}");
    assert_eq!(
        statuses(&newer)?,
        [
            (1, ProjectionStatus::Inactive),
            (2, ProjectionStatus::Active)
        ]
    );
    let events = 1 + by_newer + by_older;
    assert_eq!(
        all_totals(&newer)?,
        Some(Totals {
            events,
            items: events
        })
    );
    Ok(())
}

#[test]
fn a_replaced_version_is_active_again_after_its_rebuild_and_not_before() -> anyhow::Result<()> {
    let database = database();
    drop(open(&database, 1)?);
    drop(open(&database, 2)?);

    let older = open(&database, 1)?;
    let (by_older, none) = append_in_every_way(&older)?;
    let before = statuses(&older)?;
    older.rebuild("totals").run()?;
    let (again, ran) = append_in_every_way(&older)?;

    assert_eq!(before[0], (1, ProjectionStatus::Inactive));
    assert!(none.iter().all(Vec::is_empty), "{none:?}");
    assert!(ran.iter().all(|names| names == &["totals"]), "{ran:?}");
    let events = by_older + again;
    let items = events;
    assert_eq!(all_totals(&older)?, Some(Totals { events, items }));
    Ok(())
}

#[test]
fn a_stale_read_model_is_left_alone_until_it_is_rebuilt() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database, 1)?;
    database
        .client()?
        .batch_execute("UPDATE emt_projections SET status = 'stale'")?;

    let (events, ran) = append_in_every_way(&store)?;
    let before = all_totals(&store)?;
    store.rebuild("totals").run()?;

    assert!(ran.iter().all(Vec::is_empty), "{ran:?}");
    assert_eq!(before, None);
    assert_eq!(
        all_totals(&store)?,
        Some(Totals {
            events,
            items: events
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
fn a_program_without_projections_appends_and_the_one_with_them_follows() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database, 1)?;
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &[added("hat", 2)])?;

    wait_until_active(&store);

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
