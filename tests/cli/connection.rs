//! The connection string of the command.

use super::process::{command, finish, run};
use crate::database::connections::proxy::Proxy;
use emmett_postgresql::testing::{Database, Server};

const VARIABLE: &str = "EMMETT_DATABASE_URL";

fn empty_database() -> anyhow::Result<Database> {
    Ok(Server::shared()?.create_database()?)
}

#[test]
fn the_database_is_an_option_in_all_its_spellings() -> anyhow::Result<()> {
    let database = empty_database()?;
    let url = database.url();
    run(&["migrate", "run", "--connection-string", url])?;

    for arguments in [
        vec![
            "--connection-string".to_owned(),
            url.to_owned(),
            "migrate".to_owned(),
            "status".to_owned(),
        ],
        vec![
            "migrate".to_owned(),
            format!("--connection-string={url}"),
            "status".to_owned(),
        ],
        vec![
            "migrate".to_owned(),
            "status".to_owned(),
            "--connectionString".to_owned(),
            url.to_owned(),
        ],
        vec![
            "migrate".to_owned(),
            "status".to_owned(),
            format!("--connectionString={url}"),
        ],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let status = run(&arguments)?;
        assert_eq!(status.code, 0, "{arguments:?}: {status:?}");
    }
    Ok(())
}

#[test]
fn the_environment_names_the_database_and_the_option_counts_more() -> anyhow::Result<()> {
    let (migrated, empty) = (empty_database()?, empty_database()?);
    run(&["migrate", "run", "--connection-string", migrated.url()])?;

    let from_environment = finish(command(&["migrate", "status"]).env(VARIABLE, migrated.url()))?;
    let option = ["migrate", "status", "--connection-string", empty.url()];
    let from_option = finish(command(&option).env(VARIABLE, migrated.url()))?;

    assert_eq!((from_environment.code, from_option.code), (0, 3));
    Ok(())
}

#[test]
fn without_a_database_the_command_says_how_to_name_one() -> anyhow::Result<()> {
    let arguments = ["migrate", "status"];
    for run in [
        run(&arguments)?,
        finish(command(&arguments).env(VARIABLE, ""))?,
        finish(command(&arguments).envs([("PGUSER", "anna"), ("PGHOST", "")]))?,
        finish(command(&["migrate", "status", "--connection-string", ""]).env(VARIABLE, ""))?,
    ] {
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert_eq!(
            run.stderr,
            "error: no database was named: give --connection-string, or set EMMETT_DATABASE_URL, or PGHOST and PGDATABASE\n"
        );
    }
    Ok(())
}

#[test]
fn no_command_leaves_a_prepared_statement_that_the_next_one_would_meet_behind_a_pooler()
-> anyhow::Result<()> {
    let database = empty_database()?;
    run(&["migrate", "run", "--connection-string", database.url()])?;
    let proxy = Proxy::to(&database)?;

    for command in [
        "migrate run",
        "tenants add acme",
        "tenants list",
        "tenants remove acme --with-all-data",
        "consumers list",
        "projections list",
        "stream Cart-1",
        "export",
        "doctor",
    ] {
        let arguments = command
            .split(' ')
            .chain(["--connection-string", proxy.url()]);
        let arguments: Vec<&str> = arguments.collect();
        let done = run(&arguments)?;
        assert!(done.code <= 1, "{done:?}");
    }

    assert_eq!(proxy.prepared(), []);
    Ok(())
}
