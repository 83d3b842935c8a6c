//! What each part of the missed list is for: every test shows a scenario that comes out well with the schema as it is, and
//! does not once that part is taken out.

use super::{insert, with_version};
use crate::events::fence::fixtures::{Change, Ground, fails_without};
use crate::support::{CartEvent, added};
use emmett_postgresql::ProjectionStatus;
use postgres::Client;
use postgres::error::SqlState;
use std::thread;

const REGISTER: &str = "
    SELECT emt_projection_register('emt:default', 'orders', 1, 'i', 'sql', '{\"handles\": null}')";

const ACTIVATE: &str = "UPDATE emt_projections SET status = 'active'";

/// A store in which a projection is active that no program follows.
fn activate(ground: &Ground) -> anyhow::Result<()> {
    ground.client()?.query(REGISTER, &[])?;
    Ok(ground.client()?.batch_execute(ACTIVATE)?)
}

/// Appends as a program with the projection, or as a stranger; whether the program has to run it.
fn append(client: &mut Client, stream: &str, is_runner: bool) -> Result<bool, postgres::Error> {
    let projections = is_runner.then(|| serde_json::json!({ "orders": 1 }));
    let row = client.query_one(
        "SELECT emt_append($1, 'Cart', 'emt:default', NULL, ARRAY[gen_random_uuid()::TEXT], ARRAY['Added'], ARRAY['E'],
                           ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], FALSE, $2)",
        &[&stream, &projections],
    )?;
    let result: Vec<i64> = row.get(0);
    Ok(is_runner && (result[0] == 0 || result[3] == 1))
}

fn noted(ground: &Ground) -> anyhow::Result<i64> {
    let count = "SELECT count(*) FROM emt_missed";
    Ok(ground.client()?.query_one(count, &[])?.get(0))
}

#[test]
fn a_stranger_notes_what_it_appends() -> anyhow::Result<()> {
    let noting = Change::Rewrite {
        function: "emt_missed_note",
        replace: "IN ('active', 'arming')",
        with: "IN ('none')",
    };

    fails_without(&[noting], |ground| {
        activate(ground)?;
        append(&mut ground.client()?, "Cart-1", false)?;
        Ok(noted(ground)? == 1)
    })
}

#[test]
fn an_insert_by_hand_is_noted_whichever_parent_it_names() -> anyhow::Result<()> {
    let triggers = Change::Sql(
        "DROP TRIGGER emt_missed_note_inserted ON emt_messages;
         DROP TRIGGER emt_missed_note_inserted ON emt_messages_emt_default",
    );

    fails_without(&[triggers], |ground| {
        activate(ground)?;
        let mut client = ground.client()?;
        insert(&mut client, "Cart-1", 1)?;
        client.batch_execute(
            "INSERT INTO emt_messages_emt_default (stream_id, stream_position, message_id, message_type,
                                                   message_schema_version, message_data, message_metadata)
             VALUES ('Cart-2', 1, 'a', 'Added', '1', '{}', '{}'), ('Cart-2', 2, 'b', 'Added', '1', '{}', '{}')",
        )?;
        Ok(noted(ground)? == 3)
    })
}

#[test]
fn a_program_that_has_the_projection_does_not_run_it_while_something_is_noted() -> anyhow::Result<()>
{
    let looks = ["emt_append_in_emt_default", "emt_missed_note"].map(|function| Change::Rewrite {
        function,
        replace: "missed.partition = _partition",
        with: "FALSE",
    });

    fails_without(&looks, |ground| {
        activate(ground)?;
        let mut client = ground.client()?;
        append(&mut client, "Cart-1", false)?;
        Ok(!append(&mut client, "Cart-1", true)? && noted(ground)? == 2)
    })
}

#[test]
fn it_looks_after_it_has_waited_for_the_stream() -> anyhow::Result<()> {
    let early = [
        Change::Rewrite {
            function: "emt_append_in_emt_default",
            replace: "_version BIGINT;",
            with: "_version BIGINT; _early BOOLEAN := (SELECT count(*) = 0 FROM public.emt_missed);",
        },
        Change::Rewrite {
            function: "emt_append_in_emt_default",
            replace: "= 0 AND _projections IS NULL THEN",
            with: "= 0 OR _early THEN",
        },
    ];

    fails_without(&early, |ground| {
        activate(ground)?;
        let mut stranger = ground.begin()?;
        append(&mut stranger, "Cart-1", false)?;
        let mut client = ground.client()?;
        let runs = thread::scope(|scope| {
            let waiting = scope.spawn(move || append(&mut client, "Cart-1", true));
            ground.wait_for_waiting(1)?;
            stranger.batch_execute("COMMIT")?;
            anyhow::Ok(waiting.join().expect("no panic")?)
        })?;
        Ok(!runs)
    })
}

#[test]
fn an_old_snapshot_does_not_hide_that_a_projection_has_become_active() -> anyhow::Result<()> {
    let row_lock = Change::Rewrite {
        function: "emt_partition_share",
        replace: "FOR SHARE",
        with: "",
    };

    fails_without(&[row_lock], |ground| {
        ground.client()?.query(REGISTER, &[])?;
        let mut stranger = ground.client()?;
        stranger
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM emt_streams")?;
        ground.client()?.batch_execute(ACTIVATE)?;
        let appended = append(&mut stranger, "Cart-1", false);
        let is_refused =
            appended.is_err_and(|error| error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE));
        Ok(is_refused)
    })
}

#[test]
fn a_switch_does_not_come_between_an_append_and_its_projections() -> anyhow::Result<()> {
    let shared_lock = Change::Rewrite {
        function: "emt_projection_share",
        replace: "pg_advisory_xact_lock_shared(public.emt_projection_lock_key(_partition)) IS NOT NULL",
        with: "TRUE",
    };

    fails_without(&[shared_lock], |ground| {
        activate(ground)?;
        let mut runner = ground.begin()?;
        append(&mut runner, "Cart-1", true)?;
        let switch = "SELECT pg_try_advisory_xact_lock(emt_projection_lock_key('emt:default'))";
        let is_free: bool = ground.client()?.query_one(switch, &[])?.get(0);
        Ok(!is_free)
    })
}

#[test]
fn a_projection_becomes_active_once_the_appends_that_did_not_see_it_have_ended()
-> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut stranger = ground.begin()?;
    stranger.query(
        "SELECT emt_append('Cart-1', 'Cart', 'emt:default', NULL, ARRAY['a'], ARRAY['ProductItemAdded'], ARRAY['E'],
                           ARRAY['1'], ARRAY['{\"productId\":\"a\",\"quantity\":1,\"price\":1}'::JSONB], ARRAY['{}'::JSONB])",
        &[],
    )?;

    let store = thread::scope(|scope| {
        let opening = scope.spawn(|| with_version(ground.database.url(), 1).open());
        crate::support::wait_until("it is arming", || {
            let arming = "SELECT count(*) FROM emt_projections WHERE status = 'arming'";
            let mut client = ground.client().expect("a connection");
            client
                .query_one(arming, &[])
                .expect("a count")
                .get::<_, i64>(0)
                == 1
        });
        let is_open = !opening.is_finished();
        stranger.batch_execute("COMMIT")?;
        let store = opening.join().expect("no panic")?;
        anyhow::ensure!(is_open, "it waited for the append");
        Ok(store)
    })?;

    assert_eq!(
        store.registered_projections()?[0].status,
        ProjectionStatus::Active
    );
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 2);
    assert_eq!(
        super::is_right_where_active(&mut ground.client()?)?,
        Some(true)
    );
    Ok(())
}
