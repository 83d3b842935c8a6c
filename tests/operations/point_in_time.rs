//! A point-in-time recovery, with checkpoints elsewhere that are ahead of it.

use super::outside_reader::{OutsideReader, assert_counted, positions};
use crate::cli::process::run as emmett;
use crate::consumer::fixtures::{counts, journal, journaled};
use crate::support::server_shell::{ServerBeside, ServerShell, base_backup, run};
use crate::support::{CartEvent, added, quiet, wait_until};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{
    Error, EventStore, Reactor, Recorded, Result, consumer::RunReport, error::ProcessorError,
    operations::ProcessorState,
};
use postgres::{Client, NoTls};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// More than the sequence writes ahead: a recovery may find it 32 positions after its events.
const LOST: usize = 60;
const BEFORE: u64 = 8;
const AHEAD: u64 = BEFORE + LOST as u64;

/// Effects outside of the database: no recovery takes them back.
type Mails = Arc<Mutex<Vec<u64>>>;

fn open(url: &str) -> Result<EventStore> {
    quiet(url).inline_projection(counts("live")).open()
}

fn append(store: &EventStore, stream: &str, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| store.append_to_stream(stream, &[added("hat", 1)]).map(drop))
}

fn job(store: &EventStore) -> Result<RunReport> {
    let consumer = store.consumer().projector(journal("journal"));
    consumer.projector(counts("report")).run_until_caught_up()
}

fn send_mails(store: &EventStore, mails: &Mails) -> Result<RunReport> {
    let mails = Arc::clone(mails);
    let reactor = Reactor::new("mails").each(move |event: &Recorded<CartEvent>, _| {
        mails.lock().expect("no panic").push(event.global_position);
        Ok(())
    });
    store.consumer().reactor(reactor).run_until_caught_up()
}

/// A server that keeps what it has written, and what was kept outside of it.
struct Lost {
    server: Server,
    client: Client,
    directory: String,
    reader: OutsideReader,
    mails: Mails,
}

impl Lost {
    /// Eight events before the point, and many after it. All were handled and seen.
    fn after_a_point() -> anyhow::Result<Self> {
        let server = Server::builder()
            .setting("archive_mode", "on")
            .setting(
                "archive_command",
                "mkdir -p ../archive && cp %p ../archive/%f",
            )
            .start()?;
        let mut client = Client::connect(&server.url("postgres"), NoTls)?;
        let ServerShell { directory, .. } = ServerShell::of(&mut client)?;
        let mut lost = Self {
            client,
            directory,
            reader: OutsideReader::default(),
            mails: Mails::default(),
            server,
        };
        let store = open(&lost.server.url("postgres"))?;
        append(&store, "Cart-1", 6)?;
        lost.handle(&store)?;
        base_backup(&mut lost.client, "backup", "")?;
        append(&store, "Cart-2", 2)?;
        lost.handle(&store)?;
        lost.client
            .execute("SELECT pg_create_restore_point('before')", &[])?;
        append(&store, "Cart-3", LOST)?;
        lost.handle(&store)?;
        assert_eq!((lost.reader.position, lost.reader.epoch), (AHEAD, 0));
        lost.archive()?;
        Ok(lost)
    }

    fn handle(&mut self, store: &EventStore) -> anyhow::Result<()> {
        let _ = job(store)?;
        let _ = send_mails(store, &self.mails)?;
        self.reader.read(store)?;
        Ok(())
    }

    /// Keeps the checkpoint of the mails, because nobody takes them back, and waits until all is archived.
    fn archive(&mut self) -> anyhow::Result<()> {
        let kept = format!(
            "COPY (SELECT * FROM emt_processor_slots WHERE processor = 'mails') TO '{}/mails'",
            self.directory
        );
        self.client.batch_execute(&kept)?;
        let switch = "SELECT pg_walfile_name(pg_switch_wal())";
        let file: String = self.client.query_one(switch, &[])?.get(0);
        let archived = "SELECT coalesce(last_archived_wal >= $1, FALSE) FROM pg_stat_archiver";
        wait_until("everything is archived", || {
            let archived = self.client.query_one(archived, &[&file]);
            archived.is_ok_and(|row| row.get(0))
        });
        Ok(())
    }

    /// Recovers to the point, on files of its own, and puts the checkpoint of the mails back.
    fn recover(&mut self, port: u16) -> anyhow::Result<ServerBeside> {
        let name = format!("recovered-{port}");
        let settings = format!(
            "archive_mode = off\nrestore_command = 'cp {directory}/archive/%f %p'\nrecovery_target_name = 'before'\n\
             recovery_target_action = 'promote'\n",
            directory = self.directory
        );
        run(
            &mut self.client,
            &format!(
                "cd {directory} && cp -R backup {name} && chmod 700 {name} && touch {name}/recovery.signal &&
                 cat >>{name}/postgresql.auto.conf <<END\n{settings}END\n",
                directory = self.directory
            ),
        )?;
        let recovered = ServerBeside::start(&mut self.client, &name, port)?;
        let mut client = Client::connect(recovered.url(), NoTls)?;
        wait_until("the server has recovered", || {
            client
                .query_one("SELECT NOT pg_is_in_recovery()", &[])
                .is_ok_and(|row| row.get(0))
        });
        client.batch_execute(&format!(
            "DELETE FROM emt_processor_slots WHERE processor = 'mails';
             COPY emt_processor_slots FROM '{}/mails'",
            self.directory
        ))?;
        Ok(recovered)
    }
}

#[track_caller]
fn assert_ahead<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Err(Error::Processor(ProcessorError::Ahead { position, head, .. })) => {
            assert_eq!(position, AHEAD);
            assert!((BEFORE..AHEAD).contains(&head), "{head}");
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_old<T: std::fmt::Debug>(result: Result<T>) {
    let is_old = matches!(
        result,
        Err(Error::Processor(ProcessorError::OldEpoch {
            position: AHEAD,
            epoch: 0,
            store_epoch: 1,
            ..
        }))
    );
    assert!(is_old, "{result:?}");
}

#[test]
fn after_a_point_in_time_recovery_those_who_are_ahead_are_told_and_nothing_is_skipped()
-> anyhow::Result<()> {
    let mut lost = Lost::after_a_point()?;
    let seen = lost.reader.seen.clone();
    // Said at once, or after the first appends.
    for (port, early, restored) in [
        (5434, 0, &["restored"][..]),
        (5435, 3, &["restored", "--to", "8"]),
    ] {
        let recovered = lost.recover(port)?;
        let mut reader = OutsideReader {
            position: AHEAD,
            epoch: 0,
            seen: seen.clone(),
        };
        let mails = Arc::new(Mutex::new(lost.mails.lock().expect("no panic").clone()));

        go_on(recovered.url(), early, restored, &mut reader, &mails)
            .map_err(|error| error.context(format!("{restored:?}")))?;
    }
    Ok(())
}

fn go_on(
    url: &str,
    early: usize,
    restored: &[&str],
    reader: &mut OutsideReader,
    mails: &Mails,
) -> anyhow::Result<()> {
    let store = open(url)?;
    assert_eq!(positions(&store)?, (1..=BEFORE).collect::<Vec<_>>());
    append(&store, "Cart-2", early)?;
    assert_ahead(send_mails(&store, mails));
    assert_ahead(store.wait_for("mails", 1, Duration::from_secs(60)));
    assert_eq!(state(&store, "mails")?, ProcessorState::Ahead);
    // It is beyond the head, and nobody has said yet why.
    let unknown = reader.read(&store).expect_err("it is beyond the head");
    assert!(!matches!(unknown, Error::StoreEpoch { .. }), "{unknown:?}");

    let said = emmett(&[restored, &["--connection-string", url]].concat())?;

    assert_eq!(
        (said.code, &*said.stdout),
        (0, "the store is at epoch 1 now\n")
    );
    assert_told(reader.read(&store));
    append(&store, "Cart-3", 2 * LOST)?;
    // The store has outgrown them.
    assert_told(reader.read(&store));
    assert_old(send_mails(&store, mails));
    assert_eq!(job(&store)?.handled(), 2 * (early + 2 * LOST) as u64);

    store.processors().reset("mails", BEFORE)?;
    assert_eq!(
        send_mails(&store, mails)?.handled(),
        (early + 2 * LOST) as u64
    );
    reader.begin_again(&store, BEFORE)?;
    reader.read(&store)?;
    let all = positions(&store)?;
    assert_eq!(reader.seen, all);
    let sent = mails.lock().expect("no panic").clone();
    let after: Vec<u64> = sent[usize::try_from(AHEAD)?..].to_vec();
    assert_eq!(
        after,
        all[usize::try_from(BEFORE)?..],
        "one mail for each event since"
    );
    let journal = journaled(&mut Client::connect(url, NoTls)?, "journal")?;
    let journal: Vec<u64> = journal.into_iter().map(i64::cast_unsigned).collect();
    assert_eq!(journal, all);
    assert_counted(&store, &["live", "report"])?;
    let report = store.doctor()?;
    assert!(report.findings.is_empty(), "{report:?}");
    Ok(())
}

fn state(store: &EventStore, processor: &str) -> anyhow::Result<ProcessorState> {
    let processors = store.processors().list()?;
    let found = processors.iter().find(|status| status.name == processor);
    Ok(found.expect("it has a slot").state)
}

fn assert_told<T: std::fmt::Debug>(result: Result<T>) {
    let is_told = matches!(
        result,
        Err(Error::StoreEpoch {
            expected: 0,
            actual: 1,
            ..
        })
    );
    assert!(is_told, "{result:?}");
}
