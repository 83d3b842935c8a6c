//! Foreign connection strings, service files and password files.

use super::connection_string::{ConnectionStringError, Parameters};
use super::{Endpoint, with_database};
use crate::fuzz::{Fuzz, Outcome};

const PASSWORD: &str = "s3cret";

fn pairs(parameters: Parameters) -> Vec<(String, String)> {
    parameters.into_iter().collect()
}

/// Everything but the database.
fn server(endpoint: &Endpoint) -> String {
    let described = endpoint.describe();
    let (_, server) = described.rsplit_once(" on ").unwrap_or_default();
    server.to_owned()
}

fn check_error(error: &ConnectionStringError) -> Outcome {
    // They name what stands where a parameter's name should.
    let names = matches!(
        error,
        ConnectionStringError::UnsupportedParameter { .. } | ConnectionStringError::Quoting { .. }
    );
    if !names && error.to_string().contains(PASSWORD) {
        return Err(format!("the error shows the password: {error}"));
    }
    Ok(())
}

fn check(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    if let Ok(parameters) = Parameters::parse_with_lookups(&text) {
        let list = parameters.to_list();
        let again = Parameters::parse_with_lookups(&list).map(pairs);
        let parameters = pairs(parameters);
        if !parameters.is_empty() && again.as_ref() != Ok(&parameters) {
            return Err(format!("it is {parameters:?}, as a list {again:?}"));
        }
    }
    let endpoint = match Endpoint::parse(&text) {
        Ok(endpoint) => endpoint,
        Err(error) => return check_error(&error),
    };
    let other =
        Endpoint::parse(&with_database(&text, "other")).map_err(|error| error.to_string())?;
    if !other.describe().starts_with("database \"other\" on ")
        || server(&other) != server(&endpoint)
    {
        return Err(format!("{endpoint:?} becomes {other:?}"));
    }
    Ok(())
}

#[test]
fn a_connection_string_is_refused_or_can_be_written_again() {
    Fuzz::parser("connection_string").run(check);
}

#[cfg(feature = "cli")]
mod of_the_command_line {
    use super::super::password_file::{Login, password};
    use super::super::service_file;
    use super::{Fuzz, Outcome};

    fn check_service_file(input: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(input);
        let Ok(Some(pairs)) = service_file::parse(&text, "shop") else {
            return Ok(());
        };
        let lines = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let again = service_file::parse(&format!("[shop]\n{lines}"), "shop");
        if again == Ok(Some(pairs)) {
            Ok(())
        } else {
            Err(format!("again it is {again:?}"))
        }
    }

    #[test]
    fn a_service_file_is_refused_or_can_be_written_again() {
        Fuzz::parser("service_file").run(check_service_file);
    }

    fn escaped(field: &str) -> String {
        field.replace('\\', "\\\\").replace(':', "\\:")
    }

    /// Whatever stands before it, an escaped line is found.
    fn check_password_file(input: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(input);
        // In front of the next line, it belongs to the line's end.
        let text = text.trim_end_matches('\r');
        let word: String = text
            .chars()
            .rev()
            .filter(|letter| !"\r\n".contains(*letter))
            .collect();
        let login = Login {
            host: &format!("db{word}"),
            port: "5432",
            database: &word,
            user: &word,
        };
        let others = password(text, &login);
        let expected = others.unwrap_or_else(|| format!("{word}!"));
        let [host, word] = [login.host, &*word].map(escaped);
        let line = format!("{text}\n{host}:*:{word}:{word}:{word}!\r\n");
        let found = password(&line, &login);
        if found.as_ref() == Some(&expected) {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {expected:?} in {line:?}"))
        }
    }

    #[test]
    fn the_password_of_an_escaped_line_is_found() {
        Fuzz::parser("password_file").run(check_password_file);
    }
}
