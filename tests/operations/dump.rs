//! `pg_dump` and `pg_restore`: the copy is the store as it was, and says so to those who have seen more.

use super::outside_reader::{OutsideReader, assert_counted, positions};
use crate::cli::process::succeed;
use crate::consumer::fixtures::{counts, journal, journaled};
use crate::support::server_shell::{ServerShell, run};
use crate::support::{added, quiet};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    Error, EventStore, FeedOptions, RawEvent, Result, consumer::RunReport,
    operations::ExportOptions,
};
use serde_json::{Map, json};

fn open(database: &Database) -> Result<EventStore> {
    quiet(database.url())
        .inline_projection(counts("live"))
        .open()
}

fn append(store: &EventStore, stream: &str, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| store.append_to_stream(stream, &[added("hat", 1)]).map(drop))
}

fn job(store: &EventStore) -> Result<RunReport> {
    let consumer = store.consumer().projector(journal("journal"));
    consumer.projector(counts("report")).run_until_caught_up()
}

/// With positions: they are the same.
fn export(store: &EventStore) -> anyhow::Result<String> {
    let mut log = Vec::new();
    store.export(&mut log, ExportOptions::new())?;
    Ok(String::from_utf8(log)?)
}

/// A tenant, an archived stream, metadata, an inline projection, and processors of which one event is left.
fn used(database: &Database) -> anyhow::Result<EventStore> {
    let store = open(database)?;
    store.tenants().add("acme")?;
    append(&store.tenant("acme")?, "Cart-9", 2)?;
    append(&store, "Cart-1", 3)?;
    append(&store, "Cart-2", 2)?;
    let metadata = Map::from_iter([("owner".to_owned(), json!("anna"))]);
    store.set_stream_metadata("Cart-1", &metadata)?;
    store.archive_stream("Cart-2")?;
    let _ = job(&store)?;
    append(&store, "Cart-1", 1)?;
    Ok(store)
}

#[test]
fn a_restored_dump_is_the_store_as_it_was_and_tells_those_who_saw_more() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let (old, new) = (server.create_database()?, server.create_database()?);
    let before = used(&old)?;
    let (of_store, of_acme) = (export(&before)?, export(&before.tenant("acme")?)?);

    let mut client = old.client()?;
    let ServerShell {
        programs,
        directory,
    } = ServerShell::of(&mut client)?;
    let file = format!("{directory}/{}.dump", old.name());
    let dump = format!(
        "{programs}/pg_dump --format=custom --file={file} '{}'",
        old.url()
    );
    run(&mut client, &dump)?;
    // Seen elsewhere, and not in the dump.
    append(&before, "Cart-1", 2)?;
    let mut reader = OutsideReader::default();
    assert_eq!(reader.read(&before)?, 8);
    let restore = format!(
        "{programs}/pg_restore --exit-on-error --dbname='{}' {file}",
        new.url()
    );
    run(&mut client, &restore)?;
    assert_eq!(
        succeed(&new, &["restored"])?,
        "the store is at epoch 1 now\n"
    );

    let store = open(&new)?;
    assert_eq!(export(&store)?, of_store);
    assert_eq!(export(&store.tenant("acme")?)?, of_acme);
    assert_eq!(positions(&store)?, [3, 4, 5, 6, 7, 8]);
    assert_counted(&store, &["live"])?;
    append(&store, "Cart-3", 3)?;
    assert_eq!(
        positions(&store)?,
        [3, 4, 5, 6, 7, 8, 9, 10, 11],
        "9 and 10 are drawn again"
    );
    let told = reader.read(&store);
    assert!(
        matches!(
            told,
            Err(Error::StoreEpoch {
                expected: 0,
                actual: 1,
                ..
            })
        ),
        "{told:?}"
    );
    reader.begin_again(&store, 8)?;
    reader.read(&store)?;
    assert_eq!(reader.seen, positions(&store)?);

    // Each has one event of before and three of now.
    assert_eq!(job(&store)?.handled(), 8);
    let journal = journaled(&mut new.client()?, "journal")?;
    let journal: Vec<u64> = journal.into_iter().map(i64::cast_unsigned).collect();
    assert_eq!(journal, positions(&store)?);
    assert_counted(&store, &["live", "report"])?;
    assert!(store.doctor()?.findings.is_empty(), "{:?}", store.doctor()?);
    assert!(store.prove_feed(1, 11)?.holds());
    Ok(())
}

#[test]
fn a_reader_that_is_not_told_skips_events_after_a_dump_was_restored() -> anyhow::Result<()> {
    // Why the page on backup says to run `emmett restored`.
    let server = Server::shared()?;
    let (old, new) = (server.create_database()?, server.create_database()?);
    let before = used(&old)?;
    let mut client = old.client()?;
    let ServerShell { programs, .. } = ServerShell::of(&mut client)?;
    let copy = format!(
        "{programs}/pg_dump '{}' | {programs}/psql -v ON_ERROR_STOP=1 '{}'",
        old.url(),
        new.url()
    );
    run(&mut client, &copy)?;
    append(&before, "Cart-1", 2)?;
    let mut reader = OutsideReader::default();
    reader.read(&before)?;

    let store = open(&new)?;
    append(&store, "Cart-3", 3)?;
    reader.read(&store)?;

    let read = store.read_all::<RawEvent>(FeedOptions::new()).count();
    assert_eq!((reader.seen.len(), read), (9, 9));
    let last: Vec<_> = reader.seen[6..].to_vec();
    assert_eq!(
        last,
        [9, 10, 11],
        "two of Cart-1, which are gone, and the third of Cart-3"
    );
    Ok(())
}
