//! Commands that a throwaway server runs itself: it has the right user, and knows the directory of its programs.

use postgres::{Client, NoTls};

/// Where a server's programs and files are. What is put beside its files goes with them.
pub(crate) struct ServerShell {
    pub(crate) programs: String,
    pub(crate) directory: String,
}

impl ServerShell {
    pub(crate) fn of(server: &mut Client) -> anyhow::Result<Self> {
        let places = "
            SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'),
                   regexp_replace(current_setting('data_directory'), '/data$', '')";
        let row = server.query_one(places, &[])?;
        Ok(Self {
            programs: row.get(0),
            directory: row.get(1),
        })
    }
}

/// A server on files beside those of a throwaway server, which starts and stops it.
pub(crate) struct ServerBeside {
    url: String,
    stop: String,
    starter: String,
}

impl ServerBeside {
    /// Starts on the files in the directory `name`.
    pub(crate) fn start(server: &mut Client, name: &str, port: u16) -> anyhow::Result<Self> {
        let ServerShell {
            programs,
            directory,
        } = ServerShell::of(server)?;
        let data = format!("{directory}/{name}");
        run(
            server,
            &format!("{programs}/pg_ctl start -D {data} -l {data}-log -w -o \"-p {port}\""),
        )?;
        Ok(Self {
            url: format!("postgresql:///postgres?host={directory}&port={port}&user=postgres"),
            stop: format!("{programs}/pg_ctl stop -D {data} -m immediate"),
            starter: format!("postgresql:///postgres?host={directory}&user=postgres"),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServerBeside {
    fn drop(&mut self) {
        if let Ok(mut starter) = Client::connect(&self.starter, NoTls) {
            drop(run(&mut starter, &self.stop));
        }
    }
}

/// Copies the files of a server into the directory `name` beside them, as they are while it runs.
pub(crate) fn base_backup(server: &mut Client, name: &str, options: &str) -> anyhow::Result<()> {
    let ServerShell {
        programs,
        directory,
    } = ServerShell::of(server)?;
    run(
        server,
        &format!(
            "{programs}/pg_basebackup -h {directory} -U postgres -D {directory}/{name} -c fast --no-sync {options}"
        ),
    )
}

/// Runs a command as the server's user.
pub(crate) fn run(server: &mut Client, command: &str) -> anyhow::Result<()> {
    let quoted = command.replace('\'', "''");
    Ok(server.batch_execute(&format!(
        "COPY (SELECT) TO PROGRAM '({quoted}) >/dev/null 2>&1'"
    ))?)
}
