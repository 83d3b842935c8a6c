//! A repeated import: it resumes where it stopped, and detects another log.

use super::logs::{Outcome, export, import, numbers, plain_line, plain_log, refused_line};
use crate::support::store;
use emmett_postgresql::operations::ImportOptions;

fn all(lines: u64) -> Vec<u64> {
    (1..=lines).collect()
}

#[test]
fn a_log_that_was_imported_changes_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=100);
    import(&store, &log, 30)?;
    let before = export(&store)?;

    for batch_size in [1, 30, 1_000] {
        let again = import(&store, &log, batch_size)?;
        assert_eq!(
            again,
            Outcome {
                lines: 100,
                imported: 0,
                skipped: 100
            }
        );
    }

    assert!(export(&store)? == before);
    Ok(())
}

#[test]
fn a_log_that_has_grown_goes_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for (lines, skipped) in [(1, 0), (7, 1), (30, 7), (100, 30)] {
        let log = plain_log(1..=lines);
        // A program that is still writing has not ended the last line yet.
        let imported = import(&store, log.trim_end(), 7)?;
        assert_eq!(
            imported,
            Outcome {
                lines,
                imported: lines - skipped,
                skipped
            }
        );
    }

    assert_eq!(numbers(&store)?, all(100));
    Ok(())
}

#[test]
fn a_log_whose_last_line_was_half_written_goes_on_when_it_is_complete() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=10);

    let (line, _) = refused_line(import(&store, &log[..log.len() - 5], 4));
    let imported = import(&store, &log, 4)?;

    assert_eq!(
        (line, imported),
        (
            10,
            Outcome {
                lines: 10,
                imported: 2,
                skipped: 8
            }
        )
    );
    assert_eq!(numbers(&store)?, all(10));
    Ok(())
}

#[test]
fn a_changed_beginning_is_refused_and_nothing_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    import(&store, &plain_log(1..=10), 100)?;
    let longer = plain_log(1..=20);

    for (changed, line) in [
        (longer.replace(&plain_line(5), &plain_line(6)), 10),
        (longer.replace(&plain_line(10), &plain_line(11)), 10),
        (longer.replace(&format!("{}\n", plain_line(2)), ""), 10),
        (longer.replacen('\n', "\n\n", 1), 10),
        (plain_log(1..=9), 9),
        (plain_log(1..=1), 1),
    ] {
        let (refused, reason) = refused_line(import(&store, &changed, 100));
        assert!(
            reason.contains("it is another log, give the import a name of its own"),
            "{reason}"
        );
        assert_eq!(refused, line, "{reason}");
    }

    assert_eq!(numbers(&store)?, all(10));
    Ok(())
}

#[test]
fn another_first_line_is_another_log_unless_the_import_has_a_name() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let named = |log: &str| store.import(log.as_bytes(), ImportOptions::new().name("permits"));

    import(&store, &plain_log(1..=5), 100)?;
    import(&store, &plain_log(6..=8), 100)?;
    named(&plain_log(9..=10))?;
    let (_, reason) = refused_line(named(&plain_log(11..=12)));

    assert!(
        reason.contains("imported before with other content"),
        "{reason}"
    );
    assert_eq!(numbers(&store)?, all(10));
    Ok(())
}

#[test]
fn of_two_imports_of_a_log_that_meet_the_later_one_gives_way() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=30);
    let mut other = None;

    let options = ImportOptions::new().batch_size(10).on_progress(|_| {
        if other.is_none() {
            other = Some(import(&store, &log, 10));
        }
    });
    let overtaken = store.import(log.as_bytes(), options);

    let reason = overtaken
        .expect_err("the other one has gone on")
        .to_string();
    assert_eq!(
        reason,
        "the event log: is being imported by somebody else at the same time"
    );
    let other = other.expect("it ran")?;
    assert_eq!(
        other,
        Outcome {
            lines: 30,
            imported: 20,
            skipped: 10
        }
    );
    assert_eq!(numbers(&store)?, all(30));
    Ok(())
}

#[test]
fn of_many_imports_at_once_every_line_is_stored_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=200);

    std::thread::scope(|scope| {
        for batch_size in [3, 7, 7, 50] {
            let (store, log) = (&store, &log);
            scope.spawn(move || drop(import(store, log, batch_size)));
        }
    });
    let rest = import(&store, &log, 100)?;

    assert_eq!(rest.imported + rest.skipped, 200);
    assert_eq!(numbers(&store)?, all(200));
    Ok(())
}
