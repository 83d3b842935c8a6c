//! The purpose of each part of the fence: every test shows a scenario that succeeds with the schema, and fails without
//! that part.

use super::fixtures::{
    ACME, Change, DEFAULT, Ground, Reader, append, append_in_schema, fails_without,
};
use emmett_postgresql::{EventStore, operations::ImportOptions};
use postgres::{Client, error::SqlState};
use std::io::Write;
use std::thread;

/// The order of events that loses one where the fence does not hold: an append stays open, a later one commits, a reader
/// comes by, the first one commits.
fn is_passed_over(
    ground: &Ground,
    mut open: Client,
    store: &EventStore,
    partition: &str,
) -> anyhow::Result<bool> {
    let mut reader = Reader::new(store);
    append(&mut ground.client()?, partition, "Note-committed")?;
    reader.read()?;
    open.batch_execute("COMMIT")?;
    reader.read()?;
    Ok(reader.seen != ground.stored(partition)?)
}

#[test]
fn a_transaction_over_two_tenants_is_fenced_for_both() -> anyhow::Result<()> {
    let one_flag_for_all_classes = Change::Rewrite {
        function: "emt_fence_once",
        replace: "position(_key IN _held) > 0",
        with: "TRUE",
    };

    fails_without(&[one_flag_for_all_classes], |ground| {
        let mut open = ground.begin()?;
        // The first append of a transaction takes the lock unseen, the second notes it.
        append(&mut open, DEFAULT, "Note-1")?;
        append(&mut open, DEFAULT, "Note-1")?;
        insert(&mut open, "emt_messages", ACME, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.acme, ACME)?)
    })
}

#[test]
fn one_tenants_open_append_does_not_stall_anothers_feed() -> anyhow::Result<()> {
    let one_class_for_all_tenants = Change::Rewrite {
        function: "emt_fence_class",
        replace: "'.' || _partition",
        with: "'.' || ''",
    };

    fails_without(&[one_class_for_all_tenants], |ground| {
        let mut open = ground.begin()?;
        append(&mut open, ACME, "Note-1")?;
        append(&mut ground.client()?, DEFAULT, "Note-1")?;
        let mut reader = Reader::new(&ground.store);
        reader.read()?;
        Ok(reader.seen == ground.stored(DEFAULT)?)
    })
}

#[test]
fn a_reader_looks_for_writers_that_did_not_name_their_tenant() -> anyhow::Result<()> {
    let wildcard = Change::Rewrite {
        function: "emt_horizon",
        replace: ", public.emt_fence_class(NULL::TEXT)::OID)",
        with: ")",
    };

    fails_without(&[wildcard], |ground| {
        let mut open = ground.begin()?;
        insert(&mut open, "emt_messages", ACME, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.acme, ACME)?)
    })
}

#[test]
fn a_writer_that_bypasses_the_functions_is_fenced_by_the_columns_default() -> anyhow::Result<()> {
    let plain_default = "
        ALTER TABLE public.emt_messages ALTER COLUMN global_position
            SET DEFAULT nextval('public.emt_global_message_position')";
    let with_default = Ground::new()?;
    let without = Ground::changed_by(&[Change::Sql(plain_default)])?;

    for (name, write) in bypassing_writers(&with_default)? {
        assert!(!loses_what_is_written_by(write, &with_default)?, "{name}");
        assert!(loses_what_is_written_by(write, &without)?, "{name}");
    }
    Ok(())
}

type BypassingWrite = fn(&mut Client, &str) -> anyhow::Result<()>;

/// Each by SQL of its own, into a stream of the tenant.
fn bypassing_writers(ground: &Ground) -> anyhow::Result<Vec<(&'static str, BypassingWrite)>> {
    let version = "SELECT current_setting('server_version_num')::INTEGER";
    let version: i32 = ground.client()?.query_one(version, &[])?.get(0);
    let mut writers: Vec<(&'static str, BypassingWrite)> = vec![
        ("INSERT", |client, stream| {
            insert(client, "emt_messages", ACME, stream)
        }),
        ("INSERT into the tenant's table", |client, stream| {
            insert(client, "emt_messages_acme", ACME, stream)
        }),
        ("INSERT into a leaf table", |client, stream| {
            insert(client, "emt_messages_acme_active", ACME, stream)
        }),
        ("INSERT without triggers", |client, stream| {
            client.batch_execute("SET LOCAL session_replication_role = replica")?;
            insert(client, "emt_messages", ACME, stream)
        }),
        ("COPY", |client, stream| {
            copy(client, "emt_messages", stream)
        }),
        ("COPY into a leaf table", |client, stream| {
            copy(client, "emt_messages_acme_active", stream)
        }),
    ];
    if version >= 150_000 {
        writers.push(("MERGE", merge));
    }
    Ok(writers)
}

fn loses_what_is_written_by(write: BypassingWrite, ground: &Ground) -> anyhow::Result<bool> {
    let mut client = ground.client()?;
    client.batch_execute("TRUNCATE public.emt_messages, public.emt_streams")?;
    let mut open = ground.begin()?;
    write(&mut open, "Note-1")?;
    is_passed_over(ground, open, &ground.acme, ACME)
}

const COLUMNS: &str =
    "stream_position, stream_id, partition, message_schema_version, message_id, message_type,
    message_data, message_metadata";

fn insert(client: &mut Client, table: &str, partition: &str, stream: &str) -> anyhow::Result<()> {
    let sql = format!(
        "INSERT INTO public.{table} ({COLUMNS}) VALUES (1, $1, $2, '1', '1', 'Noted', '{{}}', '{{}}')"
    );
    client.execute(&sql, &[&stream, &partition])?;
    Ok(())
}

fn copy(client: &mut Client, table: &str, stream: &str) -> anyhow::Result<()> {
    let mut rows = client.copy_in(&format!("COPY public.{table} ({COLUMNS}) FROM STDIN"))?;
    writeln!(rows, "1\t{stream}\t{ACME}\t1\t1\tNoted\t{{}}\t{{}}")?;
    rows.finish()?;
    Ok(())
}

fn merge(client: &mut Client, stream: &str) -> anyhow::Result<()> {
    let sql = format!(
        "MERGE INTO public.emt_messages AS message USING (VALUES ($1::TEXT)) AS new (stream_id)
            ON message.stream_id = new.stream_id AND message.partition = '{ACME}'
          WHEN NOT MATCHED THEN INSERT ({COLUMNS})
               VALUES (1, new.stream_id, '{ACME}', '1', '1', 'Noted', '{{}}', '{{}}')"
    );
    client.execute(&sql, &[&stream])?;
    Ok(())
}

#[test]
fn the_lock_is_taken_before_the_position() -> anyhow::Result<()> {
    let position_first = Change::Sql(
        "CREATE OR REPLACE FUNCTION public.emt_position_next() RETURNS BIGINT LANGUAGE plpgsql AS $$
         DECLARE
             _position BIGINT := nextval('public.emt_global_message_position');
         BEGIN
             PERFORM public.emt_fence(NULL);
             RETURN _position;
         END
         $$",
    );

    fails_without(&[position_first], |ground| {
        let mut open = ground.begin()?;
        insert(&mut open, "emt_messages", ACME, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.acme, ACME)?)
    })
}

#[test]
fn an_import_that_has_drawn_its_positions_is_not_passed_over() -> anyhow::Result<()> {
    let no_fence = Change::Sql(
        "CREATE OR REPLACE FUNCTION public.emt_fence(_partition TEXT) RETURNS BOOLEAN LANGUAGE sql AS 'SELECT TRUE'",
    );

    fails_without(&[no_fence], |ground| {
        ground.client()?.batch_execute(STOP_BEFORE_STORING)?;
        let mut gate = ground.begin()?;
        gate.batch_execute("SELECT pg_advisory_xact_lock(0, 0)")?;
        let mut reader = Reader::new(&ground.acme);
        thread::scope(|scope| {
            let line = br#"{"streamName": "Note-imported", "type": "Noted", "data": {}}"#;
            let import = scope.spawn(|| ground.acme.import(&line[..], ImportOptions::new()));
            ground.wait_for_waiting(1)?;
            append(&mut ground.client()?, ACME, "Note-committed")?;
            reader.read()?;
            gate.batch_execute("COMMIT")?;
            anyhow::Ok(import.join().expect("the import does not panic")?)
        })?;
        reader.read()?;
        Ok(reader.seen == ground.stored(ACME)?)
    })
}

/// Stops whoever stores a message of one stream, as long as somebody else holds the lock.
const STOP_BEFORE_STORING: &str = "
    CREATE FUNCTION stop() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(0, 0);
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER stop BEFORE INSERT ON public.emt_messages_acme_active
        FOR EACH ROW WHEN (NEW.stream_id = 'Note-imported') EXECUTE FUNCTION stop()";

/// Two stores in one database whose classes do not tell them apart.
const SHARED_CLASSES: [Change<'static>; 2] = [
    Change::Rewrite {
        function: "emt_fence_class",
        replace: "'public'",
        with: "'store'",
    },
    Change::Rewrite {
        function: "stock.emt_fence_class",
        replace: r#"'"stock"'"#,
        with: "'store'",
    },
];

/// A second store beside the first, in the schema `stock`, whose sequence is far behind.
fn with_second_store(changes: &[Change<'_>]) -> anyhow::Result<(Ground, EventStore)> {
    let ground = Ground::new()?;
    let stock = EventStore::builder(ground.database.url())
        .schema("stock")
        .open()?;
    let mut client = ground.client()?;
    changes
        .iter()
        .try_for_each(|change| change.make(&mut client))?;
    ground.set_sequence(100)?;
    Ok((ground, stock))
}

#[test]
fn one_stores_open_append_does_not_stall_anothers_feed() -> anyhow::Result<()> {
    let reads_all = |changes: &[Change<'_>]| {
        let (ground, stock) = with_second_store(changes)?;
        let mut open = ground.begin()?;
        append_in_schema(&mut open, "stock", DEFAULT, "Note-1")?;
        append(&mut ground.client()?, DEFAULT, "Note-1")?;
        drop(stock);
        let mut reader = Reader::new(&ground.store);
        reader.read()?;
        anyhow::Ok(reader.seen == ground.stored(DEFAULT)?)
    };

    assert!(reads_all(&[])?);
    assert!(!reads_all(&SHARED_CLASSES)?);
    Ok(())
}

#[test]
fn a_transaction_over_two_stores_is_fenced_for_both() -> anyhow::Result<()> {
    let shared_setting =
        ["emt_fence_once", "stock.emt_fence_once"].map(|function| Change::Rewrite {
            function,
            replace: "position(_key IN _held) > 0",
            with: "TRUE",
        });
    let is_lost = |changes: &[Change<'_>]| {
        let (ground, stock) = with_second_store(changes)?;
        let mut open = ground.begin()?;
        append(&mut open, DEFAULT, "Note-1")?;
        append(&mut open, DEFAULT, "Note-1")?;
        append_in_schema(&mut open, "stock", DEFAULT, "Note-1")?;
        append_in_schema(&mut ground.client()?, "stock", DEFAULT, "Note-2")?;
        let mut reader = Reader::new(&stock);
        reader.read()?;
        open.batch_execute("COMMIT")?;
        reader.read()?;
        anyhow::Ok(reader.seen != [1, 2])
    };

    assert!(!is_lost(&[])?);
    assert!(is_lost(&shared_setting)?);
    // Two partitions of two stores may have the same class by chance: it is a hash.
    assert!(!is_lost(&SHARED_CLASSES)?);
    Ok(())
}

#[test]
fn a_setting_that_outlives_its_transaction_does_not_disarm_the_fence() -> anyhow::Result<()> {
    let transaction_id = Change::Rewrite {
        function: "emt_fence_once",
        replace: "pg_catalog.split_part(_held, ':', 1) <> _transaction",
        with: "FALSE",
    };

    fails_without(&[transaction_id], |ground| {
        let mut open = ground.begin()?;
        append(&mut open, DEFAULT, "Note-1")?;
        append(&mut open, DEFAULT, "Note-1")?;
        open.batch_execute("SELECT set_config('emt.fence', current_setting('emt.fence'), FALSE)")?;
        open.batch_execute("COMMIT; BEGIN; SELECT pg_current_xact_id()")?;
        append(&mut open, DEFAULT, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.store, DEFAULT)?)
    })
}

#[test]
fn the_first_event_of_a_store_is_fenced() -> anyhow::Result<()> {
    let is_called = Change::Rewrite {
        function: "emt_position_unused",
        replace: "last_value - (NOT is_called)::INTEGER",
        with: "last_value",
    };

    fails_without(&[is_called], |ground| {
        let mut open = ground.begin()?;
        append(&mut open, DEFAULT, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.store, DEFAULT)?)
    })
}

#[test]
fn the_first_event_after_the_sequence_was_restarted_is_fenced() -> anyhow::Result<()> {
    let start = Change::Rewrite {
        function: "emt_position_unused",
        replace: "last_value - (NOT is_called)::INTEGER",
        with: "0",
    };

    fails_without(&[start], |ground| {
        let restart = "ALTER SEQUENCE public.emt_global_message_position RESTART WITH 3000000000";
        ground.client()?.batch_execute(restart)?;
        let mut open = ground.begin()?;
        append(&mut open, DEFAULT, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.store, DEFAULT)?)
    })
}

#[test]
fn appends_go_on_beyond_position_2_to_the_31() -> anyhow::Result<()> {
    let bits = Change::Rewrite {
        function: "emt_fence_lock",
        replace: "::BIT(32)::INTEGER",
        with: "::INTEGER",
    };

    fails_without(&[bits], |ground| {
        ground.set_sequence(1 << 31)?;
        Ok(append(&mut ground.client()?, DEFAULT, "Note-1").is_ok())
    })
}

#[test]
fn a_reader_finds_the_locks_of_a_negative_class() -> anyhow::Result<()> {
    let unsigned = Change::Rewrite {
        function: "emt_horizon",
        replace: "classid IN (public.emt_fence_class(_partition)::OID, public.emt_fence_class(NULL::TEXT)::OID)",
        with: "classid::BIGINT IN (public.emt_fence_class(_partition), public.emt_fence_class(NULL))",
    };

    fails_without(&[unsigned], |ground| {
        let negative = "
            SELECT name FROM generate_series(1, 100) AS number, concat('tenant', number) AS name
             WHERE public.emt_fence_class(name) < 0
             LIMIT 1";
        let partition: String = ground.client()?.query_one(negative, &[])?.get(0);
        ground.store.tenants().add(&partition)?;
        let mut open = ground.begin()?;
        append(&mut open, &partition, "Note-1")?;
        let store = ground.store.tenant(&partition)?;
        Ok(!is_passed_over(ground, open, &store, &partition)?)
    })
}

#[test]
fn a_lock_from_below_2_to_the_32_is_understood_above_it() -> anyhow::Result<()> {
    let difference = Change::Rewrite {
        function: "emt_horizon",
        replace: HORIZON_OF_A_LOCK,
        with: "pg_catalog.min((_head & ~4294967295) | objid::BIGINT)",
    };

    fails_without(&[difference], |ground| {
        ground.set_sequence((1 << 32) - 1)?;
        let mut open = ground.begin()?;
        append(&mut open, DEFAULT, "Note-1")?;
        Ok(!is_passed_over(ground, open, &ground.store, DEFAULT)?)
    })
}

const HORIZON_OF_A_LOCK: &str = "pg_catalog.min(public.emt_fence_position(_head, objid::BIGINT))";

/// Stops a reader between its two reads, as long as somebody else holds the lock.
const PAUSE_BETWEEN_THE_READS: Change<'static> = Change::Rewrite {
    function: "emt_horizon",
    replace: "SELECT pg_catalog.min(",
    with: "PERFORM pg_advisory_xact_lock(0, 0); SELECT pg_catalog.min(",
};

/// Holds a reader between its two reads, lets `meanwhile` happen, and returns how far it then reads.
fn horizon_while(
    ground: &Ground,
    meanwhile: impl FnOnce() -> anyhow::Result<Client>,
) -> anyhow::Result<(u64, Client)> {
    let mut gate = ground.client()?;
    gate.batch_execute("SELECT pg_advisory_lock(0, 0)")?;
    thread::scope(|scope| {
        let reader = scope.spawn(|| ground.store.feed_horizon(0));
        ground.wait_for_waiting(1)?;
        let open = meanwhile()?;
        gate.batch_execute("SELECT pg_advisory_unlock(0, 0)")?;
        let horizon = reader.join().expect("the reader does not panic")?;
        Ok((horizon.position, open))
    })
}

#[test]
fn a_writer_that_begins_between_the_two_reads_of_a_reader_does_not_stop_it() -> anyhow::Result<()> {
    let signed_difference = Change::Rewrite {
        function: "emt_horizon",
        replace: HORIZON_OF_A_LOCK,
        with: "pg_catalog.min(_head - ((_head - objid::BIGINT) & 4294967295))",
    };
    let horizon = |changes: &[Change<'_>]| {
        let ground = Ground::changed_by(changes)?;
        append(&mut ground.client()?, DEFAULT, "Note-1")?;
        let meanwhile = || {
            append(&mut ground.client()?, DEFAULT, "Note-2")?;
            let mut open = ground.begin()?;
            append(&mut open, DEFAULT, "Note-3")?;
            Ok(open)
        };
        let (horizon, _open) = horizon_while(&ground, meanwhile)?;
        anyhow::Ok(horizon)
    };

    assert_eq!(horizon(&[PAUSE_BETWEEN_THE_READS])?, 1);
    let error = horizon(&[PAUSE_BETWEEN_THE_READS, signed_difference]).expect_err("below 0");
    assert!(error.to_string().contains("not negative"), "{error}");
    Ok(())
}

#[test]
fn a_reader_reads_the_sequence_before_the_locks() -> anyhow::Result<()> {
    let locks_first = Change::Rewrite {
        function: "emt_horizon",
        replace: "RETURN ARRAY[least(_head",
        with: "PERFORM pg_advisory_xact_lock(0, 0);
               _head := pg_sequence_last_value('public.emt_global_message_position');
               RETURN ARRAY[least(_head",
    };
    let is_passed = |change: Change<'_>| {
        let ground = Ground::changed_by(&[change])?;
        append(&mut ground.client()?, DEFAULT, "Note-1")?;
        let mut position = 0;
        let (horizon, _open) = horizon_while(&ground, || {
            let mut open = ground.begin()?;
            position = append(&mut open, DEFAULT, "Note-2")?;
            Ok(open)
        })?;
        anyhow::Ok(horizon >= position)
    };

    assert!(!is_passed(PAUSE_BETWEEN_THE_READS)?);
    assert!(is_passed(locks_first)?);
    Ok(())
}

#[test]
fn a_position_is_drawn_under_the_lock_of_its_stream() -> anyhow::Result<()> {
    let drawn_first = [
        Change::Rewrite {
            function: "emt_append_in_emt_default",
            replace: "    _version BIGINT;",
            with: "    _version BIGINT; _drawn BIGINT := nextval('public.emt_global_message_position');",
        },
        Change::Rewrite {
            function: "emt_append_in_emt_default",
            replace: "(_version, pg_catalog.nextval('public.emt_global_message_position'::REGCLASS)",
            with: "(_version, _drawn",
        },
    ];

    fails_without(&drawn_first, |ground| {
        let mut first = ground.begin()?;
        append(&mut first, DEFAULT, "Note-1")?;
        let later = thread::scope(|scope| {
            let waiting = scope.spawn(|| append(&mut ground.client()?, DEFAULT, "Note-1"));
            ground.wait_for_waiting(1)?;
            append(&mut first, DEFAULT, "Note-1")?;
            first.batch_execute("COMMIT")?;
            waiting.join().expect("the writer does not panic")
        })?;
        Ok(ground.stored(DEFAULT)?.last() == Some(&later))
    })
}

#[test]
fn a_reader_with_an_old_snapshot_is_refused() -> anyhow::Result<()> {
    let isolation = Change::Rewrite {
        function: "emt_horizon",
        replace: "pg_catalog.current_setting('transaction_isolation') <> 'read committed'",
        with: "FALSE",
    };

    fails_without(&[isolation], |ground| {
        let mut reader = ground.client()?;
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; TABLE public.emt_messages")?;
        append(&mut ground.client()?, DEFAULT, "Note-1")?;
        append(&mut ground.client()?, DEFAULT, "Note-2")?;
        let horizon = "SELECT (public.emt_horizon($1, 0))[1]";
        let horizon: i64 = match reader.query_one(horizon, &[&DEFAULT]) {
            Ok(row) => row.get(0),
            Err(error) => return Ok(error.code() == Some(&SqlState::from_code("SE001"))),
        };
        let page = "SELECT FROM public.emt_messages WHERE global_position <= $1";
        Ok(reader.query(page, &[&horizon])?.len() == 2)
    })
}

#[test]
fn archived_messages_are_in_the_feed() -> anyhow::Result<()> {
    let active_only = Change::Sql(
        "ALTER TABLE public.emt_messages_emt_default RENAME TO emt_messages_emt_default_both;
         CREATE VIEW public.emt_messages_emt_default AS TABLE public.emt_messages_emt_default_active",
    );

    fails_without(&[active_only], |ground| {
        for stream in ["Note-1", "Note-2"] {
            append(&mut ground.client()?, DEFAULT, stream)?;
        }
        ground.store.archive_stream("Note-1")?;
        let mut reader = Reader::new(&ground.store);
        reader.read()?;
        Ok(reader.seen == ground.stored(DEFAULT)?)
    })
}

#[test]
fn a_position_is_given_once() -> anyhow::Result<()> {
    let unique = Change::Sql("DROP INDEX public.emt_messages_feed");

    fails_without(&[unique], |ground| {
        let position = append(&mut ground.client()?, DEFAULT, "Note-1")?;
        is_delivered_or_refused(ground, &position.to_string(), &SqlState::UNIQUE_VIOLATION)
    })
}

#[test]
fn a_message_without_a_position_is_refused() -> anyhow::Result<()> {
    let not_null =
        Change::Sql("ALTER TABLE public.emt_messages ALTER COLUMN global_position DROP NOT NULL");

    fails_without(&[not_null], |ground| {
        is_delivered_or_refused(ground, "NULL", &SqlState::NOT_NULL_VIOLATION)
    })
}

/// Writes a message with a position of the writer's own, and reads the feed in pages of one.
fn is_delivered_or_refused(
    ground: &Ground,
    position: &str,
    refusal: &SqlState,
) -> anyhow::Result<bool> {
    let sql = format!(
        "INSERT INTO public.emt_messages ({COLUMNS}, global_position)
         VALUES (1, 'Note-2', 'emt:default', '1', '1', 'Noted', '{{}}', '{{}}', {position})"
    );
    if let Err(error) = ground.client()?.batch_execute(&sql) {
        return Ok(error.code() == Some(refusal));
    }
    append(&mut ground.client()?, DEFAULT, "Note-3")?;
    let mut reader = Reader::new(&ground.store).batch_size(1);
    reader.read()?;
    Ok(reader.seen.len() == ground.stored(DEFAULT)?.len())
}

#[test]
fn the_sequence_keeps_no_positions_for_later() -> anyhow::Result<()> {
    let cache = Change::Sql("ALTER SEQUENCE public.emt_global_message_position CACHE 10");

    fails_without(&[cache], |ground| {
        let mut reader = Reader::new(&ground.store);
        let mut early = ground.client()?;
        append(&mut early, DEFAULT, "Note-1")?;
        append(&mut ground.client()?, DEFAULT, "Note-2")?;
        reader.read()?;
        append(&mut early, DEFAULT, "Note-3")?;
        reader.read()?;
        Ok(reader.seen == ground.stored(DEFAULT)?)
    })
}
