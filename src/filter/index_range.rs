//! The part of a condition on a field that an index on its path serves.
//!
//! It follows from the exact part, so it is never what excludes a document that matches. A match stands directly
//! at the path; or in an array there; or, for a dotted path, below an array on the way, and then the index holds
//! null. Each of the three is one range of the index.
//!
//! Paths with a position in an array have none of this, because there the index holds what stands at the position.

use serde_json::Value;

use super::{
    boolean_logic::{all_of, any_of},
    field_path::{ANY_STRING, FieldPath},
    predicate::{Predicate, RangeOperator},
    sql_parameters::{SqlParameters, SqlValue},
};

/// From the least array that has an element to behind the last array.
const ARRAYS: &str = "BETWEEN '[null]'::jsonb AND '{}'::jsonb";

/// What follows from the predicates for the two columns of the path's index, if anything does.
pub(super) fn index_range(
    path: &FieldPath<'_>,
    predicates: &[Predicate<'_>],
    parameters: &mut SqlParameters,
) -> Option<String> {
    if path.is_positional() {
        return None;
    }
    let mut range = IndexRange { path, parameters };
    match predicates {
        [Predicate::Range(operator, operand)]
            if operator.is_lower_bound() && path.is_top_level() =>
        {
            Some(range.up_to_the_end(*operator, operand))
        }
        _ => range.of_all(predicates),
    }
}

struct IndexRange<'f> {
    path: &'f FieldPath<'f>,
    parameters: &'f mut SqlParameters,
}

impl IndexRange<'_> {
    /// From the operand to the end of the index, where the arrays lie too. One range keeps the index's order,
    /// so a sort by the same path with a limit reads only what it returns.
    fn up_to_the_end(&mut self, operator: RangeOperator, operand: &Value) -> String {
        let (value, sign) = (self.path.ranked_value(), operator.sign());
        let Value::String(text) = operand else {
            return format!("{value} {sign} {}", self.push_json(operand));
        };
        let (string, text) = (self.path.string_value(), self.push_text(text));
        format!("({value}, {string}) {sign} ({ANY_STRING}, {text})")
    }

    fn of_all(&mut self, predicates: &[Predicate<'_>]) -> Option<String> {
        let direct = self.all_direct(predicates)?;
        let value = self.path.ranked_value();
        let mut ranges = vec![direct, format!("{value} {ARRAYS}")];
        if !self.path.is_top_level() {
            ranges.push(format!("{value} = 'null'::jsonb"));
        }
        Some(any_of(ranges))
    }

    fn all_direct(&mut self, predicates: &[Predicate<'_>]) -> Option<String> {
        let direct: Vec<String> = predicates
            .iter()
            .filter_map(|predicate| self.direct(predicate))
            .collect();
        (!direct.is_empty()).then(|| all_of(direct))
    }

    /// The range of the matches that stand directly at the path.
    fn direct(&mut self, predicate: &Predicate<'_>) -> Option<String> {
        match predicate {
            Predicate::AnyOf(values) => Some(self.equal_to_any(values)),
            Predicate::Range(operator, operand) => Some(self.in_range(*operator, operand)),
            Predicate::All(predicates) => self.all_direct(predicates),
            Predicate::Exists
            | Predicate::Not(_)
            | Predicate::OfType(_)
            | Predicate::Size(_)
            | Predicate::Matches(_)
            | Predicate::ElemMatch(_) => None,
        }
    }

    fn equal_to_any(&mut self, values: &[&Value]) -> String {
        let strings: Vec<String> = values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect();
        let others: Vec<&Value> = values
            .iter()
            .copied()
            .filter(|value| !value.is_string())
            .collect();

        let mut alternatives = Vec::new();
        // One is not written as a list: for a prepared statement, PostgreSQL takes a list for one of ten.
        if let [text] = strings.as_slice() {
            let text = self.push_text(text);
            alternatives.push(self.string(&format!("= {text}")));
        } else if !strings.is_empty() {
            let strings = self.parameters.push(SqlValue::TextArray(strings));
            alternatives.push(self.string(&format!(r#"= ANY({strings} COLLATE "C")"#)));
        }
        if !others.is_empty() {
            let equal = self.parameters.equal_to_any_json(&others);
            alternatives.push(format!("{} {equal}", self.path.ranked_value()));
        }
        any_of(alternatives)
    }

    fn in_range(&mut self, operator: RangeOperator, operand: &Value) -> String {
        let sign = operator.sign();
        if let Value::String(text) = operand {
            let text = self.push_text(text);
            return self.string(&format!("{sign} {text}"));
        }
        let (value, operand) = (self.path.ranked_value(), self.push_json(operand));
        if operator.is_lower_bound() {
            return format!("{value} {sign} {operand}");
        }
        // Without this end, the range would contain every document in which the field is missing.
        format!("({value} {sign} {operand} AND {value} > {ANY_STRING})")
    }

    fn string(&self, test: &str) -> String {
        let (value, string) = (self.path.ranked_value(), self.path.string_value());
        format!("({value} = {ANY_STRING} AND {string} {test})")
    }

    fn push_text(&mut self, text: &str) -> String {
        format!(
            r#"{} COLLATE "C""#,
            self.parameters.push(SqlValue::Text(text.to_owned()))
        )
    }

    fn push_json(&mut self, value: &Value) -> String {
        self.parameters.push(SqlValue::Json(value.clone()))
    }
}
