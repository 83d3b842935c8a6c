//! The command line: `emmett`, and the same for programs with projections.

mod adopt;
mod arguments;
mod consumers;
mod doctor;
mod environment;
mod event_log;
mod exit_code;
mod interrupt;
mod keys;
mod migrate;
mod output;
mod projections;
mod restore;
mod store_arguments;
mod stream;
mod table;
mod tenants;
mod workflows;

use crate::setup::EventStoreBuilder;
use arguments::{Arguments, Command, ProjectionsCommand};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use exit_code::FAILED;
use output::Output;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use store_arguments::StoreArguments;

/// Runs the complete command line with the arguments of the process. `configure` completes the builder of each store,
/// above all with the inline projections of your program.
///
/// The plain `emmett` has no projections. It can neither rebuild them nor run them during an import. Your own binary
/// can:
///
/// ```no_run
/// use emmett_postgresql::{DocumentProjection, RawEvent, Recorded, cli};
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     cli::run(|builder| {
///         builder.inline_projection(DocumentProjection::single_stream(
///             "event_counts",
///             |count: Option<serde_json::Value>, _: &Recorded<RawEvent>| {
///                 let events = count.and_then(|count| count["events"].as_u64()).unwrap_or(0) + 1;
///                 Some(serde_json::json!({ "events": events }))
///             },
///         ))
///     })
/// }
/// ```
///
/// Exit codes: 0 success, 1 failure, 2 wrong arguments, 3 the schema is missing or old (`migrate status`), 4 a serious
/// problem was found (`doctor`).
pub fn run(configure: impl FnOnce(EventStoreBuilder) -> EventStoreBuilder) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut output = Output::new();
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => match dispatch(parsed, configure, &mut output) {
            Ok(code) => code,
            Err(error) if output::is_reader_gone(&error) => ExitCode::SUCCESS,
            Err(error) => {
                Output::error(&error, &arguments);
                ExitCode::from(FAILED)
            }
        },
        Err(refusal) => Output::refusal(&refusal, &arguments),
    }
}

/// Prints the completion script for a shell.
fn completions(shell: Shell) {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    // A closed standard output is no error here.
    let _ = Output::stdout().write_all(&script);
}

fn dispatch(
    arguments: Arguments,
    configure: impl FnOnce(EventStoreBuilder) -> EventStoreBuilder,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    output.json = arguments.json;
    let store = StoreArguments {
        connection: arguments.connection,
        configure,
    };
    match arguments.command {
        Command::Completions { shell } => completions(shell),
        Command::Migrate { command } => return migrate::run(command, store, output),
        Command::Adopt { plan } => {
            let tenant = store.connection.tenant.clone();
            adopt::run(plan, tenant.as_deref(), &store.open_unchecked()?, output)?;
        }
        Command::Import(import) => event_log::import(&import, &store.open()?, output)?,
        Command::Export(export) => {
            event_log::export(&export, &store.open_without_projections()?, output)?;
        }
        Command::Stream(stream) => {
            stream::run(&stream, &store.open_without_projections()?, output)?;
        }
        Command::Consumers { command } => {
            consumers::run(command, &store.open_without_projections()?, output)?;
        }
        Command::Doctor(doctor) => return doctor::run(&doctor, &store.open_unverified()?, output),
        Command::Projections { command } => {
            let store = if matches!(command, Some(ProjectionsCommand::Rebuild(_))) {
                store.open()?
            } else {
                store.open_without_projections()?
            };
            projections::run(command, &store, output)?;
        }
        Command::Keys(keys) => {
            keys::run(&keys, &store.open_without_projections()?, output)?;
        }
        Command::Workflows(list) => {
            workflows::instances(&list, &store.open_without_projections()?, output)?;
        }
        Command::Timers(list) => {
            workflows::timers(&list, &store.open_without_projections()?, output)?;
        }
        Command::Repair { command } => {
            restore::repair(&command, &store.open_unverified()?, output)?;
        }
        Command::Restored(restored) => {
            restore::restored(&restored, &store.open_without_projections()?, output)?;
        }
        Command::Tenants { command } => {
            tenants::run(command, &store.open_without_projections()?, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
