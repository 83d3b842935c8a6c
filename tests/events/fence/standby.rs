//! A hot standby shows neither who is writing nor how far the sequence is, so the feed is not read from one.

use super::fixtures::{Change, DEFAULT, Reader, append};
use crate::support::standby::Standby;
use emmett_postgresql::{EventStore, FindingKind, testing::Server};
use postgres::{Client, NoTls};

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

const WITHOUT_THE_CHECK: Change<'static> = Change::Rewrite {
    function: "emt_horizon",
    replace: "pg_is_in_recovery()",
    with: "FALSE",
};
