//! Random streams and random ranges, compared with a plain vector.

use crate::support::store;
use emmett_postgresql::{EventStore, RawEvent, ReadOptions, Recorded};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use std::cell::Cell;

/// Which part of a stream to read.
#[derive(Debug, Clone)]
struct Part {
    from: Option<u64>,
    to: Option<u64>,
    max_count: Option<u64>,
    backwards: bool,
}

impl Part {
    fn any() -> impl Strategy<Value = Self> {
        let version = || option::of(prop_oneof![20 => 0..20_u64, 1 => Just(u64::MAX)]);
        (version(), version(), option::of(0..12_u64), any::<bool>()).prop_map(
            |(from, to, max_count, backwards)| Self {
                from,
                to,
                max_count,
                backwards,
            },
        )
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::new();
        if let Some(from) = self.from {
            options = options.from(from);
        }
        if let Some(to) = self.to {
            options = options.to(to);
        }
        if let Some(count) = self.max_count {
            options = options.max_count(count);
        }
        if self.backwards {
            options = options.backwards();
        }
        options
    }

    /// The same part of a vector.
    fn of(&self, stream: &[u64]) -> Vec<u64> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        let mut part: Vec<_> = stream
            .iter()
            .copied()
            .filter(|version| (from..=to).contains(version))
            .collect();
        if self.backwards {
            part.reverse();
        }
        part.truncate(usize::try_from(self.max_count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
        part
    }
}

/// A stream of events that hold their own versions.
fn append(store: &EventStore, stream: &str, sizes: &[u64]) -> anyhow::Result<Vec<u64>> {
    let mut versions = Vec::new();
    for &size in sizes {
        let next = versions.len() as u64 + 1;
        let added: Vec<_> = (next..next + size).collect();
        let events: Vec<_> = added
            .iter()
            .map(|version| RawEvent::new("Numbered", json!(version)))
            .collect();
        store.append_to_stream(stream, &events)?;
        versions.extend(added);
    }
    Ok(versions)
}

/// The versions of events, which say the same in their content and beside it.
fn versions<'a>(events: impl IntoIterator<Item = &'a Recorded<RawEvent>>) -> Vec<u64> {
    let each = events.into_iter().map(|recorded| {
        assert_eq!(recorded.event.data, json!(recorded.stream_position));
        recorded.stream_position
    });
    each.collect()
}

/// Every way to read the part finds what the vector has there.
fn check(store: &EventStore, stream: &str, model: &[u64], part: &Part) -> anyhow::Result<()> {
    let (options, expected) = (part.options(), part.of(model));
    let version = model.len() as u64;

    let read = store.read_stream_with::<RawEvent>(stream, options)?;
    let iterated = store.read_stream_iter::<RawEvent>(stream, options);
    let iterated = iterated.collect::<Result<Vec<_>, _>>()?;
    let folded = store.aggregate_stream_with(stream, options, Vec::new, |mut all, recorded| {
        all.push(recorded);
        all
    })?;
    let in_session =
        store.with_session(|session| Ok(session.read_stream_with::<RawEvent>(stream, options)?))?;

    assert_eq!(versions(&read.events), expected, "{part:?}");
    assert_eq!(versions(&iterated), expected, "iterated: {part:?}");
    assert_eq!(versions(&folded.state), expected, "folded: {part:?}");
    assert_eq!(in_session, read);
    assert_eq!(
        (read.current_version, folded.current_version),
        (version, version)
    );
    assert_eq!((read.exists, folded.exists), (version > 0, version > 0));
    Ok(())
}

#[test]
fn any_part_of_any_stream_is_what_a_vector_has_there() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let number = Cell::new(0);
    let case = (vec(1..6_u64, 0..6), vec(Part::any(), 6));

    runner.run(&case, |(sizes, parts)| {
        // Streams of all cases lie beside each other.
        let stream = format!("Model-{}", number.replace(number.get() + 1));
        let model = append(&store, &stream, &sizes).expect("appended");
        for part in &parts {
            check(&store, &stream, &model, part).expect("read");
        }
        Ok(())
    })?;
    Ok(())
}
