//! The unique name of a consumer among all processes.

use crate::error::{Error, Result};
use uuid::Uuid;

const LONGEST_NAME: usize = 100;

/// Returns `name:pid:suffix`. The name defaults to the host name. The suffix distinguishes consumers of one process,
/// and processes of containers with the same host name and pid.
pub(super) fn owner(name: Option<&str>) -> Result<String> {
    let name = match name {
        Some(name) => check(name)?.to_owned(),
        None => host(),
    };
    let suffix = Uuid::now_v7().simple().to_string().split_off(20);
    Ok(format!("{name}:{}:{suffix}", std::process::id()))
}

/// Accepts only names that a database of any encoding can store.
fn check(name: &str) -> Result<&str> {
    if is_printable(name) && (1..=LONGEST_NAME).contains(&name.len()) {
        return Ok(name);
    }
    Err(Error::invalid(
        format!("the consumer name {name:?}"),
        format!("must have 1 to {LONGEST_NAME} printable ASCII characters"),
    ))
}

fn host() -> String {
    let host = whoami::hostname().unwrap_or_default();
    if is_printable(&host) && (1..=LONGEST_NAME).contains(&host.len()) {
        host
    } else {
        "unknown-host".to_owned()
    }
}

fn is_printable(name: &str) -> bool {
    name.chars()
        .all(|character| character.is_ascii_graphic() || character == ' ')
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn an_owner_says_who_it_is_and_is_another_each_time() {
        let (one, other) = (owner(Some("billing")), owner(Some("billing")));
        let (one, other) = (one.expect("a name"), other.expect("a name"));
        let start = format!("billing:{}:", std::process::id());
        assert!(
            one.starts_with(&start) && other.starts_with(&start),
            "{one}"
        );
        assert_ne!(one, other);
        assert!(
            owner(None)
                .expect("a host")
                .contains(&start["billing".len()..])
        );
    }

    #[test]
    fn a_name_that_not_every_database_can_store_is_refused() {
        for name in ["", "M\u{fc}ller", "a\nb", "a\0b", &"x".repeat(101)] {
            let refused = owner(Some(name)).expect_err("refused").to_string();
            assert!(refused.contains("printable ASCII"), "{refused}");
        }
    }
}
