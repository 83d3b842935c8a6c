//! `emt_append_several_in_…` gives the results of `emt_append_to_streams`, and stores the same.

use crate::events::fence::fixtures::{Change, DEFAULT, append, fails_without};
use crate::support::store;
use emmett_postgresql::RawEvent;
use postgres::Client;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

/// An append to one of some streams: its expected version and the number of its messages.
type StreamAppend = (u8, Option<i64>, i32);

/// Names whose order depends on the collation, and an archived stream.
const NAMES: [&str; 5] = ["b", "B", "ä", "archived", "c"];

#[derive(Debug, PartialEq)]
struct Stored {
    streams: Vec<(String, i64, String)>,
    messages: Vec<(String, i64, String, i64)>,
}

fn call(
    client: &mut Client,
    function: &str,
    appends: &[StreamAppend],
    find_repeated: bool,
    case: usize,
) -> anyhow::Result<Vec<(i32, Vec<i64>)>> {
    let names: Vec<String> = appends.iter().map(|one| name(one.0, case)).collect();
    let kinds = vec!["c"; appends.len()];
    let expected: Vec<Option<i64>> = appends.iter().map(|one| one.1).collect();
    let counts: Vec<i32> = appends.iter().map(|one| one.2).collect();
    let total = usize::try_from(counts.iter().sum::<i32>())?;
    let ids: Vec<String> = (0..total).map(|number| format!("id-{number}")).collect();
    let types: Vec<String> = (0..total).map(|number| format!("Type{number}")).collect();
    let (kind, version) = (vec!["E"; total], vec!["1"; total]);
    let (data, metadata) = (vec!["{}"; total], vec!["{}"; total]);
    let sql = format!(
        "SELECT number, result FROM {function}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::TEXT[]::JSONB[], $11::TEXT[]::JSONB[], $12, NULL)"
    );
    let rows = client.query(
        &sql,
        &[
            &names,
            &kinds,
            &DEFAULT,
            &expected,
            &counts,
            &ids,
            &types,
            &kind,
            &version,
            &data,
            &metadata,
            &find_repeated,
        ],
    )?;
    let mut results: Vec<(i32, Vec<i64>)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // Refused calls give the sequence's positions away: only their distances count.
    let lowest = results
        .iter()
        .flat_map(|(_, result)| result.iter().skip(3))
        .min()
        .copied()
        .unwrap_or_default();
    for (_, result) in &mut results {
        result.iter_mut().skip(3).for_each(|one| *one -= lowest);
    }
    results.sort();
    Ok(results)
}

fn stored(client: &mut Client) -> anyhow::Result<Stored> {
    let streams = client.query(
        "SELECT stream_id, stream_position, stream_type FROM emt_streams ORDER BY stream_id COLLATE \"C\", is_archived",
        &[],
    )?;
    let messages = client.query(
        "SELECT stream_id, stream_position, message_type, row_number() OVER (ORDER BY global_position)
           FROM emt_messages ORDER BY global_position",
        &[],
    )?;
    Ok(Stored {
        streams: streams
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect(),
        messages: messages
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect(),
    })
}

/// The name of a stream in a case. Streams are begun again and again.
fn name(number: u8, case: usize) -> String {
    format!("{}-{}", NAMES[usize::from(number)], case / 8)
}

#[test]
fn appends_to_several_streams_are_the_same_in_both_functions() -> anyhow::Result<()> {
    compare(false)
}

#[test]
fn so_they_are_in_a_partition_with_an_archive() -> anyhow::Result<()> {
    compare(true)
}

fn compare(has_archive: bool) -> anyhow::Result<()> {
    let (one_database, one) = store()?;
    let (other_database, other) = store()?;
    if has_archive {
        for store in [&one, &other] {
            for case in (0..300).step_by(16) {
                let stream = name(3, case);
                store.append_to_stream(&stream, &[RawEvent::new("Begun", json!({}))])?;
                store.archive_stream(&stream)?;
            }
        }
    }
    let mut fast = one_database.client()?;
    let mut exact = other_database.client()?;
    let expected = prop_oneof![
        4 => Just(None),
        1 => Just(Some(-1)),
        2 => (0_i64..4).prop_map(Some),
    ];
    let appends = prop::collection::vec((0_u8..5, expected, 0_i32..4), 1..5);
    let mut runner = TestRunner::new(Config::with_cases(300));
    let (mut usual, mut refused) = (0, 0);
    let cases = (appends, prop::bool::weighted(0.1));
    for case in 0..300 {
        let tree = cases.new_tree(&mut runner).map_err(anyhow::Error::msg)?;
        let (appends, find_repeated): (Vec<StreamAppend>, bool) = tree.current();
        let function = "emt_append_several_in_emt_default";
        let fits = call(&mut fast, function, &appends, find_repeated, case);
        let function = "emt_append_to_streams";
        let same = call(&mut exact, function, &appends, find_repeated, case);
        match (fits, same) {
            (Ok(fits), Ok(same)) => {
                assert_eq!(fits, same, "{appends:?}");
                let is_refused = same.iter().any(|(_, result)| [1, 2].contains(&result[0]));
                let has_condition = appends.iter().any(|(.., count)| *count == 0);
                usual += i32::from(!is_refused && !has_condition && !find_repeated);
                refused += i32::from(is_refused);
            }
            (Err(fits), Err(same)) => {
                assert_eq!(format!("{fits:#}"), format!("{same:#}"), "{appends:?}");
            }
            (fits, same) => panic!("{appends:?}: {fits:?}, and not {same:?}"),
        }
        assert_eq!(stored(&mut fast)?, stored(&mut exact)?, "{appends:?}");
    }
    assert!(
        usual > 20 && refused > 20,
        "{usual} of the usual kind, {refused} refused"
    );
    Ok(())
}

#[test]
fn an_open_append_to_several_streams_holds_the_feed() -> anyhow::Result<()> {
    let fence = Change::Rewrite {
        function: "emt_append_several_in_emt_default",
        replace: "PERFORM public.emt_fence(_partition);",
        with: "",
    };

    fails_without(&[fence], |ground| {
        let mut open = ground.begin()?;
        let both = "SELECT number, result FROM emt_append_several_in_emt_default(
                        ARRAY['Note-1', 'Note-2'], ARRAY['Note', 'Note'], $1, ARRAY[NULL, NULL]::BIGINT[], ARRAY[1, 1],
                        ARRAY['a', 'b'], ARRAY['Noted', 'Noted'], ARRAY['E', 'E'], ARRAY['1', '1'],
                        ARRAY['{}', '{}']::JSONB[], ARRAY['{}', '{}']::JSONB[], FALSE, NULL)";
        anyhow::ensure!(open.query(both, &[&DEFAULT])?.len() == 2);
        let later = append(&mut ground.client()?, DEFAULT, "Note-3")?;
        Ok(ground.store.feed_horizon(0)?.position < later)
    })
}
