//! Errors whose text cannot be stored unchanged: with a NUL, with a character that the database lacks, or too long.

use crate::support::{CartEvent, added, wait_until};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{
    EventStore, FailurePolicy, Projector, Reactor, Recorded, SqlProjection,
    operations::{ParkedOptions, ProcessorState},
    rebuild::RequestedRebuild,
};
use postgres::{Client, NoTls};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// A database that has Latin letters only.
struct LatinDatabase {
    name: String,
    admin: Client,
}

impl LatinDatabase {
    fn create(test: &str) -> anyhow::Result<Self> {
        let name = format!("latin_{test}_{}", std::process::id());
        let mut admin = Client::connect(&Server::shared()?.url("postgres"), NoTls)?;
        admin.batch_execute(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        ))?;
        Ok(Self { name, admin })
    }

    fn store(&self) -> anyhow::Result<EventStore> {
        Ok(EventStore::open(&Server::shared()?.url(&self.name))?)
    }
}

impl Drop for LatinDatabase {
    fn drop(&mut self) {
        let drop_it = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.admin.batch_execute(&drop_it).expect("it is dropped");
    }
}

/// What a handler says, and how what is kept of it begins and ends.
fn texts() -> [(String, &'static str, &'static str); 4] {
    [
        ("zu groß".to_owned(), "zu groß", "zu groß"),
        ("bad \0".to_owned(), "bad \\0", "bad \\0"),
        ("snow \u{2603}".to_owned(), "snow \\342\\230\\203", "\\203"),
        ("x".repeat(10_000_000), "xxx", " bytes]"),
    ]
}

fn saying(name: &str, text: &str) -> Reactor {
    let text = text.to_owned();
    Reactor::new(name).each(move |message: &Recorded<CartEvent>, _| {
        anyhow::ensure!(&*message.stream_name != "Cart-1", "{text}");
        Ok(())
    })
}

#[test]
fn an_event_is_parked_whatever_the_handler_says() -> anyhow::Result<()> {
    let database = LatinDatabase::create("parked")?;
    let store = database.store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    for (number, (said, beginning, end)) in texts().into_iter().enumerate() {
        let name = format!("mails-{number}");
        let mails = saying(&name, &said).on_failure(FailurePolicy::park());
        let _ = store.consumer().reactor(mails).run_until_caught_up()?;

        let parked = store.processors().parked(&name, ParkedOptions::new())?;
        let [parked] = &parked[..] else {
            anyhow::bail!("{parked:?}");
        };
        let error = parked.error.as_deref().unwrap_or_default();
        assert!(
            error.starts_with(beginning) && error.ends_with(end),
            "{beginning}"
        );
        assert_eq!(parked.stream_name, "Cart-1");
    }
    Ok(())
}

#[test]
fn a_processor_that_stops_says_why_whatever_the_handler_says() -> anyhow::Result<()> {
    let database = LatinDatabase::create("stopped")?;
    let store = database.store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    for (number, (said, beginning, end)) in texts().into_iter().enumerate() {
        let name = format!("mails-{number}");
        let consumer = store.consumer().reactor(saying(&name, &said)).start()?;
        consumer.wait().expect_err("it has stopped");

        let all = store.processors().list()?;
        let mails = all.iter().find(|processor| processor.name == name);
        let mails = mails.expect("it has run");
        let error = mails.last_error.as_deref().unwrap_or_default();
        assert_eq!(mails.state, ProcessorState::Failed);
        assert!(
            error.contains(beginning) && error.ends_with(end),
            "{beginning}"
        );
    }
    Ok(())
}

#[test]
fn a_requested_rebuild_fails_once_whatever_its_projection_says() -> anyhow::Result<()> {
    let database = LatinDatabase::create("rebuilt")?;
    let store = database.store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    for (number, (said, beginning, end)) in texts().into_iter().enumerate() {
        let name = format!("report-{number}");
        let is_broken = Arc::new(AtomicBool::new(false));
        let report = || {
            let (is_broken, said) = (Arc::clone(&is_broken), said.clone());
            SqlProjection::new(name.clone(), move |_: &[Recorded<CartEvent>], _| {
                anyhow::ensure!(!is_broken.load(Ordering::SeqCst), "{said}");
                Ok(())
            })
            .init(|context| {
                let reports = context.table("reports")?;
                let create = format!("CREATE TABLE IF NOT EXISTS {reports} (id BIGINT)");
                Ok(context.batch_execute(&create)?)
            })
            .truncate(|context| {
                let reports = context.table("reports")?;
                Ok(context.batch_execute(&format!("DELETE FROM {reports}"))?)
            })
            .tables(&["reports"])
        };
        let projector = Projector::new(report());
        let consumer = store
            .consumer()
            .projector(projector)
            .lease(Duration::from_millis(400))
            .start()?;
        store.wait_for(&name, 1, LONG)?;
        is_broken.store(true, Ordering::SeqCst);

        store.rebuild_with(report()).request()?;
        let outcome = || store.requested_rebuild(&name);
        wait_until("it has failed", || {
            matches!(outcome(), Ok(RequestedRebuild::Failed(_)))
        });

        let RequestedRebuild::Failed(error) = outcome()? else {
            anyhow::bail!("it has failed before");
        };
        assert!(
            error.contains(beginning) && error.contains(end),
            "{error:.400}"
        );
        consumer.stop()?;
    }
    Ok(())
}
