//! No error ever prints a password.

use super::process::{Run, TestFile, command, finish, run};
use emmett_postgresql::testing::Server;
use std::net::TcpListener;

const SECRET: &str = "s3cr3t-w0rd";

#[track_caller]
fn assert_keeps_secrets(run: &Run) {
    for word in [SECRET, "s3cr3t", "w0rd"] {
        assert!(
            !run.stdout.contains(word) && !run.stderr.contains(word),
            "{run:?}"
        );
    }
}

/// A port on which nobody listens.
fn closed_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[test]
fn a_server_that_cannot_be_reached_is_named_without_the_password() -> anyhow::Result<()> {
    let port = closed_port()?;
    for url in [
        format!("postgresql://app:{SECRET}@127.0.0.1:{port}/shop"),
        format!("postgres://127.0.0.1:{port}/shop?user=app&password={SECRET}"),
        format!("host=127.0.0.1 port={port} user=app dbname=shop password={SECRET}"),
        format!("host=127.0.0.1 port={port} user=app dbname=shop password='{SECRET} and more'"),
    ] {
        for command_line in [
            &["tenants"][..],
            &["migrate", "run"],
            &["export"],
            &["--json", "migrate", "status"],
        ] {
            let option = run(&[command_line, &["--connection-string", &url]].concat())?;
            let environment = finish(command(command_line).env("EMMETT_DATABASE_URL", &url))?;

            for run in [option, environment] {
                assert_eq!(run.code, 1, "{run:?}");
                let place = format!(
                    "cannot connect to database \"shop\" on 127.0.0.1:{port} as user \"app\""
                );
                assert!(run.stderr.contains(&place), "{run:?}");
                assert_keeps_secrets(&run);
            }
        }
    }
    Ok(())
}

#[test]
fn a_password_that_is_refused_is_not_repeated() -> anyhow::Result<()> {
    let rules = TestFile::new(
        "pg_hba.conf",
        "local all all trust\nhost all all all scram-sha-256\n",
    )?;
    let server = Server::builder()
        .listen_on_localhost()
        .setting("hba_file", rules.name())
        .start()?;
    let mut client = postgres::Client::connect(&server.url("postgres"), postgres::NoTls)?;
    client.batch_execute("CREATE ROLE app LOGIN PASSWORD 'right'")?;
    let local = server
        .localhost_url("postgres")
        .expect("it listens on localhost");

    let wrong = local.replace("postgres@", &format!("app:{SECRET}@"));
    let wrong = run(&["tenants", "--connection-string", &wrong])?;
    let right = run(&[
        "migrate",
        "status",
        "--connection-string",
        &local.replace("postgres@", "app:right@"),
    ])?;

    assert_eq!((wrong.code, right.code), (1, 3));
    assert!(
        wrong
            .stderr
            .contains("password authentication failed for user \"app\""),
        "{wrong:?}"
    );
    assert_keeps_secrets(&wrong);
    Ok(())
}

#[test]
fn a_connection_string_that_cannot_be_read_is_not_repeated() -> anyhow::Result<()> {
    for url in [
        format!("postgresql://app:{SECRET}@127.0.0.1:port/shop"),
        format!("postgresql://app:{SECRET}@127.0.0.1/shop?sslmode=perhaps"),
        format!("postgresql://app:{SECRET}@127.0.0.1/shop?unknown=1"),
        format!("postgresql://app:{SECRET}%zz@127.0.0.1/shop"),
        format!("postgresql://app:{SECRET}@s3cr3t/@127.0.0.1:1/shop"),
        format!("mysql://app:{SECRET}@127.0.0.1/shop"),
        format!("host=127.0.0.1 password={SECRET} w0rd"),
        format!("host=127.0.0.1 password='{SECRET}"),
        format!("host=127.0.0.1 passwort={SECRET}"),
        format!("app:{SECRET}@127.0.0.1/shop"),
    ] {
        let run = run(&["tenants", "--connection-string", &url])?;
        assert_eq!(run.code, 1, "{url}: {run:?}");
        assert_keeps_secrets(&run);
    }
    Ok(())
}

#[test]
fn a_connection_string_in_the_wrong_place_is_not_repeated() -> anyhow::Result<()> {
    let port = closed_port()?;
    let url = format!("postgresql://app:{SECRET}@127.0.0.1:{port}/shop");
    let pairs = format!("host=127.0.0.1 password={SECRET}");
    for secret in [url.as_str(), pairs.as_str()] {
        let spellings = [
            format!("--conection-string={secret}"),
            format!("--batch-size={secret}"),
            format!("--after={secret}"),
            format!("--json={secret}"),
            format!("-v{secret}"),
        ];
        for arguments in [
            &[secret][..],
            &["migrate", secret],
            &["migrate", "run", secret],
            &["migrate", "status", "-v", secret],
            &["tenants", secret],
            &["tenants", "list", "--", secret],
            &["stream", "Case-1", secret],
            &["stream", "Case-1", "--from", secret],
            &["import", "-", "--batch-size", secret],
            &["import", "-", &spellings[1]],
            &["export", "--after", secret],
            &["export", &spellings[2]],
            &["tenants", &spellings[0]],
            &["tenants", &spellings[3]],
            &["tenants", &spellings[4]],
            &["help", secret],
        ] {
            let run = run(arguments)?;
            assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
            assert_keeps_secrets(&run);
        }
    }
    Ok(())
}

#[test]
fn a_connection_string_in_the_place_of_a_file_or_name_is_not_repeated() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let urls = [
        "postgresql://app:s3cr3t-w0rd@db/shop",
        "postgresql://app:s3cr3t\"-w0rd@db/shop",
    ];
    for secret in urls {
        for arguments in [
            &["import", secret][..],
            &["export", &format!("/no/such/directory/{secret}")],
            &["stream", secret],
            &["consumers", "parked", secret],
            &["consumers", "reset", secret, "--to", "0"],
            &["doctor", "--prove-processor", secret],
            &["tenants", "remove", secret],
            &["tenants", "add", &format!("{secret}{secret}")],
            &["tenants", "--schema", &format!("{secret}'")],
            &["stream", "Case-1", "--tenant", secret],
        ] {
            let run = run(&[arguments, &["--connection-string", database.url()]].concat())?;
            assert_eq!(run.code, 1, "{arguments:?}: {run:?}");
            assert_keeps_secrets(&run);
        }
    }
    Ok(())
}
