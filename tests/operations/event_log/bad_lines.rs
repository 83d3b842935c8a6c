//! A line that cannot be stored is named; nothing of its batch is stored, and the batches before it are.

use super::logs::{Outcome, import, numbers, plain_line, plain_log, refused_line};
use crate::support::store;
use emmett_postgresql::EventStore;
use serde_json::{Value, json};

/// A good line, but for one more field.
fn with(field: &str, value: &str) -> String {
    format!("{{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":{{}},\"{field}\":{value}}}")
}

fn with_data(data: &str) -> String {
    format!("{{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":{data}}}")
}

fn with_names(stream: &str, kind: &str) -> String {
    format!("{{\"streamName\":{stream},\"type\":{kind},\"data\":{{}}}}")
}

/// Lines that are no line of an event log, and a part of the reason.
fn bad_shapes() -> Vec<(String, &'static str)> {
    let good = with_data("{}");
    let lines = [
        ("{", "EOF while parsing"),
        ("no JSON at all", "expected"),
        ("[]", "expected struct Line"),
        ("7", "expected struct Line"),
        ("\"text\"", "expected struct Line"),
        (&format!("{good} x"), "trailing characters"),
        (&format!("{good}{good}"), "trailing characters"),
        ("{\"type\":\"B\",\"data\":{}}", "missing field `streamName`"),
        (
            "{\"streamName\":\"A-1\",\"data\":{}}",
            "missing field `type`",
        ),
        (
            "{\"streamName\":\"A-1\",\"type\":\"B\"}",
            "missing field `data`",
        ),
        (&with("extra", "1"), "unknown field `extra`"),
        (&with("StreamName", "\"A-2\""), "unknown field `StreamName`"),
        (&with("type", "\"C\""), "duplicate field `type`"),
    ];
    lines
        .map(|(line, reason)| (line.to_owned(), reason))
        .to_vec()
}

/// Lines whose fields cannot be stored.
fn bad_fields() -> Vec<(String, &'static str)> {
    let long = format!("\"{}\"", "a".repeat(2001));
    let nul = "must not contain the character U+0000";
    vec![
        (with_names("1", "\"B\""), "invalid type"),
        (with_names("\"A-1\"", "null"), "invalid type"),
        (
            with_names("\"\"", "\"B\""),
            "the stream name: must not be empty",
        ),
        (
            with_names("\"A-1\"", "\"\""),
            "the message type: must not be empty",
        ),
        (
            with_names(&long, "\"B\""),
            "must not be longer than 2000 bytes",
        ),
        (with_names("\"a\\u0000\"", "\"B\""), nul),
        (with_names("\"A-1\"", "\"\\u0000\""), nul),
        (with_names("\"\\ud800\"", "\"B\""), "hex escape"),
        (
            with("messageId", "\"\""),
            "the message id: must not be empty",
        ),
        (with("messageId", "\"\\u0000\""), nul),
        (with("messageId", "17"), "invalid type"),
        (with("kind", "\"query\""), "unknown variant `query`"),
        (with("schemaVersion", "-1"), "invalid value"),
        (with("schemaVersion", "\"1\""), "invalid type"),
        (with("streamPosition", "-1"), "invalid value"),
        (with("streamPosition", "1.5"), "invalid type"),
        (
            with("streamPosition", "2"),
            "streamPosition is 2, but the next message of stream \"A-1\" is number 1",
        ),
        (
            with("streamPosition", "0"),
            "streamPosition is 0, but the next",
        ),
    ]
}

/// Lines whose content cannot be kept as JSON, or not be read back.
fn bad_contents() -> Vec<(String, &'static str)> {
    let arrays = format!("{}{}", "[".repeat(128), "]".repeat(128));
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    vec![
        (with("metadata", "[]"), "metadata: must be an object"),
        (with("metadata", "\"text\""), "metadata: must be an object"),
        (
            with("metadata", "{\"a\":\"\\u0000\"}"),
            "metadata: byte 5 contains the character U+0000",
        ),
        (with_data("NaN"), "expected"),
        (with_data("{\"a\":NaN}"), "expected"),
        (with_data("Infinity"), "expected"),
        (
            with_data("{\"a\":\"\\u0000\"}"),
            "data: byte 5 contains the character U+0000",
        ),
        (
            with_data("{\"\\u0000\":1}"),
            "data: byte 1 contains the character U+0000",
        ),
        (with_data("\"\\ud83d\""), "half of a surrogate pair"),
        (with_data("\"\\ude00\\ud83d\""), "half of a surrogate pair"),
        (with_data(&arrays), "nested deeper than 127 levels"),
        (with_data(&objects), "nested deeper than 127 levels"),
        (with_data("1e200000"), "beyond what jsonb holds"),
        (with_data("{\"a\":}"), "expected value"),
        (with_data("'text'"), "expected"),
        (
            with_data("\"control \u{1} character\""),
            "control character",
        ),
    ]
}

/// Four good lines with a bad one between them, in batches of two.
fn log_with(bad: &str) -> String {
    let [first, second, third] = [1, 2, 3].map(plain_line);
    format!("{first}\n{second}\n{third}\n{bad}\n{}\n", plain_line(4))
}

#[test]
fn a_bad_line_is_named_and_its_batch_is_not_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let bad_lines = [bad_shapes(), bad_fields(), bad_contents()].concat();
    for (number, (bad, expected)) in (1..).zip(bad_lines) {
        let tenant = tenant(&store, number)?;
        let (line, reason) = refused_line(import(&tenant, &log_with(&bad), 2));
        assert_eq!(line, 4, "{bad}: {reason}");
        assert!(reason.contains(expected), "{bad}: {reason}");
        assert_eq!(numbers(&tenant)?, [1, 2], "{bad}");
        assert!(!tenant.stream_exists("A-1")?, "{bad}");
    }

    Ok(())
}

/// A few tenants in turn: each import finds an empty one.
fn tenant(store: &EventStore, number: u64) -> anyhow::Result<EventStore> {
    let name = format!("tenant {}", number % 2);
    if !store.tenants().add(&name)? {
        store.tenants().remove(&name)?.with_all_data()?;
        store.tenants().add(&name)?;
    }
    Ok(store.tenant(&name)?)
}

#[test]
fn what_is_just_good_enough_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let good = [
        format!("{{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":{deep}}}"),
        format!("{{\"streamName\":\"{}\",\"type\":\"B\",\"data\":null}}", "a".repeat(2000)),
        "{\"data\":\"text\",\"type\":\"B\",\"streamName\":\"A-1\",\"streamPosition\":2}".to_owned(),
        "{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":1,\"metadata\":null,\"messageId\":null,\"streamPosition\":null,\
         \"schemaVersion\":null}"
            .to_owned(),
        "{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":1e308,\"metadata\":{ }}".to_owned(),
    ];

    let imported = import(&store, &good.join("\n"), 2)?;

    assert_eq!(
        imported,
        Outcome {
            lines: 5,
            imported: 5,
            skipped: 0
        }
    );
    assert_eq!(numbers(&store)?.len(), 5);
    Ok(())
}

#[test]
fn bytes_that_are_no_text_are_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut log = plain_line(1).into_bytes();
    log.extend(b"\n{\"streamName\":\"A-\xff\",\"type\":\"B\",\"data\":{}}\n");

    let refused = store.import(
        &log[..],
        emmett_postgresql::operations::ImportOptions::new().batch_size(1),
    );

    let (line, reason) = refused_line(refused);
    assert_eq!(line, 2);
    assert!(reason.contains("unicode"), "{reason}");
    assert_eq!(numbers(&store)?, [1]);
    Ok(())
}

#[test]
fn a_repaired_log_goes_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let (line, _) = refused_line(import(&store, &log_with("{"), 2));
    let imported = import(&store, &log_with(&plain_line(9)), 2)?;

    assert_eq!(
        (line, imported),
        (
            4,
            Outcome {
                lines: 5,
                imported: 3,
                skipped: 2
            }
        )
    );
    assert_eq!(numbers(&store)?, [1, 2, 3, 9, 4]);
    Ok(())
}

#[test]
fn blank_lines_count_in_the_number_of_a_bad_line() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = format!("\r\n\n{}\n\n\n{{\n", plain_line(1));

    let (line, _) = refused_line(import(&store, &log, 1));

    assert_eq!(line, 6);
    assert_eq!(numbers(&store)?, [1]);
    Ok(())
}

#[test]
fn an_archived_stream_is_refused_at_its_first_line() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let archived = json!({ "streamName": "Case-2", "type": "Noted", "data": { "number": 0 } });
    import(&store, &archived.to_string(), 10)?;
    store.archive_stream("Case-2")?;
    let log = plain_log(0..=7);

    let (line, reason) = refused_line(import(&store, &log, 2));

    assert_eq!(
        (line, reason.as_str()),
        (3, "stream \"Case-2\" is archived")
    );
    assert_eq!(numbers(&store)?, [0, 0, 1]);
    store.unarchive_stream("Case-2")?;
    assert_eq!(
        import(&store, &log, 2)?,
        Outcome {
            lines: 8,
            imported: 6,
            skipped: 2
        }
    );
    Ok(())
}

#[test]
fn a_stream_position_says_where_the_stream_has_to_be() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let line = |position: u64, number: u64| {
        let line: Value = json!({ "streamName": "A-1", "type": "B", "data": { "number": number }, "streamPosition": position });
        format!("{line}\n")
    };

    import(&store, &(line(1, 1) + &line(2, 2)), 10)?;
    let again = line(1, 3) + &line(2, 4);
    let (refused, reason) = refused_line(import(&store, &again, 10));

    assert_eq!(refused, 1);
    assert_eq!(
        reason,
        "streamPosition is 1, but the next message of stream \"A-1\" is number 3"
    );
    assert_eq!(import(&store, &(line(3, 3) + &line(4, 4)), 10)?.imported, 2);
    assert_eq!(numbers(&store)?, [1, 2, 3, 4]);
    Ok(())
}
