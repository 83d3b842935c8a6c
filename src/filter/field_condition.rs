//! Conditions on a field of the documents.

use serde_json::Value;

use super::{
    boolean_logic::{all_of, any_of, negated},
    field_path::FieldPath,
    index_range::index_range,
    predicate::{Predicate, RangeOperator},
    sql_parameters::SqlParameters,
};

/// The longest list of values that becomes a JSON path predicate, which tries one after the other. A longer one
/// is looked up by hash, and a GIN index does not serve that.
const MOST_VALUES_IN_JSON_PATH: usize = 32;

pub(super) fn field_condition(
    path: &FieldPath<'_>,
    predicates: &[Predicate<'_>],
    parameters: &mut SqlParameters,
) -> String {
    let exact = FieldCondition { path, parameters }.all(predicates);
    let range = index_range(path, predicates, parameters);
    all_of(std::iter::once(exact).chain(range).collect())
}

struct FieldCondition<'f> {
    path: &'f FieldPath<'f>,
    parameters: &'f mut SqlParameters,
}

impl FieldCondition<'_> {
    fn all(&mut self, predicates: &[Predicate<'_>]) -> String {
        all_of(
            predicates
                .iter()
                .map(|predicate| self.one(predicate))
                .collect(),
        )
    }

    fn one(&mut self, predicate: &Predicate<'_>) -> String {
        match predicate {
            Predicate::AnyOf(values) => self.equal_to_any(values),
            Predicate::Range(operator, operand) => self.in_range(*operator, operand),
            Predicate::Exists => self.exists(),
            Predicate::Not(predicates) => negated(&self.all(predicates)),
        }
    }

    fn equal_to_any(&mut self, values: &[&Value]) -> String {
        let by_json_path = values.len() <= MOST_VALUES_IN_JSON_PATH && !self.path.is_positional();
        let (nulls, values): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| value.is_null());
        let (scalars, others): (Vec<&Value>, Vec<&Value>) = values
            .iter()
            .partition(|value| by_json_path && !value.is_array() && !value.is_object());

        let mut alternatives = Vec::new();
        if !nulls.is_empty() {
            alternatives.push(self.null_or_missing());
        }
        if !scalars.is_empty() {
            alternatives.push(self.equal_in_json_path(&scalars));
        }
        if !others.is_empty() {
            alternatives.push(self.has_candidate_among(&others));
        }
        any_of(alternatives)
    }

    fn null_or_missing(&mut self) -> String {
        if self.path.is_positional() {
            let missing = negated(&self.exists());
            return any_of(vec![missing, self.has_candidate_among(&[&Value::Null])]);
        }
        let (value, missing) = (self.path.json_path(), self.path.missing_in_json_path());
        self.document_matches(&format!("@{value} == null || {missing}"))
    }

    fn equal_in_json_path(&mut self, scalars: &[&Value]) -> String {
        let value = self.path.json_path();
        let terms: Vec<String> = scalars
            .iter()
            .map(|scalar| format!("@{value} == {scalar}"))
            .collect();
        self.document_matches(&terms.join(" || "))
    }

    fn has_candidate_among(&mut self, values: &[&Value]) -> String {
        let equal = self.parameters.equal_to_any_json(values);
        self.has_candidate(&equal)
    }

    fn in_range(&mut self, operator: RangeOperator, operand: &Value) -> String {
        let sign = operator.sign();
        if self.path.is_positional() {
            let test = self
                .parameters
                .push_json_path(format!("strict $ {sign} {operand}"));
            return self.has_candidate(&format!("@@ {test}"));
        }
        self.document_matches(&format!("@{} {sign} {operand}", self.path.json_path()))
    }

    fn exists(&mut self) -> String {
        if self.path.is_positional() {
            return self.has_candidate("IS NOT NULL");
        }
        let value = format!("${}", self.path.json_path());
        format!("data @? {}", self.parameters.push_json_path(value))
    }

    /// Tests the document by `@?` and a filter, because that is never NULL: a comparison of different types is
    /// unknown in a JSON path, and a filter takes unknown for false.
    fn document_matches(&mut self, predicate: &str) -> String {
        format!(
            "data @? {}",
            self.parameters.push_json_path(format!("$ ? ({predicate})"))
        )
    }

    fn has_candidate(&self, test: &str) -> String {
        format!(
            "EXISTS (SELECT FROM {} WHERE candidate.value {test})",
            self.path.candidates()
        )
    }
}
