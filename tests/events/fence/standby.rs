//! A hot standby shows neither writers nor the sequence's position, so the feed is not read from a standby.

use super::fixtures::{Change, DEFAULT, Reader, append};
use crate::support::standby::Standby;
use emmett_postgresql::{
    DocumentProjection, EventStore, RawEvent, Recorded, database::AutoMigration,
    operations::FindingKind, testing::Server,
};
use postgres::{Client, NoTls};
use serde_json::{Value, json};

#[test]
fn a_standby_refuses_to_read_the_feed() -> anyhow::Result<()> {
    let primary = Server::start()?;
    let mut client = Client::connect(&primary.url("postgres"), NoTls)?;
    EventStore::open(&primary.url("postgres"))?;
    let standby = Standby::start(&mut client)?;
    let mut reader = Reader::new(&standby.store()?);

    append(&mut client, DEFAULT, "Note-1")?;
    let mut open = Client::connect(&primary.url("postgres"), NoTls)?;
    open.batch_execute("BEGIN")?;
    append(&mut open, DEFAULT, "Note-2")?;
    append(&mut client, DEFAULT, "Note-3")?;
    standby.wait_until_replayed(&mut client)?;

    let refusal = reader.read().unwrap_err();
    assert!(format!("{refusal:#}").contains("standby"), "{refusal:#}");
    let report = standby.store()?.doctor()?;
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!((report.feed, kinds), (None, vec![FindingKind::Standby]));

    WITHOUT_THE_CHECK.make(&mut client)?;
    standby.wait_until_replayed(&mut client)?;
    reader.read()?;
    open.batch_execute("COMMIT")?;
    assert_eq!(reader.seen, [1, 3]);
    assert!(reader.after > 3, "{}", reader.after);
    Ok(())
}

#[test]
fn streams_and_documents_can_be_read_from_a_standby_with_inline_projections() -> anyhow::Result<()>
{
    let primary = Server::start()?;
    let mut client = Client::connect(&primary.url("postgres"), NoTls)?;
    let open = |url: &str, migration| {
        let counts = DocumentProjection::single_stream(
            "counts",
            |count: Option<Value>, _: &Recorded<RawEvent>| {
                let count = count
                    .and_then(|count| count["events"].as_u64())
                    .unwrap_or(0);
                Some(json!({ "events": count + 1 }))
            },
        );
        EventStore::builder(url)
            .auto_migration(migration)
            .inline_projection(counts)
            .open()
    };
    let store = open(&primary.url("postgres"), AutoMigration::CreateOrUpdate)?;
    let opened = [RawEvent::new("Opened", json!({}))];
    store.append_to_stream("Note-1", &opened)?;
    let standby = Standby::start(&mut client)?;

    for migration in [AutoMigration::None, AutoMigration::CreateOrUpdate] {
        let reader = open(standby.url(), migration)?;

        let count = json!({ "_id": "Note-1" });
        let counts = reader.collection::<Value>("counts");
        assert_eq!(
            counts
                .find_one(count.clone())?
                .map(|count| count["events"].clone()),
            Some(json!(1))
        );
        assert_eq!(counts.only_if_active().count_documents(json!({}))?, 1);
        assert_eq!(reader.read_stream::<RawEvent>("Note-1")?.events.len(), 1);
        let read = reader.with_session(|session| {
            let counted = session
                .collection::<Value>("counts")
                .find_one(count.clone())?;
            anyhow::ensure!(counted.is_some());
            Ok(session.read_stream::<RawEvent>("Note-1")?.current_version)
        })?;
        assert_eq!(read, 1);
        let refused = reader
            .feed_horizon(0)
            .expect_err("the feed needs the primary");
        assert!(format!("{:#}", anyhow::Error::from(refused)).contains("standby"));
        for refused in [
            reader.append_to_stream("Note-1", &opened).map(drop),
            reader
                .with_session(|session| Ok(session.append_to_stream("Note-1", &opened)?))
                .map(drop),
        ] {
            let text = format!(
                "{:#}",
                anyhow::Error::from(refused.expect_err("nothing can be written"))
            );
            assert!(
                text.contains("read-only") || text.contains("recovery"),
                "{text}"
            );
        }
    }
    Ok(())
}

const WITHOUT_THE_CHECK: Change<'static> = Change::Rewrite {
    function: "emt_horizon",
    replace: "pg_is_in_recovery()",
    with: "FALSE",
};
