//! The store that a command works on.

use super::arguments::Connection;
use crate::database::AutoMigration;
use crate::setup::EventStoreBuilder;
use crate::store::EventStore;

/// What it takes to open a store.
pub(super) struct StoreArguments<F> {
    pub(super) connection: Connection,
    pub(super) configure: F,
}

impl<F: FnOnce(EventStoreBuilder) -> EventStoreBuilder> StoreArguments<F> {
    pub(super) fn builder(self) -> anyhow::Result<EventStoreBuilder> {
        let builder =
            EventStore::builder(&self.connection.string()?).schema(self.connection.schema);
        Ok((self.configure)(builder))
    }

    /// The same without a database, for what can be said without one.
    pub(super) fn unconnected(self) -> EventStoreBuilder {
        (self.configure)(EventStore::builder("").schema(self.connection.schema))
    }

    pub(super) fn open(self) -> anyhow::Result<EventStore> {
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

    pub(super) fn open_unchecked(self) -> anyhow::Result<EventStore> {
        Ok(self.builder()?.open_unchecked()?)
    }
}
