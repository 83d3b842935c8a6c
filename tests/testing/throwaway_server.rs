//! The throwaway server of `emmett_postgresql::testing`.

use emmett_postgresql::testing::{Server, ServerError};
use postgres::{Client, Config, NoTls, config::Host, error::SqlState};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const CHILD: &str = "EMMETT_TEST_CHILD";

#[test]
fn server_and_directory_are_gone_however_the_process_ends() -> anyhow::Result<()> {
    for end in [
        "exit",
        "panic",
        "abort",
        "kill -9",
        "kill -INT",
        "kill -TERM",
    ] {
        let mut child = ChildProcess::start("ends", &[("EMMETT_TEST_DATABASE_URL", "")])?;
        let mut server = RunningServer::at(&child.next_line()?)?;
        assert!(server.answers());

        child.end(end)?;

        wait_until(end, || Ok(!server.directory.exists() && !server.answers()))?;
    }
    Ok(())
}

#[test]
fn dropping_a_server_stops_it_and_removes_its_directory() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut running = RunningServer::at(&server.url("postgres"))?;
    assert!(running.answers());

    drop(server);

    assert!(!running.answers());
    assert!(!running.directory.exists());
    Ok(())
}

#[test]
fn two_servers_start_at_once_and_know_nothing_of_each_other() -> anyhow::Result<()> {
    let (first, second) = thread::scope(|scope| {
        let (first, second) = (scope.spawn(Server::start), scope.spawn(Server::start));
        (first.join().unwrap(), second.join().unwrap())
    });
    let (first, second) = (first?, second?);

    let database = first.create_database()?;

    database.client()?.batch_execute("CREATE TABLE orders ()")?;
    let elsewhere = Client::connect(&second.url(database.name()), NoTls);
    assert!(elsewhere.is_err_and(|error| error.code() == Some(&SqlState::INVALID_CATALOG_NAME)));
    Ok(())
}

#[test]
fn a_template_is_prepared_once_however_many_threads_ask() -> anyhow::Result<()> {
    let server = Server::start()?;
    let prepared = AtomicUsize::new(0);
    let template = || {
        server.template("orders", |url| {
            prepared.fetch_add(1, Ordering::SeqCst);
            Ok(Client::connect(url, NoTls)?.batch_execute("CREATE TABLE orders ()")?)
        })
    };

    let use_template = || {
        let database = server.clone_database(&template()?)?;
        anyhow::Ok(database.client()?.batch_execute("SELECT FROM orders")?)
    };

    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(use_template)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap())
    })?;

    assert_eq!(prepared.load(Ordering::SeqCst), 1);
    Ok(())
}

#[test]
fn a_template_that_failed_is_prepared_again() -> anyhow::Result<()> {
    let server = Server::start()?;

    let failed = server.template("orders", |_| Err("no schema".into()));
    let repeated = server.template("orders", |_| Ok(()));

    assert!(matches!(failed, Err(ServerError::TemplateNotPrepared { key, .. }) if key == "orders"));
    assert!(server.clone_database(&repeated?).is_ok());
    Ok(())
}

#[test]
fn an_immediate_restart_keeps_what_was_committed_and_nothing_else() -> anyhow::Result<()> {
    let server = Server::builder().durable(true).start()?;
    let database = server.create_database()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)")?;
    client.batch_execute("BEGIN; INSERT INTO orders VALUES (2)")?;

    server.restart_immediately()?;

    assert!(client.batch_execute("COMMIT").is_err());
    let count: i64 = database
        .client()?
        .query_one("SELECT count(*) FROM orders", &[])?
        .get(0);
    assert_eq!(count, 1);
    Ok(())
}

#[test]
fn settings_reach_the_server() -> anyhow::Result<()> {
    let server = Server::builder()
        .durable(true)
        .setting("max_connections", "17")
        .setting("cluster_name", r"Ada's \ server")
        .start()?;
    let mut client = Client::connect(&server.url("postgres"), NoTls)?;

    let mut show = |name| {
        client
            .query_one(&format!("SHOW {name}"), &[])
            .map(|row| row.get(0))
    };

    let values: [String; 4] = [
        show("max_connections")?,
        show("cluster_name")?,
        show("fsync")?,
        show("listen_addresses")?,
    ];
    assert_eq!(values, ["17", r"Ada's \ server", "on", ""]);
    Ok(())
}

#[test]
fn a_server_on_localhost_has_a_port_and_offers_tls() -> anyhow::Result<()> {
    let server = Server::builder().ssl(CERTIFICATE, KEY).start()?;
    let url = server.localhost_url("postgres").unwrap();

    let mut client = Client::connect(&url, NoTls)?;

    let ssl: String = client.query_one("SHOW ssl", &[])?.get(0);
    assert_eq!(ssl, "on");
    Ok(())
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let outcome = Server::builder().setting("max_connections", "many").start();

    let message = outcome.unwrap_err().to_string();
    assert!(
        message.contains(r#"invalid value for parameter "max_connections": "many""#),
        "{message}"
    );
}

#[test]
fn missing_programs_are_named_with_the_way_to_install_them() -> anyhow::Result<()> {
    let empty = env::temp_dir().join(format!("emmett-empty-{}", process::id()));
    fs::create_dir_all(&empty)?;

    let variables = [
        ("EMMETT_TEST_DATABASE_URL", ""),
        ("EMMETT_POSTGRES_BIN", empty.to_str().unwrap()),
    ];
    let message = ChildProcess::start("ends", &variables)?.next_line()?;

    fs::remove_dir(&empty)?;
    assert!(message.contains(empty.to_str().unwrap()), "{message}");
    assert!(message.contains("install"), "{message}");
    Ok(())
}

#[test]
fn the_database_of_an_operator_is_never_used() -> anyhow::Result<()> {
    let production = Server::start()?;
    let url = production.url("postgres");
    let operator = [
        ("EMMETT_DATABASE_URL", url.as_str()),
        ("EMMETT_TEST_DATABASE_URL", ""),
    ];

    let mut child = ChildProcess::start("ends", &operator)?;
    let told = child.next_line()?;
    child.end("exit")?;

    assert_ne!(told, url);
    Ok(())
}

#[test]
fn an_existing_server_is_used_and_left_clean() -> anyhow::Result<()> {
    let server = Server::start()?;
    let url = server.url("postgres");

    let mut child = ChildProcess::start("visits", &[("EMMETT_TEST_DATABASE_URL", url.as_str())])?;

    let mut client = Client::connect(&url, NoTls)?;
    let mut exists = |name: &str| -> anyhow::Result<bool> {
        Ok(client
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name])?
            .is_some())
    };
    let database = child.next_line()?;
    assert!(exists(&database)?, "{database}");
    child.end("exit")?;
    wait_until("the database is dropped", || Ok(!exists(&database)?))
}

/// Does nothing by itself: the other tests run it in a process of its own.
#[test]
fn child_process() {
    match env::var(CHILD).as_deref() {
        Ok("ends") => match Server::shared() {
            Ok(server) => end_as_told(&server.url("postgres")),
            Err(error) => tell(&error.to_string()),
        },
        Ok("visits") => {
            let database = Server::shared().and_then(Server::create_database).unwrap();
            let _connection = database.client().unwrap();
            tell(database.name());
            io::stdin().read_line(&mut String::new()).unwrap();
        }
        _ => {}
    }
}

fn end_as_told(url: &str) {
    tell(url);
    let mut end = String::new();
    io::stdin().read_line(&mut end).unwrap();
    match end.trim() {
        "exit" => process::exit(0),
        "abort" => process::abort(),
        end => panic!("{end}"),
    }
}

/// The test runner writes to standard output too; [`ChildProcess::next_line`] tells the two apart.
fn tell(line: &str) {
    println!("\nchild: {line}");
}

struct ChildProcess {
    process: Child,
    lines: io::Lines<BufReader<process::ChildStdout>>,
    orders: ChildStdin,
}

impl ChildProcess {
    fn start(role: &str, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut process = Command::new(env::current_exe()?)
            .args([
                "--exact",
                &format!("{module}::child_process"),
                "--nocapture",
            ])
            .env(CHILD, role)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let orders = process.stdin.take().unwrap();
        Ok(Self {
            process,
            lines,
            orders,
        })
    }

    fn next_line(&mut self) -> anyhow::Result<String> {
        for line in &mut self.lines {
            if let Some(told) = line?.strip_prefix("child: ") {
                return Ok(told.to_owned());
            }
        }
        anyhow::bail!("the child ended")
    }

    fn end(&mut self, way: &str) -> anyhow::Result<()> {
        match way.strip_prefix("kill ") {
            Some(signal) => signal_process(signal, self.process.id())?,
            None => writeln!(self.orders, "{way}")?,
        }
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

struct RunningServer {
    directory: PathBuf,
    connection: Client,
}

impl RunningServer {
    fn at(url: &str) -> anyhow::Result<Self> {
        let settings: Config = url.parse()?;
        let [Host::Unix(directory)] = settings.get_hosts() else {
            anyhow::bail!("{url} names no socket")
        };
        Ok(Self {
            directory: directory.clone(),
            connection: settings.connect(NoTls)?,
        })
    }

    fn answers(&mut self) -> bool {
        self.connection.batch_execute("SELECT 1").is_ok()
    }
}

fn signal_process(signal: &str, process: u32) -> anyhow::Result<()> {
    let script = format!("kill {signal} {process}");
    anyhow::ensure!(
        Command::new("/bin/sh")
            .args(["-c", &script])
            .status()?
            .success(),
        script
    );
    Ok(())
}

fn wait_until(
    what: &str,
    mut happened: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened()? {
        anyhow::ensure!(Instant::now() < deadline, "not within a minute: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

/// For localhost, signed by itself, valid for a hundred years.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUPtcHdq2k7FnEj6cU+bZoy3QM49IwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAwMDg1M1oYDzIxMjYxMDMx
MDAwODUzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR1rrza2ZlvrS0BrT78KsCsOoAZEcsWj1H/bltoqz5+WK1r+tWWdovX
yKqsGeyYM947lI6r5hjomaRzciM57tPBo2kwZzAdBgNVHQ4EFgQUxW/3cJ/GmfqK
DSRXCNFZWPo+YN4wHwYDVR0jBBgwFoAUxW/3cJ/GmfqKDSRXCNFZWPo+YN4wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SQAwRgIhAJtt5/NkrQEB+cAH7osQ8zHqmE9EOsgkECHKX8eRiPK2AiEAnRycikSY
BQpzeGAndjrR8FrkkBGrkcgNaUTtOYY+y7A=
-----END CERTIFICATE-----
";

const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/giCCtKdKAT3k9je
ofX5OQjpZKnbJ7KTlfWYRCiYMTGhRANCAAR1rrza2ZlvrS0BrT78KsCsOoAZEcsW
j1H/bltoqz5+WK1r+tWWdovXyKqsGeyYM947lI6r5hjomaRzciM57tPB
-----END PRIVATE KEY-----
";
