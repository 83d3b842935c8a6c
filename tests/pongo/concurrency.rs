//! No change is lost or repeated, even with many concurrent writers of one document.

use crate::support;
use emmett_postgresql::pongo::{
    Collection, Error, HandleOptions, HandleOutcome, Replacement, ReturnDocument, UpdateOptions,
};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{ConnectionOptions, EventStore};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Barrier;

const THREADS: i64 = 32;
const ROUNDS: i64 = 20;

fn store() -> anyhow::Result<(Database, EventStore)> {
    let database = support::database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(16))
        .open()?;
    Ok((database, store))
}

/// Runs `run` on 32 threads that begin together, and gives what each has returned.
fn on_all_threads<R: Send>(
    store: &EventStore,
    run: impl Fn(i64, Collection<'static, Value>) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let barrier = Barrier::new(usize::try_from(THREADS)?);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, run, documents) = (&barrier, &run, store.collection("shared"));
                scope.spawn(move || {
                    barrier.wait();
                    run(thread, documents)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

fn found(store: &EventStore, id: &str) -> anyhow::Result<Value> {
    let documents = store.collection::<Value>("shared");
    documents
        .find_by_id(id)?
        .ok_or_else(|| anyhow::anyhow!("no document {id}"))
}

#[test]
fn increments_of_one_field_add_up() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    on_all_threads(&store, |_, documents| {
        for _ in 0..ROUNDS {
            // The first of all inserts it.
            documents.update_one_with(
                json!({"_id": "counter"}),
                json!({"$inc": {"n": 1}, "$push": {"seen": 1}}),
                UpdateOptions::new().upsert(),
            )?;
        }
        Ok(())
    })?;
    let counter = found(&store, "counter")?;
    assert_eq!(counter["n"], THREADS * ROUNDS);
    assert_eq!(counter["_version"], THREADS * ROUNDS);
    assert_eq!(counter["seen"].as_array().map(Vec::len), Some(640));
    Ok(())
}

#[test]
fn a_stock_is_counted_down_by_all_and_never_below_zero() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let stock = THREADS * ROUNDS / 2;
    let documents = store.collection::<Value>("shared");
    documents.insert_one(&json!({"_id": "shoes", "stock": stock, "sold": 0}))?;
    let sold = on_all_threads(&store, |_, documents| {
        let mut sold = Vec::new();
        for _ in 0..ROUNDS {
            let taken = documents.update_one(
                json!({"_id": "shoes", "stock": {"$gt": 0}}),
                json!({"$inc": {"stock": -1, "sold": 1}}),
            )?;
            assert_eq!(taken.matched, taken.modified);
            sold.extend(taken.version);
        }
        Ok(sold)
    })?;
    // Each sale has a version of its own.
    let versions: BTreeSet<u64> = sold.into_iter().flatten().collect();
    assert_eq!(versions, (2..=1 + u64::try_from(stock)?).collect());
    let shoes = found(&store, "shoes")?;
    assert_eq!(
        (&shoes["stock"], &shoes["sold"]),
        (&json!(0), &json!(stock))
    );
    Ok(())
}

#[test]
fn increments_of_documents_that_match_add_up() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.collection("shared").insert_many(&[
        json!({"_id": "a", "kind": 1, "n": 0}),
        json!({"_id": "b", "kind": 1, "n": 0}),
    ])?;
    on_all_threads(&store, |thread, documents| {
        for _ in 0..ROUNDS {
            if thread % 2 == 0 {
                documents.update_many(json!({"kind": 1}), json!({"$inc": {"n": 1}}))?;
            } else {
                documents.update_one(
                    json!({"kind": 1, "n": {"$gte": 0}}),
                    json!({"$inc": {"n": 2}}),
                )?;
            }
        }
        Ok(())
    })?;
    let (a, b) = (found(&store, "a")?, found(&store, "b")?);
    let sum = a["n"].as_i64().unwrap_or(0) + b["n"].as_i64().unwrap_or(0);
    // Two documents by half of the threads, and one document by 2 by the others.
    assert_eq!(sum, 2 * THREADS * ROUNDS);
    Ok(())
}

#[test]
fn numbers_that_are_found_and_changed_are_given_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let given = on_all_threads(&store, |_, documents| {
        let mut given = Vec::new();
        for _ in 0..ROUNDS {
            let after = documents.find_one_and_update_with(
                json!({"_id": "invoices"}),
                json!({"$inc": {"last": 1}}),
                ReturnDocument::After,
                UpdateOptions::new().upsert(),
            )?;
            given.push(after.and_then(|after| after["last"].as_i64()));
        }
        Ok(given)
    })?;
    let given: BTreeSet<Option<i64>> = given.into_iter().flatten().collect();
    let expected: BTreeSet<Option<i64>> = (1..=THREADS * ROUNDS).map(Some).collect();
    assert_eq!(given, expected);
    Ok(())
}

#[test]
fn one_document_that_all_handle_has_what_all_have_added() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    on_all_threads(&store, |thread, documents| {
        for _ in 0..4 {
            documents.handle_with("cart", HandleOptions::new().retry(1_000), |cart| {
                let mut cart = cart.unwrap_or_else(|| json!({"n": 0, "threads": []}));
                cart["n"] = json!(cart["n"].as_i64().unwrap_or(0) + 1);
                if let Some(threads) = cart["threads"].as_array_mut() {
                    threads.push(json!(thread));
                }
                Ok(Some(cart))
            })?;
        }
        Ok(())
    })?;
    let cart = found(&store, "cart")?;
    assert_eq!(cart["n"], THREADS * 4);
    assert_eq!(cart["_version"], THREADS * 4);
    assert_eq!(cart["threads"].as_array().map(Vec::len), Some(128));
    Ok(())
}

#[test]
fn without_retries_a_handler_is_never_overwritten_in_silence() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let written = on_all_threads(&store, |_, documents| {
        let mut written = 0;
        for _ in 0..ROUNDS {
            let handled = documents.handle("cart", |cart| {
                let n = cart.and_then(|cart| cart["n"].as_i64()).unwrap_or(0);
                Ok(Some(json!({"n": n + 1})))
            });
            match handled {
                Ok(handled) => {
                    assert!(matches!(
                        handled.outcome,
                        HandleOutcome::Inserted | HandleOutcome::Replaced
                    ));
                    written += 1;
                }
                Err(error) => assert!(error.is_conflict(), "{error:?}"),
            }
        }
        Ok(written)
    })?;
    let written: i64 = written.iter().sum();
    assert_eq!(found(&store, "cart")?["n"], written);
    Ok(())
}

#[test]
fn many_documents_that_all_handle_together_keep_their_sum() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let ids = ["a", "b", "c", "d"];
    let accounts = ids.map(|id| json!({"_id": id, "balance": 100}));
    store.collection("shared").insert_many(&accounts)?;
    on_all_threads(&store, |thread, documents| {
        // In different orders, so that they would wait for each other in circles.
        let mut two = [
            ids[usize::try_from(thread % 4)?],
            ids[usize::try_from((thread / 4 + thread + 1) % 4)?],
        ];
        if two[0] == two[1] {
            two = ["a", "d"];
        }
        documents.handle_many_with(two, HandleOptions::new().retry(1_000), |id, account| {
            let mut account = account.ok_or_else(|| anyhow::anyhow!("no account {id}"))?;
            let by = if id == two[0] { -1 } else { 1 };
            account["balance"] = json!(account["balance"].as_i64().unwrap_or(0) + by);
            Ok(Some(account))
        })?;
        Ok(())
    })?;
    let balances = ids.map(|id| found(&store, id).map(|account| account["balance"].as_i64()));
    let mut sum = 0;
    for balance in balances {
        sum += balance?.unwrap_or(0);
    }
    assert_eq!(sum, 400);
    Ok(())
}

#[test]
fn replacements_of_several_documents_overwrite_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let accounts = ["a", "b"].map(|id| json!({"_id": id, "n": 0}));
    store.collection("shared").insert_many(&accounts)?;
    let replaced = on_all_threads(&store, |thread, documents| {
        let mut replaced = 0;
        for _ in 0..ROUNDS {
            let mut both = documents.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
            for account in &mut both {
                account["n"] = json!(account["n"].as_i64().unwrap_or(0) + 1);
            }
            let mut replacements: Vec<_> = ["a", "b"]
                .into_iter()
                .zip(&both)
                .map(|(id, account)| {
                    let version = account["_version"].as_u64().unwrap_or(0);
                    Replacement::new(id, account).expected_version(version)
                })
                .collect();
            // In different orders, so that they would wait for each other in circles.
            if thread % 2 == 0 {
                replacements.reverse();
            }
            match documents.replace_many(replacements) {
                Ok(_) => replaced += 1,
                Err(error) => assert!(error.is_conflict(), "{error:?}"),
            }
        }
        Ok(replaced)
    })?;
    let replaced: i64 = replaced.iter().sum();
    assert!(replaced >= ROUNDS, "somebody is always first");
    for id in ["a", "b"] {
        assert_eq!(
            found(&store, id)?["n"],
            replaced,
            "all or none, and none lost"
        );
    }
    Ok(())
}

#[test]
fn one_of_all_inserts_of_one_id_wins() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let won = on_all_threads(&store, |thread, documents| {
        match documents.insert_one(&json!({"_id": "one", "thread": thread})) {
            Ok(_) => Ok(Some(thread)),
            Err(Error::Exists { id, .. }) if id == "one" => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    let winners: Vec<i64> = won.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(found(&store, "one")?["thread"], winners[0]);
    Ok(())
}

#[test]
fn one_of_all_writes_that_expect_one_version_wins() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store
        .collection("shared")
        .insert_one(&json!({"_id": "one", "n": 0}))?;
    let won = on_all_threads(&store, |thread, documents| {
        let expected = UpdateOptions::new().expected_version(1);
        let filter = if thread % 2 == 0 {
            json!({"_id": "one"})
        } else {
            json!({"n": {"$gte": 0}})
        };
        match documents.update_one_with(filter, json!({"$inc": {"n": 1}}), expected) {
            Ok(updated) => Ok(i64::from(updated.modified)),
            Err(error) if error.is_conflict() => Ok(0),
            Err(error) => Err(error.into()),
        }
    })?;
    assert_eq!(won.iter().sum::<i64>(), 1);
    assert_eq!(found(&store, "one")?["n"], 1);
    Ok(())
}

#[test]
fn a_queue_gives_each_job_to_one() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let jobs: Vec<Value> = (0..100)
        .map(|n| json!({"_id": format!("{n:03}"), "n": n}))
        .collect();
    store.collection("shared").insert_many(&jobs)?;
    let taken = on_all_threads(&store, |_, documents| {
        let mut taken = Vec::new();
        while let Some(job) = documents.find_one_and_delete(json!({"n": {"$gte": 0}}))? {
            taken.push(job["n"].as_i64());
        }
        Ok(taken)
    })?;
    let mut taken: Vec<Option<i64>> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..100).map(Some).collect::<Vec<_>>());
    Ok(())
}
