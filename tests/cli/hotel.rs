//! The whole application `examples/hotel`: what it prints, and the page that tells it.

use super::process::{Run, finish};
use emmett_postgresql::testing;
use std::path::Path;
use std::process::Command;

const STORY: &str = include_str!("hotel.txt");
const PAGE: &str = include_str!("../../docs/learn/hotel.md");

/// Runs the application as cargo builds it now. `cargo test` builds its tests, but leaves an older program in its place.
fn hotel(arguments: &[&str]) -> anyhow::Result<Run> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--features", "cli", "--example", "hotel"])
        .arg("--")
        .args(arguments);
    finish(&mut cargo)
}

#[test]
fn the_hotel_tells_its_story_and_another_day_on_the_same_database() -> anyhow::Result<()> {
    let database = testing::database()?;
    let first = hotel(&[database.url()])?;
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(first.stdout.trim(), STORY.trim());

    let second = hotel(&[database.url()])?;
    assert_eq!(second.code, 0, "{second:?}");
    let another_day = STORY
        .replace("Zoë Zander, paid", "(erased), paid")
        .replace("4 nights paid with 360", "5 nights paid with 450")
        .replace("alpenhof: 6 new", "alpenhof: 4 new")
        .replace("2 events, 2 documents", "0 events, 0 documents");
    assert_eq!(second.stdout.trim(), another_day.trim());

    let audit = hotel(&["audit", database.url()])?;
    assert_eq!((audit.code, audit.stderr.as_str()), (0, ""), "{audit:?}");
    assert!(audit.stdout.starts_with("alpenhof: 0 new events; 5 nights"));
    Ok(())
}

#[test]
fn a_wrong_argument_of_the_hotel_is_named() -> anyhow::Result<()> {
    let run = hotel(&["audit", "now", "please"])?;
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("usage: hotel"), "{run:?}");
    Ok(())
}

/// The blocks of the page in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let parts = PAGE.split(&begin).skip(1);
    parts
        .filter_map(|part| part.split_once("```"))
        .map(|(block, _)| block)
        .collect()
}

/// The lines without their indentation: a block of the page stands at its margin.
fn at_the_margin(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    lines.join("\n")
}

fn sources() -> anyhow::Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hotel");
    let mut texts = Vec::new();
    for file in std::fs::read_dir(folder)? {
        texts.push(at_the_margin(&std::fs::read_to_string(file?.path())?));
    }
    Ok(texts)
}

#[test]
fn the_page_of_the_hotel_shows_the_code_and_what_it_prints() -> anyhow::Result<()> {
    let sources = sources()?;
    let (code, printed) = (blocks("rs"), blocks("text"));
    assert!(
        code.len() > 8 && printed.len() > 6,
        "the page has lost its blocks"
    );
    for block in code {
        let lines = at_the_margin(block.trim_end());
        let is_there = sources.iter().any(|source| source.contains(&lines));
        assert!(
            is_there,
            "no file of examples/hotel has this block:\n{block}"
        );
    }
    for block in printed {
        assert!(
            STORY.contains(block.trim_end()),
            "the hotel does not print:\n{block}"
        );
    }
    Ok(())
}
