//! Specifications that do not hold: what they say, and at which line.

use emmett_postgresql::testing::Server;
use std::process::Command;

/// The variable that chooses one of the specifications of an ignored test.
pub(super) const CHOSEN: &str = "EMMETT_TEST_SPECIFICATION";

/// Runs each specification of an ignored test in a process of its own. Each has to fail with its words, at the line of
/// the source that ends with its name as a comment.
pub(super) fn each_says(test: &str, source: &str, expected: &[(&str, &str)]) -> anyhow::Result<()> {
    for (specification, words) in expected {
        let said = failure(test, specification)?;
        assert!(said.contains(words), "{specification}: {said}");
        let mark = format!("// {specification}");
        let line = source.lines().position(|line| line.ends_with(&mark));
        let line = line.map_or(0, |index| index + 1);
        let place = format!(".rs:{line}:");
        assert!(said.contains(&place), "{specification}: {place} {said}");
    }
    Ok(())
}

fn failure(test: &str, specification: &str) -> anyhow::Result<String> {
    let failed = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", test])
        .env(CHOSEN, specification)
        .env(
            "EMMETT_TEST_DATABASE_URL",
            Server::shared()?.url("postgres"),
        )
        .env("RUST_BACKTRACE", "0")
        .output()?;
    assert!(!failed.status.success(), "{specification} holds");
    Ok(String::from_utf8_lossy(&failed.stdout).into_owned())
}
