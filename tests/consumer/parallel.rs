use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::{DocumentProjection, EventStore, Projector, Recorded};
use postgres::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(400);

fn start(
    store: &EventStore,
    workers: u32,
) -> Result<emmett_postgresql::consumer::Consumer, emmett_postgresql::Error> {
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
fn workers_of_one_process_have_their_shares_before_any_lease_is_renewed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let last = append(&store, 20, 2)?;
    let consumer = store
        .consumer()
        .projector(Projector::new(counts("counts")).workers(4).slots(16))
        .lease(Duration::from_secs(3_600))
        .start()?;
    store.wait_for("counts", last, LONG)?;

    assert_eq!(shares(&mut database.client()?)?, [4, 4, 4, 4]);
    assert_exact(&store, 20, 2)?;
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

#[derive(Debug, Default, Serialize, Deserialize)]
struct Sold {
    positions: Vec<u64>,
}

/// One document per product, from the events of many carts; the order in which they were folded stands in it.
fn sales() -> DocumentProjection<Sold> {
    DocumentProjection::multi_stream(
        "sales",
        |recorded: &Recorded<CartEvent>| match &recorded.event {
            CartEvent::ProductItemAdded { product_id, .. } => {
                vec![product_id.clone(), "all".to_owned()]
            }
            _ => Vec::new(),
        },
        |sold: Option<Sold>, recorded| {
            let mut sold = sold.unwrap_or_default();
            sold.positions.push(recorded.global_position);
            Some(sold)
        },
    )
}

#[test]
fn documents_of_many_streams_are_folded_in_global_order_by_whatever_workers() -> anyhow::Result<()>
{
    let (database, store) = store()?;
    let start = |workers| {
        store
            .consumer()
            .projector(Projector::new(sales()).workers(workers).slots(16))
            .lease(LEASE)
            .batch_size(7)
            .start()
    };
    let first = start(3)?;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || -> anyhow::Result<u64> {
                    let mut last = 0;
                    for number in 0..50 {
                        let product = format!("product-{}", number % 5);
                        let cart = format!("Cart-{writer}-{}", number % 3);
                        last = store
                            .append_to_stream(&cart, &[added(&product, 1)])?
                            .last_global_position;
                    }
                    Ok(last)
                })
            })
            .collect();
        // Slots move while documents are written.
        let second = start(2)?;
        let mut last = 0;
        for writer in writers {
            last = last.max(writer.join().expect("no panic")?);
        }
        first.stop()?;
        store.wait_for("sales", last, LONG)?;
        second.stop()?;
        anyhow::Ok(())
    })?;

    let mut client = database.client()?;
    let of = |client: &mut Client, product: &str| -> anyhow::Result<Vec<u64>> {
        let sql = "SELECT global_position FROM emt_messages
                    WHERE $1 IN ('all', message_data ->> 'productId') ORDER BY global_position";
        let rows = client.query(sql, &[&product])?;
        rows.iter()
            .map(|row| Ok(u64::try_from(row.get::<_, i64>(0))?))
            .collect()
    };
    for product in [
        "product-0",
        "product-1",
        "product-2",
        "product-3",
        "product-4",
        "all",
    ] {
        let document = store
            .collection::<Sold>("sales")
            .find_one(json!({ "_id": product }))?;
        assert_eq!(
            document.expect("a document").positions,
            of(&mut client, product)?,
            "{product}"
        );
    }
    Ok(())
}

#[test]
fn a_slot_that_is_ahead_of_the_others_of_its_worker_sees_nothing_twice() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, 20, 2)?;
    let catch_up = || -> anyhow::Result<()> {
        let projector = Projector::new(journal("journal")).slots(16);
        let _ = store
            .consumer()
            .projector(projector)
            .batch_size(7)
            .run_until_caught_up()?;
        Ok(())
    };
    catch_up()?;
    let mut client = database.client()?;
    let all = stored(&mut client)?;

    // Half of the slots is set back, then the other half.
    let mut again = Vec::new();
    for half in ["slot < 8", "slot >= 8"] {
        client.batch_execute("DELETE FROM journal")?;
        client.batch_execute(&format!(
            "UPDATE emt_processor_slots SET position = 5 WHERE {half}"
        ))?;
        catch_up()?;
        let handled = journaled(&mut client, "journal")?;
        assert!(handled.len() > 5, "some streams are in {half}");
        again.extend(handled);
    }

    again.sort_unstable();
    assert_eq!(again, all[5..]);
    Ok(())
}
