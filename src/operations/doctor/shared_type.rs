//! Event enums that would decode each other's events.

use super::finding::{Finding, FindingKind, Severity};
use crate::database::Sql;
use crate::error::Result;

use crate::events::{EventSelection, Partition};
use crate::projection::registry::{self, RegisteredEvents};

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let known = registry::handled_events(sql, partition)?;
    let pairs = known.iter().enumerate().flat_map(|(index, one)| {
        let others = known[..index].iter();
        others.filter_map(move |other| finding(other, one))
    });
    let mut findings: Vec<Finding> = pairs.collect();
    findings.dedup();
    Ok(findings)
}

fn finding(one: &RegisteredEvents, other: &RegisteredEvents) -> Option<Finding> {
    let name = shared_type(&one.events, &other.events)?;
    Some(Finding::new(
        FindingKind::SharedType,
        Severity::Warning,
        format!(
            "{} (projection \"{}\") and {} (projection \"{}\") both have the type \"{name}\", and a stream can have both: \
             each is read as the other.",
            one.events.event, one.projection, other.events.event, other.projection
        ),
        "Give both a category: Event::CATEGORY.",
    ))
}

/// Returns a type that two enums share. One of them has no category, so the type alone cannot tell their events apart.
fn shared_type<'e>(one: &'e EventSelection, other: &EventSelection) -> Option<&'e str> {
    let (first, second) = (&one.selection, &other.selection);
    let have_categories = first.categories.is_some() && second.categories.is_some();
    if one.event == other.event || have_categories {
        return None;
    }
    let (types, others) = (first.types.as_ref()?, second.types.as_ref()?);
    let shared = types.iter().find(|name| others.contains(name));
    shared.map(String::as_str)
}
