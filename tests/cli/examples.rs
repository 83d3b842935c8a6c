//! The examples run and print the expected output.

use super::process::{Run, TestFile, finish};
use emmett_postgresql::testing::Server;
use std::path::{Path, PathBuf};
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

/// Each step of the path, with all that it prints but the time of the batch job.
const PATH: [(&str, &[&str]); 11] = [
    (
        "01_append",
        &[
            "appended: Cart-1 is at version 1",
            "conflict: it is at version 2",
            "read: 1 ItemAdded { product: \"shoes\", quantity: 2 }",
            "read: 2 ItemAdded { product: \"shirt\", quantity: 1 }",
            "aggregated: 3 items",
            "next: cargo run --example 02_read_model",
        ],
    ),
    (
        "02_read_model",
        &[
            "specified: a cart counts its items",
            "Cart-1: 1 items for 120",
            "Cart-2: 2 items for 35",
            "large carts: 1",
            "next: cargo run --example 03_consumer",
        ],
    ),
    (
        "03_consumer",
        &[
            "specified: a mail that fails is tried for 31s, then parked",
            "mail to anna: thank you for Order-1",
            "mail to bert: thank you for Order-2",
            "mails: at position 2",
            "next: cargo run --example 04_batch_job",
        ],
    ),
    (
        "04_batch_job",
        &[
            "turnovers: 2 messages handled in",
            "next: cargo run --example 05_documents",
        ],
    ),
    (
        "05_documents",
        &[
            "inserted: version 1",
            "by Beck: Some(\"Refactoring\")",
            "available: 1",
            "lent twice from one version: true",
            "next: cargo run --example 06_tenants",
        ],
    ),
    (
        "06_tenants",
        &[
            "ship anvil",
            "ship globe",
            "in the store itself: false",
            "globex leaves with 1 message",
            "left: [\"acme\"]",
            "next: cargo run --example 07_operate",
        ],
    ),
    (
        "07_operate",
        &[
            "mail to anna",
            "events handled: 1",
            "mails: stopped, lag 0, parked 1",
            "parked: Order-1 Placed: no mail can be sent to zoë",
            "mail to zoë",
            "events handled: 1",
            "doctor: 0 findings",
            "next: cargo run --example 08_decide",
        ],
    ),
    (
        "08_decide",
        &[
            "specified: an empty cart is not confirmed",
            "refused: the cart is empty",
            "confirmed: Cart-1 is at version 2",
            "repeated: decided before: true",
            "next: cargo run --example 09_workflow",
        ],
    ),
    (
        "09_workflow",
        &[
            "specified: without a payment, an order is cancelled after 300ms",
            "emt:workflow:checkout:1: Confirmed",
            "emt:workflow:checkout:2: Cancelled",
            "next: cargo run --example 10_outbox",
        ],
    ),
    (
        "10_outbox",
        &[
            "endpoint: {\"order\":1} 503 Busy",
            "endpoint: {\"order\":1} 204 Done",
            "endpoint: {\"order\":2} 204 Done",
            "delivered: 4 commands",
            "file: {\"order\":1}",
            "file: {\"order\":2}",
            "next: cargo run --example 11_http",
        ],
    ),
    (
        "11_http",
        &[
            "POST /carts/1 Idempotency-Key: a, If-None-Match: * {\"Add\":{\"items\":2}}",
            "  200 ETag: \"1\" {\"items\":2,\"is_confirmed\":false}",
            "POST /carts/1 Idempotency-Key: b {\"Add\":{\"items\":2}}",
            "  200 ETag: \"2\" {\"items\":4,\"is_confirmed\":false}",
            "POST /carts/1 Idempotency-Key: a, If-None-Match: * {\"Add\":{\"items\":2}}",
            "  200  {\"items\":2,\"is_confirmed\":false}",
            "POST /carts/1 Idempotency-Key: a {\"Add\":{\"items\":3}}",
            "  422  {\"error\":\"command key \\\"a\\\" was used for a command with another content\"}",
            "GET /carts/1",
            "  200 ETag: \"2\" {\"items\":4,\"is_confirmed\":false}",
            "POST /carts/1 Idempotency-Key: c \"Confirm\"",
            "  428  {\"error\":\"confirm what you saw: send its ETag as If-Match\"}",
            "POST /carts/1 Idempotency-Key: c, If-Match: \"1\" \"Confirm\"",
            "  412  {\"error\":\"the cart is at version 2\"}",
            "POST /carts/1 Idempotency-Key: c, If-Match: \"2\" \"Confirm\"",
            "  200 ETag: \"3\" {\"items\":4,\"is_confirmed\":true}",
            "POST /carts/1 Idempotency-Key: d {\"Add\":{\"items\":2}}",
            "  409  {\"error\":\"the cart is confirmed\"}",
            "next: cargo run --example hotel",
        ],
    ),
];

#[test]
fn each_step_of_the_path_shows_its_idea_and_names_the_next_step_each_time() -> anyhow::Result<()> {
    let server = Server::shared()?.url("postgres");
    for (name, expected) in PATH.iter().chain(&PATH) {
        let mut step = example(name)?;
        step.env("EMMETT_TEST_DATABASE_URL", &server)
            .env_remove("EMMETT_DATABASE_URL");
        let run = finish(&mut step)?;

        assert_eq!(run.code, 0, "{name}: {run:?}");
        let lines = lines(&run);
        assert_eq!(lines.len(), expected.len(), "{name}: {run:?}");
        for (line, expected) in lines.iter().zip(*expected) {
            assert!(line.starts_with(expected), "{name}: {line}");
        }
    }
    Ok(())
}

#[test]
fn the_path_is_all_of_the_numbered_examples_and_stands_in_the_readme() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut numbered = Vec::new();
    for file in std::fs::read_dir(root.join("examples"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            numbered.push(name.trim_end_matches(".rs").to_owned());
        }
    }
    numbered.sort();

    assert_eq!(numbered, PATH.map(|(name, _)| name));
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    for name in numbered {
        let row = format!("| [`{name}`](examples/{name}.rs) |");
        assert!(readme.contains(&row), "README.md has no row of {name}");
    }
    Ok(())
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
