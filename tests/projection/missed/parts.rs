//! The purpose of each part of the missed list: every test shows a scenario that succeeds with the schema, and fails
//! without that part.

use super::{insert, with_version};
use crate::events::fence::fixtures::{Change, Ground, Scenario, fails_without};
use crate::support::{added, wait_until};
use emmett_postgresql::StreamMessages;
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
        "SELECT emt_append($1, 'Cart', 'emt:default', NULL, ARRAY[gen_random_uuid()::TEXT], ARRAY['ProductItemAdded'],
                           ARRAY['E'], ARRAY['1'], ARRAY['{\"productId\": \"hat\", \"quantity\": 1, \"price\": 1}'::JSONB],
                           ARRAY['{}'::JSONB], FALSE, $2)",
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
fn a_stranger_notes_what_it_appends_to_several_streams() -> anyhow::Result<()> {
    let look = Change::Rewrite {
        function: "emt_append_several_in_emt_default",
        replace: "IF _looks THEN",
        with: "IF FALSE THEN",
    };

    fails_without(&[look], |ground| {
        activate(ground)?;
        let streams =
            ["Cart-1", "Cart-2"].map(|name| StreamMessages::new(name, &[added("hat", 1)]));
        let streams = streams.into_iter().collect::<Result<_, _>>()?;
        ground.store.append_to_streams(streams)?;
        Ok(noted(ground)? == 2)
    })
}

/// Before the positions are drawn.
const PAUSE: Change<'static> = Change::Rewrite {
    function: "emt_append_several_in_emt_default",
    replace: "    FOR _stored IN",
    with: "    PERFORM pg_advisory_xact_lock(0, 0); FOR _stored IN",
};

#[test]
fn an_append_to_several_streams_looks_after_it_has_drawn_its_positions() -> anyhow::Result<()> {
    let early = Change::Rewrite {
        function: "emt_append_several_in_emt_default",
        replace: "    _looks BOOLEAN;",
        with: "    _looks BOOLEAN := (SELECT inline_versions <> '{}' FROM public.emt_partitions WHERE partition = _partition);",
    };
    let is_noted = |changes: &[Change<'_>]| {
        let ground = Ground::changed_by(changes)?;
        let mut gate = ground.client()?;
        gate.batch_execute("SELECT pg_advisory_lock(0, 0)")?;
        thread::scope(|scope| {
            let appending = scope.spawn(|| {
                let streams = ["Cart-1", "Cart-2"];
                let streams = streams.map(|name| StreamMessages::new(name, &[added("hat", 1)]));
                let streams = streams.into_iter().collect::<Result<_, _>>()?;
                ground.store.append_to_streams(streams)
            });
            ground.wait_for_waiting(1)?;
            activate(&ground)?;
            gate.batch_execute("SELECT pg_advisory_unlock(0, 0)")?;
            appending.join().expect("no panic")?;
            anyhow::Ok(())
        })?;
        anyhow::Ok(noted(&ground)? == 2)
    };

    assert!(is_noted(&[PAUSE])?);
    assert!(!is_noted(&[PAUSE, early])?);
    Ok(())
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
        replace: "pg_catalog.pg_advisory_xact_lock_shared(public.emt_projection_lock_key(_partition)) IS NOT NULL",
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

/// Counts how often somebody asks for the projections alone.
const COUNTING: [Change<'_>; 2] = [
    Change::Sql("CREATE SEQUENCE attempts MINVALUE 0; SELECT setval('attempts', 0)"),
    Change::Rewrite {
        function: "emt_projection_lock",
        replace: "SELECT ",
        with: "SELECT nextval('public.attempts') > 0 AND ",
    },
];

fn attempts(ground: &Ground) -> i64 {
    let mut client = ground.client().expect("a connection");
    let attempts = "SELECT last_value FROM attempts";
    client.query_one(attempts, &[]).expect("a number").get(0)
}

/// The same as `fails_without`, for scenarios that wait until somebody has asked for the projections alone.
#[track_caller]
fn fails_without_counting(part: Change<'_>, scenario: Scenario) -> anyhow::Result<()> {
    assert!(
        scenario(&Ground::changed_by(&COUNTING)?)?,
        "with the schema as it is"
    );
    let [create, count] = COUNTING;
    assert!(
        !scenario(&Ground::changed_by(&[create, count, part])?)?,
        "with the part taken out"
    );
    Ok(())
}

/// A program opens beside a stranger that looked before anything was arming, and whose append is still open.
fn is_right_after_an_open_append(ground: &Ground) -> anyhow::Result<bool> {
    let mut stranger = ground.begin()?;
    append(&mut stranger, "Cart-1", false)?;
    let store = thread::scope(|scope| {
        let opening = scope.spawn(|| with_version(ground.database.url(), 1).open());
        // It has become active, or has tried in vain.
        wait_until("the switch was tried", || {
            opening.is_finished() || attempts(ground) >= 2
        });
        stranger.batch_execute("COMMIT")?;
        anyhow::Ok(opening.join().expect("no panic")?)
    })?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    Ok(super::is_right_where_active(&mut ground.client()?)? == Some(true))
}

/// Without it, what an append adds that looked too early is neither built nor noted.
const GRACE: Change<'_> = Change::Rewrite {
    function: "emt_position_head",
    replace: "SELECT ",
    with: "SELECT 0 * ",
};

#[test]
fn an_empty_read_model_is_active_once_the_appends_that_did_not_see_it_have_ended()
-> anyhow::Result<()> {
    fails_without_counting(GRACE, is_right_after_an_open_append)
}

#[test]
fn a_built_read_model_is_active_once_the_appends_that_did_not_see_it_have_ended()
-> anyhow::Result<()> {
    fails_without_counting(GRACE, |ground| {
        append(&mut ground.client()?, "Cart-0", false)?;
        is_right_after_an_open_append(ground)
    })
}

/// An append that is open, and one that is committed above it: the feed cannot be read up to the second one.
struct Overlap {
    open: Client,
    has_run: bool,
}

impl Overlap {
    fn new(ground: &Ground, stream: &str) -> anyhow::Result<Self> {
        let mut open = ground.begin()?;
        let first = append(&mut open, &format!("{stream}-1"), true)?;
        let second = append(&mut ground.client()?, &format!("{stream}-2"), true)?;
        Ok(Self {
            open,
            has_run: first || second,
        })
    }
}

/// Programs with the projection append so that one is always open. Whether one of them has to run it again.
fn ends_under_appends_without_pause(ground: &Ground) -> anyhow::Result<bool> {
    let _store = with_version(ground.database.url(), 1).open()?;
    let mut stranger = ground.begin()?;
    append(&mut stranger, "Cart-s1", false)?;
    append(&mut ground.client()?, "Cart-s2", false)?;
    let mut last = Overlap::new(ground, "Cart-0")?;
    stranger.batch_execute("COMMIT")?;

    for round in 1..=8 {
        let before = attempts(ground);
        wait_until("the follower tries to end it", || attempts(ground) > before);
        let next = thread::scope(|scope| {
            let stream = format!("Cart-{round}");
            let next = scope.spawn(move || Overlap::new(ground, &stream));
            // It has appended, or waits for the follower, which waits for the last one.
            wait_until("the next append has come", || {
                next.is_finished() || waiting_for_projections(ground) == 2
            });
            last.open.batch_execute("COMMIT")?;
            next.join().expect("no panic")
        })?;
        if next.has_run {
            return Ok(true);
        }
        last = next;
    }
    Ok(false)
}

fn waiting_for_projections(ground: &Ground) -> i64 {
    let waiting = "
        SELECT count(*) FROM pg_locks
         WHERE locktype = 'advisory' AND objsubid = 1 AND NOT granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let mut client = ground.client().expect("a connection");
    client.query_one(waiting, &[]).expect("a number").get(0)
}

#[test]
fn a_follower_ends_under_appends_without_pause() -> anyhow::Result<()> {
    let exclusive_lock = Change::Rewrite {
        function: "emt_projection_lock",
        replace: "pg_advisory_xact_lock(",
        with: "pg_advisory_xact_lock_shared(",
    };

    fails_without_counting(exclusive_lock, ends_under_appends_without_pause)
}
