//! The arguments of the command line.

use super::environment::connection_string;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// An event store in PostgreSQL: migrate its schema, import and export events, show streams, consumers and tenants
///
/// Exit codes: 0 success, 1 failure, 2 wrong arguments, 3 the schema is missing or old (`migrate status`), 4 a serious
/// problem was found (`doctor`).
#[derive(Debug, Parser)]
#[command(name = "emmett", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) connection: Connection,

    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The database, as a URL or as key=value pairs [default: the value of `EMMETT_DATABASE_URL`]
    ///
    /// Missing parts are found as by psql: in the service of PGSERVICE, in PGHOST, PGDATABASE, PGUSER, PGPASSWORD,
    /// PGSSLMODE and so on, and in the password file.
    #[arg(
        long = "connection-string",
        alias = "connectionString",
        value_name = "URL",
        global = true
    )]
    text: Option<String>,

    /// The PostgreSQL schema of the tables
    #[arg(long, value_name = "NAME", default_value = "public", global = true)]
    pub(super) schema: String,

    /// The tenant to use [default: none]
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) tenant: Option<String>,
}

impl Connection {
    pub(super) fn string(&self) -> anyhow::Result<String> {
        connection_string(self.text.as_deref())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create and update the database schema
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// Take over a database of Emmett for Node, and list the projections and processors of Node services
    ///
    /// The list shows the name that each projection and each processor needs in a Rust program, so that it resumes
    /// after the checkpoint of the service. The service can keep running after the adoption, with autoMigration:
    /// 'None'.
    Adopt {
        /// List only, and change nothing
        #[arg(long)]
        plan: bool,
    },
    /// Import an event log: one JSON object a line
    ///
    /// Each line is an event: {"streamName", "type", "data"} with optional "metadata", "messageId", "streamPosition", "kind",
    /// "schemaVersion", "recordedAt" and "globalPosition". Or it is the state of a stream after its events: {"streamName"} with
    /// "archived", "streamMetadata" or both. The events are stored in the order of the lines, at new positions. An
    /// interrupted import resumes when it is run again.
    Import(ImportArguments),
    /// Export all events as an event log, in global order
    ///
    /// Lines at the end give the archived streams and the metadata of streams.
    Export(ExportArguments),
    /// Print the events of a stream
    Stream(StreamArguments),
    /// Show the progress and the parked messages of consumers' processors, and reset processors
    ///
    /// Requests are stored in the database. The process that runs the processor carries them out.
    Consumers {
        #[command(subcommand)]
        command: Option<ConsumersCommand>,
    },
    /// Find problems: sessions that hold the feed back, damage in the store, processors without progress
    ///
    /// Exit code 4: a serious problem was found.
    Doctor(DoctorArguments),
    /// Repair the store after a restore or a replication
    Repair {
        #[command(subcommand)]
        command: RepairCommand,
    },
    /// Declare that the database was restored to an earlier state, so that a new epoch of the store begins
    ///
    /// Run it after the restore and before the first append. Readers that keep their position elsewhere detect the new
    /// epoch. Processors at or before the last position continue. Processors after it do not run until they are reset.
    Restored(RestoredArguments),
    /// List the projections and rebuild their read models
    Projections {
        #[command(subcommand)]
        command: Option<ProjectionsCommand>,
    },
    /// List, add and remove tenants
    Tenants {
        #[command(subcommand)]
        command: Option<TenantsCommand>,
    },
    /// Count the keys under which commands were carried out, or delete old ones
    ///
    /// A command that is repeated after the deletion of its key is carried out again.
    Keys(KeysArguments),
    /// List the instances of workflows, the oldest first
    Workflows(WorkflowsArguments),
    /// List the timers of workflows that have not fired, the next one first
    Timers(TimersArguments),
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Create missing objects
    Run {
        /// Try the migration and roll it back
        #[arg(long, alias = "dryRun")]
        dry_run: bool,
    },
    /// Print the SQL of the schema, without a database connection
    Sql {
        /// Accepted for compatibility with Emmett; the SQL is always printed
        #[arg(long, hide = true)]
        print: bool,
    },
    /// Print whether the schema is up to date
    Status,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Set the sequences of all tenants to the last values in the tables
    ///
    /// Stop all writers first. A new epoch of the store begins. If positions may have been drawn twice, processors do
    /// not run until they are reset.
    Sequence,
}

#[derive(Debug, Args)]
pub(super) struct KeysArguments {
    /// Only keys that are at least so old, such as 30d, 12h or 90min [default: all keys]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(super) older_than: Option<Duration>,

    /// Delete them
    #[arg(long, requires = "older_than")]
    pub(super) delete: bool,
}

#[derive(Debug, Args)]
pub(super) struct WorkflowsArguments {
    /// Name of the workflow [default: all workflows]
    pub(super) workflow: Option<String>,

    /// Only instances in this state [default: all states]
    #[arg(long)]
    pub(super) state: Option<InstanceState>,

    /// Maximum number of instances
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(super) limit: u64,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum InstanceState {
    /// It gets further inputs
    Running,
    /// It has ended
    Complete,
}

#[derive(Debug, Args)]
pub(super) struct TimersArguments {
    /// Name of the workflow [default: all workflows]
    pub(super) workflow: Option<String>,

    /// Only the timers of this instance
    #[arg(long, requires = "workflow")]
    pub(super) id: Option<String>,

    /// Maximum number of timers
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(super) limit: u64,
}

/// Days have 24 hours.
fn age(text: &str) -> Result<Duration, String> {
    let advice = "write a number and a unit, such as 30d, 12h or 90min";
    let span: jiff::Span = text.parse().map_err(|_| advice)?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| advice)?;
    Duration::try_from(duration).map_err(|_| "an age is not negative".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct RestoredArguments {
    /// The last global position that was not drawn again; processors after it do not run until they are reset [default:
    /// the last drawn position]
    #[arg(long, value_name = "POSITION")]
    pub(super) to: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The file, or - for standard input
    pub(super) file: PathBuf,

    /// Maximum number of lines in one transaction
    #[arg(long, value_name = "LINES", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,

    /// The name under which the store records the progress of the import [default: derived from the first line]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The file, or - for standard output
    #[arg(default_value = "-")]
    pub(super) file: PathBuf,

    /// Begin after this global position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(super) after: u64,

    /// Leave out "globalPosition", which differs in a copy of the store
    #[arg(long)]
    pub(super) without_positions: bool,
}

#[derive(Debug, Args)]
pub(super) struct StreamArguments {
    /// The name of the stream
    pub(super) name: String,

    /// The first version to print
    #[arg(long, value_name = "VERSION")]
    pub(super) from: Option<u64>,

    /// The last version to print
    #[arg(long, value_name = "VERSION")]
    pub(super) to: Option<u64>,

    /// Maximum number of events to print
    #[arg(long, value_name = "COUNT")]
    pub(super) max_count: Option<u64>,

    /// Print the events backwards, the last one first
    #[arg(long)]
    pub(super) backwards: bool,

    /// Also print an archived stream
    #[arg(long)]
    pub(super) include_archived: bool,

    /// Continue after gaps, where events were deleted by hand
    #[arg(long)]
    pub(super) allow_gaps: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConsumersCommand {
    /// List the processors
    List,
    /// List the messages that a processor has parked
    Parked {
        #[command(flatten)]
        processor: ProcessorArguments,
        /// List messages of this stream only
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
        /// Begin after this global position
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        after: u64,
        /// Maximum number of messages to list
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Print a parked message with its data
    Show {
        #[command(flatten)]
        processor: ProcessorArguments,
        /// The global position of the message
        position: u64,
    },
    /// Request that parked messages are handled again, in the order of their streams
    Replay {
        #[command(flatten)]
        processor: ProcessorArguments,
        #[command(flatten)]
        selection: SelectionArguments,
    },
    /// Request that parked messages are discarded without being handled
    Discard {
        #[command(flatten)]
        processor: ProcessorArguments,
        #[command(flatten)]
        selection: SelectionArguments,
    },
    /// Reset a processor, so that it resumes after another position, and discard its parked messages
    ///
    /// Its read model is not emptied. A reactor repeats its side effects.
    Reset {
        #[command(flatten)]
        processor: ProcessorArguments,
        /// The global position; 0 is the beginning
        #[arg(long, value_name = "POSITION")]
        to: u64,
    },
    /// Delete the checkpoint and the parked messages of a processor that is not used any more
    Forget {
        #[command(flatten)]
        processor: ProcessorArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ProjectionsCommand {
    /// List the registered projections
    List,
    /// Rebuild a read model beside the live one while appends continue, then replace the live one
    ///
    /// A program without the projection's code stores a request, which a running consumer with the code carries out. An
    /// interrupted rebuild leaves the live read model unchanged; run it again, and it starts from the beginning.
    Rebuild(RebuildArguments),
    /// Remove all versions of a projection from the registry; its read model stays, but is not updated any more
    Forget {
        /// The name of the projection
        name: String,
    },
    /// List the collections with documents that rebuilds have replaced and kept
    Old,
    /// Delete the documents that a rebuild has replaced and kept
    DropOld {
        /// The name of the collection
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ProcessorArguments {
    /// The name of the processor
    #[arg(value_name = "PROCESSOR")]
    pub(super) name: String,

    /// The version of the processor, if there are several
    #[arg(long, value_name = "VERSION")]
    pub(super) of_version: Option<u32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SelectionArguments {
    /// All parked messages of the processor
    #[arg(long)]
    pub(super) all: bool,

    /// The parked messages of one stream
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<String>,

    /// The parked message at this global position
    #[arg(long, value_name = "POSITION")]
    pub(super) position: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Instead, prove that the feed has no holes between two positions, both included
    #[arg(long, value_names = ["FROM", "TO"], num_args = 2)]
    pub(super) prove: Option<Vec<u64>>,

    /// Instead, prove that the feed has no holes up to the position of this processor
    #[arg(long, value_name = "PROCESSOR", conflicts_with = "prove")]
    pub(super) prove_processor: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RebuildArguments {
    /// The name of the projection
    pub(super) name: String,

    /// Number of worker threads
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) workers: u32,

    /// Maximum number of events in one transaction
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,

    /// Keep the replaced documents, in a collection named after their version
    #[arg(long)]
    pub(super) keep_old: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// List the tenants
    List,
    /// Add a tenant
    Add {
        /// The name of the tenant
        name: String,
    },
    /// Remove a tenant with all its data
    ///
    /// Without --with-all-data, it prints which data would be deleted, and deletes nothing.
    Remove {
        /// The name of the tenant
        name: String,
        /// Delete its streams, read models and checkpoints
        #[arg(long)]
        with_all_data: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
