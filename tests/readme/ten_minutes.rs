//! The guide's page on the first ten minutes, block by block.

use super::{REPOSITORY, cargo, replace};
use crate::cli::process::{TestFile, command, finish};
use emmett_postgresql::testing::Server;
use std::io::Write;

const PAGE: &str = include_str!("../../docs/start/ten-minutes.md");

/// The block of the page with this language and number, from 0 on.
fn block(language: &str, number: usize) -> &'static str {
    let block = PAGE.split(&format!("\n```{language}\n")).nth(number + 1);
    block
        .and_then(|block| block.split_once("```"))
        .expect(language)
        .0
}

#[test]
#[ignore = "builds a new crate with all dependencies: --ignored"]
fn the_first_ten_minutes_work_as_written_twice() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let directory = TestFile::directory("ten-minutes")?;
    let create = block("sh", 0).lines().next().expect("a line");
    let created = finish(cargo(directory.path()).args(create.split(' ').skip(1)))?;
    assert_eq!(created.code, 0, "{created:?}");
    let shop = directory.path().join("shop");
    let checkout = format!("path = {:?}", env!("CARGO_MANIFEST_DIR"));
    let mut manifest = std::fs::File::options()
        .append(true)
        .open(shop.join("Cargo.toml"))?;
    manifest.write_all(replace(block("toml", 0), REPOSITORY, &checkout).as_bytes())?;
    std::fs::write(shop.join("src/main.rs"), block("rust,no_run", 0))?;

    for time in 0..2 {
        let mut program = cargo(&shop);
        program
            .args(["run", "--quiet"])
            .env("EMMETT_DATABASE_URL", database.url());
        let run = finish(&mut program)?;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        assert_eq!(run.stdout, block("text", time), "run {time}");
    }
    let commands = block("sh", 2)
        .lines()
        .filter_map(|line| line.strip_prefix("emmett "));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.last(), Some(&"doctor"));
    for arguments in commands {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let run = finish(command(&arguments).env("EMMETT_DATABASE_URL", database.url()))?;
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        if arguments == ["doctor"] {
            assert_eq!(run.stdout, block("text", 2));
        }
    }
    Ok(())
}
