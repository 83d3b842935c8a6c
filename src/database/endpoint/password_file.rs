//! The password file: a line for each server, database and user, `host:port:database:user:password`.

use std::fs;
use std::path::Path;

/// The key of a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Returns the text of the file; `None` if there is no file. Fails with the reason if the file must not be used.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(None);
    };
    if !metadata.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if others_can_use(&metadata) {
        return Err(format!(
            "it has group or world access; run `chmod 600 {}`",
            path.display()
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(Some(text))
}

#[cfg(unix)]
fn others_can_use(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn others_can_use(_: &fs::Metadata) -> bool {
    false
}

/// Returns the password of the first matching line.
pub(super) fn password(text: &str, login: &Login<'_>) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.into_iter().find_map(|line| of_line(line, login))
}

fn of_line(line: &str, login: &Login<'_>) -> Option<String> {
    let mut rest = line;
    for expected in [login.host, login.port, login.database, login.user] {
        let (field, after) = split_field(rest)?;
        if field != "*" && unescape(field) != expected {
            return None;
        }
        rest = after;
    }
    // Further fields are not part of the password.
    let password = split_field(rest).map_or(rest, |(password, _)| password);
    (!password.is_empty()).then(|| unescape(password))
}

/// Splits off a field, with its escapes, at its colon.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let colon = text.find(|letter| {
        let ends = letter == ':' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?;
    Some((&text[..colon], &text[colon + 1..]))
}

fn unescape(field: &str) -> String {
    let mut letters = field.chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next()),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Login, password};

    const FILE: &str = "#db:5432:shop:anna:commented\n\
                        db:5432:shop:ben:ben's\n\
                        db:*:shop:anna:first\n\
                        db:5432:shop:anna:second\n\
                        \\:\\:1:5432:a\\\\b:anna:col\\:on\\\\\n\
                        short:5432\n\
                        empty:*:*:*:\n\
                        *:*:*:carla:anywhere\r\n";

    fn of(host: &str, database: &str, user: &str) -> Option<String> {
        let port = "5432";
        password(
            FILE,
            &Login {
                host,
                port,
                database,
                user,
            },
        )
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        assert_eq!(of("db", "shop", "anna").as_deref(), Some("first"));
        assert_eq!(of("db", "shop", "ben").as_deref(), Some("ben's"));
        assert_eq!(of("x", "y", "carla").as_deref(), Some("anywhere"));
        assert_eq!(of("db", "other", "anna"), None);
        assert_eq!(of("short", "shop", "anna"), None);
        assert_eq!(of("empty", "shop", "anna"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(of("::1", "a\\b", "anna").as_deref(), Some("col:on\\"));
    }
}
