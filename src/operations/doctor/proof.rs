//! The proof that a part of the feed has no holes.

use crate::database::Connections;
use crate::error::{Error, Result};
use crate::events::feed::{self, MessageName, Part};
use crate::events::{FeedFilter, Partition, integrity};
use std::collections::HashMap;
use std::sync::Arc;

/// Number of messages in a page.
const PAGE: usize = 1_000;

/// Maximum number of described violations. All are counted.
const MOST_DESCRIBED: usize = 100;

/// Result of a walk over a part of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FeedProof {
    /// First position of the part.
    pub from: u64,
    /// Last position of the part; the end of the feed, if a later one was requested.
    pub to: u64,
    /// Last position that was requested.
    pub asked_to: u64,
    /// Number of messages in the part.
    pub messages: u64,
    /// Number of streams in the part.
    pub streams: u64,
    /// Number of violations.
    pub violation_count: u64,
    /// Descriptions of the first 100 violations, as sentences.
    pub violations: Vec<String>,
}

impl FeedProof {
    /// Returns whether there are no violations.
    pub fn holds(&self) -> bool {
        self.violation_count == 0
    }

    fn violate(&mut self, sentence: String) {
        self.violation_count += 1;
        if self.violations.len() < MOST_DESCRIBED {
            self.violations.push(sentence);
        }
    }
}

/// Walks from one position to another, both included. Calls `on_page` after each page.
pub(crate) fn prove(
    connections: &Connections,
    partition: &Partition,
    (from, to): (u64, u64),
    on_page: &mut dyn FnMut(&FeedProof, u64),
) -> Result<FeedProof> {
    let from = from.max(1);
    // An empty feed is a valid part.
    if from > to && (from, to) != (1, 0) {
        return Err(Error::invalid(
            format!("positions {from} to {to}"),
            "the part ends before it begins",
        ));
    }
    let asked_to = to;
    let (head, horizon) = connections.run(true, |sql| {
        Ok::<_, Error>((
            feed::head(sql, partition)?,
            feed::horizon(sql, partition, 0)?,
        ))
    })?;
    // There are no messages after the head.
    let to = to.min(head);
    if from > to + 1 {
        return Err(Error::invalid(
            format!("position {from}"),
            format!("is beyond {head}, the last drawn position"),
        ));
    }
    if to > horizon.position {
        return Err(Error::invalid(
            format!("position {to}"),
            format!(
                "is beyond {}, the end of the readable feed: retry when open appends have ended",
                horizon.position
            ),
        ));
    }
    let mut walk = Walk {
        proof: FeedProof {
            from,
            to,
            asked_to,
            ..FeedProof::default()
        },
        versions: HashMap::new(),
        last: None,
    };
    let mut after = from - 1;
    while after < to {
        let part = Part {
            after,
            up_to: to,
            filter: &FeedFilter::ALL,
        };
        let page = connections.run(true, |sql| feed::names(sql, partition, part, Some(PAGE)))?;
        let is_last = page.len() < PAGE;
        walk.take(&page);
        let Some(last) = page.last().filter(|_| !is_last) else {
            break;
        };
        // Read the last position again. Otherwise a second message at it would be lost between two pages.
        after = last.global_position - 1;
        on_page(&walk.proof, after);
    }
    walk.compare_streams(connections, partition)?;
    Ok(walk.proof)
}

struct Walk {
    proof: FeedProof,
    /// Last version of each stream.
    versions: HashMap<Arc<str>, u64>,
    /// Last position, and number of its messages so far.
    last: Option<(u64, usize)>,
}

impl Walk {
    fn take(&mut self, page: &[MessageName]) {
        let met_before = match (self.last, page.first()) {
            (Some((position, count)), Some(first)) if first.global_position == position => count,
            _ => 0,
        };
        for message in page.iter().skip(met_before) {
            self.proof.messages += 1;
            self.check_position(message);
            self.check_version(message);
        }
        self.proof.streams = self.versions.len() as u64;
    }

    /// Compares the rows of the streams with their last messages, because a missing last message leaves no hole. A walk
    /// from the beginning has met all streams with messages. The others should have no row.
    fn compare_streams(&mut self, connections: &Connections, partition: &Partition) -> Result<()> {
        let mut uneven = Vec::new();
        if self.proof.from == 1 {
            uneven = connections.run(true, |sql| integrity::empty_streams(sql, partition))?;
        }
        let met: Vec<&str> = self.versions.keys().map(|stream| &**stream).collect();
        for streams in met.chunks(PAGE) {
            uneven.extend(
                connections.run(true, |sql| integrity::uneven_among(sql, partition, streams))?,
            );
        }
        uneven.sort_by(|one, other| one.stream.cmp(&other.stream));
        for stream in uneven {
            self.proof.violate(stream.to_string());
        }
        Ok(())
    }

    fn check_position(&mut self, message: &MessageName) {
        let position = message.global_position;
        let count = match self.last {
            Some((last, count)) if last == position => count + 1,
            _ => 1,
        };
        if count > 1 {
            self.proof.violate(format!(
                "Position {position} is used more than once: also in stream \"{}\".",
                message.stream_name
            ));
        }
        self.last = Some((position, count));
    }

    fn check_version(&mut self, message: &MessageName) {
        let (found, position) = (message.stream_position, message.global_position);
        let before = self
            .versions
            .insert(Arc::clone(&message.stream_name), found)
            // In a walk from the beginning of the feed, every stream begins with version 1.
            .or((self.proof.from == 1).then_some(0));
        let Some(before) = before.filter(|before| before + 1 != found) else {
            return;
        };
        let stream = &message.stream_name;
        self.proof.violate(if found > before {
            format!("Stream \"{stream}\" goes from version {before} to {found} at position {position}: events are missing.")
        } else {
            format!("Stream \"{stream}\" goes from version {before} back to {found} at position {position}.")
        });
    }
}
