//! A server with foreign operators and functions that fit better than PostgreSQL's own ones, and raise an error.

use crate::support::schema_files;
use emmett_postgresql::testing::{Database, Server};
use postgres::Client;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

const TRAPS: &str = include_str!("traps.sql");

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start().expect("a throwaway PostgreSQL"))
}

/// An empty database whose sessions find the traps after PostgreSQL's own names, as they would find those in "public".
pub(super) fn database() -> anyhow::Result<Database> {
    let template = server().template("traps", |url| {
        let mut client = Client::connect(url, postgres::NoTls)?;
        client.batch_execute(TRAPS)?;
        let names: Vec<String> = called(&schema_files::path(""))?.into_iter().collect();
        client.execute(
            "CALL traps.set_functions('pg_catalog', 'traps', $1)",
            &[&names],
        )?;
        Ok(())
    })?;
    let database = server().clone_database(&template)?;
    let path = format!(
        "ALTER DATABASE {} SET search_path = traps, public",
        database.name()
    );
    database.client()?.batch_execute(&path)?;
    Ok(database)
}

/// Sets traps in the schema of the store: whoever may create there overloads our own functions.
pub(super) fn overload_our_functions(database: &Database) -> anyhow::Result<()> {
    let mut client = database.client()?;
    client.batch_execute("SET search_path = pg_catalog")?;
    let ours =
        "SELECT array_agg(proname::TEXT) FROM pg_proc WHERE pronamespace = 'public'::REGNAMESPACE";
    let names: Vec<String> = client.query_one(ours, &[])?.get(0);
    client.execute(
        "CALL traps.set_functions('public', 'public', $1)",
        &[&names],
    )?;
    Ok(())
}

/// All names that are called anywhere in our SQL or Rust.
fn called(root: &Path) -> std::io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in ["sql", "src"] {
        collect(&root.join(folder), &mut names)?;
    }
    Ok(names)
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        for (at, _) in text.match_indices('(') {
            let start = text[..at]
                .rfind(|character| !is_part(character))
                .map_or(0, |end| end + 1);
            names.insert(text.get(start..at).unwrap_or_default().to_owned());
        }
    }
    Ok(())
}
