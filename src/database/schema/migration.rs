//! The versions of the schema, and the part that each belongs to.

use super::files;
use crate::database::sha256::TextDigest;

/// Part of the schema that a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaPart {
    /// Only collections of documents.
    Documents,
    /// The event store, including its documents.
    EventStore,
}

pub(super) struct Migration {
    pub(super) version: i32,
    pub(super) part: SchemaPart,
    pub(super) name: &'static str,
    pub(super) map: files::Map,
}

impl Migration {
    pub(super) fn sql(&self) -> String {
        self.map.joined("")
    }
}

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        part: SchemaPart::Documents,
        name: "documents",
        map: files::DOCUMENTS,
    },
    Migration {
        version: 2,
        part: SchemaPart::EventStore,
        name: "schema",
        map: files::EVENT_STORE,
    },
];

impl SchemaPart {
    pub(super) fn migrations(self) -> impl DoubleEndedIterator<Item = &'static Migration> {
        MIGRATIONS
            .iter()
            .filter(move |migration| self == Self::EventStore || migration.part == self)
    }

    pub(super) fn latest(self) -> i32 {
        self.migrations()
            .next_back()
            .map_or(0, |migration| migration.version)
    }
}

/// Returns the version of the schema that the event store needs.
#[cfg(feature = "cli")]
pub(crate) fn needed() -> u32 {
    SchemaPart::EventStore.latest().unsigned_abs()
}

pub(super) fn checksum(migration: &Migration) -> String {
    TextDigest::from(migration.sql().as_str()).text()
}
