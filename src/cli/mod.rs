//! The command line: `emmett`, and the same for a binary with projections of its own.

mod arguments;
mod consumers;
mod doctor;
mod event_log;
mod migrate;
mod output;
mod projections;
mod stream;
mod table;
mod tenants;

use crate::database::schema::AutoMigration;
use crate::setup::EventStoreBuilder;
use crate::store::EventStore;
use arguments::{Arguments, Command, Connection};
use clap::Parser;
use output::Output;
use std::ffi::OsString;
use std::process::ExitCode;

/// The exit code of a command that failed. Wrong arguments give 2, which is clap's.
const FAILED: u8 = 1;
/// The exit code of `migrate status` when the schema is missing or old.
const NOT_MIGRATED: u8 = 3;
/// The exit code of `doctor` when something serious was found.
const SERIOUS: u8 = 4;

/// Runs the whole command line with the arguments of the process, on stores that `configure` has completed: with the inline
/// projections of your program, above all.
///
/// The plain `emmett` knows no projections, so it cannot rebuild them, nor import into a store that has some. A binary of your
/// own can:
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
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 the schema is missing or old (`migrate status`), 4 something serious
/// was found (`doctor`).
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

fn dispatch(
    arguments: Arguments,
    configure: impl FnOnce(EventStoreBuilder) -> EventStoreBuilder,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    output.json = arguments.json;
    let home = Home {
        connection: arguments.connection,
        configure,
    };
    match arguments.command {
        Command::Migrate { command } => return migrate::run(command, home, output),
        Command::Import(import) => event_log::import(&import, &home.open()?, output)?,
        Command::Export(export) => event_log::export(&export, &home.open()?, output)?,
        Command::Stream(stream) => stream::run(&stream, &home.open()?, output)?,
        Command::Consumers { command } => consumers::run(command, &home.open()?, output)?,
        Command::Doctor(doctor) => return doctor::run(&doctor, &home.open()?, output),
        Command::Projections { command } => projections::run(command, &home.open()?, output)?,
        Command::Tenants { command } => tenants::run(command, &home.open()?, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What it takes to open a store.
struct Home<F> {
    connection: Connection,
    configure: F,
}

impl<F: FnOnce(EventStoreBuilder) -> EventStoreBuilder> Home<F> {
    fn builder(self) -> anyhow::Result<EventStoreBuilder> {
        let builder =
            EventStore::builder(&self.connection.string()?).schema(self.connection.schema);
        Ok((self.configure)(builder))
    }

    /// The same without a database, for what can be said without one.
    fn unconnected(self) -> EventStoreBuilder {
        (self.configure)(EventStore::builder("").schema(self.connection.schema))
    }

    fn open(self) -> anyhow::Result<EventStore> {
        let tenant = self.connection.tenant.clone();
        let no_migration = self.connection.no_migration;
        let mut builder = self.builder()?;
        if no_migration {
            builder = builder.auto_migration(AutoMigration::None);
        }
        let store = builder.open()?;
        Ok(match tenant {
            Some(tenant) => store.tenant(&tenant)?,
            None => store,
        })
    }

    fn open_unchecked(self) -> anyhow::Result<EventStore> {
        Ok(self.builder()?.open_unchecked()?)
    }
}
