//! The connection string of a command, found as by PostgreSQL's own programs.

use super::output::Output;
use crate::database::{Environment, complete};
use anyhow::Context;

/// The environment variable with the default connection string.
const DATABASE_URL: &str = "EMMETT_DATABASE_URL";

/// Returns the connection string of the argument, or of `EMMETT_DATABASE_URL`, completed from the service file, the
/// environment and the password file.
pub(super) fn connection_string(argument: Option<&str>) -> anyhow::Result<String> {
    let given = argument
        .map(str::to_owned)
        .or_else(|| std::env::var(DATABASE_URL).ok())
        .filter(|text| !text.is_empty());
    let completed = complete(given.as_deref(), &Environment::of_process())?;
    let completed = completed.with_context(|| {
        format!(
            "no database was named: give --connection-string, or set {DATABASE_URL}, or PGHOST and PGDATABASE"
        )
    })?;
    for remark in &completed.remarks {
        Output::note(&format!("warning: {remark}"));
    }
    Ok(completed.connection_string)
}
