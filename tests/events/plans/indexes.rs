//! With 100,000 messages, no hot statement scans or sorts a whole table.

use crate::support::{CartEvent, added, schema_files};
use emmett_postgresql::decide::{Decision, Evolve, stream};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, Error, EventStore, FeedOptions, NewMessage, RawEvent,
    ReadOptions, Session, StreamMessages,
};
use postgres::types::ToSql;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::convert::Infallible;

/// 10,000 streams of 10 messages, in turns; every tenth stream is archived. And one of 20,000.
const FILL: &str = "
    INSERT INTO emt_messages
        (stream_position, global_position, is_archived, stream_id, message_schema_version, message_id, message_type,
         message_data, message_metadata)
    SELECT version, nextval('emt_global_message_position'), stream % 10 = 0, 'Cart-' || stream, '1',
           stream || '/' || version, CASE WHEN stream % 100 = 1 THEN 'ShoppingCartConfirmed' ELSE 'Viewed' END,
           '{\"clientId\": \"anna\", \"totalAmount\": 1.5}', '{}'
      FROM generate_series(1, 10) AS version, generate_series(1, 10000) AS stream
     ORDER BY version, stream;
    INSERT INTO emt_messages
        (stream_position, global_position, stream_id, message_schema_version, message_id, message_type, message_data,
         message_metadata)
    SELECT version, nextval('emt_global_message_position'), 'Ledger-1', '1', 'Ledger-1/' || version, 'Booked', '{}', '{}'
      FROM generate_series(1, 20000) AS version;
    INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata, is_archived)
    SELECT 'Cart-' || stream, 10, 'Cart', '{}', stream % 10 = 0 FROM generate_series(1, 10000) AS stream;
    INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata)
    VALUES ('Ledger-1', 20000, 'Ledger', '{}');
    INSERT INTO emt_command_keys (partition, command_key, digest, reply)
    SELECT 'emt:default', 'key-' || number, '', 'null' FROM generate_series(1, 20000) AS number;
    INSERT INTO emt_snapshots (partition, stream_id, state_type, state_version, stream_position, message_id, state)
    SELECT 'emt:default', 'Cart-' || stream, 'shop::Cart', 1, 10, stream || '/' || 10, '{}'
      FROM generate_series(1, 10000) AS stream;
    UPDATE emt_partitions SET has_archived = TRUE;";

/// Without statistics, as in a store that was just filled, and with them.
const STATISTICS: [&str; 2] = ["", "ANALYZE"];
/// As a statement is planned at first, and when it was prepared long ago.
const PLANS: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

fn filled_database(statistics: &str) -> anyhow::Result<Database> {
    let server = Server::shared()?;
    let schema = schema_files::event_store()?;
    let template = server.template(&format!("{FILL} {statistics} {schema}"), |url| {
        EventStore::builder(url)
            .connection_options(ConnectionOptions::new().pool_size(1))
            .open()?;
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
            check(
                &EventStore::builder(&url)
                    .connection_options(ConnectionOptions::new().pool_size(1))
                    .open()?,
            )?;
        }
    }
    Ok(())
}

/// How many rows of events were looked at, one after the other and by index; in functions of ours, too.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RowsRead {
    in_turn: i64,
    by_index: i64,
}

fn rows_read(
    session: &mut Session<'_>,
    operation: impl FnOnce(&mut Session<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<RowsRead> {
    let count = |session: &mut Session<'_>| -> anyhow::Result<RowsRead> {
        let row = &session.query(
            "SELECT coalesce(sum(seq_tup_read), 0)::BIGINT, coalesce(sum(idx_tup_fetch), 0)::BIGINT
               FROM pg_stat_xact_user_tables WHERE relname ~ '^emt_(streams|messages)'",
            &[],
        )?[0];
        Ok(RowsRead {
            in_turn: row.get(0),
            by_index: row.get(1),
        })
    };
    let before = count(session)?;
    operation(session)?;
    let after = count(session)?;
    Ok(RowsRead {
        in_turn: after.in_turn - before.in_turn,
        by_index: after.by_index - before.by_index,
    })
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
            Err(Error::StreamArchived { version: 10, .. })
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
        anyhow::ensure!(read.events.len() == 10);
        Ok(())
    }),
    ("read a part, backwards, archived", |session| {
        let options = ReadOptions::new().from(4).to(9).max_count(3);
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
fn an_operation_looks_at_the_rows_that_it_needs_and_at_no_others() -> anyhow::Result<()> {
    each_store(|store| {
        for (name, operation) in OPERATIONS {
            for _ in 0..2 {
                let read = store.with_session(|session| rows_read(session, operation))?;
                assert!(read.in_turn == 0 && read.by_index <= 40, "{name}: {read:?}");
            }
            store.with_session(forget)?;
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
            rows_read(session, |session| {
                session.query("SELECT FROM emt_messages WHERE message_id = 'none'", &[])?;
                Ok(())
            })
        })?;
        assert_eq!(read.in_turn, 120_000);
        Ok(())
    })
}

#[test]
fn a_part_of_a_long_stream_costs_what_it_returns() -> anyhow::Result<()> {
    let part = |count| ReadOptions::new().max_count(count);
    let parts = [10, 500].map(|count| {
        [
            part(count),
            part(count).from(10_000),
            part(count).backwards(),
            part(count).to(10_000).backwards(),
            part(count).include_archived(),
            part(count).backwards().include_archived(),
            ReadOptions::new().from(20_001 - count),
        ]
        .map(|part| (count, part))
    });
    each_store(|store| {
        for (count, part) in parts.into_iter().flatten() {
            let read = store.with_session(|session| {
                rows_read(session, |session| {
                    let read = session.read_stream_with::<RawEvent>("Ledger-1", part)?;
                    anyhow::ensure!(
                        (read.events.len() as u64, read.current_version) == (count, 20_000)
                    );
                    Ok(())
                })
            })?;
            let needed = i64::try_from(count)? + 15;
            assert!(
                read.in_turn == 0 && read.by_index <= needed,
                "{part:?}: {read:?}"
            );
        }
        Ok(())
    })
}

/// A statement that the store's connection has sent.
fn sent(session: &mut Session<'_>, part: &str) -> anyhow::Result<String> {
    let find = "SELECT statement FROM pg_prepared_statements WHERE position($1 IN statement) > 0 AND statement !~ 'pg_prepared'";
    let rows = session.query(find, &[&part])?;
    anyhow::ensure!(rows.len() == 1, "{} statements with {part}", rows.len());
    Ok(rows[0].get(0))
}

/// The positions of a page of the feed, and how many rows it has cost.
fn page(
    store: &EventStore,
    after: i64,
    size: i64,
    types: Option<&[&str]>,
) -> anyhow::Result<(Vec<i64>, RowsRead)> {
    let mut positions = Vec::new();
    let read = store.with_session(|session| {
        let statement = sent(session, "emt_feed_in_")?;
        rows_read(session, |session| {
            let (end, all) = (120_000_i64, None::<&[&str]>);
            let (stored, real) = (16_000_i64, 16_000_i64);
            let values: [&(dyn ToSql + Sync); 9] = [
                &"emt:default",
                &after,
                &end,
                &true,
                &size,
                &types,
                &all,
                &stored,
                &real,
            ];
            let rows = session.query(&statement, &values)?;
            positions = rows.iter().map(|row| row.get("global_position")).collect();
            Ok(())
        })
    })?;
    Ok((positions, read))
}

#[test]
fn a_page_of_the_feed_costs_what_it_returns() -> anyhow::Result<()> {
    each_store(|store| {
        let end = FeedOptions::new().after(119_990);
        assert_eq!(store.read_all::<RawEvent>(end).count(), 10);

        for after in [0, 50_000, 119_950] {
            let (positions, read) = page(store, after, 50, None)?;
            assert_eq!(positions, (after + 1..=after + 50).collect::<Vec<_>>());
            // And the next one of the active or archived messages, and the ends of the index, which the planner looks at.
            assert!(read.in_turn == 0 && read.by_index <= 60, "{read:?}");
        }
        Ok(())
    })
}

#[test]
fn a_lag_costs_what_it_counts() -> anyhow::Result<()> {
    each_store(|store| {
        for (after, most, counted) in [(119_950, 1_000, 50), (0, 100, 100), (120_000, 1_000, 0)] {
            let mut messages = 0_i64;
            let read = store.with_session(|session| {
                rows_read(session, |session| {
                    let lag = "SELECT messages FROM emt_feed_lag('emt:default', $1, $2)";
                    let values: [&(dyn ToSql + Sync); 2] = [&i64::from(after), &i64::from(most)];
                    messages = session.query(lag, &values)?[0].get(0);
                    Ok(())
                })
            })?;
            assert_eq!(messages, i64::from(counted));
            assert!(
                read.in_turn == 0 && read.by_index <= i64::from(counted) + 20,
                "{read:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_page_of_rare_types_ends_where_it_is_full() -> anyhow::Result<()> {
    each_store(|store| {
        let end = FeedOptions::new().after(119_990);
        assert_eq!(store.read_all::<CartEvent>(end).count(), 0);

        let types = ["ProductItemAdded", "ShoppingCartConfirmed"];
        let (positions, read) = page(store, 0, 10, Some(&types))?;

        assert_eq!(
            positions,
            (0..10).map(|number| number * 100 + 1).collect::<Vec<_>>()
        );
        assert!(read.in_turn == 0 && read.by_index <= 920, "{read:?}");
        Ok(())
    })
}

#[test]
fn every_statement_that_is_sent_goes_through_indexes() -> anyhow::Result<()> {
    each_store(|store| {
        use_all_statements(store)?;

        let plans = store.with_session(plans)?;

        let about_events = |text: &&str| plans.iter().any(|(sent, _)| sent.contains(text));
        let expected = [
            "emt_append_in_",
            "emt_append_keyed_in_",
            "emt_append_under_key",
            "(VALUES ($2, 1::BIGINT))",
            "(VALUES ($2, 1::BIGINT, $4",
            "unnest((SELECT $2)) WITH",
            "ROWS FROM",
            "emt_horizon",
            "emt_feed_in_",
            "LATERAL",
            "UPDATE",
        ];
        assert_eq!(
            expected.iter().filter(|text| about_events(text)).count(),
            expected.len()
        );
        for (statement, plan) in plans {
            assert!(
                !nodes(&plan).contains(&"Seq Scan"),
                "{statement}
{plan:#}"
            );
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
    use_decisions(store)?;
    store.stream_exists("Cart-4")?;
    store.set_stream_metadata("Cart-4", &Map::new())?;
    let near_the_end = FeedOptions::new().after(119_000);
    assert!(store.read_all::<RawEvent>(near_the_end.clone()).count() > 999);
    assert!(store.read_all::<CartEvent>(near_the_end).count() >= 2);
    Ok(())
}

/// The plans of all statements that the connection has prepared.
#[derive(Default, Serialize, Deserialize)]
struct Seen(usize);

impl Evolve for Seen {
    type Event = RawEvent;

    fn evolve(&mut self, _: &RawEvent) {
        self.0 += 1;
    }
}

fn use_decisions(store: &EventStore) -> anyhow::Result<()> {
    let viewed = || RawEvent::new("Viewed", serde_json::json!({}));
    let key = uuid::Uuid::now_v7().to_string();
    store
        .decide(stream::<Seen>("Cart-5"))
        .key(key.clone() + "/0")
        .run(|_| Ok::<_, Infallible>([viewed()]))?;
    store
        .decide((stream::<Seen>("Cart-6"), stream::<Seen>("Cart-7")))
        .run(|_| Ok::<_, Infallible>(Decision::new()))?;
    store
        .decide(stream::<Seen>("Cart-5"))
        .key(&key)
        .snapshot_every(5)
        .run(|_| Ok::<_, Infallible>([viewed()]))?;
    store
        .decide((stream::<Seen>("Cart-6"), stream::<Seen>("Cart-7")))
        .key(key + "/2")
        .snapshot_every(5)
        .run(|_| Ok::<_, Infallible>(Decision::new().append("Cart-6", [viewed()])))?;
    Ok(())
}

fn plans(session: &mut Session<'_>) -> anyhow::Result<Vec<(String, Value)>> {
    let prepared = session.query(
        "SELECT name, statement, parameter_types::TEXT[] FROM pg_prepared_statements WHERE statement ~ 'emt_(append|horizon|feed|streams|messages)'",
        &[],
    )?;
    let mut plans = Vec::new();
    for row in &prepared {
        let (name, statement): (String, String) = (row.get(0), row.get(1));
        let types: Vec<String> = row.get(2);
        if statement.contains("pg_prepared_statements") {
            continue;
        }
        let values: Vec<&str> = (0..)
            .zip(&types)
            .map(|(index, kind)| value(kind, index))
            .collect();
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

/// A value of a parameter; for a stream's messages, all of them.
fn value(kind: &str, index: usize) -> &'static str {
    match (kind, index) {
        ("bigint", 2) => "0",
        ("bigint" | "integer", _) => "1000",
        ("boolean", _) => "FALSE",
        // The seventh text is the state of a snapshot.
        ("jsonb", _) | ("text", 6) => "'{}'",
        (list, _) if list.ends_with("[]") => "'{}'",
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
