//! The arguments that name the store of a command.

use super::arguments::Connection;
use crate::database::{AutoMigration, ConnectionOptions};
use crate::error::Result;
use crate::rebuild::OnHistory;
use crate::setup::EventStoreBuilder;
use crate::store::EventStore;

/// The arguments for opening a store.
pub(super) struct StoreArguments<F> {
    pub(super) connection: Connection,
    pub(super) configure: F,
}

impl<F: FnOnce(EventStoreBuilder) -> EventStoreBuilder> StoreArguments<F> {
    pub(super) fn builder(self) -> anyhow::Result<EventStoreBuilder> {
        // A pooler may pass a server connection with prepared statements of this command to the next one.
        let unprepared = ConnectionOptions::new().prepared_statements(false);
        let builder = EventStore::builder(&self.connection.string()?)
            .connection_options(unprepared)
            .schema(self.connection.schema);
        // Only the commands for read models build them.
        Ok((self.configure)(builder).on_history(OnHistory::Leave))
    }

    /// Returns a builder without a database, for commands that need none.
    pub(super) fn unconnected(self) -> EventStoreBuilder {
        (self.configure)(EventStore::builder("").schema(self.connection.schema))
    }

    /// Opens the store and registers its projections, for commands that run them.
    pub(super) fn open(self) -> anyhow::Result<EventStore> {
        self.open_by(EventStoreBuilder::open)
    }

    /// Opens the store without registering projections, for commands that run none.
    pub(super) fn open_without_projections(self) -> anyhow::Result<EventStore> {
        self.open_by(|builder| {
            let store = builder.open_unchecked()?;
            store.check_schema()?;
            store.verify()?;
            Ok(store)
        })
    }

    /// Opens the store without checking it, for commands that find and repair problems.
    pub(super) fn open_unverified(self) -> anyhow::Result<EventStore> {
        self.open_by(|builder| {
            let store = builder.open_unchecked()?;
            store.check_schema()?;
            Ok(store)
        })
    }

    fn open_by(
        self,
        open: impl FnOnce(EventStoreBuilder) -> Result<EventStore>,
    ) -> anyhow::Result<EventStore> {
        let tenant = self.connection.tenant.clone();
        // Only `migrate run` changes the schema.
        let builder = self.builder()?.auto_migration(AutoMigration::None);
        let store = open(builder)?;
        Ok(match tenant {
            Some(tenant) => store.tenant(&tenant)?,
            None => store,
        })
    }

    pub(super) fn open_unchecked(self) -> anyhow::Result<EventStore> {
        Ok(self.builder()?.open_unchecked()?)
    }
}
