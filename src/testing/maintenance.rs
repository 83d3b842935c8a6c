use super::ServerError;
use crate::database::identifier;
use postgres::{Client, Error, NoTls};

pub(super) fn connect(url: &str) -> Result<Client, ServerError> {
    Client::connect(url, NoTls).map_err(failed("connect to PostgreSQL"))
}

pub(super) fn create_database(
    client: &mut Client,
    name: &str,
    template: &str,
) -> Result<(), ServerError> {
    let (name, template) = (identifier::quote(name), identifier::quote(template));
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    client
        .batch_execute(&statement)
        .map_err(failed("create a database"))
}

pub(super) fn drop_database(client: &mut Client, name: &str) -> Result<(), ServerError> {
    let statement = format!(
        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        identifier::quote(name)
    );
    client
        .batch_execute(&statement)
        .map_err(failed("drop a database"))
}

pub(super) fn rename_database(
    client: &mut Client,
    name: &str,
    new_name: &str,
) -> Result<(), ServerError> {
    let statement = format!(
        "ALTER DATABASE {} RENAME TO {}",
        identifier::quote(name),
        identifier::quote(new_name)
    );
    client
        .batch_execute(&statement)
        .map_err(failed("rename a database"))
}

pub(super) fn exists(client: &mut Client, database: &str) -> Result<bool, ServerError> {
    let statement = "SELECT FROM pg_catalog.pg_database WHERE datname = $1";
    let found = client
        .query_opt(statement, &[&database])
        .map_err(failed("find a database"))?;
    Ok(found.is_some())
}

pub(super) fn lock_until_disconnected(client: &mut Client, lock: u64) -> Result<(), ServerError> {
    let statement = "SELECT pg_catalog.pg_advisory_lock($1)";
    client
        .execute(statement, &[&lock.cast_signed()])
        .map_err(failed("wait for a lock"))?;
    Ok(())
}

fn failed(attempt: &'static str) -> impl FnOnce(Error) -> ServerError {
    move |source| ServerError::Database { attempt, source }
}
