//! The transitions of a slot, as drawn. "from" and "to" in the test names are states.

use super::fixtures::Slot;
use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::{
    DocumentProjection, Error, FailurePolicy, RawEvent, Reactor, Recorded, error::ProcessorError,
};
use serde_json::json;
use std::sync::mpsc::channel;
use std::time::Duration;

/// A checkpoint as a worker writes it; changes nothing unless the slot has the epoch.
fn checkpoint(slot: &Slot, owner: &str, epoch: i64) -> anyhow::Result<u64> {
    let sql =
        "UPDATE emt_processor_slots SET position = 9 WHERE slot = 1 AND owner = $1 AND epoch = $2";
    Ok(slot.database.client()?.execute(sql, &[&owner, &epoch])?)
}

#[test]
fn register_from_no_row_to_free() -> anyhow::Result<()> {
    let mut slot = Slot::none()?;
    assert_eq!(slot.see()?, None);

    slot.register()?;

    slot.is("free", None, 0)?;
    assert_eq!(slot.seen()?.position, 5);
    Ok(())
}

#[test]
fn take_from_free_to_held() -> anyhow::Result<()> {
    let mut slot = Slot::free()?;
    slot.take("first")?;
    slot.is("held", Some("first"), 1)
}

#[test]
fn release_from_held_to_free() -> anyhow::Result<()> {
    let mut slot = Slot::held()?;

    slot.release("second")?;
    slot.is("held", Some("first"), 1)?;
    slot.release_wanted("first")?;
    slot.is("held", Some("first"), 1)?;

    slot.release("first")?;
    slot.is("free", None, 1)
}

#[test]
fn release_from_after_crash_no_longer_counts_the_attempt_of_its_holder() -> anyhow::Result<()> {
    let mut slot = Slot::after_crash()?;
    slot.set("attempted = 6, attempts = 2, attempt_epoch = epoch - 1")?;
    slot.release("second")?;
    slot.is("free", None, 2)?;
    assert_eq!(slot.seen()?.attempts, 2, "it has not tried");

    slot.take("third")?;
    slot.set("attempted = 6, attempts = 3, attempt_epoch = epoch")?;
    slot.release("third")?;
    let seen = slot.seen()?;
    assert_eq!((seen.crashes, seen.attempts), (0, 2), "it has lived");
    Ok(())
}

#[test]
fn ask_from_held_to_wanted() -> anyhow::Result<()> {
    let mut slot = Slot::held()?;
    slot.take("second")?;
    slot.is("wanted", Some("first"), 1)
}

#[test]
fn ask_lapses_from_wanted_to_held() -> anyhow::Result<()> {
    let mut slot = Slot::wanted()?;

    slot.set("wanted_until = clock_timestamp()")?;

    slot.is("held", Some("first"), 1)?;
    slot.release_wanted("first")?;
    slot.is("held", Some("first"), 1)
}

#[test]
fn release_from_wanted_to_promised() -> anyhow::Result<()> {
    let mut slot = Slot::wanted()?;
    slot.release_wanted("first")?;
    slot.is("promised", None, 1)?;
    slot.take("third")?;
    slot.is("promised", None, 1)
}

#[test]
fn take_by_the_worker_that_asked_from_promised_to_held() -> anyhow::Result<()> {
    let mut slot = Slot::promised()?;
    slot.take("second")?;
    slot.is("held", Some("second"), 2)
}

#[test]
fn promise_lapses_from_promised_to_free() -> anyhow::Result<()> {
    let mut slot = Slot::promised()?;
    slot.set("wanted_until = clock_timestamp()")?;
    slot.is("free", None, 1)?;
    slot.take("third")?;
    slot.is("held", Some("third"), 2)
}

#[test]
fn lease_runs_out_from_held_to_expired() -> anyhow::Result<()> {
    let mut slot = Slot::held()?;
    slot.set("expires_at = clock_timestamp() + INTERVAL '1 ms'")?;
    wait_until("it runs out", || {
        slot.state().is_ok_and(|state| state == "expired")
    });
    slot.is("expired", Some("first"), 1)?;
    assert_eq!(checkpoint(&slot, "first", 1)?, 1, "it is not lost yet");
    Ok(())
}

#[test]
fn take_further_on_from_expired_to_held_and_the_owner_before_changes_nothing() -> anyhow::Result<()>
{
    let mut slot = Slot::expired()?;
    slot.set("position = 7")?;

    slot.take("second")?;

    slot.is("held", Some("second"), 2)?;
    assert_eq!(checkpoint(&slot, "first", 1)?, 0, "it has lost the slot");
    assert_eq!(checkpoint(&slot, "second", 2)?, 1);
    Ok(())
}

#[test]
fn take_where_it_was_taken_before_from_expired_to_after_crash() -> anyhow::Result<()> {
    let mut slot = Slot::expired()?;

    slot.take("second")?;
    slot.is("after crash", Some("second"), 2)?;
    assert_eq!(slot.seen()?.crashes, 1);

    slot.set("expires_at = clock_timestamp()")?;
    slot.take("third")?;
    slot.is("after crash", Some("third"), 3)?;
    assert_eq!(slot.seen()?.crashes, 2);
    Ok(())
}

#[test]
fn take_after_a_release_tells_of_no_crash() -> anyhow::Result<()> {
    let mut slot = Slot::after_crash()?;
    slot.release("second")?;
    slot.take("third")?;
    slot.is("held", Some("third"), 3)
}

#[test]
fn renew_from_expired_to_held() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let reactor = Reactor::new("mails").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let consumer = store
        .consumer()
        .reactor(reactor)
        .lease(Duration::from_millis(400))
        .start()?;
    let mut client = database.client()?;
    let mut seen = |what: &str| {
        let sql = format!("SELECT FROM emt_processor_slots WHERE {what} AND epoch = 1");
        client.query_opt(&sql, &[]).is_ok_and(|row| row.is_some())
    };
    wait_until("it has the slot", || {
        seen("owner IS NOT NULL AND expires_at > clock_timestamp()")
    });

    let expire =
        "UPDATE emt_processor_slots SET expires_at = clock_timestamp() - INTERVAL '1 hour'";
    database.client()?.batch_execute(expire)?;

    wait_until("it has renewed the lease", || {
        seen("expires_at > clock_timestamp()")
    });
    consumer.stop()?;
    Ok(())
}

#[test]
fn a_checkpoint_moves_the_position_and_keeps_the_slot() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let reactor = Reactor::new("mails").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let consumer = store.consumer().reactor(reactor).start()?;
    for number in 1..=3 {
        let appended = store.append_to_stream("Cart-1", &[added("hat", number)])?;
        store.wait_for(
            "mails",
            appended.last_global_position,
            Duration::from_secs(30),
        )?;
    }

    let sql = "SELECT position, epoch, owner IS NOT NULL FROM emt_processor_slots";
    let row = database.client()?.query_one(sql, &[])?;
    assert_eq!((row.get(0), row.get(1), row.get(2)), (3_i64, 1_i64, true));
    consumer.stop()?;
    Ok(())
}

#[test]
fn after_a_crash_an_attempt_is_counted_before_the_message_is_handled() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let mut client = database.client()?;
    // Its holder has died of the first message, and two more after that.
    client.batch_execute(
        "SELECT emt_processor_register('emt:default', 'mails', 1, 1, 0);
         UPDATE emt_processor_slots
            SET owner = 'dead', worker = 0, epoch = 3, expires_at = clock_timestamp(), taken_position = 0, crashes = 2,
                attempted = 1, attempts = 2, attempt_epoch = 3",
    )?;
    let attempts = "SELECT attempts, crashes FROM emt_processor_slots";
    let (sender, seen) = channel();
    let url = database.url().to_owned();
    let reactor = Reactor::new("mails").each(move |_: &Recorded<RawEvent>, _| {
        let mut client = postgres::Client::connect(&url, postgres::NoTls)?;
        let row = client.query_one(attempts, &[])?;
        sender.send((row.get::<_, i32>(0), row.get::<_, i32>(1)))?;
        Ok(())
    });

    let _ = store.consumer().reactor(reactor).run_until_caught_up()?;

    assert_eq!(seen.recv()?, (3, 3));
    let row = client.query_one(attempts, &[])?;
    assert_eq!((row.get(0), row.get(1)), (0, 0), "it was handled");
    Ok(())
}

#[test]
fn fail_from_held_to_failed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let reactor = Reactor::new("mails")
        .each(|_: &Recorded<RawEvent>, _| anyhow::bail!("it is broken"))
        .slots(2)
        .on_failure(FailurePolicy::stop());

    let failed = store.consumer().reactor(reactor).run_until_caught_up();
    assert!(
        matches!(
            failed,
            Err(Error::Processor(ProcessorError::JobFailed { .. }))
        ),
        "{failed:?}"
    );

    let mut client = database.client()?;
    let sql = "SELECT status, last_error, owner FROM emt_processor_slots";
    let rows = client.query(sql, &[])?;
    assert_eq!(rows.len(), 2, "all slots have failed");
    for row in rows {
        let (status, error): (String, String) = (row.get(0), row.get(1));
        assert_eq!(status, "failed");
        assert!(error.contains("it is broken"), "{error}");
        assert_eq!(row.get::<_, Option<String>>(2), None, "it was given back");
    }
    Ok(())
}

#[test]
fn a_failed_slot_is_not_taken() -> anyhow::Result<()> {
    let mut slot = Slot::failed()?;
    slot.set("expires_at = clock_timestamp()")?;
    slot.take("second")?;
    slot.is("failed", Some("first"), 1)
}

#[test]
fn register_from_failed_to_what_it_was() -> anyhow::Result<()> {
    let mut slot = Slot::failed()?;
    slot.register()?;
    slot.is("held", Some("first"), 1)
}

#[test]
fn reset_keeps_the_state_and_raises_the_epoch() -> anyhow::Result<()> {
    type State = fn() -> anyhow::Result<Slot>;
    let states: [(State, &str, Option<&str>, i64); 7] = [
        (Slot::free, "free", None, 0),
        (Slot::held, "held", Some("first"), 1),
        (Slot::wanted, "wanted", Some("first"), 1),
        (Slot::promised, "promised", None, 1),
        (Slot::expired, "expired", Some("first"), 1),
        (Slot::after_crash, "held", Some("second"), 2),
        (Slot::failed, "held", Some("first"), 1),
    ];
    for (begin, state, owner, epoch) in states {
        let mut slot = begin()?;
        slot.set("attempted = 6, attempts = 2")?;

        slot.store.processors().reset("carts", 0)?;

        slot.is(state, owner, epoch + 1)?;
        let seen = slot.seen()?;
        assert_eq!((seen.position, seen.crashes, seen.attempts), (0, 0, 0));
    }
    Ok(())
}

#[test]
fn hold_from_any_state_to_rebuilding() -> anyhow::Result<()> {
    type State = fn() -> anyhow::Result<Slot>;
    let states: [(State, i64); 6] = [
        (Slot::free, 0),
        (Slot::held, 1),
        (Slot::wanted, 1),
        (Slot::promised, 1),
        (Slot::expired, 1),
        (Slot::after_crash, 2),
    ];
    for (begin, epoch) in states {
        let mut slot = begin()?;
        slot.hold()?;
        slot.is("rebuilding", Some("rebuild"), epoch + 1)?;
        slot.take("third")?;
        slot.is("rebuilding", Some("rebuild"), epoch + 1)?;
        assert_eq!(checkpoint(&slot, "first", epoch)?, 0);
    }
    Ok(())
}

#[test]
fn release_from_rebuilding_to_free() -> anyhow::Result<()> {
    let mut slot = Slot::rebuilding()?;
    slot.release_hold()?;
    slot.is("free", None, 2)?;
    slot.take("second")?;
    slot.is("held", Some("second"), 3)
}

#[test]
fn five_minutes_from_rebuilding_to_expired_and_no_crash_is_counted() -> anyhow::Result<()> {
    let mut slot = Slot::rebuilding()?;
    let left = "expires_at BETWEEN clock_timestamp() + INTERVAL '4 min' AND clock_timestamp() + INTERVAL '5 min'";
    let sql = format!("SELECT count(*) FROM emt_processor_slots WHERE {left}");
    let slots: i64 = slot.database.client()?.query_one(&sql, &[])?.get(0);
    assert_eq!(slots, 2);

    slot.set("expires_at = clock_timestamp()")?;

    slot.is("expired", Some("rebuild"), 2)?;
    slot.take("second")?;
    slot.is("held", Some("second"), 3)
}

#[test]
fn a_rebuild_leaves_its_version_free_and_fails_the_others() -> anyhow::Result<()> {
    let mut slot = Slot::held()?;
    // The slots begin after position 5.
    for _ in 1..=5 {
        slot.store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    }
    let projection = DocumentProjection::single_stream(
        "carts",
        |_: Option<serde_json::Value>, _: &Recorded<CartEvent>| Some(json!({})),
    );

    slot.set("version = 2, projection = 'carts'")?;
    slot.store.rebuild_with(projection).run()?;

    slot.is("failed", None, 2)?;
    let mut client = slot.database.client()?;
    client.batch_execute("UPDATE emt_processor_slots SET version = 1")?;
    slot.store
        .rebuild_with(DocumentProjection::single_stream(
            "carts",
            |_: Option<serde_json::Value>, _: &Recorded<CartEvent>| Some(json!({})),
        ))
        .run()?;
    slot.is("free", None, 4)
}

#[test]
fn forget_from_any_state_in_which_nobody_holds_it_to_no_row() -> anyhow::Result<()> {
    for begin in [Slot::free, Slot::promised, Slot::expired] {
        let mut slot = begin()?;
        // Of a promised slot, the other one is held.
        slot.set("expires_at = clock_timestamp()")?;
        slot.store.processors().forget("carts")?;
        assert_eq!(slot.see()?, None);
    }
    for begin in [
        Slot::held,
        Slot::wanted,
        Slot::after_crash,
        Slot::rebuilding,
    ] {
        let mut slot = begin()?;
        let before = slot.seen()?;
        let refused = slot.store.processors().forget("carts");
        assert!(
            matches!(refused, Err(Error::Processor(ProcessorError::Held { .. }))),
            "{refused:?}"
        );
        assert_eq!(slot.seen()?, before);
    }
    Ok(())
}

#[test]
fn a_removed_tenant_leaves_no_row_of_a_slot_or_a_parked_message() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    store.tenants().add("acme")?;
    client.batch_execute(
        "SELECT emt_processor_register('acme', 'carts', 1, 2, 0);
         SELECT emt_slot_take('acme', 'carts', 1, 'first', 0, INTERVAL '1 hour', 1);
         SELECT emt_processor_register('emt:default', 'carts', 1, 2, 0);
         INSERT INTO emt_parked_messages
             (partition, processor, version, slot, global_position, stream_id, stream_position, message_type)
         VALUES ('acme', 'carts', 1, 0, 1, 'Cart-1', 1, 'ItemAdded')",
    )?;

    store.tenants().remove("acme")?.with_all_data()?;

    let left = client.query_one(
        "SELECT (SELECT count(*) FROM emt_processor_slots WHERE partition = 'acme'),
                (SELECT count(*) FROM emt_parked_messages WHERE partition = 'acme'),
                (SELECT count(*) FROM emt_processor_slots WHERE partition = 'emt:default')",
        &[],
    )?;
    let left: [i64; 3] = [left.get(0), left.get(1), left.get(2)];
    assert_eq!(left, [0, 0, 2]);
    Ok(())
}
