//! The part of a condition on a field that an index on its path serves.
//!
//! It follows from the exact part, so it never excludes a document that matches. A match is directly at the path, or in an
//! array there. For a dotted path, it can also be below an array on the way; the index then contains null.
//!
//! Paths with a position in an array have no such part, because their index contains the value at the position.

use serde_json::Value;

use super::boolean_logic::{all_of, any_of};
use super::condition::{Predicate, RangeOperator};
use super::index_key::{ARRAY_WITH_ELEMENTS, NULL_OR_MISSING, bounds_of_type, index_key};
use super::sql_parameters::{SqlParameters, SqlValue};
use crate::pongo::dotted_path::DottedPath;

/// Returns the condition on the key of the path's index that follows from the predicates, if there is one.
pub(super) fn index_range(
    path: &DottedPath,
    schema: &str,
    predicates: &[Predicate],
    parameters: &mut SqlParameters,
) -> Option<String> {
    if path.is_positional() {
        return None;
    }
    let mut range = IndexRange {
        key: path.index_key(schema),
        is_top_level: path.is_top_level(),
        parameters,
    };
    if let [predicate] = predicates
        && let Some(values) = predicate.values()
    {
        return Some(range.equal_or_array(values));
    }
    match predicates {
        [Predicate::Range(operator, operand)]
            if operator.is_lower_bound() && range.is_top_level =>
        {
            Some(range.compared(*operator, operand))
        }
        _ => range.of_all(predicates),
    }
}

struct IndexRange<'f> {
    key: String,
    is_top_level: bool,
    parameters: &'f mut SqlParameters,
}

impl IndexRange<'_> {
    /// Uses one list for the values and for the arrays that may contain them, so that one index scan finds both.
    fn equal_or_array(&mut self, values: &[Value]) -> String {
        let (key, indirect) = (&self.key, self.indirect_keys());
        // A single value is not written as a list: in a prepared statement, PostgreSQL estimates ten elements for a list.
        if let [value] = values {
            let value = self.parameters.push(SqlValue::Text(index_key(value)));
            let indirect = indirect.join("', '");
            return [key, " = ANY(ARRAY[", &value, ", '", &indirect, "'])"].concat();
        }
        let keys = values.iter().map(index_key);
        let indirect = indirect.iter().map(|key| (*key).to_owned());
        let keys = keys.chain(indirect).collect();
        let keys = self.parameters.push(SqlValue::TextArray(keys));
        format!("{key} = ANY({keys})")
    }

    fn of_all(&mut self, predicates: &[Predicate]) -> Option<String> {
        let direct = self.all_direct(predicates)?;
        let mut ranges = vec![direct];
        let indirect = self.indirect_keys();
        ranges.extend(indirect.iter().map(|key| format!("{} = '{key}'", self.key)));
        Some(any_of(ranges))
    }

    /// Returns the keys of documents in which an array contains the value.
    fn indirect_keys(&self) -> &'static [&'static str] {
        if self.is_top_level {
            &[ARRAY_WITH_ELEMENTS]
        } else {
            &[ARRAY_WITH_ELEMENTS, NULL_OR_MISSING]
        }
    }

    fn all_direct(&mut self, predicates: &[Predicate]) -> Option<String> {
        let direct: Vec<String> = predicates
            .iter()
            .filter_map(|predicate| self.direct(predicate))
            .collect();
        (!direct.is_empty()).then(|| all_of(direct))
    }

    /// Returns the range of the matches directly at the path.
    fn direct(&mut self, predicate: &Predicate) -> Option<String> {
        match predicate {
            Predicate::Range(operator, operand) => Some(self.in_range(*operator, operand)),
            Predicate::All(predicates) => self.all_direct(predicates),
            _ => predicate.values().map(|values| self.equal_to_any(values)),
        }
    }

    fn equal_to_any(&mut self, values: &[Value]) -> String {
        let keys = values.iter().map(index_key).collect();
        let keys = self.parameters.push(SqlValue::TextArray(keys));
        format!("{} = ANY({keys})", self.key)
    }

    /// Restricts the comparison to the operand's type.
    fn in_range(&mut self, operator: RangeOperator, operand: &Value) -> String {
        let (least, behind) = bounds_of_type(operand);
        let end = if operator.is_lower_bound() {
            format!("{} < '{behind}'", self.key)
        } else {
            format!("{} >= '{least}'", self.key)
        };
        all_of(vec![self.compared(operator, operand), end])
    }

    /// Extends the range to the end of the index, which includes the arrays, or to its beginning. A single range keeps the
    /// index's order. A sort by the same path with a limit therefore reads only the returned documents.
    fn compared(&mut self, operator: RangeOperator, operand: &Value) -> String {
        let operand = self.parameters.push(SqlValue::Text(index_key(operand)));
        format!("{} {} {operand}", self.key, operator.sign())
    }
}
