//! A bad line is named. Nothing of its batch is stored, and the batches before it are.

use super::logs::{Outcome, import, numbers, plain_line, plain_log, refused_line};
use crate::support::store;
use emmett_postgresql::{EventStore, operations::ImportOptions};
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
        (
            "{",
            "ends before its JSON object does: an object must stand in one line",
        ),
        ("{\"streamName\":", "ends before its JSON object does"),
        (
            "no JSON at all",
            "must be one JSON object, {\"streamName\": …, \"type\": …, \"data\": …}, and begins with no JSON at all",
        ),
        (
            "[]",
            "is a JSON array, and an event log has one JSON object a line: convert it first, for example with `jq -c '.[]'`",
        ),
        ("7", "must be one JSON object"),
        ("\"text\"", "and begins with \"text\""),
        (
            "\u{feff}{}",
            "begins with a byte order mark, which may stand at the beginning of the log only",
        ),
        (
            &format!("{good} x"),
            "has something after its JSON object, at byte 43: write one object a line",
        ),
        (
            &format!("{good}{good}"),
            "has something after its JSON object, at byte 42",
        ),
        (
            "{\"type\":\"B\",\"data\":{}}",
            "the key \"streamName\" is missing: each line names its stream",
        ),
        (
            "{\"streamName\":\"A-1\",\"data\":{}}",
            "the key \"type\" is missing: a message has \"streamName\", \"type\" and \"data\"",
        ),
        (
            "{\"streamName\":\"A-1\",\"type\":\"B\"}",
            "the key \"data\" is missing",
        ),
        (
            "{\"streamName\":\"A-1\"}",
            "the keys \"type\" and \"data\" are missing; a line about a stream has \"archived\" or \"streamMetadata\"",
        ),
        (
            &with("extra", "1"),
            "has the unknown key \"extra\": a line has streamName, type, data, metadata,",
        ),
        (
            &with("StreamName", "\"A-2\""),
            "has the unknown key \"StreamName\": is it \"streamName\"?",
        ),
        (
            &with("recordedat", "\"2026-03-01T09:30:00Z\""),
            "has the unknown key \"recordedat\": is it \"recordedAt\"?",
        ),
        (&with("type", "\"C\""), "has the key \"type\" twice"),
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
        (
            with_names("1", "\"B\""),
            "the key \"streamName\" must be a text, is 1",
        ),
        (
            with_names("\"A-1\"", "null"),
            "the key \"type\" must be a text, is null",
        ),
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
        (
            with("messageId", "17"),
            "the key \"messageId\" must be a text, is 17",
        ),
        (
            with("kind", "\"query\""),
            "the key \"kind\" must be \"event\" or \"command\", is \"query\"",
        ),
        (
            with("schemaVersion", "-1"),
            "the key \"schemaVersion\" must be a whole number from 0 to 4294967295, is -1",
        ),
        (
            with("schemaVersion", "\"1\""),
            "the key \"schemaVersion\" must be a whole number from 0 to 4294967295, is \"1\"",
        ),
        (
            with("streamPosition", "-1"),
            "the key \"streamPosition\" must be a whole number",
        ),
        (
            with("streamPosition", "1.5"),
            "from 0 to 18446744073709551615, is 1.5",
        ),
        (
            with("globalPosition", "\"7\""),
            "the key \"globalPosition\" must be a whole number",
        ),
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

/// Lines with times that cannot be kept.
fn bad_times() -> Vec<(String, &'static str)> {
    let form = "the key \"recordedAt\" must be a time with its offset from UTC, as \"2026-03-01T09:30:00.123456Z\"";
    vec![
        (
            with("recordedAt", "17"),
            "the key \"recordedAt\" must be a text, is 17",
        ),
        (with("recordedAt", "\"\""), form),
        (with("recordedAt", "\"yesterday\""), form),
        (with("recordedAt", "\"2026-03-01T09:30:00\""), form),
        (with("recordedAt", "\"294277-01-01T00:00:00Z\""), form),
        (
            with("recordedAt", "\"2026-03-01T09:30:00.1234567Z\""),
            "must not be more precise than a microsecond, as PostgreSQL keeps it",
        ),
        (
            with("recordedAt", "\"-005000-01-01T00:00:00Z\""),
            "PostgreSQL keeps no time before -004713-11-24T00:00:00Z",
        ),
        (
            with("recordedAt", "\"2999-01-01T00:00:00Z\""),
            "the key \"recordedAt\" is 2999-01-01T00:00:00Z, in the future of the database server",
        ),
    ]
}

/// Lines that say something about their stream, and should not, or not there.
fn bad_states() -> Vec<(String, &'static str)> {
    let about = |rest: &str| format!("{{\"streamName\":\"Case-1\",{rest}}}");
    vec![
        (
            with("archived", "true"),
            "the key \"archived\" is the stream's and not the message's: write it in a line of its own after the stream's \
             messages, {\"streamName\": \"A-1\", \"archived\": true}",
        ),
        (
            with("streamMetadata", "{}"),
            "the key \"streamMetadata\" is the stream's",
        ),
        (
            about("\"archived\":\"yes\""),
            "the key \"archived\" must be true or false, is \"yes\"",
        ),
        (
            about("\"streamMetadata\":[]"),
            "streamMetadata: must be an object",
        ),
        (
            about("\"streamMetadata\":{\"a\":\"\\u0000\"}"),
            "streamMetadata: byte 5 contains the character U+0000",
        ),
        (
            about("\"archived\":null,\"streamMetadata\":null"),
            "the keys \"type\" and \"data\" are missing",
        ),
        (
            about("\"archived\":true,\"recordedAt\":\"2026-03-01T09:30:00Z\""),
            "the key \"recordedAt\" is a message's, but the line is about a stream",
        ),
        (
            "{\"streamName\":\"Nobody-1\",\"archived\":true}".to_owned(),
            "there is no stream \"Nobody-1\": a line about a stream comes after the first message of the stream",
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
        (with_data("NaN"), "is not JSON from byte 39 on, after "),
        (with_data("{\"a\":NaN}"), "is not JSON from byte"),
        (with_data("Infinity"), "is not JSON from byte"),
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
        (with_data("1e200000"), "beyond the range of jsonb"),
        (with_data("{\"a\":}"), "is not JSON from byte"),
        (with_data("'text'"), "is not JSON from byte"),
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

    let bad_lines = [
        bad_shapes(),
        bad_fields(),
        bad_times(),
        bad_states(),
        bad_contents(),
    ]
    .concat();
    for (number, (bad, expected)) in (1..).zip(bad_lines) {
        let tenant = tenant(&store, number)?;
        let (line, reason) = refused_line(import(&tenant, &log_with(&bad), 2));
        assert_eq!(line, 4, "{bad}: {reason}");
        assert!(reason.contains(expected), "{bad}: {reason}");
        // A line about a stream begins another batch, where it can be read.
        let stored: &[u64] = if reason.contains("there is no stream") {
            &[1, 2, 3]
        } else {
            &[1, 2]
        };
        assert_eq!(numbers(&tenant)?, stored, "{bad}");
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

    let refused = store.import(&log[..], ImportOptions::new().batch_size(1));

    let (line, reason) = refused_line(refused);
    assert_eq!(line, 2);
    assert_eq!(
        reason,
        "is not UTF-8 from byte 18 on: convert the log first, for example with `iconv -t UTF-8`"
    );
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
        (
            3,
            "stream \"Case-2\" is archived here: bring it back first, with \"archived\": false in a line about it or \
             `EventStore::unarchive_stream`, and import the log again"
        )
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

#[test]
fn a_byte_order_mark_at_the_beginning_counts_for_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=3);

    let marked = import(&store, &format!("\u{feff}{log}"), 2)?;
    let again = import(&store, &log, 2)?;

    assert_eq!((marked.imported, again.imported, again.skipped), (3, 0, 3));
    assert_eq!(numbers(&store)?, [1, 2, 3]);
    Ok(())
}

#[test]
fn files_that_are_no_event_log_are_named_and_nothing_is_noted() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=3);
    let utf16: Vec<u8> = log.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark = [&b"\xff\xfe"[..], &utf16].concat();
    let array = format!("[\n{}\n]\n", plain_line(1));

    for (file, words) in [
        (
            &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"[..],
            "the log is compressed with gzip: decompress it first, for example with `gunzip -c FILE | emmett import -`",
        ),
        (&utf16[..], "the log is UTF-16, and an event log is UTF-8"),
        (
            &with_mark[..],
            "convert it first, for example with `iconv -f UTF-16 -t UTF-8`",
        ),
        (array.as_bytes(), "is a JSON array"),
    ] {
        let refused = store.import(file, ImportOptions::new().name("a log"));
        let (line, reason) = refused_line(refused);
        assert_eq!(line, 1, "{reason}");
        assert!(reason.contains(words), "{reason}");
    }

    let options = ImportOptions::new().name("a log");
    assert_eq!(store.import(log.as_bytes(), options)?.imported, 3);
    Ok(())
}

#[test]
fn a_last_line_that_is_cut_off_is_told_from_one_that_is_wrong() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=3);

    let (line, reason) = refused_line(import(&store, &log[..log.len() - 5], 10));
    let (_, whole) = refused_line(import(&store, &format!("{}\n", &log[..log.len() - 5]), 10));

    assert_eq!(line, 3);
    assert_eq!(
        reason,
        "the log ends in the middle of this line, after 54 bytes of it: it was cut off, or is being written still. Import it \
         again when it is complete, and the import goes on here"
    );
    assert!(
        whole.starts_with("ends before its JSON object does"),
        "{whole}"
    );
    Ok(())
}
