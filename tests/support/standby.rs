//! A hot standby of a throwaway server.

use super::server_shell::{ServerBeside, base_backup};
use super::wait_until;
use emmett_postgresql::{EventStore, database::AutoMigration};
use postgres::{Client, NoTls};

pub(crate) struct Standby(ServerBeside);

impl Standby {
    pub(crate) fn start(primary: &mut Client) -> anyhow::Result<Self> {
        base_backup(primary, "standby", "-R")?;
        Ok(Self(ServerBeside::start(primary, "standby", 5433)?))
    }

    pub(crate) fn url(&self) -> &str {
        self.0.url()
    }

    pub(crate) fn store(&self) -> anyhow::Result<EventStore> {
        Ok(EventStore::builder(self.url())
            .auto_migration(AutoMigration::None)
            .open()?)
    }

    pub(crate) fn wait_until_replayed(&self, primary: &mut Client) -> anyhow::Result<()> {
        let now = "SELECT pg_current_wal_insert_lsn()::TEXT";
        let written: String = primary.query_one(now, &[])?.get(0);
        let mut standby = Client::connect(self.url(), NoTls)?;
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::TEXT::PG_LSN";
        wait_until("the standby has replayed everything", || {
            standby
                .query_one(replayed, &[&written])
                .is_ok_and(|row| row.get(0))
        });
        Ok(())
    }
}
