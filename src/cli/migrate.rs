//! `emmett migrate`.

use super::arguments::MigrateCommand;
use super::exit_code::NOT_MIGRATED;
use super::output::Output;
use super::store_arguments::StoreArguments;
use crate::database::{SchemaState, schema};
use crate::setup::EventStoreBuilder;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

pub(super) fn run(
    command: MigrateCommand,
    store: StoreArguments<impl FnOnce(EventStoreBuilder) -> EventStoreBuilder>,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    match command {
        MigrateCommand::Sql { .. } => {
            let sql = store.unconnected().sql()?;
            let mut stdout = Output::stdout();
            stdout.write_all(sql.as_bytes())?;
            stdout.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        MigrateCommand::Run { dry_run } => migrate(store, dry_run, output),
        MigrateCommand::Status => status(store, output),
    }
}

fn migrate(
    store: StoreArguments<impl FnOnce(EventStoreBuilder) -> EventStoreBuilder>,
    dry_run: bool,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let store = store.open_unchecked()?;
    let schema = store.schema();
    let report = if dry_run {
        schema.dry_run()?
    } else {
        schema.migrate()?
    };
    if !dry_run {
        store.prepare()?;
    }
    for remark in &report.remarks {
        Output::note(remark);
    }
    let text = match (report.applied.as_slice(), dry_run) {
        ([], _) => "nothing to do: the schema is up to date".to_owned(),
        (applied, true) => format!(
            "would apply: {} (tried, and rolled back)",
            applied.join(", ")
        ),
        (applied, false) => format!("applied: {}", applied.join(", ")),
    };
    output.result(
        &text,
        &json!({ "applied": report.applied, "skipped": report.skipped, "dryRun": dry_run }),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn status(
    store: StoreArguments<impl FnOnce(EventStoreBuilder) -> EventStoreBuilder>,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let schema = store.open_unchecked()?.schema();
    let state = schema.state()?;
    let missing = match state {
        SchemaState::Current { .. } => schema.missing()?,
        _ => Vec::new(),
    };
    if !missing.is_empty() {
        output.result(
            &format!("missing: {}", missing.join(", ")),
            &json!({ "state": "incomplete", "missing": missing }),
        )?;
        return Ok(ExitCode::from(NOT_MIGRATED));
    }
    let (name, found, needed) = match state {
        SchemaState::Missing => ("missing", 0, schema::needed()),
        SchemaState::Emmett => ("emmett", 0, schema::needed()),
        SchemaState::Old { found, needed } => ("old", found, needed),
        SchemaState::Replaced { version } => ("replaced", version, version),
        SchemaState::Current { version } => ("current", version, version),
    };
    output.result(
        &state.to_string(),
        &json!({ "state": name, "found": found, "needed": needed }),
    )?;
    Ok(if name == "current" {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_MIGRATED)
    })
}
