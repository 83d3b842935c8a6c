//! Events whose types a processor's code handles now, but that its older code has passed over.

use super::processor::Processor;
use super::shared::Shared;
use crate::error::{Error, ProcessorError, Result};
use crate::events::feed::{self, Part};
use crate::slots::{Coverage, Missed};
use std::collections::BTreeSet;

/// Passed-over events.
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) types: Vec<String>,
}

/// Counts the events that all slots with this coverage have missed. Returns `None` if the consumer is stopped first.
pub(super) fn count(
    shared: &Shared,
    processor: &Processor,
    coverage: &Coverage,
    missed: &Missed,
) -> Result<Option<Count>> {
    let (key, filter) = (shared.key(processor), missed.filter());
    let (mut messages, mut types, mut after) = (0, BTreeSet::new(), missed.after);
    while after < missed.up_to {
        if shared.stop.is_stopped() {
            return Ok(None);
        }
        let up_to = missed.up_to.min(after.saturating_add(feed::LONGEST_STEP));
        let part = Part {
            after,
            up_to,
            filter: &filter,
        };
        for name in shared.run(|sql| feed::names(sql, key.partition, part, None))? {
            let (stream, message_type) = (&name.stream_name, &name.message_type);
            let is_missed = coverage.has_missed(missed, stream, message_type, name.global_position);
            if is_missed {
                messages += 1;
                types.insert(name.message_type);
            }
        }
        after = up_to;
    }
    Ok(Some(Count {
        messages,
        types: types.into_iter().collect(),
    }))
}

pub(super) fn refused(processor: &Processor, count: Count, position: u64) -> Error {
    Error::Processor(ProcessorError::NewTypes {
        processor: processor.name.clone(),
        types: count.types,
        missed: count.messages,
        position,
    })
}

/// Fails if a slot has passed over events that this code handles.
pub(super) fn refuse(shared: &Shared, processor: &Processor) -> Result<()> {
    let key = shared.key(processor);
    for coverage in shared.run(|sql| key.coverage(sql, None))? {
        let Some(missed) = coverage.missed_by(&processor.handled) else {
            continue;
        };
        match count(shared, processor, &coverage, &missed)? {
            Some(count) if count.messages > 0 => {
                return Err(refused(processor, count, coverage.position));
            }
            _ => {}
        }
    }
    Ok(())
}
