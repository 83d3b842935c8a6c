//! The files of the schema, joined as psql joins them.

use std::path::{Path, PathBuf};

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What psql executes for the whole schema.
pub(crate) fn event_store() -> anyhow::Result<String> {
    joined(&path("schema.sql"))
}

/// What psql executes for collections of documents alone.
pub(crate) fn documents() -> anyhow::Result<String> {
    joined(&path("sql/documents.sql"))
}

/// The files that a file names by `\ir`, in this order, as paths from the file.
pub(crate) fn named_by(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    let named = text.lines().filter_map(|line| line.strip_prefix(r"\ir "));
    Ok(named.map(str::to_owned).collect())
}

fn joined(file: &Path) -> anyhow::Result<String> {
    let mut joined = String::new();
    for line in std::fs::read_to_string(file)?.lines() {
        match line.strip_prefix(r"\ir ") {
            Some(named) => joined += &self::joined(&file.with_file_name(named))?,
            None => joined += line,
        }
        joined.push('\n');
    }
    Ok(joined)
}
