//! Processors and projections that Emmett's client shares with a program of this library. The tests send the SQL of
//! Emmett for Node. `tests/node` runs Emmett itself.

use crate::consumer::fixtures::{Counted, counted, counts, journal, journaled};
use crate::support::{CartEvent, added, store, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    Error, EventStore, Projector, Reactor, Recorded, database::SchemaState, error::ProjectionError,
    operations::ProcessorState,
};
use postgres::Client;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// How Emmett for Node names the processor of the projection "carts".
const OF_CARTS: &str = "emt:processor:projector:carts";

/// A client of Emmett's.
struct Node(Client);

impl Node {
    fn new(database: &Database) -> anyhow::Result<Self> {
        Ok(Self(database.client()?))
    }

    /// The checkpoint, where it gets the processor.
    fn take_for(
        &mut self,
        processor: &str,
        instance: &str,
        projection: Option<&str>,
        seconds: i32,
    ) -> anyhow::Result<Option<String>> {
        let row = self.0.query_one(
            "SELECT acquired, checkpoint FROM emt_try_acquire_processor_lock(
                 1::BIGINT, $1, 1, 'emt:default', $2, $3::TEXT, 'a', 'async', $4)",
            &[&processor, &instance, &projection, &seconds],
        )?;
        let acquired: bool = row.get("acquired");
        let checkpoint: Option<String> = row.get("checkpoint");
        assert_eq!(acquired, checkpoint.is_some());
        Ok(checkpoint)
    }

    fn take(
        &mut self,
        processor: &str,
        projection: Option<&str>,
    ) -> anyhow::Result<Option<String>> {
        self.take_for(processor, "node", projection, 300)
    }

    fn give_back(&mut self, processor: &str, projection: Option<&str>) -> anyhow::Result<bool> {
        let row = self.0.query_one(
            "SELECT emt_release_processor_lock(1::BIGINT, $1, 'emt:default', 1, 'node', $2::TEXT)",
            &[&processor, &projection],
        )?;
        Ok(row.get(0))
    }

    fn set_checkpoint(
        &mut self,
        processor: &str,
        position: &str,
        check: &str,
    ) -> Result<i32, postgres::Error> {
        let row = self.0.query_one(
            "SELECT store_processor_checkpoint($1, 1::BIGINT, $2, $3, pg_current_xact_id(), 'emt:default', 'emt:unknown')",
            &[&processor, &position, &check],
        )?;
        Ok(row.get(0))
    }

    fn checkpoint(&mut self, processor: &str) -> anyhow::Result<String> {
        let sql = "SELECT last_processed_checkpoint FROM emt_processors
                    WHERE partition = 'emt:default' AND processor_id = $1 AND version = 1";
        Ok(self.0.query_one(sql, &[&processor])?.get(0))
    }

    fn register(&mut self, projection: &str) -> anyhow::Result<bool> {
        let row = self.0.query_one(
            "SELECT emt_register_projection(2::BIGINT, $1, 'emt:default', 1, 'a', 'pongo', 'active', '{\"canHandle\": []}')",
            &[&projection],
        )?;
        Ok(row.get(0))
    }

    /// Whether it runs the projection in its appends.
    fn runs_inline(&mut self, projection: &str) -> anyhow::Result<bool> {
        let row = self.0.query_one(
            "SELECT acquired AND is_active FROM emt_try_acquire_projection_lock(2::BIGINT, 'emt:default', $1, 1)",
            &[&projection],
        )?;
        Ok(row.get(0))
    }

    /// The table of a collection, as Pongo for Node creates it, with a document.
    fn fill_collection(&mut self, name: &str) -> anyhow::Result<()> {
        self.0.batch_execute(&format!(
            "CREATE TABLE {name} (
                 _id TEXT PRIMARY KEY, data JSONB NOT NULL, metadata JSONB NOT NULL DEFAULT '{{}}',
                 _version BIGINT NOT NULL DEFAULT 1, _partition TEXT NOT NULL DEFAULT 'png_global',
                 _archived BOOLEAN NOT NULL DEFAULT FALSE, _created TIMESTAMPTZ NOT NULL DEFAULT now(),
                 _updated TIMESTAMPTZ NOT NULL DEFAULT now());
             INSERT INTO {name} (_id, data) VALUES ('Cart-1', '{{\"events\": 2, \"items\": 2, \"last\": 2}}')"
        ))?;
        Ok(())
    }
}

/// The position as Emmett writes it.
fn at(position: u64) -> String {
    format!("{position:019}")
}

/// A store with three events of one cart.
fn shop() -> anyhow::Result<(Database, EventStore, Node)> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Cart-1",
        &[added("hat", 1), added("hat", 1), added("hat", 1)],
    )?;
    let node = Node::new(&database)?;
    Ok((database, store, node))
}

fn catch_up(store: &EventStore, projector: impl Into<Projector>) -> emmett_postgresql::Result<()> {
    let consumer = store.consumer().projector(projector);
    consumer.run_until_caught_up().map(drop)
}

#[test]
fn a_projector_goes_on_where_the_other_library_was() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    assert_eq!(node.take(OF_CARTS, Some("carts"))?, Some(at(0)));
    assert_eq!(node.set_checkpoint(OF_CARTS, &at(2), &at(0))?, 1);
    assert!(node.give_back(OF_CARTS, Some("carts"))?);

    catch_up(&store, journal("carts"))?;

    assert_eq!(journaled(&mut node.0, "carts")?, [3]);
    let status = &store.processors().list()?[0];
    assert_eq!((status.name.as_str(), status.position), ("carts", 3));
    assert_eq!(node.checkpoint(OF_CARTS)?, at(3));
    assert_eq!(node.take(OF_CARTS, Some("carts"))?, Some(at(3)));
    let status = &store.processors().list()?[0];
    assert_eq!(status.state, ProcessorState::Running);
    let holder = status.slots[0]
        .holder
        .as_ref()
        .expect("the client holds it");
    assert_eq!(holder.owner, "node");
    Ok(())
}

#[test]
fn a_client_of_emmetts_finds_a_projector_of_ours_by_its_projection() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let named = || Projector::new(journal("carts")).name("cart-keeping");
    catch_up(&store, named())?;

    assert_eq!(node.take("an id of its own", Some("carts"))?, Some(at(3)));
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 1)])?;
    assert_eq!(node.set_checkpoint("an id of its own", &at(4), &at(3))?, 1);
    assert!(node.give_back("an id of its own", Some("carts"))?);

    catch_up(&store, named())?;
    assert_eq!(journaled(&mut node.0, "carts")?, [1, 2, 3, 5]);
    assert_eq!(node.take("another id", Some("carts"))?, None);
    Ok(())
}

#[test]
fn only_one_of_both_libraries_runs_a_processor() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let nothing = || Reactor::new("mails").each(|_: &Recorded<CartEvent>, _| Ok(()));
    assert_eq!(node.take("mails", None)?, Some(at(0)));
    assert_eq!(node.take_for("mails", "another", None, 300)?, None);

    let consumer = store.consumer().reactor(nothing()).start()?;
    assert_eq!(consumer.handled("mails"), 0);
    assert_eq!(node.set_checkpoint("mails", &at(1), &at(0))?, 1);
    assert!(node.give_back("mails", None)?);
    store.wait_for("mails", 3, PATIENCE)?;

    assert_eq!(consumer.handled("mails"), 2);
    assert_eq!(node.take("mails", None)?, None);
    consumer.stop()?;
    assert_eq!(node.take("mails", None)?, Some(at(3)));
    assert!(!node.give_back("another", None)?);
    Ok(())
}

#[test]
fn a_client_that_has_lost_its_lease_commits_nothing() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let nothing = || Reactor::new("mails").each(|_: &Recorded<CartEvent>, _| Ok(()));
    assert_eq!(node.take_for("mails", "node", None, 0)?, Some(at(0)));

    let consumer = store.consumer().reactor(nothing()).start()?;
    store.wait_for("mails", 3, PATIENCE)?;
    for (position, check) in [(2, 0), (4, 3)] {
        let held = node.set_checkpoint("mails", &at(position), &at(check));
        let held = held.expect_err("the program holds it");
        assert_eq!(
            held.code().map(postgres::error::SqlState::code),
            Some("SE013")
        );
    }
    consumer.stop()?;

    for position in [2, 3, 4] {
        let moved = node.set_checkpoint("mails", &at(position), &at(0));
        assert!(moved.is_err(), "the program has handled the messages");
    }
    assert_eq!(store.processors().list()?[0].position, 3);
    let slots = &store.processors().list()?[0].slots;
    assert_eq!(slots[0].crashes, 0, "that a client was idle is no crash");
    Ok(())
}

#[test]
fn a_client_does_not_go_on_after_a_reset() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    node.take("mails", None)?;
    assert_eq!(node.set_checkpoint("mails", &at(3), &at(0))?, 1);

    store.processors().reset("mails", 1)?;

    assert!(node.set_checkpoint("mails", &at(4), &at(3)).is_err());
    assert_eq!(node.take("mails", None)?, Some(at(1)));
    assert_eq!(node.set_checkpoint("mails", &at(2), &at(1))?, 1);
    Ok(())
}

#[test]
fn a_checkpoint_renews_the_lease_of_a_client() -> anyhow::Result<()> {
    let (_database, _store, mut node) = shop()?;
    node.take("mails", None)?;
    node.0
        .batch_execute("UPDATE emt_processor_slots SET expires_at = now() - INTERVAL '1 second'")?;

    assert_eq!(node.set_checkpoint("mails", &at(1), &at(0))?, 1);

    let left = "SELECT expires_at > now() + INTERVAL '200 seconds' FROM emt_processor_slots";
    assert!(node.0.query_one(left, &[])?.get::<_, bool>(0));
    Ok(())
}

#[test]
fn a_client_gets_all_slots_or_none() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let projector = || Projector::new(journal("carts")).slots(3);
    catch_up(&store, projector())?;
    node.0
        .batch_execute("UPDATE emt_processor_slots SET position = 2 WHERE slot = 1")?;

    assert_eq!(node.take(OF_CARTS, Some("carts"))?, None);
    node.0.batch_execute(
        "UPDATE emt_processor_slots SET position = 3, emmett_name = 'mine' WHERE slot = 1",
    )?;
    assert_eq!(node.checkpoint("mine")?, at(3));
    node.0
        .batch_execute("UPDATE emt_processor_slots SET emmett_name = NULL")?;
    assert_eq!(node.take(OF_CARTS, Some("carts"))?, Some(at(3)));

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(node.set_checkpoint(OF_CARTS, &at(4), &at(3))?, 1);
    assert!(node.give_back(OF_CARTS, Some("carts"))?);
    let status = &store.processors().list()?[0];
    let positions: Vec<u64> = status.slots.iter().map(|slot| slot.position).collect();
    assert_eq!(positions, [4, 4, 4]);
    Ok(())
}

#[test]
fn a_processor_of_a_client_that_runs_gets_more_slots_with_their_holder() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    node.take("mails", None)?;
    let register =
        "SELECT emt_processor_register('emt:default', 'mails', 1, 4, 0, NULL, '[]'::JSONB, NULL)";
    assert_eq!(node.0.query_one(register, &[])?.get::<_, i32>(0), 4);

    let take = "SELECT slot FROM emt_slot_take('emt:default', 'mails', 1, 'ours', 0, INTERVAL '1 hour', 1)";
    assert!(node.0.query(take, &[])?.is_empty());
    assert_eq!(store.processors().list()?[0].slots.len(), 4);
    assert_eq!(node.set_checkpoint("mails", &at(2), &at(0))?, 1);
    node.0
        .batch_execute("UPDATE emt_processor_slots SET wanted_by = NULL")?;
    assert!(node.give_back("mails", None)?);
    assert_eq!(node.0.query(take, &[])?.len(), 4);
    Ok(())
}

#[test]
fn a_checkpoint_with_a_transaction_is_kept_as_it_was_written() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    node.take("mails", None)?;
    let last = "SELECT lpad(transaction_id::TEXT, 20, '0') || ':' || lpad('3', 19, '0') FROM emt_messages LIMIT 1";
    let last: String = node.0.query_one(last, &[])?.get(0);

    assert_eq!(node.set_checkpoint("mails", &last, &at(0))?, 1);
    assert_eq!(node.checkpoint("mails")?, last);
    assert_eq!(store.processors().list()?[0].position, 3);
    assert_eq!(
        node.set_checkpoint("mails", &at(5), &at(3))?,
        1,
        "of an older client"
    );
    assert_eq!(node.checkpoint("mails")?, at(5));
    Ok(())
}

#[test]
fn a_projector_does_not_begin_at_the_first_event_of_a_model_that_is_filled() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    node.fill_collection("carts")?;
    node.register("carts")?;
    node.0.execute(
        "INSERT INTO emt_processors (processor_id, last_processed_checkpoint) VALUES ('my-carts', $1)",
        &[&at(2)],
    )?;

    let refused = store
        .consumer()
        .projector(counts("carts"))
        .run_until_caught_up();
    let refused = refused.expect_err("nobody knows how far the read model is");
    assert!(
        matches!(
            &refused,
            Error::Projection(ProjectionError::Mismatch { .. })
        ),
        "{refused:?}"
    );
    assert!(
        refused.to_string().contains("has rows of Emmett for Node"),
        "{refused}"
    );

    let named = Projector::new(counts("carts")).name("my-carts");
    catch_up(&store, named)?;
    let carts = counted(&store, "carts", "Cart-1")?;
    assert_eq!(
        carts,
        Some(Counted {
            events: 3,
            items: 3,
            last: 3
        })
    );
    Ok(())
}

#[test]
fn a_rebuild_gives_a_filled_model_a_beginning() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    node.fill_collection("carts")?;
    node.register("carts")?;

    store.rebuild_with(counts("carts")).run()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    catch_up(&store, counts("carts"))?;

    let carts = counted(&store, "carts", "Cart-1")?;
    assert_eq!(
        carts,
        Some(Counted {
            events: 4,
            items: 4,
            last: 4
        })
    );
    Ok(())
}

#[test]
fn an_inline_projection_of_emmetts_becomes_ours() -> anyhow::Result<()> {
    let (database, _store, mut node) = shop()?;
    node.fill_collection("carts")?;
    assert!(node.register("carts")?);
    assert!(node.runs_inline("carts")?);

    let store = EventStore::builder(database.url())
        .inline_projection(counts("carts"))
        .open()?;
    wait_until_active(&store);
    assert!(
        !node.runs_inline("carts")?,
        "our program handles what the client appends"
    );
    assert!(node.register("carts")?);
    let deactivate = "SELECT emt_deactivate_projection(2::BIGINT, 'carts', 'emt:default', 1)";
    assert!(!node.0.query_one(deactivate, &[])?.get::<_, bool>(0));
    assert_eq!(node.take(OF_CARTS, Some("carts"))?, None);
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let carts = counted(&store, "carts", "Cart-1")?;
    assert_eq!(
        carts,
        Some(Counted {
            events: 4,
            items: 4,
            last: 4
        })
    );
    Ok(())
}

#[test]
fn what_a_projector_of_emmetts_keeps_does_not_become_inline() -> anyhow::Result<()> {
    let (database, _store, mut node) = shop()?;
    node.take(OF_CARTS, Some("carts"))?;
    node.give_back(OF_CARTS, Some("carts"))?;

    let refused = EventStore::builder(database.url())
        .inline_projection(counts("carts"))
        .open();

    let refused = refused.expect_err("a projector keeps it");
    assert!(refused.to_string().contains("by a consumer"), "{refused}");
    Ok(())
}

#[test]
fn registrations_in_two_open_transactions_do_not_wait_for_each_other() -> anyhow::Result<()> {
    let (database, _store, mut node) = shop()?;
    let mut other = Node::new(&database)?;
    node.0.batch_execute("BEGIN")?;
    other
        .0
        .batch_execute("BEGIN; SET LOCAL lock_timeout = '20s'")?;

    for round in ["one", "two"] {
        assert!(node.register(&format!("first_{round}"))?);
        assert!(other.0.query_one(
            "SELECT emt_register_projection(3::BIGINT, $1, 'emt:default', 1, 'i', 'pongo', 'active', '{}')",
            &[&format!("second_{round}")],
        )?.get::<_, bool>(0));
    }
    other.0.batch_execute("COMMIT")?;
    node.0.batch_execute("COMMIT")?;
    Ok(())
}

#[test]
fn the_row_of_a_processor_can_be_written_as_emmetts_own_functions_do() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let insert =
        "INSERT INTO emt_processors (processor_id, version, last_processed_checkpoint, partition,
                      last_processed_transaction_id, created_at, last_updated)
                  VALUES ('mails', 1, '2', 'emt:default', '0', now(), now())";
    node.0.batch_execute(insert)?;
    let twice = node.0.batch_execute(insert).expect_err("the row is there");
    assert_eq!(
        twice.code(),
        Some(&postgres::error::SqlState::UNIQUE_VIOLATION)
    );

    let update = "UPDATE emt_processors SET last_processed_checkpoint = '3', last_updated = now()
                   WHERE processor_id = 'mails' AND last_processed_checkpoint = '2'";
    assert_eq!(node.0.execute(update, &[])?, 1);
    assert_eq!(node.0.execute(update, &[])?, 0);
    assert_eq!(store.processors().list()?[0].position, 3);
    node.0.batch_execute("DELETE FROM emt_processors")?;
    assert!(store.processors().list()?.is_empty());
    Ok(())
}

#[test]
fn migrating_mends_what_emmetts_migrations_have_replaced() -> anyhow::Result<()> {
    let (_database, store, mut node) = shop()?;
    let schema = store.schema();
    assert!(matches!(schema.state()?, SchemaState::Current { .. }));
    for replaced in [
        "CREATE OR REPLACE FUNCTION emt_release_processor_lock(
             p_lock_key BIGINT, p_processor_id TEXT, p_partition TEXT, p_version INT,
             p_processor_instance_id TEXT DEFAULT 'emt:unknown', p_projection_name TEXT DEFAULT NULL
         ) RETURNS BOOLEAN LANGUAGE plpgsql AS 'BEGIN RETURN FALSE; END'",
        "CREATE OR REPLACE FUNCTION emt_add_partition(partition_name TEXT) RETURNS VOID
             LANGUAGE plpgsql AS 'BEGIN PERFORM emt_add_table_partition(''emt_messages'', partition_name); END'",
    ] {
        node.0.batch_execute(replaced)?;
        assert!(matches!(schema.state()?, SchemaState::Replaced { .. }));
        assert_eq!(schema.migrate()?.applied, ["functions for Emmett"]);
        assert!(matches!(schema.state()?, SchemaState::Current { .. }));
    }
    node.take("mails", None)?;
    assert!(node.give_back("mails", None)?);
    Ok(())
}
