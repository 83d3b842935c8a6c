//! Service files: named sets of connection parameters.

use super::environment_error::EnvironmentError;
use std::fs;
use std::path::Path;

const NO_PAIR: &str = "it is neither `name=value` nor `[service]`";
const NESTED: &str = "a service cannot name another service";
const LDAP: &str = "this program does not support LDAP";

type Pairs = Vec<(String, String)>;

/// Returns the parameters of a service; `None` if the file does not have it.
pub(super) fn read(path: &Path, service: &str) -> Result<Option<Pairs>, EnvironmentError> {
    let text = fs::read_to_string(path).map_err(|source| EnvironmentError::ServiceFile {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, service).map_err(|(line, reason)| EnvironmentError::ServiceLine {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// As in libpq, only the first section with the service's name is read.
pub(super) fn parse(text: &str, service: &str) -> Result<Option<Pairs>, (usize, &'static str)> {
    let heading = format!("[{service}]");
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut lines = lines.skip_while(|(_, line)| *line != heading);
    if lines.next().is_none() {
        return Ok(None);
    }
    lines
        .take_while(|(_, line)| !line.starts_with('['))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| pair(line).map_err(|reason| (number, reason)))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn pair(line: &str) -> Result<(String, String), &'static str> {
    if line.starts_with("ldap") {
        return Err(LDAP);
    }
    let (name, value) = line.split_once('=').ok_or(NO_PAIR)?;
    if name == "service" {
        return Err(NESTED);
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{LDAP, NESTED, NO_PAIR, parse};

    const FILE: &str = "# services\nhost=nobody's\n[other]\nbroken\n\n [shop] \nhost=db\r\n# a note\n  password=a=b c \n\n[shop]\nhost=second\n[bad]\nport\n";

    #[test]
    fn a_service_has_the_lines_below_its_name() {
        let found = parse(FILE, "shop").unwrap().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, [("host", "db"), ("password", "a=b c")]);
        assert_eq!(parse(FILE, "sho"), Ok(None));
        assert_eq!(parse("", "shop"), Ok(None));
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named() {
        assert_eq!(parse(FILE, "bad"), Err((14, NO_PAIR)));
        assert_eq!(parse(FILE, "other"), Err((4, NO_PAIR)));
        assert_eq!(parse("[a]\nservice=b", "a"), Err((2, NESTED)));
        assert_eq!(parse("[a]\nldap://x", "a"), Err((2, LDAP)));
    }
}
