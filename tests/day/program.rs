//! A user's day: each step has the right outcome.

use crate::support::wait_until;
use anyhow::{Context, Result, ensure};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, DocumentProjection, Event, EventStore, ExpectedVersion,
    FailurePolicy, FeedOptions, NewMessage, Projector, Reactor, ReadOptions, Recorded,
    StreamMessages,
    consumer::RunEnd,
    operations::{ExportOptions, ImportOptions, ParkedOptions, ParkedSelection},
    projection::ProjectionStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer than any step takes; a step waits for its signal.
const LONG: Duration = Duration::from_secs(60);
const POSTPONED: &str = "postponed";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum LoanEvent {
    Lent { book: String, days: u32 },
    Extended { days: u32 },
    Returned {},
}

impl Event for LoanEvent {
    const CATEGORY: &'static str = "Loan";
}

/// The days of each loan: one document a stream.
pub(crate) fn loans(name: &str) -> DocumentProjection<Value> {
    DocumentProjection::single_stream(name, |loan, recorded: &Recorded<LoanEvent>| {
        Some(json!({ "days": days_of(loan.as_ref()) + days(&recorded.event) }))
    })
}

fn days_of(loan: Option<&Value>) -> u64 {
    loan.and_then(|loan| loan["days"].as_u64()).unwrap_or(0)
}

fn days(event: &LoanEvent) -> u64 {
    match event {
        LoanEvent::Lent { days, .. } | LoanEvent::Extended { days } => u64::from(*days),
        LoanEvent::Returned {} => 0,
    }
}

fn lent(book: &str) -> LoanEvent {
    LoanEvent::Lent {
        book: book.into(),
        days: 14,
    }
}

const EXTENDED: LoanEvent = LoanEvent::Extended { days: 7 };

/// Opens a store with the inline projection of the day.
pub(crate) type Open<'a> = &'a dyn Fn() -> Result<EventStore>;

/// The whole day on an empty database. `open_other` opens the one that gets what is exported, and has the same settings.
pub(crate) fn whole_day(open: Open<'_>, open_other: Open<'_>) -> Result<()> {
    let store = open().context("migrate and open")?;
    open().context("open again")?;
    append(&store).context("append")?;
    read(&store).context("read")?;
    sessions(&store).context("sessions")?;
    documents(&store).context("documents")?;
    jobs(&store).context("jobs")?;
    consumer(&store).context("a consumer")?;
    parking(&store).context("parking")?;
    rebuild(&store).context("rebuilds")?;
    archive(&store).context("the archive")?;
    tenants(&store).context("tenants")?;
    export_and_import(&store, open_other).context("export and import")?;
    compare(&store).context("the read models")?;
    look_after(&store).context("doctor and proof")
}

pub(super) fn open(database: &Database) -> Result<EventStore> {
    Ok(EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(4))
        .inline_projection(loans("loans"))
        .open()?)
}

fn append(store: &EventStore) -> Result<()> {
    let new = AppendOptions::new().expect(ExpectedVersion::DoesNotExist);
    let first = store.append_to_stream_with("Loan-1", &[lent("Über den Fluß")], new.clone())?;
    ensure!(first.next_expected_version == 1, "{first:?}");
    let again = store
        .append_to_stream_with("Loan-1", &[lent("Ulysses")], new)
        .map_err(|error| error.is_conflict());
    ensure!(again == Err(true), "the stream is there: {again:?}");

    let exact = AppendOptions::new()
        .expected_version(1)
        .correlation_id("day");
    store.append_to_stream_with("Loan-1", &[EXTENDED], exact.clone())?;
    let late = store.append_to_stream_with("Loan-1", &[EXTENDED], exact);
    ensure!(
        late.is_err_and(|error| error.is_conflict()),
        "version 1 is old"
    );

    let there = AppendOptions::new().expect(ExpectedVersion::Exists);
    store.append_to_stream_with("Loan-1", &[EXTENDED, LoanEvent::Returned {}], there)?;
    store.append_to_stream("Loan-2", &[lent("Emma"), EXTENDED])?;
    let both = store.append_to_streams(vec![
        StreamMessages::new("Loan-3", &[lent("Dubliners")])?,
        StreamMessages::new("Loan-2", &[EXTENDED])?,
    ])?;
    let versions: Vec<_> = both.iter().map(|one| one.next_expected_version).collect();
    ensure!(versions == [1, 3], "{versions:?}");
    repeated(store)?;
    at_the_same_time(store)
}

/// An append that is sent again under its message's id is stored once.
fn repeated(store: &EventStore) -> Result<()> {
    let message = NewMessage::new(lent("Persuasion")).message_id(MESSAGE_ID);
    let first = store.append_to_stream("Loan-4", std::slice::from_ref(&message))?;
    let again = store.append_to_stream("Loan-4", &[message])?;
    ensure!(
        again.next_expected_version == first.next_expected_version,
        "{first:?}, {again:?}"
    );
    Ok(())
}

const MESSAGE_ID: &str = "0197f2b4-6c1e-7c4e-8d5e-2f0e3c9a1b42";

/// No append that expects nothing is refused, whatever the others do.
fn at_the_same_time(store: &EventStore) -> Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| scope.spawn(move || append_many(store, writer)))
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer"))
    })
}

fn append_many(store: &EventStore, writer: usize) -> Result<()> {
    for number in 0..20 {
        let stream = format!("Loan-{}", 100 + (writer + number) % 3);
        store.append_to_stream(&stream, &[EXTENDED])?;
    }
    Ok(())
}

fn read(store: &EventStore) -> Result<()> {
    let loan = store.read_stream::<LoanEvent>("Loan-1")?;
    ensure!(loan.current_version == 4, "{loan:?}");
    ensure!(loan.events[0].event == lent("Über den Fluß"), "{loan:?}");
    let last = ReadOptions::new().backwards().max_count(1);
    let last = store.read_stream_with::<LoanEvent>("Loan-1", last)?;
    ensure!(last.events[0].event == LoanEvent::Returned {}, "{last:?}");
    let iterated = store.read_stream_iter::<LoanEvent>("Loan-1", ReadOptions::new());
    ensure!(iterated.count() == 4, "one by one");
    let days =
        store.aggregate_stream("Loan-2", || 0, |sum, event: LoanEvent| sum + days(&event))?;
    ensure!(days.state == 28, "{days:?}");
    ensure!(!store.stream_exists("Loan-99")?, "nobody has lent it");
    Ok(())
}

fn sessions(store: &EventStore) -> Result<()> {
    store.collection::<Value>("notes").create()?;
    store.with_session(|session| {
        session.append_to_stream("Loan-5", &[lent("Mansfield Park")])?;
        let loan = session.read_stream::<LoanEvent>("Loan-5")?;
        ensure!(loan.current_version == 1, "its own append: {loan:?}");
        session
            .collection::<Value>("notes")
            .insert_one(&json!({ "text": "5 is lent" }))?;
        session.append_to_stream("Loan-2", &[LoanEvent::Returned {}])?;
        Ok(())
    })?;
    let failed = store.with_session(|session| {
        session.append_to_stream("Loan-6", &[lent("Sanditon")])?;
        Err::<(), _>(anyhow::anyhow!("the reader has no card"))
    });
    ensure!(failed.is_err(), "the closure failed");
    ensure!(!store.stream_exists("Loan-6")?, "nothing of it is stored");
    Ok(())
}

fn documents(store: &EventStore) -> Result<()> {
    let readers = store.collection::<Value>("readers");
    readers.create_index(&emmett_postgresql::pongo::Index::unique("card"))?;
    readers.insert_one(&json!({ "_id": "anna", "card": 7, "name": "Anna Größe", "fine": 0.5 }))?;
    readers.insert_one(&json!({ "_id": "bert", "card": 8, "name": "Bert" }))?;
    let same_card = readers.insert_one(&json!({ "_id": "carl", "card": 7 }));
    ensure!(same_card.is_err(), "the card is Anna's");
    readers.update_one(json!({ "card": 7 }), json!({ "$inc": { "fine": 0.25 } }))?;
    let anna = readers.find_one(json!({ "fine": { "$gt": 0.7 } }))?;
    ensure!(anna.is_some_and(|anna| anna["fine"] == 0.75), "the fine");
    let sorted = readers
        .find(json!({}))
        .sort(json!({ "name": -1 }))
        .to_vec()?;
    ensure!(
        sorted.len() == 2 && sorted[0]["_id"] == "bert",
        "{sorted:?}"
    );
    readers.delete_one(json!({ "_id": "bert" }))?;
    ensure!(readers.count_documents(json!({}))? == 1, "Anna is left");
    Ok(())
}

fn jobs(store: &EventStore) -> Result<()> {
    for _ in 0..2 {
        let report = store
            .consumer()
            .projector(Projector::new(loans("report")).workers(2))
            .run_until_caught_up()?;
        ensure!(report.end == RunEnd::CaughtUp, "{report:?}");
        store.append_to_stream("Loan-3", &[EXTENDED])?;
    }
    Ok(())
}

fn consumer(store: &EventStore) -> Result<()> {
    let consumer = store
        .consumer()
        .projector(loans("report"))
        .reactor(
            Reactor::new("reminders").each(|_: &Recorded<LoanEvent>, context| {
                context.append_to_stream(
                    "Reminders",
                    &[emmett_postgresql::RawEvent::new("Sent", json!({}))],
                )?;
                Ok(())
            }),
        )
        .start()?;
    let appended = store.append_to_stream("Loan-7", &[lent("Middlemarch")])?;
    for processor in ["report", "reminders"] {
        store.wait_for(processor, appended.last_global_position, LONG)?;
    }
    consumer.stop()?;
    let sent = store.read_stream::<emmett_postgresql::RawEvent>("Reminders")?;
    let loans = store.read_all::<LoanEvent>(FeedOptions::new());
    ensure!(sent.events.len() == loans.count(), "one for each event");
    Ok(())
}

fn parking(store: &EventStore) -> Result<()> {
    store.append_to_stream("Loan-8", &[lent(POSTPONED)])?;
    run_fines(store, true)?;
    let parked = store.processors().parked("fines", ParkedOptions::new())?;
    ensure!(parked.len() == 1, "{parked:?}");
    store.processors().replay("fines", &ParkedSelection::All)?;
    let consumer = fines(store, false).start()?;
    wait_until("the parked event is replayed", || {
        let parked = store.processors().parked("fines", ParkedOptions::new());
        parked.is_ok_and(|parked| parked.is_empty())
    });
    consumer.stop()?;
    Ok(())
}

fn run_fines(store: &EventStore, fails: bool) -> Result<()> {
    let report = fines(store, fails).run_until_caught_up()?;
    ensure!(report.end == RunEnd::CaughtUp, "{report:?}");
    Ok(())
}

fn fines(store: &EventStore, fails: bool) -> emmett_postgresql::consumer::ConsumerBuilder {
    let reactor = Reactor::new("fines").each(move |recorded: &Recorded<LoanEvent>, _| {
        let is_postponed =
            matches!(&recorded.event, LoanEvent::Lent { book, .. } if book == POSTPONED);
        ensure!(!(fails && is_postponed), "no fine for „{POSTPONED}“");
        Ok(())
    });
    store
        .consumer()
        .reactor(reactor.on_failure(FailurePolicy::park()))
}

fn rebuild(store: &EventStore) -> Result<()> {
    let before = days_of_documents(store, "loans")?;
    store.rebuild("loans").workers(2).run()?;
    ensure!(days_of_documents(store, "loans")? == before, "rebuilt");
    let report = store.rebuild_with(loans("report")).run()?;
    ensure!(report.handled > 0, "{report:?}");
    Ok(())
}

fn archive(store: &EventStore) -> Result<()> {
    ensure!(store.archive_stream("Loan-3")?.is_some(), "it is there");
    let gone = store.read_stream::<LoanEvent>("Loan-3")?;
    ensure!(gone.events.is_empty(), "{gone:?}");
    ensure!(
        store.append_to_stream("Loan-3", &[EXTENDED]).is_err(),
        "archived"
    );
    ensure!(store.unarchive_stream("Loan-3")?.is_some(), "and back");
    store.append_to_stream("Loan-3", &[EXTENDED])?;
    Ok(())
}

fn tenants(store: &EventStore) -> Result<()> {
    let name = "Zweigstelle 2";
    ensure!(store.tenants().add(name)?, "it is new");
    ensure!(!store.tenants().add(name)?, "it is known");
    let south = store.tenant(name)?;
    south.append_to_stream("Loan-1", &[lent("Cranford")])?;
    ensure!(
        south.read_stream::<LoanEvent>("Loan-1")?.events.len() == 1,
        "its own"
    );
    let report = south
        .consumer()
        .projector(loans("report"))
        .run_until_caught_up()?;
    ensure!(report.handled() == 1, "{report:?}");
    compare(&south)?;
    store.tenants().remove(name)?.with_all_data()?;
    ensure!(
        store
            .tenant(name)
            .and_then(|gone| gone.stream_exists("Loan-1"))
            .is_err(),
        "removed"
    );
    Ok(())
}

fn export_and_import(store: &EventStore, open_other: Open<'_>) -> Result<()> {
    let mut log = Vec::new();
    let exported = store.export(&mut log, ExportOptions::new())?;
    let copy = open_other()?;
    let imported = copy.import(log.as_slice(), ImportOptions::new())?;
    ensure!(
        imported.imported == exported.messages,
        "{exported:?}, {imported:?}"
    );
    copy.rebuild("loans").run()?;
    ensure!(
        days_of_documents(&copy, "loans")? == days_of_documents(store, "loans")?,
        "the same loans"
    );
    look_after(&copy)
}

/// Each read model equals a fold over the events.
fn compare(store: &EventStore) -> Result<()> {
    let report = store
        .consumer()
        .projector(loans("report"))
        .run_until_caught_up()?;
    ensure!(report.end == RunEnd::CaughtUp, "{report:?}");
    let mut folded = BTreeMap::<String, u64>::new();
    for recorded in store.read_all::<LoanEvent>(FeedOptions::new()) {
        let recorded = recorded?;
        *folded.entry(recorded.stream_name.to_string()).or_default() += days(&recorded.event);
    }
    for name in ["loans", "report"] {
        let documents = days_of_documents(store, name)?;
        ensure!(
            documents == folded,
            "{name}: {documents:?}, the events say {folded:?}"
        );
    }
    Ok(())
}

fn days_of_documents(store: &EventStore, name: &str) -> Result<BTreeMap<String, u64>> {
    let documents = store.collection::<Value>(name).find(json!({})).to_vec()?;
    let days = |document: Value| {
        Some((
            document["_id"].as_str()?.to_owned(),
            days_of(Some(&document)),
        ))
    };
    Ok(documents.into_iter().filter_map(days).collect())
}

fn look_after(store: &EventStore) -> Result<()> {
    let projections = store.registered_projections()?;
    let inline = projections
        .iter()
        .find(|projection| projection.name == "loans");
    ensure!(
        inline.is_some_and(|loans| loans.status == ProjectionStatus::Active),
        "{projections:?}"
    );
    let report = store.doctor()?;
    ensure!(!report.is_serious(), "{report:?}");
    let head = store.feed_horizon(0)?.position;
    let proof = store.prove_feed(0, head)?;
    ensure!(proof.holds(), "{proof:?}");
    Ok(())
}
