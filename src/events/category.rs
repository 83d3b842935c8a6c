//! The categories of streams, computed from their names.

use crate::error::{Error, Result};
use crate::events::event::Event;

/// Prefixes of the streams of workflows, and of those of their fired timers.
const WORKFLOWS: [&str; 2] = ["emt:workflow:", "emt:timers:"];

/// Returns the category of a stream: the part of its name before the first `-`. A name without a `-` has no category. For a
/// stream of a workflow or of its timers, the category is the first three parts. `emt_stream_category` has the same rule in SQL.
pub(crate) fn category(stream: &str) -> Option<&str> {
    for prefix in WORKFLOWS {
        if let Some(rest) = stream.strip_prefix(prefix) {
            let workflow = rest.split(':').next().filter(|name| !name.is_empty())?;
            return stream.get(..prefix.len() + workflow.len());
        }
    }
    let (category, _) = stream.split_once('-')?;
    (!category.is_empty()).then_some(category)
}

/// Returns the categories of an event type; `None` for all.
pub(crate) fn categories<E: Event>() -> Option<Vec<String>> {
    let names: Vec<String> = named::<E>().map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

fn named<E: Event>() -> impl Iterator<Item = &'static str> {
    let names = E::CATEGORIES.iter().copied();
    names.filter(|name| !name.is_empty())
}

/// Refuses a stream whose category is not one of `E`'s. Runs for each message, so it allocates nothing.
pub(crate) fn check_category<E: Event>(stream: &str) -> Result<()> {
    if named::<E>().next().is_none() {
        return Ok(());
    }
    let found = category(stream);
    if named::<E>().any(|name| Some(name) == found) {
        return Ok(());
    }
    Err(other_category::<E>(stream, found))
}

fn other_category<E: Event>(stream: &str, found: Option<&str>) -> Error {
    let found = match found {
        Some(name) => format!("has the category \"{name}\""),
        None => "has no category".to_owned(),
    };
    let own: Vec<&str> = named::<E>().collect();
    Error::invalid(
        format!("stream \"{stream}\""),
        format!(
            "{found}, but events of {} belong to \"{}\"",
            std::any::type_name::<E>(),
            own.join("\", \"")
        ),
    )
}

/// Refuses a name that no stream can have as its category.
pub(crate) fn check_is_category(name: &str) -> Result<()> {
    if is_category(name) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("category \"{name}\""),
        "no stream can have it: a category is the part of a stream's name before its first \"-\"",
    ))
}

fn is_category(name: &str) -> bool {
    let is_of = |stream: &str| category(stream) == Some(name);
    is_of(name) || is_of(&format!("{name}-"))
}

#[cfg(test)]
mod tests {
    use super::{category, is_category};

    #[test]
    fn the_category_is_the_part_before_the_first_dash() {
        for (stream, expected) in [
            ("Order-1", Some("Order")),
            ("Order-a-b", Some("Order")),
            ("Order-", Some("Order")),
            ("ns:Order-1", Some("ns:Order")),
            ("größe-1", Some("größe")),
            ("Order", None),
            ("-1", None),
            ("", None),
            (
                "emt:workflow:checkout:cart-1",
                Some("emt:workflow:checkout"),
            ),
            ("emt:workflow:check-out:1", Some("emt:workflow:check-out")),
            ("emt:workflow:checkout", Some("emt:workflow:checkout")),
            ("emt:workflow::1-2", None),
            ("emt:timers:check-out:1", Some("emt:timers:check-out")),
            ("emt:workflow-1", Some("emt:workflow")),
        ] {
            assert_eq!(category(stream), expected, "{stream}");
        }
    }

    #[test]
    fn a_category_is_what_a_stream_can_have() {
        for name in ["Order", "ns:Order", "größe", "emt:workflow:check-out"] {
            assert!(is_category(name), "{name}");
        }
        for name in ["", "Order-Line", "-", "emt:workflow:", "emt:workflow:a:b"] {
            assert!(!is_category(name), "{name}");
        }
    }
}
