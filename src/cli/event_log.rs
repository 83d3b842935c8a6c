//! `emmett import` and `emmett export`.

use super::Output;
use super::arguments::{ExportArguments, ImportArguments};
use super::interrupt::explain_interruption;
use crate::operations::{ExportOptions, ImportOptions};
use crate::store::EventStore;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

pub(super) fn import(
    arguments: &ImportArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    explain_interruption("what was imported is kept; run the import again, and it goes on there")?;
    let (log, size) = open(&arguments.file)?;
    let bar = progress_bar(size);
    let mut options = ImportOptions::new()
        .batch_size(arguments.batch_size.try_into()?)
        .on_progress(|progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} events", progress.imported));
        });
    if let Some(name) = &arguments.name {
        options = options.name(name);
    }
    let imported = store.import(log, options);
    bar.finish_and_clear();
    let report = imported.with_context(|| format!("importing {}", arguments.file.display()))?;

    let skipped = match report.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} lines had been imported before"),
    };
    output.result(
        &format!(
            "imported {} events from {} lines{skipped}",
            report.imported, report.lines
        ),
        &json!({
            "imported": report.imported,
            "lines": report.lines,
            "skipped": report.skipped,
            "lastGlobalPosition": report.last_global_position,
        }),
    )
}

/// The log and its size, if that is known.
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

/// A bar on standard error, where that is a terminal.
fn progress_bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:40} {percent}% {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes}  {msg}  {bytes_per_sec}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

pub(super) fn export(
    arguments: &ExportArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let options = ExportOptions::new()
        .after(arguments.after)
        .positions(!arguments.without_positions);
    if arguments.file == Path::new("-") {
        store.export(Output::stdout(), options)?;
        return Ok(());
    }
    let doing = || format!("writing {}", arguments.file.display());
    let mut file = BufWriter::new(File::create(&arguments.file).with_context(doing)?);
    let report = store.export(&mut file, options).with_context(doing)?;
    file.flush().with_context(doing)?;
    output.result(
        &format!(
            "exported {} events, up to global position {}",
            report.messages, report.position
        ),
        &json!({ "exported": report.messages, "position": report.position }),
    )
}
