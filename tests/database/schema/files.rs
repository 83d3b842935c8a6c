//! The files under `sql/`: each is applied exactly once.

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

#[test]
fn they_have_only_characters_that_each_encoding_has() -> anyhow::Result<()> {
    let mut found = vec!["schema.sql".to_owned()];
    find(&schema_files::path(""), "sql", &mut found)?;
    for name in found {
        let sql = std::fs::read_to_string(schema_files::path(&name))?;
        let other = sql.lines().find(|line| !line.is_ascii());
        assert_eq!(other, None, "{name}");
    }
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
