//! `PgBouncer` in transaction mode, between the tests and a throwaway server.

use super::wait_until;
use postgres::config::Host;
use postgres::{Client, NoTls};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections of the server a database has.
pub(crate) const POOL_SIZE: usize = 8;

/// Ends `PgBouncer` with the process that holds its standard input.
const RUN: &str = r#""$1" "$2/pgbouncer.ini" & read -r _; kill $!; wait $!; rm -rf "$2""#;

/// In a directory of its own, so that it outlives the server; gone when it is dropped.
pub(crate) struct PgBouncer {
    process: Child,
    directory: PathBuf,
}

impl PgBouncer {
    /// Starts before a server, with these settings beside the defaults.
    pub(crate) fn before(server: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let program = program()?;
        let server: postgres::Config = server.parse()?;
        let Some(Host::Unix(sockets)) = server.get_hosts().first() else {
            anyhow::bail!("a throwaway server has a socket")
        };
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = sockets.with_extension(format!("pgbouncer-{number}"));
        std::fs::create_dir(&directory)?;
        let file = directory.join("pgbouncer.ini");
        std::fs::write(&file, ini(&server, sockets, &directory, settings))?;
        // It refuses to run as root, as the server does.
        let owner = std::fs::metadata(sockets)?;
        for path in [&directory, &file] {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        let process = Command::new("/bin/sh")
            .args(["-c", RUN, "pgbouncer"])
            .args([&program, &directory])
            .current_dir(&directory)
            .process_group(0)
            .uid(owner.uid())
            .gid(owner.gid())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let bouncer = Self { process, directory };
        wait_until("PgBouncer listens", || bouncer.console().is_ok());
        Ok(bouncer)
    }

    /// A database of the server, through the pooler.
    pub(crate) fn url(&self, database: &str) -> String {
        let directory = self.directory.display();
        format!("postgresql:///{database}?host={directory}&port=6432&user=postgres")
    }

    /// Where `PgBouncer` itself is commanded, by simple queries.
    pub(crate) fn console(&self) -> Result<Client, postgres::Error> {
        Client::connect(&self.url("pgbouncer"), NoTls)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Waiting closes its standard input first.
        drop(self.process.wait());
    }
}

fn ini(
    server: &postgres::Config,
    sockets: &Path,
    directory: &Path,
    settings: &[(&str, &str)],
) -> String {
    let mut lines = vec![
        "[databases]".to_owned(),
        format!(
            "* = host={} port={} user={}",
            sockets.display(),
            server.get_ports().first().copied().unwrap_or(5432),
            server.get_user().unwrap_or("postgres")
        ),
        "[pgbouncer]".to_owned(),
    ];
    let (directory, size) = (directory.display(), POOL_SIZE);
    lines.extend([
        format!("unix_socket_dir = {directory}\nlogfile = {directory}/log\nlisten_port = 6432"),
        format!("auth_type = any\nadmin_users = postgres\npool_mode = transaction\ndefault_pool_size = {size}"),
        "server_login_retry = 1".to_owned(),
    ]);
    lines.extend(
        settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}")),
    );
    lines.join("\n") + "\n"
}

/// Packages put it where only root looks.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    let found = places
        .into_iter()
        .map(|place| place.join("pgbouncer"))
        .find(|program| program.is_file());
    found.ok_or_else(|| {
        anyhow::anyhow!("there is no PgBouncer: scripts/install-pgbouncer installs it")
    })
}
