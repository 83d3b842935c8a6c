//! The files of the schema, joined as psql joins them.

/// A file of SQL, under its name in the map.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) sql: &'static str,
}

/// A file whose `\\ir` lines name others, in the order in which they are applied.
pub(super) struct Map {
    pub(super) sql: &'static str,
    pub(super) files: &'static [File],
}

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        [$(File { path: $path, sql: include_str!(concat!($folder, $path)) }),*]
    };
}

pub(super) const DOCUMENTS: Map = Map {
    sql: include_str!("../../../sql/documents.sql"),
    files: &files!["../../../sql/":
        "operations/migrations.sql",
        "operations/copied_grants.sql",
        "documents/collections.sql",
        "documents/adopted_collections.sql",
        "documents/json.sql",
        "documents/arrays.sql",
        "documents/updates.sql",
        "documents/selections.sql",
        "documents/indexes.sql",
    ],
};

pub(super) const EVENT_STORE: Map = Map {
    sql: include_str!("../../../schema.sql"),
    files: &files!["../../../":
        "sql/operations/error_texts.sql",
        "sql/events/partitions.sql",
        "sql/events/streams.sql",
        "sql/events/fence.sql",
        "sql/events/messages.sql",
        "sql/events/message_ids.sql",
        "sql/events/store_epochs.sql",
        "sql/events/append.sql",
        "sql/events/append_refusal.sql",
        "sql/events/append_to_streams.sql",
        "sql/events/command_keys.sql",
        "sql/events/snapshots.sql",
        "sql/events/read.sql",
        "sql/events/feed.sql",
        "sql/events/archive.sql",
        "sql/events/emmett.sql",
        "sql/projections/projections.sql",
        "sql/projections/missed.sql",
        "sql/projections/emmett_projections.sql",
        "sql/consumers/processor_beginnings.sql",
        "sql/consumers/processor_slots.sql",
        "sql/consumers/parked_messages.sql",
        "sql/consumers/emmett_processors.sql",
        "sql/workflows/timers.sql",
        "sql/projections/rebuilds.sql",
        "sql/projections/rebuild_requests.sql",
        "sql/projections/shadow_tables.sql",
        "sql/projections/replaced_documents.sql",
        "sql/operations/imports.sql",
        "sql/operations/store_check.sql",
        "sql/operations/grants.sql",
    ],
};

/// The line of the event store's map that names the documents' map.
const DOCUMENTS_LINE: &str = r"\ir sql/documents.sql";

impl Map {
    /// Returns the text that psql executes: the map with each file in place of its line. `documents` replaces the documents'
    /// line.
    pub(super) fn joined(&self, documents: &str) -> String {
        self.sql
            .lines()
            .flat_map(|line| [self.content(line, documents), "\n"])
            .collect()
    }

    fn content<'a>(&self, line: &'a str, documents: &'a str) -> &'a str {
        if line == DOCUMENTS_LINE {
            return documents;
        }
        self.files
            .iter()
            .find(|file| line.strip_prefix(r"\ir ") == Some(file.path))
            .map_or(line, |file| file.sql)
    }
}
