//! The examples run and print the expected output.

use super::process::{Run, TestFile, finish};
use std::path::PathBuf;
use std::process::Command;

/// The example, which is built with the tests; where only the tests were built, cargo builds it now.
pub(super) fn example(name: &str) -> anyhow::Result<Command> {
    let tests = std::env::current_exe()?;
    let directory = tests
        .ancestors()
        .nth(2)
        .map(PathBuf::from)
        .unwrap_or_default();
    let built = directory.join("examples").join(name);
    if built.is_file() {
        return Ok(Command::new(built));
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--features", "cli", "--example", name])
        .arg("--");
    Ok(cargo)
}

fn lines(run: &Run) -> Vec<&str> {
    run.stdout
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn the_shopping_cart_shows_all_that_the_store_does() -> anyhow::Result<()> {
    let run = finish(&mut example("shopping_cart")?)?;

    assert_eq!(run.code, 0, "{run:?}");
    let lines = lines(&run);
    for expected in [
        "appended: the stream is at version 2",
        "conflict: somebody was faster, it is at version 3",
        "read: 1 ProductItemAdded",
        "read: 3 ShoppingCartConfirmed",
        "aggregated: ShoppingCart { items: [(\"shoes-1\", 2), (\"shirt-7\", 1)], confirmed: true } at version 3",
        "session: the session failed and was rolled back: the shop is closed",
        "large carts: [\"ShoppingCart-123\", \"ShoppingCart-1\"]",
    ] {
        assert!(lines.contains(&expected), "{expected}: {}", run.stdout);
    }
    let summary = lines.iter().find(|line| line.starts_with("read model: "));
    assert!(
        summary.is_some_and(|line| line.contains("total_items: 3")),
        "{summary:?}"
    );
    let next = lines.iter().position(|line| *line == "next:");
    assert!(
        next.is_some_and(|next| lines[next..].len() > 1),
        "{}",
        run.stdout
    );
    Ok(())
}

#[test]
fn the_event_log_makes_a_log_of_its_own() -> anyhow::Result<()> {
    let run = finish(&mut example("event_log")?)?;

    assert_eq!(run.code, 0, "{run:?}");
    let lines = lines(&run);
    assert!(
        lines[0].starts_with("imported 6 events with two read models in "),
        "{}",
        lines[0]
    );
    let words: Vec<Vec<&str>> = lines[1..]
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        words,
        [
            vec!["case", "events", "responsible", "last", "event"],
            vec!["Permit-1", "3", "Ben", "Granted"],
            vec!["Permit-2", "2", "Carla", "Rejected"],
            vec!["Permit-3", "1", "Anna", "Received"],
            vec!["cases", "3"],
            vec!["responsible", "events", "cases"],
            vec!["Anna", "3", "2"],
            vec!["Ben", "2", "2"],
            vec!["Carla", "1", "1"],
            vec!["people", "3"],
        ]
    );
    Ok(())
}

#[test]
fn the_event_log_reads_a_file() -> anyhow::Result<()> {
    let line = |number: u64| {
        let who = ["Anna", "Ben", "Ünal"][usize::try_from(number % 3).unwrap_or_default()];
        format!(
            "{{\"streamName\":\"Permit-{}\",\"type\":\"Checked\",\"data\":{{\"responsible\":\"{who}\"}}}}\n",
            number % 20
        )
    };
    let log = TestFile::new("example.jsonl", &(0..600).map(line).collect::<String>())?;

    let run = finish(example("event_log")?.arg(log.path()))?;
    let missing = finish(example("event_log")?.arg("/no/such/file"))?;

    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.starts_with("imported 600 events"),
        "{}",
        run.stdout
    );
    let lines = lines(&run);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Ünal") && line.ends_with("200     20")),
        "{}",
        run.stdout
    );
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("opening /no/such/file"),
        "{missing:?}"
    );
    Ok(())
}
