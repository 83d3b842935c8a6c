//! Events that the code of a slot's holders has handled. Newer code finds here which events older code skipped.

use super::key::ProcessorKey;
use super::lease::{HeldSlot, Holder};
use crate::database::position::{get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{FeedFilter, HandledEvents, PartitionSql, Selection};
use postgres::Row;
use postgres::types::Type;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const COVERAGE: PartitionSql = PartitionSql::new(
    "
    SELECT slot.slot, slot.position, slot.handled, slot.passed_over,
           coalesce(began.position, 0) AS beginning
      FROM {schema}.emt_processor_slots AS slot
      LEFT JOIN {schema}.emt_processor_beginnings AS began
        ON began.partition = slot.partition AND began.processor = slot.processor AND began.version = slot.version
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3
     ORDER BY slot.position, slot.slot",
);

const NOTE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_slots AS slot
       SET handled = $8, passed_over = $9
      FROM unnest($5, $6, $7) AS held (slot, epoch, position)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.slot = held.slot AND slot.epoch = held.epoch AND slot.position = held.position
       AND slot.status = 'active'",
);

const UNDECIDED: PartitionSql = PartitionSql::new("
    SELECT EXISTS (SELECT FROM {schema}.emt_processor_slots
                    WHERE partition = $1 AND processor = $2 AND version = $3 AND handled IS DISTINCT FROM $4) AS undecided");

/// Slots with the same past: one pass over the feed serves all of them.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    pub(crate) slots: Vec<i32>,
    pub(crate) position: u64,
    /// The processor began after this position (exclusive).
    beginning: u64,
    /// Events that were handled up to the position; `None` if none were recorded.
    handled: Option<Vec<Selection>>,
    passed_over: Vec<PassedOver>,
}

/// Events that were handled only up to a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PassedOver {
    #[serde(flatten)]
    events: Selection,
    after: u64,
}

/// Events that this code handles and earlier code skipped, between two positions.
#[derive(Debug, Clone)]
pub(crate) struct Missed {
    /// Each has one category and one type.
    parts: Vec<Selection>,
    pub(crate) after: u64,
    pub(crate) up_to: u64,
}

impl Missed {
    pub(crate) fn filter(&self) -> FeedFilter {
        FeedFilter::of(self.parts.iter())
    }

    fn has(&self, stream: &str, message_type: &str) -> bool {
        self.parts.iter().any(|part| part.has(stream, message_type))
    }
}

impl Coverage {
    fn of_row(row: &Row) -> Result<Self> {
        let handled: Option<Value> = get(row, "handled")?;
        let position = get_u64(row, "position")?;
        Ok(Self {
            slots: vec![get(row, "slot")?],
            position,
            beginning: get_u64(row, "beginning")?,
            handled: handled.map(read).transpose()?,
            passed_over: read(get(row, "passed_over")?)?,
        })
    }

    fn has_same_past(&self, other: &Self) -> bool {
        (self.position, &self.handled, &self.passed_over)
            == (other.position, &other.handled, &other.passed_over)
    }

    /// Whether the slots already record that this code has handled all of its events.
    pub(crate) fn is_of(&self, code: &HandledEvents) -> bool {
        self.handled.as_ref() == Some(&code.sorted())
    }

    /// Returns the events that this code may have missed.
    pub(crate) fn missed_by(&self, code: &HandledEvents) -> Option<Missed> {
        let handled = self.handled.as_ref()?;
        let parts: Vec<Selection> = parts(&code.sorted())
            .into_iter()
            .filter(|part| !is_covered(part, handled))
            .collect();
        let after = parts.iter().map(|part| self.handled_up_to(part)).min()?;
        (after < self.position).then_some(Missed {
            parts,
            after,
            up_to: self.position,
        })
    }

    fn handled_up_to(&self, part: &Selection) -> u64 {
        let covering = self.passed_over.iter();
        covering
            .filter(|passed| passed.events.covers(part))
            .map(|passed| passed.after)
            .fold(self.beginning, u64::max)
    }

    /// Whether a message was skipped.
    pub(crate) fn has_missed(
        &self,
        missed: &Missed,
        stream: &str,
        message_type: &str,
        position: u64,
    ) -> bool {
        let handled = self.handled.iter().flatten();
        let passed_over = self.passed_over.iter();
        missed.has(stream, message_type)
            && position > self.beginning
            && position <= self.position
            && !handled
                .into_iter()
                .any(|events| events.has(stream, message_type))
            && !passed_over
                .filter(|passed| position <= passed.after)
                .any(|passed| passed.events.has(stream, message_type))
    }

    /// Returns the coverage after the missed events were handled up to a position.
    pub(crate) fn caught_up(&self, missed: &Missed, up_to: u64) -> Self {
        let mut passed_over: Vec<PassedOver> = self
            .passed_over
            .iter()
            .filter(|passed| !(passed.after <= up_to && missed.parts.contains(&passed.events)))
            .cloned()
            .collect();
        passed_over.extend(missed.parts.iter().map(|part| PassedOver {
            events: part.clone(),
            after: up_to,
        }));
        Self {
            passed_over,
            ..self.clone()
        }
    }

    /// Returns the coverage after this code has taken the slots and caught up. Events that earlier code handled and this
    /// code does not are skipped from here on.
    pub(crate) fn taken_by(&self, code: &HandledEvents) -> Self {
        let code = code.sorted();
        let dropped = parts(self.handled.as_deref().unwrap_or_default());
        let dropped = dropped.into_iter().map(|events| PassedOver {
            events,
            after: self.position,
        });
        let passed_over = self.passed_over.iter().cloned().chain(dropped);
        Self {
            passed_over: passed_over
                .filter(|passed| !is_covered(&passed.events, &code))
                .collect(),
            handled: Some(code),
            ..self.clone()
        }
    }
}

/// Splits selections into parts of one category and one type.
fn parts(selections: &[Selection]) -> Vec<Selection> {
    selections.iter().flat_map(Selection::parts).collect()
}

fn is_covered(part: &Selection, selections: &[Selection]) -> bool {
    selections.iter().any(|events| events.covers(part))
}

fn read<T: serde::de::DeserializeOwned>(json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|error| {
        Error::schema(format!(
            "the recorded events of a slot cannot be read: {error}"
        ))
    })
}

impl ProcessorKey<'_> {
    /// Returns the coverage of these slots, or of all slots, grouped by their past.
    pub(crate) fn coverage(
        &self,
        sql: &mut dyn Sql,
        held: Option<&[HeldSlot]>,
    ) -> Result<Vec<Coverage>> {
        let rows = sql
            .query(&self.partition.sql(COVERAGE), &self.parameters([]))
            .map_err(|source| self.refused("read the handled events of a processor", source))?;
        let mut groups: Vec<Coverage> = Vec::new();
        for row in &rows {
            let slot = Coverage::of_row(row)?;
            let is_wanted = |held: &[HeldSlot]| held.iter().any(|held| held.slot == slot.slots[0]);
            if !held.is_none_or(is_wanted) {
                continue;
            }
            match groups.iter_mut().find(|group| group.has_same_past(&slot)) {
                Some(group) => group.slots.extend(slot.slots),
                None => groups.push(slot),
            }
        }
        Ok(groups)
    }

    /// Records the coverage of slots. Returns false if one of them was lost.
    pub(crate) fn note_coverage(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        held: &[HeldSlot],
        coverage: &Coverage,
    ) -> Result<bool> {
        let slots: Vec<i32> = held.iter().map(|slot| slot.slot).collect();
        let epochs: Vec<i64> = held.iter().map(|slot| slot.epoch).collect();
        let positions: Vec<i64> = held.iter().map(|slot| to_sql(slot.position)).collect();
        let (handled, passed_over) = (json!(coverage.handled), json!(coverage.passed_over));
        let parameters = self.parameters([
            param(&holder.owner, Type::TEXT),
            param(&slots, Type::INT4_ARRAY),
            param(&epochs, Type::INT8_ARRAY),
            param(&positions, Type::INT8_ARRAY),
            param(&handled, Type::JSONB),
            param(&passed_over, Type::JSONB),
        ]);
        let changed = sql
            .execute(&self.partition.sql(NOTE), &parameters)
            .map_err(|source| self.refused("record the handled events of a processor", source))?;
        Ok(changed == held.len() as u64)
    }

    /// Whether a slot does not yet record this code's events.
    pub(crate) fn is_undecided(&self, sql: &mut dyn Sql, code: &HandledEvents) -> Result<bool> {
        let handled = json!(code.sorted());
        let rows = sql
            .query(
                &self.partition.sql(UNDECIDED),
                &self.parameters([param(&handled, Type::JSONB)]),
            )
            .map_err(|source| self.refused("read the handled events of a processor", source))?;
        Ok(rows
            .first()
            .map_or(Ok(false), |row| get(row, "undecided"))?)
    }
}
