//! A hot standby of a throwaway server.

use super::wait_until;
use emmett_postgresql::{AutoMigration, EventStore};
use postgres::{Client, NoTls};

/// Beside the primary's files, so that it goes with them: a server ends soon after its files are gone.
pub(crate) struct Standby {
    url: String,
    stop: String,
    primary: String,
}

impl Standby {
    /// Started by the primary itself, which runs as the right user and knows where its programs are.
    pub(crate) fn start(primary: &mut Client) -> anyhow::Result<Self> {
        let places = "
            SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'),
                   regexp_replace(current_setting('data_directory'), '/data$', '')";
        let row = primary.query_one(places, &[])?;
        let (programs, directory): (String, String) = (row.get(0), row.get(1));
        let data = format!("{directory}/standby");
        run(
            primary,
            &format!(
                "{programs}/pg_basebackup -h {directory} -U postgres -D {data} -R -c fast --no-sync &&
                 {programs}/pg_ctl start -D {data} -l {directory}/standby-log -w -o \"-p 5433\""
            ),
        )?;
        Ok(Self {
            url: format!("postgresql:///postgres?host={directory}&port=5433&user=postgres"),
            stop: format!("{programs}/pg_ctl stop -D {data} -m immediate"),
            primary: format!("postgresql:///postgres?host={directory}&user=postgres"),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store(&self) -> anyhow::Result<EventStore> {
        Ok(EventStore::builder(&self.url)
            .auto_migration(AutoMigration::None)
            .open()?)
    }

    pub(crate) fn wait_until_replayed(&self, primary: &mut Client) -> anyhow::Result<()> {
        let now = "SELECT pg_current_wal_insert_lsn()::TEXT";
        let written: String = primary.query_one(now, &[])?.get(0);
        let mut standby = Client::connect(&self.url, NoTls)?;
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::TEXT::PG_LSN";
        wait_until("the standby has replayed everything", || {
            standby
                .query_one(replayed, &[&written])
                .is_ok_and(|row| row.get(0))
        });
        Ok(())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if let Ok(mut primary) = Client::connect(&self.primary, NoTls) {
            drop(run(&mut primary, &self.stop));
        }
    }
}

/// Runs a command as the server's user.
fn run(server: &mut Client, command: &str) -> anyhow::Result<()> {
    let quoted = command.replace('\'', "''");
    Ok(server.batch_execute(&format!(
        "COPY (SELECT) TO PROGRAM '({quoted}) >/dev/null 2>&1'"
    ))?)
}
