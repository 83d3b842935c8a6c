//! The README's program and the guide's first ten minutes, in a new crate in an empty folder and in a new cargo root.
//!
//! The tests build all dependencies and download them from crates.io, so they run only on request.

mod ten_minutes;

use crate::cli::process::{TestFile, finish};
use crate::support::database;
use emmett_postgresql::{EventStore, RawEvent, testing::Server};
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");
const REPOSITORY: &str = r#"git = "https://github.com/emmett-postgresql/emmett-postgresql""#;
const DATABASE: &str = "postgresql://user:password@localhost:5432/mydb";

/// The first code block of the README with this heading and language.
fn block(heading: &str, language: &str) -> &'static str {
    let section = README.split_once(heading).expect(heading).1;
    let block = section.split_once(language).expect(language).1;
    block.split_once("```").expect("its end").0
}

/// Cargo in this directory, with a build folder that is kept between runs.
fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let builds = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    cargo
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", builds)
        .env("CARGO_PROFILE_DEV_DEBUG", "false");
    cargo
}

#[track_caller]
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in: {text}");
    text.replace(from, to)
}

#[test]
#[ignore = "builds a new crate with all dependencies: --ignored"]
fn the_program_works_in_a_new_crate_twice() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let directory = TestFile::directory("first-crate")?;
    let created =
        finish(cargo(directory.path()).args(["init", "--name", "first", "--vcs", "none"]))?;
    assert_eq!(created.code, 0, "{created:?}");
    let checkout = format!("path = {:?}", env!("CARGO_MANIFEST_DIR"));
    let dependencies = replace(block("## Use it", "```toml\n"), REPOSITORY, &checkout);
    let manifest = directory.path().join("Cargo.toml");
    let package = std::fs::read_to_string(&manifest)?;
    std::fs::write(
        &manifest,
        replace(&package, "[dependencies]\n", &dependencies),
    )?;
    let program = block("## Use it", "```rust,no_run\n");
    std::fs::write(
        directory.path().join("src/main.rs"),
        replace(program, DATABASE, database.url()),
    )?;

    for events in [2, 4] {
        let run = finish(cargo(directory.path()).args(["run", "--quiet"]))?;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let last = format!("{events} ShoppingCartConfirmed");
        assert!(run.stdout.lines().any(|line| line == last), "{run:?}");
        assert!(run.stdout.contains("a large cart: "), "{run:?}");
    }
    let store = EventStore::open(database.url())?;
    assert_eq!(
        store
            .read_stream::<RawEvent>("ShoppingCart-123")?
            .current_version,
        4
    );
    Ok(())
}

#[test]
#[ignore = "builds the command with all dependencies: --ignored"]
fn the_install_line_gives_a_command_that_speaks_tls() -> anyhow::Result<()> {
    let root = TestFile::directory("install-root")?;
    let line = block("## The command line", "```sh\n").lines().next();
    let line = line.and_then(|line| line.split('#').next());
    let remote = format!("--{}", replace(REPOSITORY, " = ", " ").replace('"', ""));
    let line = replace(
        line.expect("the first line"),
        &remote,
        &format!("--path {}", env!("CARGO_MANIFEST_DIR")),
    );
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();

    let installed =
        finish(
            cargo(root.path())
                .args(words)
                .args(["--debug", "--quiet", "--root", root.name()]),
        )?;
    assert_eq!(installed.code, 0, "{installed:?}");

    let database = database();
    let url = format!("{}&sslmode=require", database.url());
    let mut emmett = Command::new(root.path().join("bin/emmett"));
    let status = finish(emmett.args(["migrate", "status", "--connection-string", &url]))?;
    assert_eq!(status.code, 0, "{status:?}");
    Ok(())
}
