use super::ServerError;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Package directories: the parent directory, and the rest of the name before the version.
const PACKAGES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// Returns the directory of PostgreSQL's programs. `scripts/install-postgresql` searches the same places.
pub(super) fn find() -> Result<PathBuf, ServerError> {
    if let Some(chosen) = env::var_os("EMMETT_POSTGRES_BIN").filter(|chosen| !chosen.is_empty()) {
        return accept_chosen(Path::new(&chosen));
    }
    PACKAGES
        .iter()
        .find_map(|(parent, prefix)| newest_package(Path::new(parent), prefix))
        .or_else(on_the_path)
        .ok_or_else(|| ServerError::ProgramsMissing {
            looked_in: "/usr/lib/postgresql, /usr/pgsql-*, Homebrew's directories or on the PATH"
                .into(),
            advice: installation(),
        })
}

fn accept_chosen(directory: &Path) -> Result<PathBuf, ServerError> {
    match directory.canonicalize() {
        Ok(absolute) if is_complete(&absolute) => Ok(absolute),
        _ => Err(ServerError::ProgramsMissing {
            looked_in: format!("{} (EMMETT_POSTGRES_BIN)", directory.display()),
            advice: installation(),
        }),
    }
}

fn newest_package(parent: &Path, prefix: &str) -> Option<PathBuf> {
    let packages = fs::read_dir(parent).ok()?.flatten();
    packages
        .filter_map(|package| {
            let version: u32 = package
                .file_name()
                .to_str()?
                .strip_prefix(prefix)?
                .parse()
                .ok()?;
            let programs = package.path().join("bin");
            is_complete(&programs).then_some((version, programs))
        })
        .max()
        .map(|(_, programs)| programs)
}

fn on_the_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .filter_map(|directory| directory.join("initdb").canonicalize().ok())
        .filter_map(|initdb| initdb.parent().map(Path::to_path_buf))
        .find(|directory| is_complete(directory))
}

/// Returns whether the directory has the server. A package with clients only has a directory, too.
fn is_complete(directory: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"]
        .iter()
        .all(|program| directory.join(program).is_file())
}

fn installation() -> &'static str {
    let has = |program| Path::new(program).exists();
    if cfg!(target_os = "macos") {
        "install them with: brew install postgresql@17"
    } else if has("/usr/bin/apt-get") {
        "install them with: sudo apt-get install postgresql"
    } else if has("/usr/bin/dnf") {
        "install them with: sudo dnf install postgresql-server"
    } else {
        "install PostgreSQL's server, or name the directory of its programs in EMMETT_POSTGRES_BIN"
    }
}
