//! The arguments of the command line.

use super::environment::connection_string;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// An event store in PostgreSQL: migrate its schema, import and export events, look at streams, consumers and tenants.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 the schema is missing or old (`migrate status`), 4 something serious
/// was found (`doctor`).
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
    /// The database, as a URL or as key=value pairs [default: what `EMMETT_DATABASE_URL` says]
    ///
    /// The rest is found as psql finds it: in the service that PGSERVICE names, in PGHOST, PGDATABASE, PGUSER, PGPASSWORD,
    /// PGSSLMODE and the others, and in the password file.
    #[arg(
        long = "connection-string",
        alias = "connectionString",
        value_name = "URL",
        global = true
    )]
    text: Option<String>,

    /// The PostgreSQL schema that holds the tables
    #[arg(long, value_name = "NAME", default_value = "public", global = true)]
    pub(super) schema: String,

    /// The tenant to work for [default: none]
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
    /// Take over a database that Emmett for Node has made, and list what a Node service keeps in it
    ///
    /// Each projection and each processor of the service is listed with what a Rust program has to call it, so that it goes
    /// on where the service was. After the adoption, the service can go on, with autoMigration: 'None'.
    Adopt {
        /// Only list; change nothing
        #[arg(long)]
        plan: bool,
    },
    /// Import an event log: one JSON object a line
    ///
    /// Each line is {"streamName", "type", "data"} with optional "metadata", "messageId", "streamPosition", "kind",
    /// "schemaVersion", "recordedAt" and "globalPosition", or says what a stream is like after its events: {"streamName"} with
    /// "archived", "streamMetadata" or both. The order of the lines is the order of the events; positions are drawn anew. An
    /// import that was interrupted goes on where it stopped when it is run again.
    Import(ImportArguments),
    /// Export all events as an event log, in global order
    ///
    /// Lines at the end say which streams are archived, and what metadata streams have.
    Export(ExportArguments),
    /// Print the events of a stream
    Stream(StreamArguments),
    /// See how far the processors of consumers are, and what they parked; set them back
    ///
    /// Requests are left in the database; the process that runs the processor carries them out.
    Consumers {
        #[command(subcommand)]
        command: Option<ConsumersCommand>,
    },
    /// Find out what is wrong: who holds the feed back, what it relies on, processors that do not get on
    ///
    /// Exit code 4: something serious was found.
    Doctor(DoctorArguments),
    /// Mend what a restore or a replication has left behind
    Repair {
        #[command(subcommand)]
        command: RepairCommand,
    },
    /// Say that the database was restored to an earlier state: a new epoch of the store begins
    ///
    /// Run it after the restore and before the first append. Readers that keep their position elsewhere notice the epoch.
    /// Processors go on where they are, if that is at or below the last position; others do not run until they are reset.
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
    /// Print the script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Create what is missing
    Run {
        /// Try it, and roll it back
        #[arg(long, alias = "dryRun")]
        dry_run: bool,
    },
    /// Print the SQL of the schema; connects to nothing
    Sql {
        /// Accepted for Emmett's sake: it is printed in any case
        #[arg(long, hide = true)]
        print: bool,
    },
    /// Say whether the schema is up to date
    Status,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Set the sequences of all tenants to where the tables are
    ///
    /// Stop all writers first. A new epoch of the store begins. Where positions may have been drawn for the second time,
    /// processors do not run until they are reset.
    Sequence,
}

#[derive(Debug, Args)]
pub(super) struct RestoredArguments {
    /// The last global position that was not drawn again; processors after it do not run until they are reset [default: the
    /// last one that was drawn]
    #[arg(long, value_name = "POSITION")]
    pub(super) to: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The file, or - for standard input
    pub(super) file: PathBuf,

    /// How many lines are stored in one transaction
    #[arg(long, value_name = "LINES", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,

    /// The name under which the store remembers how far the log was imported [default: made of its first line]
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

    /// Leave out "globalPosition", in which a copy of the store differs
    #[arg(long)]
    pub(super) without_positions: bool,
}

#[derive(Debug, Args)]
pub(super) struct StreamArguments {
    /// The stream's name
    pub(super) name: String,

    /// The lowest version to print
    #[arg(long, value_name = "VERSION")]
    pub(super) from: Option<u64>,

    /// The highest version to print
    #[arg(long, value_name = "VERSION")]
    pub(super) to: Option<u64>,

    /// The largest number of events to print
    #[arg(long, value_name = "COUNT")]
    pub(super) max_count: Option<u64>,

    /// Begin with the last event
    #[arg(long)]
    pub(super) backwards: bool,

    /// Print the stream even when it is archived
    #[arg(long)]
    pub(super) include_archived: bool,

    /// Print on where events are missing, because they were deleted by hand
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
        /// Only those of this stream
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
        /// Begin behind this global position
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        after: u64,
        /// How many at the most
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Print a parked message with its data
    Show {
        #[command(flatten)]
        processor: ProcessorArguments,
        /// Its global position
        position: u64,
    },
    /// Have parked messages handled again, in the order of their streams
    Replay {
        #[command(flatten)]
        processor: ProcessorArguments,
        #[command(flatten)]
        selection: SelectionArguments,
    },
    /// Drop parked messages without handling them
    Discard {
        #[command(flatten)]
        processor: ProcessorArguments,
        #[command(flatten)]
        selection: SelectionArguments,
    },
    /// Have a processor go on behind another position, and drop what it has parked
    ///
    /// Its read model is not emptied; a reactor repeats its side effects.
    Reset {
        #[command(flatten)]
        processor: ProcessorArguments,
        /// The global position; 0 is the beginning
        #[arg(long, value_name = "POSITION")]
        to: u64,
    },
    /// Delete what is known of a processor that nobody runs any more
    Forget {
        #[command(flatten)]
        processor: ProcessorArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ProjectionsCommand {
    /// List the projections that the store has registered
    List,
    /// Build a read model anew beside the live one, while appends go on, and put it in its place
    ///
    /// Projections are code: a program that does not have it leaves a request, which a running consumer that has it carries
    /// out. A rebuild that was interrupted is run again from the beginning; until it is done, the live read model stays as it is.
    Rebuild(RebuildArguments),
    /// Remove a projection from the registry, in all its versions; its read model stays, and nothing adds to it any more
    Forget {
        /// The projection's name
        name: String,
    },
    /// List the collections with the documents that rebuilds have replaced and kept
    Old,
    /// Delete the documents that a rebuild has replaced and kept
    DropOld {
        /// The collection's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ProcessorArguments {
    /// The processor's name
    #[arg(value_name = "PROCESSOR")]
    pub(super) name: String,

    /// The version of the processor, where there are several
    #[arg(long, value_name = "VERSION")]
    pub(super) of_version: Option<u32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SelectionArguments {
    /// All that the processor has parked
    #[arg(long)]
    pub(super) all: bool,

    /// Those of one stream
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<String>,

    /// The one at this global position
    #[arg(long, value_name = "POSITION")]
    pub(super) position: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Prove instead that the feed has no holes between two positions, both included
    #[arg(long, value_names = ["FROM", "TO"], num_args = 2)]
    pub(super) prove: Option<Vec<u64>>,

    /// Prove instead that it has none up to where this processor is
    #[arg(long, value_name = "PROCESSOR", conflicts_with = "prove")]
    pub(super) prove_processor: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RebuildArguments {
    /// The projection's name
    pub(super) name: String,

    /// How many threads do the work
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) workers: u32,

    /// How many events are handled in one transaction
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,

    /// Keep the documents that are replaced, in a collection named after their version
    #[arg(long)]
    pub(super) keep_old: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// List the tenants
    List,
    /// Add a tenant
    Add {
        /// Its name
        name: String,
    },
    /// Remove a tenant with all its data
    ///
    /// Without --with-all-data it says what would be deleted, and deletes nothing.
    Remove {
        /// Its name
        name: String,
        /// Really delete its streams, read models and checkpoints
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
