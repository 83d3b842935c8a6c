use super::ground::{counted, counts};
use crate::support::{added, store, wait_until};
use emmett_postgresql::{EventStore, Projector};
use postgres::Client;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(400);

fn start(
    store: &EventStore,
    workers: u32,
) -> Result<emmett_postgresql::Consumer, emmett_postgresql::Error> {
    store
        .consumer()
        .projector(Projector::new(counts("counts")).workers(workers).slots(16))
        .lease(LEASE)
        .batch_size(10)
        .start()
}

/// How many slots each worker holds.
fn shares(client: &mut Client) -> anyhow::Result<Vec<i64>> {
    let sql = "SELECT count(*) FROM emt_processor_slots WHERE expires_at > clock_timestamp() GROUP BY owner, worker ORDER BY 1";
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

fn append(store: &EventStore, streams: u64, events: u64) -> anyhow::Result<u64> {
    let mut last = 0;
    for event in 0..events {
        for stream in 0..streams {
            let appended = store.append_to_stream(
                &format!("Cart-{stream}"),
                &[added("hat", u32::try_from(event)?)],
            )?;
            last = appended.last_global_position;
        }
    }
    Ok(last)
}

fn assert_exact(store: &EventStore, streams: u64, events: u64) -> anyhow::Result<()> {
    for stream in 0..streams {
        let document = counted(store, "counts", &format!("Cart-{stream}"))?.expect("a document");
        assert_eq!(
            (document.events, document.last),
            (events, events),
            "Cart-{stream}"
        );
    }
    Ok(())
}

#[test]
fn workers_of_one_process_share_the_slots_and_keep_the_order_of_each_stream() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    let consumer = start(&store, 3)?;
    let last = append(&store, 20, 10)?;
    store.wait_for("counts", last, LONG)?;

    assert_exact(&store, 20, 10)?;
    let mut client = database.client()?;
    wait_until("each worker has its share", || {
        shares(&mut client).is_ok_and(|shares| {
            shares.len() == 3 && shares.iter().all(|share| (4..=6).contains(share))
        })
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn slots_move_when_a_process_joins_and_when_it_leaves() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    let first = start(&store, 1)?;
    wait_until("the first has all", || {
        shares(&mut client).is_ok_and(|shares| shares == [16])
    });

    thread::scope(|scope| {
        let writer = scope.spawn(|| append(&store, 20, 40));
        let second = start(&store, 1)?;
        wait_until("both have half", || {
            shares(&mut client).is_ok_and(|shares| shares == [8, 8])
        });
        let third = start(&store, 2)?;
        wait_until("all have a quarter", || {
            shares(&mut client).is_ok_and(|shares| shares == [4, 4, 4, 4])
        });
        second.stop()?;
        third.stop()?;
        wait_until("the first has all again", || {
            shares(&mut client).is_ok_and(|shares| shares == [16])
        });
        let last = writer.join().expect("no panic")?;
        store.wait_for("counts", last, LONG)?;
        anyhow::Ok(())
    })?;
    assert_exact(&store, 20, 40)?;
    first.stop()?;
    Ok(())
}
