//! The files under `sql/`: each is applied, and once.

use crate::support::schema_files;
use std::path::Path;

/// Applied after the schema, to databases of Emmett's only.
const UPGRADES: &str = "sql/upgrades/";

#[test]
fn every_file_is_named_once_in_the_maps() -> anyhow::Result<()> {
    let documents = schema_files::named_by(&schema_files::path("sql/documents.sql"))?;
    let mut named = schema_files::named_by(&schema_files::path("schema.sql"))?;
    named.extend(documents.into_iter().map(|name| format!("sql/{name}")));
    named.sort();

    let mut found = Vec::new();
    find(&schema_files::path(""), "sql", &mut found)?;
    found.retain(|name| !name.starts_with(UPGRADES));
    found.sort();

    assert_eq!(named, found);
    Ok(())
}

/// A database of another encoding, such as LATIN1, would refuse the whole schema because of a comment.
#[test]
fn the_schema_is_ascii() -> anyhow::Result<()> {
    let text = schema_files::event_store()?;
    let other: Vec<_> = text.lines().filter(|line| !line.is_ascii()).collect();
    assert!(other.is_empty(), "{other:?}");
    Ok(())
}

fn find(root: &Path, folder: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            find(root, &name, found)?;
        } else {
            found.push(name);
        }
    }
    Ok(())
}
