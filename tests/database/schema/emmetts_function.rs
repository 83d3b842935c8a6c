//! `emt_append_to_stream`, called as Emmett's Node client calls it: by position, with the result's columns by name.

use crate::support::store;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{EventStore, FeedOptions, RawEvent, Recorded, events::MessageKind};
use serde_json::{Value, json};

const CALL: &str = "
    SELECT success, next_stream_position, global_positions, transaction_id::TEXT,
           transaction_id = pg_current_xact_id() AS is_own_transaction
      FROM emt_append_to_stream(
               $1::TEXT[], $2::JSONB[], $3::JSONB[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT, $8::TEXT,
               $9::BIGINT, $10::TEXT)";

#[derive(Debug, PartialEq)]
struct Answer {
    success: bool,
    next_stream_position: i64,
    global_positions: Option<Vec<i64>>,
}

/// Appends two messages as Emmett writes them, the schema version with its quotes.
fn call(
    database: &Database,
    stream: &str,
    expected: Option<i64>,
    tenant: &str,
) -> anyhow::Result<Answer> {
    let ids = [format!("{stream}/a"), format!("{stream}/b")];
    let data = [
        json!({ "productId": "shoes" }),
        json!({ "productId": "hat" }),
    ];
    let metadata = [
        json!({ "messageId": ids[0], "clientId": "anna" }),
        json!({}),
    ];
    let (versions, kinds) = (["'1'", "'1'"], ["E", "C"]);
    let types = ["ProductItemAdded", "AddProductItem"];
    let row = database.client()?.query_one(
        CALL,
        &[
            &&ids[..],
            &&data[..],
            &&metadata[..],
            &&versions[..],
            &&types[..],
            &&kinds[..],
            &stream,
            &"Cart",
            &expected,
            &tenant,
        ],
    )?;
    assert!(row.get::<_, String>("transaction_id").parse::<u64>()? > 0);
    assert!(row.get::<_, bool>("is_own_transaction"));
    Ok(Answer {
        success: row.get("success"),
        next_stream_position: row.get("next_stream_position"),
        global_positions: row.get("global_positions"),
    })
}

fn appended(next_stream_position: i64, global_positions: &[i64]) -> Answer {
    Answer {
        success: true,
        next_stream_position,
        global_positions: Some(global_positions.to_vec()),
    }
}

fn refused(at: i64) -> Answer {
    Answer {
        success: false,
        next_stream_position: at,
        global_positions: None,
    }
}

const DEFAULT: &str = "emt:default";

fn feed(store: &EventStore) -> anyhow::Result<Vec<Recorded<RawEvent>>> {
    Ok(store
        .read_all(FeedOptions::new())
        .collect::<Result<_, _>>()?)
}

#[test]
fn the_function_has_emmetts_parameters_and_result() -> anyhow::Result<()> {
    let (database, _) = store()?;

    let row = database.client()?.query_one(
        "SELECT pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc
          WHERE oid = 'emt_append_to_stream'::REGPROC",
        &[],
    )?;

    assert_eq!(
        row.get::<_, String>(0),
        "v_message_ids text[], v_messages_data jsonb[], v_messages_metadata jsonb[], \
         v_message_schema_versions text[], v_message_types text[], v_message_kinds text[], v_stream_id text, \
         v_stream_type text, v_expected_stream_position bigint DEFAULT NULL::bigint, \
         v_partition text DEFAULT 'emt:default'::text"
    );
    assert_eq!(
        row.get::<_, String>(1),
        "TABLE(success boolean, next_stream_position bigint, global_positions bigint[], transaction_id xid8)"
    );
    Ok(())
}

#[test]
fn a_node_clients_append_is_read_like_any_other() -> anyhow::Result<()> {
    let (database, store) = store()?;

    let answer = call(&database, "Cart-1", None, DEFAULT)?;

    assert_eq!(answer, appended(2, &[1, 2]));
    let messages = feed(&store)?;
    let [first, second] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(
        first.event,
        RawEvent::new("ProductItemAdded", json!({ "productId": "shoes" }))
    );
    assert_eq!(
        (first.message_id.as_str(), first.schema_version),
        ("Cart-1/a", 1)
    );
    assert_eq!(
        Value::from(first.metadata.clone()),
        json!({ "clientId": "anna" })
    );
    assert_eq!(
        (first.kind, second.kind),
        (MessageKind::Event, MessageKind::Command)
    );
    assert_eq!(store.read_stream::<RawEvent>("Cart-1")?.events, messages);
    Ok(())
}

#[test]
fn the_expected_position_decides_and_a_refusal_names_the_actual_one() -> anyhow::Result<()> {
    let (database, store) = store()?;

    for (expected, answer) in [
        (Some(1), refused(0)),
        (Some(-1), refused(0)),
        (Some(0), appended(2, &[1, 2])),
        (Some(0), refused(2)),
        (Some(1), refused(2)),
        (Some(2), appended(4, &[3, 4])),
        (Some(9), refused(4)),
        (None, appended(6, &[5, 6])),
        (Some(-1), appended(8, &[7, 8])),
    ] {
        assert_eq!(
            call(&database, "Cart-1", expected, DEFAULT)?,
            answer,
            "{expected:?}"
        );
    }

    assert_eq!(feed(&store)?.len(), 8);
    Ok(())
}

#[test]
fn an_archived_stream_refuses_with_its_version() -> anyhow::Result<()> {
    let (database, store) = store()?;
    call(&database, "Cart-1", None, DEFAULT)?;
    store.archive_stream("Cart-1")?;

    for expected in [None, Some(0), Some(2)] {
        let answer = call(&database, "Cart-1", expected, DEFAULT)?;
        assert!(
            !answer.success && answer.global_positions.is_none(),
            "{expected:?}: {answer:?}"
        );
    }

    assert_eq!(call(&database, "Cart-1", None, DEFAULT)?, refused(2));
    assert_eq!(feed(&store)?.len(), 2);
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn the_partition_is_the_default_one_unless_it_is_given() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;

    assert_eq!(
        call(&database, "Cart-1", Some(0), "acme")?,
        appended(2, &[1, 2])
    );
    let row = database.client()?.query_one(
        "SELECT success, next_stream_position FROM emt_append_to_stream(
             ARRAY['1'], ARRAY['{}'::JSONB], ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['Opened'], ARRAY['E'],
             'Cart-1', 'Cart')",
        &[],
    )?;

    assert_eq!((row.get(0), row.get(1)), (true, 1_i64));
    assert_eq!((feed(&acme)?.len(), feed(&store)?.len()), (2, 1));
    Ok(())
}
