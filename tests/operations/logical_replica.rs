//! A logical replica that takes over, as in a major version upgrade: it has all tables, and no sequence values.

use super::outside_reader::{OutsideReader, assert_counted, positions};
use crate::cli::process::{run_on, succeed};
use crate::consumer::fixtures::{counts, journal, journaled};
use crate::support::server_shell::{ServerShell, run};
use crate::support::{added, quiet, wait_until};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    Error, EventStore, EventStoreBuilder, Result, consumer::RunReport, database::DatabaseError,
    operations::FindingKind,
};
use postgres::Client;

/// How the replica comes to its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    /// `pg_dump --schema-only`.
    Dumped,
    /// By the command line, and the read models by `pg_dump`.
    Migrated,
}

/// What the read models need beside the schema.
const READ_MODELS: &str = "-t live -t report -t journal";

fn server() -> anyhow::Result<Server> {
    Ok(Server::builder()
        .setting("wal_level", "logical")
        .setting("max_worker_processes", "24")
        .setting("max_logical_replication_workers", "16")
        .setting("max_sync_workers_per_subscription", "8")
        // Between two attempts to begin the copy of a table.
        .setting("wal_retrieve_retry_interval", "10ms")
        .start()?)
}

fn with_inline(database: &Database) -> EventStoreBuilder {
    quiet(database.url()).inline_projection(counts("live"))
}

fn append(store: &EventStore, stream: &str, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| store.append_to_stream(stream, &[added("hat", 1)]).map(drop))
}

fn job(store: &EventStore) -> Result<RunReport> {
    let consumer = store.consumer().projector(journal("journal"));
    consumer.projector(counts("report")).run_until_caught_up()
}

/// A tenant's event, then five of the store, of which both processors have handled two.
fn used(database: &Database) -> anyhow::Result<EventStore> {
    let store = with_inline(database).open()?;
    store.tenants().add("acme")?;
    append(&store.tenant("acme")?, "Cart-9", 1)?;
    append(&store, "Cart-1", 5)?;
    let processors = store.consumer().projector(journal("journal"));
    let _ = processors.projector(counts("report")).run_to(3)?;
    Ok(store)
}

/// Brings the tables of one server to another, without their rows.
fn copy_schema(old: &Database, new: &Database, schema: Schema) -> anyhow::Result<()> {
    let selected = match schema {
        Schema::Dumped => "",
        Schema::Migrated => READ_MODELS,
    };
    if schema == Schema::Migrated {
        succeed(new, &["migrate", "run"])?;
        succeed(new, &["tenants", "add", "acme"])?;
        let tables: String = new
            .client()?
            .query_one(
                "SELECT string_agg(oid::REGCLASS::TEXT, ', ') FROM pg_class
                  WHERE relnamespace = 'public'::REGNAMESPACE AND relkind IN ('r', 'p')",
                &[],
            )?
            .get(0);
        new.client()?.batch_execute(&format!("TRUNCATE {tables}"))?;
    }
    let mut server = old.client()?;
    let ServerShell {
        programs,
        directory,
    } = ServerShell::of(&mut server)?;
    let file = format!("{directory}/{}.sql", old.name());
    run(
        &mut server,
        &format!(
            "{programs}/pg_dump --schema-only {selected} -f {file} '{}' &&
             {programs}/psql -v ON_ERROR_STOP=1 -f {file} '{}'",
            old.url(),
            new.url()
        ),
    )
}

/// A subscription to everything.
struct Replication {
    publisher: Client,
    subscriber: Client,
    name: String,
}

impl Replication {
    fn begin(old: &Database, new: &Database) -> anyhow::Result<Self> {
        let (mut publisher, mut subscriber) = (old.client()?, new.client()?);
        let name = format!("of_{}", old.name());
        publisher.batch_execute(&format!("CREATE PUBLICATION {name} FOR ALL TABLES"))?;
        subscriber.batch_execute(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION {name}",
            old.url()
        ))?;
        Ok(Self {
            publisher,
            subscriber,
            name,
        })
    }

    /// Waits until the replica has all that was committed until now.
    fn wait_until_replayed(&mut self) -> anyhow::Result<()> {
        let copied = "SELECT count(*) FILTER (WHERE srsubstate <> 'r') = 0 FROM pg_subscription_rel
                        JOIN pg_subscription ON pg_subscription.oid = srsubid WHERE subname = $1";
        let written: String = self
            .publisher
            .query_one("SELECT pg_current_wal_insert_lsn()::TEXT", &[])?
            .get(0);
        let replayed = "SELECT replay_lsn >= $2::TEXT::PG_LSN FROM pg_stat_replication WHERE application_name = $1";
        wait_until("the replica has everything", || {
            let copied = self.subscriber.query_one(copied, &[&self.name]);
            let replayed = self.publisher.query_opt(replayed, &[&self.name, &written]);
            copied.is_ok_and(|row| row.get(0))
                && replayed.is_ok_and(|row| row.is_some_and(|row| row.get(0)))
        });
        Ok(())
    }

    /// From now on the replica gets nothing.
    fn interrupt(&mut self) -> anyhow::Result<()> {
        let disable = format!("ALTER SUBSCRIPTION {} DISABLE", self.name);
        self.subscriber.batch_execute(&disable)?;
        let running =
            "SELECT count(*) FROM pg_stat_subscription WHERE subname = $1 AND pid IS NOT NULL";
        wait_until("the replica has stopped", || {
            let running = self.subscriber.query_one(running, &[&self.name]);
            running.is_ok_and(|row| row.get::<_, i64>(0) == 0)
        });
        Ok(())
    }

    /// Makes the replica a server of its own, as where the old one is gone.
    fn promote(mut self) -> anyhow::Result<()> {
        let name = &self.name;
        for statement in [
            format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
            format!("DROP SUBSCRIPTION {name}"),
        ] {
            self.subscriber.batch_execute(&statement)?;
        }
        // Its database could not be dropped.
        let slot = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        self.publisher.execute(slot, &[name])?;
        Ok(())
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>) {
    let Err(Error::Database(error @ DatabaseError::Inconsistent { .. })) = result else {
        panic!("{result:?}")
    };
    let text = error.to_string();
    assert!(text.contains("is at 0, but partition"), "{text}");
    assert!(text.contains("emmett repair sequence"), "{text}");
}

#[test]
fn a_logical_replica_that_takes_over_loses_no_event_and_tells_those_who_saw_more()
-> anyhow::Result<()> {
    let (old_server, new_server) = (server()?, server()?);
    for schema in [Schema::Dumped, Schema::Migrated] {
        let (old, new) = (old_server.create_database()?, new_server.create_database()?);
        take_over(&old, &new, schema)
            .map_err(|error| error.context(format!("the schema was {schema:?}")))?;
    }
    Ok(())
}

fn take_over(old: &Database, new: &Database, schema: Schema) -> anyhow::Result<()> {
    let before = used(old)?;
    copy_schema(old, new, schema)?;
    let mut replication = Replication::begin(old, new)?;
    append(&before, "Cart-2", 4)?;
    replication.wait_until_replayed()?;
    replication.interrupt()?;
    // Seen elsewhere, and lost.
    append(&before, "Cart-3", 2)?;
    let mut reader = OutsideReader::default();
    assert_eq!(reader.read(&before)?, 11);
    replication.promote()?;
    drop(before);

    let plain = with_inline(new).open_unchecked()?;
    assert_refused(with_inline(new).open());
    assert_refused(append(&plain, "Cart-1", 1));
    assert_refused(job(&plain));
    let finding = &plain.doctor()?.findings[0];
    assert_eq!(finding.kind, FindingKind::SequenceBehind);
    repair(new, schema)?;

    let store = with_inline(new).open()?;
    append(&store, "Cart-2", 3)?;
    append(&store.tenant("acme")?, "Cart-9", 1)?;
    // 11 and 12 were drawn before, by events that never came here.
    assert_eq!(positions(&store)?, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
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
    reader.begin_again(&store, 10)?;
    reader.read(&store)?;
    assert_eq!(reader.seen, positions(&store)?);

    // Ten events each, of twelve: two were handled before.
    assert_eq!(job(&store)?.handled(), 20);
    // The journal's own sequence was not replicated, either.
    let mut journal = journaled(&mut new.client()?, "journal")?;
    journal.sort_unstable();
    let journal: Vec<u64> = journal.into_iter().map(i64::cast_unsigned).collect();
    assert_eq!(journal, positions(&store)?);
    assert_counted(&store, &["live", "report"])?;
    assert!(store.doctor()?.findings.is_empty(), "{:?}", store.doctor()?);
    Ok(())
}

fn repair(new: &Database, schema: Schema) -> anyhow::Result<()> {
    let said = succeed(new, &["repair", "sequence"])?;
    assert!(
        said.starts_with(
            "set emt_global_message_position from 0 to 10\n\
             the store is at epoch 1 now: processors continue, and readers with a position elsewhere detect the epoch\n"
        ),
        "{said}"
    );
    // A dump has the flags of inline projections as never set, which says nothing; a migration sets them.
    assert_eq!(
        said.contains("inline projections of \"emt:default\""),
        schema == Schema::Migrated,
        "{said}"
    );
    let again = run_on(new, &["repair", "sequence", "--json"])?.json()?;
    assert_eq!(again["repaired"], false, "{again}");
    assert_eq!((&again["head"], &again["epoch"]), (&10.into(), &1.into()));
    Ok(())
}
