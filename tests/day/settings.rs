//! The day with each database setting that changes how statements run, and in other encodings.

use super::program::{open, whole_day};
use emmett_postgresql::testing::{Database, Server};
use postgres::{Client, NoTls};

/// Of a database, as `ALTER DATABASE … SET` takes them.
const SETTINGS: [(&str, &[&str]); 12] = [
    ("none", &[]),
    (
        "serializable",
        &["default_transaction_isolation = 'serializable'"],
    ),
    (
        "repeatable read",
        &["default_transaction_isolation = 'repeatable read'"],
    ),
    (
        "tablespace",
        &[
            "default_tablespace = 'pg_default'",
            "temp_tablespaces = 'pg_default'",
        ],
    ),
    (
        "strings",
        &[
            "standard_conforming_strings = off",
            "backslash_quote = on",
            "bytea_output = 'escape'",
            "quote_all_identifiers = on",
        ],
    ),
    (
        "dates",
        &[
            "DateStyle = 'German, DMY'",
            "IntervalStyle = 'sql_standard'",
            "TimeZone = 'Asia/Kolkata'",
            "extra_float_digits = -15",
        ],
    ),
    ("search path", &["search_path = pg_temp"]),
    (
        "nulls",
        &["transform_null_equals = on", "array_nulls = off"],
    ),
    (
        "plans",
        &[
            "plan_cache_mode = force_generic_plan",
            "enable_seqscan = off",
            "enable_hashjoin = off",
            "enable_sort = off",
            "jit_above_cost = 0",
        ],
    ),
    (
        "parallel",
        &[
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
            "min_parallel_index_scan_size = 0",
        ],
    ),
    (
        "timeouts",
        &[
            "lock_timeout = '20s'",
            "idle_in_transaction_session_timeout = '20s'",
            "statement_timeout = '20s'",
        ],
    ),
    (
        "security",
        &[
            "row_security = off",
            "check_function_bodies = off",
            "synchronous_commit = off",
            "default_transaction_deferrable = on",
        ],
    ),
];

const ENCODINGS: [&str; 3] = ["UTF8", "LATIN1", "SQL_ASCII"];

#[test]
fn a_whole_day_works_under_each_setting() -> anyhow::Result<()> {
    all(SETTINGS.map(|(name, settings)| day(name, settings, "UTF8")))
}

#[test]
fn a_whole_day_works_in_each_encoding() -> anyhow::Result<()> {
    all(ENCODINGS.map(|encoding| day("none", &[], encoding)))
}

/// `.ci/run --long` runs it.
#[test]
#[ignore = "takes some minutes"]
fn a_whole_day_works_under_each_setting_in_each_encoding() -> anyhow::Result<()> {
    let days = ENCODINGS.into_iter().flat_map(|encoding| {
        SETTINGS
            .into_iter()
            .map(move |(name, settings)| day(name, settings, encoding))
    });
    all(days)
}

/// Names each day that failed.
fn all(days: impl IntoIterator<Item = anyhow::Result<()>>) -> anyhow::Result<()> {
    let failed: Vec<String> = days
        .into_iter()
        .filter_map(|day| day.err().map(|error| format!("{error:#}")))
        .collect();
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn day(name: &str, settings: &[&str], encoding: &str) -> anyhow::Result<()> {
    let server = Server::shared()?;
    let (database, other) = (encoded(server, encoding)?, encoded(server, encoding)?);
    for database in [&database, &other] {
        set(database, settings)?;
    }
    whole_day(&|| open(&database), &|| open(&other))
        .map_err(|error| error.context(format!("settings: {name}, encoding: {encoding}")))
}

fn encoded(server: &Server, encoding: &str) -> anyhow::Result<Database> {
    let template = server.template(&format!("encoding {encoding}"), |url| {
        let name = url_database(url);
        let mut client = Client::connect(&server.url("postgres"), NoTls)?;
        client.batch_execute(&format!("DROP DATABASE {name}"))?;
        client.batch_execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))?;
        Ok(())
    })?;
    Ok(server.clone_database(&template)?)
}

fn url_database(url: &str) -> String {
    let config: postgres::Config = url.parse().expect("a connection string");
    config.get_dbname().expect("a database").to_owned()
}

fn set(database: &Database, settings: &[&str]) -> anyhow::Result<()> {
    let mut client = database.client()?;
    for setting in settings {
        client.batch_execute(&format!("ALTER DATABASE {} SET {setting}", database.name()))?;
    }
    Ok(())
}
