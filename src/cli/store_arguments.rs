//! The store that a command works on.

use super::arguments::Connection;
use crate::database::{AutoMigration, ConnectionOptions};
use crate::error::Result;
use crate::rebuild::OnHistory;
use crate::setup::EventStoreBuilder;
use crate::store::EventStore;

/// What it takes to open a store.
pub(super) struct StoreArguments<F> {
    pub(super) connection: Connection,
    pub(super) configure: F,
}

impl<F: FnOnce(EventStoreBuilder) -> EventStoreBuilder> StoreArguments<F> {
    pub(super) fn builder(self) -> anyhow::Result<EventStoreBuilder> {
        // A pooler may give the next command a connection of the server that still has the statements of this one.
        let unprepared = ConnectionOptions::new().prepared_statements(false);
        let builder = EventStore::builder(&self.connection.string()?)
            .connection_options(unprepared)
            .schema(self.connection.schema);
        // A command builds read models where it is told to.
        Ok((self.configure)(builder).on_history(OnHistory::Leave))
    }

    /// The same without a database, for what can be said without one.
    pub(super) fn unconnected(self) -> EventStoreBuilder {
        (self.configure)(EventStore::builder("").schema(self.connection.schema))
    }

    /// A store whose projections are registered, for commands that run them.
    pub(super) fn open(self) -> anyhow::Result<EventStore> {
        self.open_by(EventStoreBuilder::open)
    }

    /// A store for commands that run no projection: none is registered.
    pub(super) fn open_without_projections(self) -> anyhow::Result<EventStore> {
        self.open_by(|builder| {
            let store = builder.open_unchecked()?;
            store.check_schema()?;
            store.verify()?;
            Ok(store)
        })
    }

    /// The same without a look at what the store relies on, for commands that find out what is wrong and mend it.
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
