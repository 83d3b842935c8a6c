//! With 100,000 messages, no hot statement reads a table from end to end or sorts it.

use crate::support::{CartEvent, added};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    AppendOptions, Error, EventStore, FeedOptions, NewMessage, RawEvent, ReadOptions, Session,
    StreamMessages,
};
use serde_json::{Map, Value};

/// 1,000 streams of 100 messages, in turns; every tenth stream is archived.
const FILL: &str = "
    INSERT INTO emt_messages
        (stream_position, global_position, is_archived, stream_id, message_schema_version, message_id, message_type,
         message_data, message_metadata)
    SELECT version, nextval('emt_global_message_position'), stream % 10 = 0, 'Cart-' || stream, '1',
           stream || '/' || version, CASE WHEN stream % 100 = 1 THEN 'ShoppingCartConfirmed' ELSE 'Viewed' END,
           '{\"clientId\": \"anna\", \"totalAmount\": 1.5}', '{}'
      FROM generate_series(1, 100) AS version, generate_series(1, 1000) AS stream
     ORDER BY version, stream;
    INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata, is_archived)
    SELECT 'Cart-' || stream, 100, 'Cart', '{}', stream % 10 = 0 FROM generate_series(1, 1000) AS stream;
    UPDATE emt_partitions SET has_archived = TRUE;";

/// Without statistics, as in a store that was just filled, and with them.
const STATISTICS: [&str; 2] = ["", "ANALYZE"];
/// As a statement is planned at first, and when it was prepared long ago.
const PLANS: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

fn filled_database(statistics: &str) -> anyhow::Result<Database> {
    let server = Server::shared()?;
    let schema = include_str!("../../schema.sql");
    let template = server.template(&format!("{FILL} {statistics} {schema}"), |url| {
        EventStore::builder(url).pool_size(1).open()?;
        let mut client = postgres::Client::connect(url, postgres::NoTls)?;
        client.batch_execute(FILL)?;
        Ok(client.batch_execute(statistics)?)
    })?;
    Ok(server.clone_database(&template)?)
}

/// Stores with one connection, so that every operation runs on it, on databases with and without statistics and with both
/// kinds of plans.
fn each_store(mut check: impl FnMut(&EventStore) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for statistics in STATISTICS {
        let database = filled_database(statistics)?;
        let separator = if database.url().contains('?') {
            '&'
        } else {
            '?'
        };
        for plans in PLANS {
            let url = format!(
                "{}{separator}options=-c%20plan_cache_mode%3D{plans}",
                database.url()
            );
            check(&EventStore::builder(&url).pool_size(1).open()?)?;
        }
    }
    Ok(())
}

/// How often the session's transaction has read tables of events from end to end, functions of ours included.
fn whole_reads(session: &mut Session<'_>) -> anyhow::Result<Vec<(String, i64)>> {
    let rows = session.query(
        "SELECT relname::TEXT, seq_scan FROM pg_stat_xact_user_tables
          WHERE seq_scan > 0 AND relname ~ '^emt_(streams|messages)' ORDER BY relname",
        &[],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

type Operation = fn(&mut Session<'_>) -> anyhow::Result<()>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("append", |session| {
        session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        Ok(())
    }),
    ("append to a new stream", |session| {
        let events = [added("shoes", 1), added("hat", 1)];
        session.append_to_stream("Cart-new", &events)?;
        Ok(())
    }),
    ("append under a message id", |session| {
        let message = || NewMessage::new(added("shoes", 1)).message_id("order-17");
        session.append_to_stream("Cart-2", &[message()])?;
        session.append_to_stream("Cart-2", &[message()])?;
        Ok(())
    }),
    ("conflict", |session| {
        let options = AppendOptions::new().expected_version(1);
        let refused = session.append_to_stream_with("Cart-3", &[added("shoes", 1)], options);
        anyhow::ensure!(refused.is_err_and(|error| error.is_conflict()));
        Ok(())
    }),
    ("append to an archived stream", |session| {
        let refused = session.append_to_stream("Cart-10", &[added("shoes", 1)]);
        anyhow::ensure!(matches!(
            refused,
            Err(Error::StreamArchived { version: 100, .. })
        ));
        Ok(())
    }),
    ("append to several streams", |session| {
        let streams =
            ["Cart-4", "Cart-5"].map(|name| StreamMessages::new(name, &[added("hat", 1)]));
        session.append_to_streams(streams.into_iter().collect::<Result<_, _>>()?)?;
        Ok(())
    }),
    ("read", |session| {
        let read = session.read_stream::<RawEvent>("Cart-6")?;
        anyhow::ensure!(read.events.len() == 100);
        Ok(())
    }),
    ("read a part, backwards, archived", |session| {
        let options = ReadOptions::new().from(90).to(95).max_count(3);
        let options = options.backwards().include_archived();
        let read = session.read_stream_with::<RawEvent>("Cart-20", options)?;
        anyhow::ensure!(read.events.len() == 3);
        Ok(())
    }),
    ("existence", |session| {
        anyhow::ensure!(session.stream_exists("Cart-7")?);
        Ok(())
    }),
];

#[test]
fn no_operation_of_a_session_reads_a_table_from_end_to_end() -> anyhow::Result<()> {
    each_store(|store| {
        for (name, operation) in OPERATIONS {
            for _ in 0..2 {
                let read = store.with_session(|session| {
                    operation(session)?;
                    whole_reads(session)
                })?;
                assert_eq!(read, [], "{name}");
            }
            store.with_session(|session| forget(session))?;
        }
        Ok(())
    })
}

/// Takes back what one operation needs to find as it was.
fn forget(session: &mut Session<'_>) -> anyhow::Result<()> {
    session.execute("DELETE FROM emt_streams WHERE stream_id = 'Cart-new'", &[])?;
    session.execute("DELETE FROM emt_messages WHERE stream_id = 'Cart-new'", &[])?;
    Ok(())
}

#[test]
fn a_look_at_a_table_from_end_to_end_would_be_seen() -> anyhow::Result<()> {
    each_store(|store| {
        let read = store.with_session(|session| {
            session.query("SELECT FROM emt_messages WHERE message_id = 'none'", &[])?;
            whole_reads(session)
        })?;
        assert_eq!(read.len(), 2, "{read:?}");
        Ok(())
    })
}

#[test]
fn every_statement_that_is_sent_goes_through_indexes_in_their_order() -> anyhow::Result<()> {
    each_store(|store| {
        use_all_statements(store)?;

        let plans = store.with_session(plans)?;

        let about_events = |text: &&str| plans.iter().any(|(sent, _)| sent.contains(text));
        let expected = [
            "emt_append(",
            "emt_horizon",
            "LIMIT $3",
            "= ANY($4)",
            "LATERAL",
            "UPDATE",
        ];
        assert_eq!(
            expected.iter().filter(|text| about_events(text)).count(),
            expected.len()
        );
        for (statement, plan) in plans {
            for node in nodes(&plan) {
                assert!(
                    !["Seq Scan", "Sort", "Bitmap Heap Scan"].contains(&node),
                    "{statement}\n{plan:#}"
                );
            }
        }
        Ok(())
    })
}

fn use_all_statements(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.append_to_streams(vec![StreamMessages::new("Cart-2", &[added("shoes", 1)])?])?;
    for options in [ReadOptions::new(), ReadOptions::new().include_archived()] {
        store.read_stream_with::<RawEvent>("Cart-3", options)?;
        store.read_stream_with::<RawEvent>("Cart-3", options.backwards())?;
    }
    store.stream_exists("Cart-4")?;
    store.set_stream_metadata("Cart-4", &Map::new())?;
    let near_the_end = FeedOptions::new().after(99_000);
    assert!(store.read_all::<RawEvent>(near_the_end).count() > 999);
    assert!(store.read_all::<CartEvent>(near_the_end).count() > 9);
    Ok(())
}

/// The plans of all statements that the connection has prepared.
fn plans(session: &mut Session<'_>) -> anyhow::Result<Vec<(String, Value)>> {
    let prepared = session.query(
        "SELECT name, statement, parameter_types::TEXT[] FROM pg_prepared_statements WHERE statement ~ 'emt_'",
        &[],
    )?;
    let mut plans = Vec::new();
    for row in &prepared {
        let (name, statement): (String, String) = (row.get(0), row.get(1));
        let types: Vec<String> = row.get(2);
        if statement.contains("pg_prepared_statements") {
            continue;
        }
        let values: Vec<&str> = types.iter().map(|kind| value(kind)).collect();
        let values = if values.is_empty() {
            String::new()
        } else {
            format!("({})", values.join(", "))
        };
        let rows = session.query(
            &format!("EXPLAIN (FORMAT JSON) EXECUTE {name}{values}"),
            &[],
        )?;
        plans.push((statement, rows[0].get(0)));
    }
    Ok(plans)
}

/// A value that leaves most of a table to be read, where the planner looks at it.
fn value(kind: &str) -> &'static str {
    match kind {
        "bigint" => "1000",
        "integer" => "1",
        "boolean" => "FALSE",
        "jsonb" => "'{}'",
        kind if kind.ends_with("[]") => "'{}'",
        _ => "'Cart-9'",
    }
}

fn nodes(plan: &Value) -> Vec<&str> {
    match plan {
        Value::Array(parts) => parts.iter().flat_map(nodes).collect(),
        Value::Object(fields) => {
            let own = fields.get("Node Type").and_then(Value::as_str);
            own.into_iter()
                .chain(fields.values().flat_map(nodes))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_page_of_the_feed_is_read_in_the_order_of_its_index() -> anyhow::Result<()> {
    each_store(|store| {
        store
            .read_all::<RawEvent>(FeedOptions::new().after(99_000))
            .for_each(drop);
        store
            .read_all::<CartEvent>(FeedOptions::new().after(99_000))
            .for_each(drop);

        let plans = store.with_session(plans)?;

        let pages = plans
            .iter()
            .filter(|(statement, _)| statement.contains("global_position > $1"));
        let pages: Vec<_> = pages.map(|(_, plan)| nodes(plan)).collect();
        assert_eq!(pages.len(), 2);
        for nodes in pages {
            assert_eq!(nodes, ["Limit", "Merge Append", "Index Scan", "Index Scan"]);
        }
        Ok(())
    })
}
