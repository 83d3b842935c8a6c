//! `emmett import` and `emmett export`.

use super::Output;
use super::arguments::{ExportArguments, ImportArguments};
use super::interrupt::explain_interruption;
use crate::error::counted;
use crate::operations::{ExportOptions, ExportReport, ImportOptions};
use crate::progress::Progress;
use crate::store::EventStore;
use anyhow::Context;
use indicatif::HumanBytes;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

pub(super) fn import(
    arguments: &ImportArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    explain_interruption(
        "the imported lines are kept; run the import again, and it resumes there",
    )?;
    let (log, size) = open(&arguments.file)?;
    let mut display = Progress::on_stderr();
    let mut options = ImportOptions::new()
        .batch_size(arguments.batch_size.try_into()?)
        .on_progress(|progress| {
            let words = format!(
                "{} from {}",
                counted(progress.imported, "event"),
                HumanBytes(progress.bytes)
            );
            display.show(progress.bytes, size, &words);
        });
    if let Some(name) = &arguments.name {
        options = options.name(name);
    }
    let imported = store.import(log, options);
    display.clear();
    let report = imported.with_context(|| format!("importing {}", arguments.file.display()))?;

    let skipped = match report.skipped {
        0 => String::new(),
        skipped => format!("; {} already imported", counted(skipped, "line")),
    };
    output.result(
        &format!(
            "imported {} from {}{skipped}",
            counted(report.imported, "event"),
            counted(report.lines, "line")
        ),
        &json!({
            "imported": report.imported,
            "lines": report.lines,
            "skipped": report.skipped,
            "lastGlobalPosition": report.last_global_position,
        }),
    )
}

/// Opens the log. Returns its size, if known.
fn open(file: &Path) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let opened = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let size = opened
        .metadata()
        .with_context(|| format!("opening {}", file.display()))?
        .len();
    Ok((
        Box::new(BufReader::with_capacity(1 << 16, opened)),
        Some(size),
    ))
}

pub(super) fn export(
    arguments: &ExportArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut display = Progress::on_stderr();
    let options = ExportOptions::new()
        .after(arguments.after)
        .positions(!arguments.without_positions)
        .on_progress(|progress| {
            let words = format!("{} exported", counted(progress.messages, "event"));
            display.show(progress.position, Some(progress.end), &words);
        });
    if arguments.file == Path::new("-") {
        let exported = store.export(Output::stdout(), options);
        display.clear();
        exported?;
        return Ok(());
    }
    let exported = write_file(&arguments.file, store, options);
    display.clear();
    let report = exported?;
    output.result(
        &format!(
            "exported {}, up to global position {}",
            counted(report.messages, "event"),
            report.position
        ),
        &json!({ "exported": report.messages, "position": report.position }),
    )
}

fn write_file(
    path: &Path,
    store: &EventStore,
    options: ExportOptions<'_>,
) -> anyhow::Result<ExportReport> {
    let doing = || format!("writing {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(doing)?);
    let report = store.export(&mut file, options).with_context(doing)?;
    file.flush().with_context(doing)?;
    Ok(report)
}
