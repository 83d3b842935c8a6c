//! The command finds its server like psql: after the connection string come variables, service files and password
//! files.

use super::process::{Run, TestFile, command, finish};
use crate::database::tls::{Authority, TRUST};
use emmett_postgresql::testing::Server;
use std::os::unix::fs::PermissionsExt;

const SECRET: &str = "s3cr3t-w0rd";

/// A server that wants passwords by TCP, with the role `app`.
struct Guarded {
    _server: Server,
    port: String,
}

impl Guarded {
    fn start(name: &str) -> anyhow::Result<Self> {
        let rules = TestFile::new(
            name,
            "local all all trust\nhost all all all scram-sha-256\n",
        )?;
        let server = Server::builder()
            .listen_on_localhost()
            .setting("hba_file", rules.name())
            .start()?;
        let mut client = postgres::Client::connect(&server.url("postgres"), postgres::NoTls)?;
        client.batch_execute(&format!(
            "CREATE ROLE app LOGIN PASSWORD '{SECRET}'; CREATE ROLE \"o:p\" LOGIN PASSWORD '{SECRET}'"
        ))?;
        client.batch_execute("CREATE DATABASE shop")?;
        let url = server.localhost_url("").expect("it listens");
        let port = url.trim_end_matches('/').rsplit(':').next();
        Ok(Self {
            port: port.expect("a port").to_owned(),
            _server: server,
        })
    }

    /// `migrate status` with an argument and variables, in a home without files of the developer's.
    fn status(&self, url: Option<&str>, variables: &[(&str, &str)]) -> anyhow::Result<Run> {
        let mut arguments = vec!["migrate", "status"];
        let url = url.map(|url| url.replace("PORT", &self.port));
        arguments.extend(url.iter().flat_map(|url| ["--connection-string", url]));
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, value.replace("PORT", &self.port)));
        let run = finish(command(&arguments).env("HOME", "/nowhere").envs(variables))?;
        for word in [SECRET, "s3cr3t", "w0rd"] {
            anyhow::ensure!(!format!("{run:?}").contains(word), "{run:?}");
        }
        Ok(run)
    }

    #[track_caller]
    fn connects(&self, url: Option<&str>, variables: &[(&str, &str)]) {
        let run = self.status(url, variables).expect("it runs");
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (3, ""),
            "{url:?} {variables:?}: {run:?}"
        );
    }

    #[track_caller]
    fn fails(&self, url: Option<&str>, variables: &[(&str, &str)], why: &str) {
        let run = self.status(url, variables).expect("it runs");
        assert_eq!(run.code, 1, "{url:?} {variables:?}: {run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
    }
}

fn private(name: &str, text: &str, mode: u32) -> anyhow::Result<TestFile> {
    let file = TestFile::new(name, text)?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

const SERVER: [(&str, &str); 4] = [
    ("PGHOST", "localhost"),
    ("PGPORT", "PORT"),
    ("PGUSER", "app"),
    ("PGDATABASE", "shop"),
];

#[test]
fn variables_name_the_server_and_the_connection_string_counts_more() -> anyhow::Result<()> {
    let server = Guarded::start("variables_hba")?;
    let password = ("PGPASSWORD", SECRET);
    let refused = "password authentication failed for user \"app\"";

    server.connects(None, &[&SERVER[..], &[password]].concat());
    server.connects(Some("postgresql://app@localhost:PORT/shop"), &[password]);
    let url = (
        "EMMETT_DATABASE_URL",
        "postgresql://app@localhost:PORT/shop",
    );
    server.connects(None, &[url, password]);
    server.connects(
        Some("host=localhost"),
        &[&SERVER[1..], &[password]].concat(),
    );
    server.connects(
        Some("port=PORT"),
        &[&SERVER[..1], &[("PGPORT", "1")], &SERVER[2..], &[password]].concat(),
    );
    server.connects(
        Some(&format!("postgresql://app:{SECRET}@localhost:PORT/shop")),
        &[
            ("PGPASSWORD", "wrong"),
            ("PGUSER", "nobody"),
            ("PGDATABASE", "none"),
        ],
    );
    server.fails(
        None,
        &[&SERVER[..], &[("PGPASSWORD", "wrong")]].concat(),
        refused,
    );
    server.fails(
        Some("postgresql://app:wrong@localhost:PORT/shop"),
        &[password],
        refused,
    );
    server.fails(None, &SERVER, "password missing");

    let with = |variable| [&SERVER[..], &[password, variable]].concat();
    server.fails(
        None,
        &with(("PGTARGETSESSIONATTRS", "read-only")),
        "is not read only",
    );
    server.fails(None, &with(("PGSSLMODE", "require")), "TLS");
    server.fails(
        None,
        &with(("PGOPTIONS", "-c no_such_setting=1")),
        "no_such_setting",
    );
    server.connects(None, &with(("PGAPPNAME", "report")));
    server.connects(None, &with(("PGCONNECT_TIMEOUT", "7")));
    server.fails(
        None,
        &with(("PGCONNECT_TIMEOUT", SECRET)),
        "PGCONNECT_TIMEOUT",
    );
    server.fails(
        None,
        &with(("PGREQUIREAUTH", SECRET)),
        "PGREQUIREAUTH is set",
    );
    Ok(())
}

#[test]
fn the_password_file_has_the_password_unless_others_can_read_it() -> anyhow::Result<()> {
    let server = Guarded::start("passfile_hba")?;
    let lines = format!(
        "# passwords\nlocalhost:1:shop:app:wrong\nlocalhost:{port}:shop:app:{SECRET}\n*:*:*:o\\:p:{SECRET}\n*:*:*:*:wrong\n",
        port = server.port
    );
    let file = private("passfile", &lines, 0o600)?;
    let named = ("PGPASSFILE", file.name());

    server.connects(None, &[&SERVER[..], &[named]].concat());
    server.connects(
        Some(&format!(
            "host=localhost port=PORT user=app dbname=shop passfile={}",
            file.name()
        )),
        &[],
    );
    server.connects(Some("postgresql://o%3Ap@localhost:PORT/shop"), &[named]);
    server.fails(
        Some("postgresql://app@localhost:PORT/postgres"),
        &[named],
        "password authentication failed",
    );
    server.fails(
        None,
        &[&SERVER[..], &[named, ("PGPASSWORD", "wrong")]].concat(),
        "password authentication failed",
    );

    let home = TestFile::directory("passfile_home")?;
    let own = home.path().join(".pgpass");
    std::fs::write(&own, &lines)?;
    for (mode, code) in [(0o600, 3), (0o640, 1), (0o604, 1)] {
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode))?;
        let run = server.status(None, &[&SERVER[..], &[("HOME", home.name())]].concat())?;
        assert_eq!(run.code, code, "{mode:o}: {run:?}");
        let warned = run
            .stderr
            .contains("has group or world access; run `chmod 600 ");
        assert_eq!(warned, code == 1, "{mode:o}: {run:?}");
    }
    Ok(())
}

#[test]
fn a_service_names_the_server_and_the_variables_complete_it() -> anyhow::Result<()> {
    let server = Guarded::start("service_hba")?;
    let lines = format!(
        "[shop]\nhost=localhost\nport={port}\nuser=app\ndbname=shop\n\n[open]\nhost=localhost\nport={port}\nuser=app\npassword={SECRET}\ndbname=shop\n\
         [broken]\n{SECRET}\n",
        port = server.port
    );
    let file = TestFile::new("services", &lines)?;
    let named = ("PGSERVICEFILE", file.name());
    let password = ("PGPASSWORD", SECRET);

    server.connects(None, &[named, ("PGSERVICE", "shop"), password]);
    server.connects(
        None,
        &[
            named,
            ("PGSERVICE", "open"),
            ("PGUSER", "nobody"),
            ("PGPASSWORD", "wrong"),
        ],
    );
    server.connects(Some("service=open"), &[named]);
    server.connects(Some("postgresql:///?service=open"), &[named]);
    server.connects(None, &[named, ("EMMETT_DATABASE_URL", "service=open")]);
    server.fails(Some("service=open dbname=none"), &[named], "\"none\"");
    server.fails(
        Some("service=none"),
        &[named],
        "there is no service \"none\" in ",
    );
    server.fails(
        Some("service=none"),
        &[],
        "~/.pg_service.conf, which does not exist",
    );
    server.fails(
        Some("service=broken"),
        &[named],
        "line 14 of the service file ",
    );

    let home = TestFile::directory("service_home")?;
    std::fs::write(home.path().join(".pg_service.conf"), &lines)?;
    server.connects(Some("service=open"), &[("HOME", home.name())]);
    Ok(())
}

#[test]
fn variables_demand_tls_and_name_whose_certificates_are_good() -> anyhow::Result<()> {
    let (authority, other) = (Authority::new("cli"), Authority::new("cli-other"));
    let server = authority.server("localhost", 5, TRUST)?;
    let url = server.localhost_url("postgres").expect("it listens");
    let (good, bad) = (authority.certificate(), other.certificate());

    for (root, code) in [(good, 3), (bad, 1)] {
        let run = finish(
            command(&["migrate", "status"])
                .env("EMMETT_DATABASE_URL", &url)
                .env("PGSSLMODE", "verify-full")
                .env("PGSSLROOTCERT", root),
        )?;
        assert_eq!(run.code, code, "{run:?}");
    }
    Ok(())
}
