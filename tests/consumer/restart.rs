use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::support::added;
use emmett_postgresql::testing::Server;
use emmett_postgresql::{EventStore, Projector};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

#[test]
fn consumers_go_on_by_themselves_when_the_server_has_crashed_and_come_back() -> anyhow::Result<()> {
    // A crash of the server, not of the machine: what was handed to the operating system is kept.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()?;
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    let consumer = store
        .consumer()
        .projector(Projector::new(counts("counts")).workers(2))
        .projector(journal("journal"))
        .lease(Duration::from_secs(2))
        .batch_size(20)
        .start()?;
    let (over, appends) = (AtomicBool::new(false), AtomicU64::new(0));

    thread::scope(|scope| {
        for writer in 0..4 {
            let (store, over, appends) = (&store, &over, &appends);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let appended =
                        store.append_to_stream(&format!("Cart-{writer}"), &[added("hat", 1)]);
                    appends.fetch_add(u64::from(appended.is_ok()), Ordering::SeqCst);
                }
            });
        }
        let crashes = (1..=3).try_for_each(|crash| {
            let enough = || appends.load(Ordering::SeqCst) > crash * 100;
            crate::support::wait_until("the writers have gone on", enough);
            server.restart_immediately()
        });
        over.store(true, Ordering::SeqCst);
        crashes
    })?;

    let mut client = database.client()?;
    let all = stored(&mut client)?;
    let head = u64::try_from(*all.last().expect("events"))?;
    store.wait_for("journal", head, LONG)?;
    store.wait_for("counts", head, LONG)?;
    assert_eq!(journaled(&mut client, "journal")?, all);
    for writer in 0..4 {
        let stream = format!("Cart-{writer}");
        let version = store
            .read_stream::<crate::support::CartEvent>(&stream)?
            .current_version;
        assert_eq!(
            counted(&store, "counts", &stream)?.map(|counted| counted.events),
            Some(version)
        );
    }
    consumer.stop()?;
    Ok(())
}
