//! Filters as SQL conditions over the table of one collection.
//!
//! Every condition is TRUE or FALSE, never NULL, so that `NOT` keeps the documents without the field. The column `data` must be
//! an object.
//!
//! A condition on a field has two parts, joined by `AND`. The first part is exact. If it tests equality, a GIN index on `data`
//! (`jsonb_path_ops`) serves it. The second part follows from the first, and a B-tree index on the path serves it. For `{"age":
//! 7}`, with `age_key` as the expression of that index:
//!
//! ```sql
//! (data @> '{"age": 7}' OR data @> '{"age": [7]}') AND age_key = ANY(ARRAY['3c2000017', '5'])
//! ```
//!
//! The exact part of other predicates is a JSON path: `data @? '$ ? (@."age" > 7)'`.
//!
//! A generic plan cannot estimate such a condition well enough to choose an index. Run it with `query_typed`, whose unnamed
//! statements are planned with their values.

use std::slice;

use serde_json::Value;

use super::boolean_logic::{all_of, any_of, negated};
use super::column_condition::column_condition;
use super::condition::{Condition, ElementCondition, Predicate, RangeOperator, is_scalar};
use super::equality::{
    MOST_VALUES_IN_JSON_PATH, equal_to_any_in_json_path, equalities_of_elements, json_text,
};
use super::index_range::index_range;
use super::json_type::JsonType;
use super::regex::Regex;
use super::sql_parameters::SqlParameters;
use crate::pongo::dotted_path::DottedPath;

#[cfg(test)]
mod tests;

/// Each value that a path leads to.
const CANDIDATE: &str = "candidate.value";

/// Returns the condition for `WHERE`; its values go to `parameters`. It reads the columns `_id`, `_version` and `data` without
/// a table name. `schema` is the quoted schema of the library's functions.
pub(super) fn document_condition(
    condition: &Condition,
    schema: &str,
    parameters: &mut SqlParameters,
) -> String {
    let source = Source::Document { schema };
    Generator { source, parameters }.condition(condition)
}

/// Returns the condition that a `$pull` removes the element.
///
/// `element` is an SQL expression of type `jsonb` that is never NULL. Predicates treat the element as the value of a field.
/// They therefore also check the elements of an element that is an array.
pub(crate) fn pull_condition(
    condition: &ElementCondition,
    element: &str,
    parameters: &mut SqlParameters,
) -> String {
    match condition {
        ElementCondition::Object(_) => element_condition(condition, element, parameters),
        ElementCondition::Value(predicates) => {
            let wrapped = format!("pg_catalog.jsonb_build_object('element', {element})");
            let source = Source::Element(&wrapped);
            Generator { source, parameters }.field(&DottedPath::known("element"), predicates)
        }
    }
}

/// Returns the condition that the element matches. It is an SQL expression of type `jsonb` that is never NULL.
fn element_condition(
    condition: &ElementCondition,
    element: &str,
    parameters: &mut SqlParameters,
) -> String {
    match condition {
        ElementCondition::Value(predicates) => value_condition(element, predicates, parameters),
        ElementCondition::Object(condition) => {
            let is_object = format!("pg_catalog.jsonb_typeof({element}) = 'object'");
            let source = Source::Element(element);
            let matches = Generator { source, parameters }.condition(condition);
            all_of(vec![is_object, matches])
        }
    }
}

/// The subject of a condition.
#[derive(Clone, Copy)]
enum Source<'s> {
    /// A document of a collection: the columns `_id` and `_version`, and the fields of the column `data`.
    Document { schema: &'s str },
    /// An SQL expression of type `jsonb` that is never NULL. Its `_id` and `_version` are ordinary fields.
    Element(&'s str),
}

struct Generator<'g> {
    source: Source<'g>,
    parameters: &'g mut SqlParameters,
}

impl Generator<'_> {
    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::All(conditions) => all_of(self.each(conditions)),
            Condition::Any(conditions) => any_of(self.each(conditions)),
            Condition::Not(condition) => negated(&self.condition(condition)),
            Condition::Field(path, predicates) => self.field(path, predicates),
        }
    }

    fn each(&mut self, conditions: &[Condition]) -> Vec<String> {
        let conditions = conditions.iter();
        conditions
            .map(|condition| self.condition(condition))
            .collect()
    }

    fn field(&mut self, path: &DottedPath, predicates: &[Predicate]) -> String {
        let Source::Document { schema } = self.source else {
            return self.all(path, predicates);
        };
        if let Some(column) = path.column() {
            return column_condition(column, predicates, self.parameters);
        }
        let exact = self.all(path, predicates);
        let range = index_range(path, schema, predicates, self.parameters);
        all_of(std::iter::once(exact).chain(range).collect())
    }

    fn all(&mut self, path: &DottedPath, predicates: &[Predicate]) -> String {
        let conditions = predicates.iter().map(|predicate| self.one(path, predicate));
        all_of(conditions.collect())
    }

    fn one(&mut self, path: &DottedPath, predicate: &Predicate) -> String {
        match predicate {
            Predicate::Equal(value) => self.equal_to_any(path, slice::from_ref(value)),
            Predicate::AnyOf(values) => self.equal_to_any(path, values),
            Predicate::Range(operator, operand) if !path.is_positional() => {
                let (value, sign) = (path.json_path(), operator.sign());
                self.source_matches(&format!("@{value} {sign} {operand}"))
            }
            Predicate::Exists => self.exists(path),
            Predicate::Not(predicates) => negated(&self.all(path, predicates)),
            Predicate::All(predicates) => self.all(path, predicates),
            Predicate::Range(..) | Predicate::OfType(_) | Predicate::Matches(_) => {
                let test = one_value_condition(CANDIDATE, predicate, self.parameters);
                self.has_value_or_element(path, &test)
            }
            Predicate::Size(_) => {
                let test = one_value_condition(CANDIDATE, predicate, self.parameters);
                self.has_value(path, &test)
            }
            Predicate::ElemMatch(element) => self.elem_match(path, element),
        }
    }

    fn equal_to_any(&mut self, path: &DottedPath, values: &[Value]) -> String {
        if let (Source::Document { .. }, [value]) = (self.source, values)
            && path.is_top_level()
            && is_scalar(value)
        {
            return self.contains(path, value);
        }
        let by_json_path = values.len() <= MOST_VALUES_IN_JSON_PATH && !path.is_positional();
        let (nulls, values): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| value.is_null());
        let (scalars, others): (Vec<&Value>, Vec<&Value>) = values
            .into_iter()
            .partition(|value| by_json_path && is_scalar(value));

        let mut alternatives = Vec::new();
        if !nulls.is_empty() {
            alternatives.push(self.null_or_missing(path));
        }
        if !scalars.is_empty() {
            let equal = equal_to_any_in_json_path(&path.json_path(), scalars);
            alternatives.push(self.source_matches(&equal));
        }
        if !others.is_empty() {
            alternatives.push(self.has_one_of(path, &others));
        }
        any_of(alternatives)
    }

    /// Tests the document's field, or an element of it, for equality. A GIN index on `data` serves both tests, and they are
    /// cheaper for the server than a JSON path.
    fn contains(&mut self, path: &DottedPath, scalar: &Value) -> String {
        let (name, value) = (path.first_in_json(), json_text(scalar));
        let field = ["{", &name, ":", &value, "}"].concat();
        let element = ["{", &name, ":[", &value, "]}"].concat();
        let field = self.parameters.push_json_text(field);
        let element = self.parameters.push_json_text(element);
        ["(data @> ", &field, " OR data @> ", &element, ")"].concat()
    }

    fn null_or_missing(&mut self, path: &DottedPath) -> String {
        if path.is_positional() {
            let missing = negated(&self.exists(path));
            return any_of(vec![missing, self.has_one_of(path, &[&Value::Null])]);
        }
        let (value, missing) = (path.json_path(), path.missing_in_json_path());
        self.source_matches(&format!("@{value} == null || {missing}"))
    }

    fn exists(&mut self, path: &DottedPath) -> String {
        if path.is_positional() {
            return self.has_value(path, "TRUE");
        }
        let value = self
            .parameters
            .push_json_path(format!("${}", path.json_path()));
        format!("{} @? {value}", self.json())
    }

    /// The equality of elements is tested first, because a GIN index on `data` serves it.
    fn elem_match(&mut self, path: &DottedPath, element: &ElementCondition) -> String {
        let test = elem_match(CANDIDATE, element, self.parameters);
        let exact = self.has_value(path, &test);
        if path.is_positional() || matches!(self.source, Source::Element(_)) {
            return exact;
        }
        let equalities = equalities_of_elements(path, element);
        if equalities.is_empty() {
            return exact;
        }
        let implied = self.source_matches(&equalities.join(" && "));
        all_of(vec![implied, exact])
    }

    /// Tests the source with `@?` and a filter, because the result is never NULL. In a JSON path, a comparison of different
    /// types is unknown, and a filter treats unknown as false.
    fn source_matches(&mut self, predicate: &str) -> String {
        let predicate = ["$ ? (", predicate, ")"].concat();
        let predicate = self.parameters.push_json_path(predicate);
        [self.json(), " @? ", &predicate].concat()
    }

    fn has_one_of(&mut self, path: &DottedPath, values: &[&Value]) -> String {
        let test = equal_to_any(CANDIDATE, values, self.parameters);
        self.has_value_or_element(path, &test)
    }

    /// Tests the values that the path leads to, and their elements.
    fn has_value_or_element(&self, path: &DottedPath, test: &str) -> String {
        let from = path.candidates(self.json(), true);
        format!("EXISTS (SELECT FROM {from} WHERE {test})")
    }

    /// Tests the values that the path leads to.
    fn has_value(&self, path: &DottedPath, test: &str) -> String {
        let from = path.candidates(self.json(), false);
        format!("EXISTS (SELECT FROM {from} WHERE {test})")
    }

    /// Returns the SQL expression that contains the fields.
    fn json(&self) -> &str {
        match self.source {
            Source::Document { .. } => "data",
            Source::Element(expression) => expression,
        }
    }
}

/// Returns the condition that a JSON value, an SQL expression that is never NULL, satisfies all predicates itself. The elements
/// of an array are not checked.
fn value_condition(
    value: &str,
    predicates: &[Predicate],
    parameters: &mut SqlParameters,
) -> String {
    let conditions = predicates
        .iter()
        .map(|predicate| one_value_condition(value, predicate, parameters));
    all_of(conditions.collect())
}

fn one_value_condition(
    value: &str,
    predicate: &Predicate,
    parameters: &mut SqlParameters,
) -> String {
    match predicate {
        Predicate::Equal(operand) => equal_to_any(value, &[operand], parameters),
        Predicate::AnyOf(values) => {
            equal_to_any(value, &values.iter().collect::<Vec<_>>(), parameters)
        }
        Predicate::Range(operator, operand) => in_range(value, *operator, operand, parameters),
        Predicate::Exists => "TRUE".to_owned(),
        Predicate::Not(predicates) => negated(&value_condition(value, predicates, parameters)),
        Predicate::All(predicates) => value_condition(value, predicates, parameters),
        Predicate::OfType(types) => of_type(value, types),
        Predicate::Size(length) => has_size(value, *length),
        Predicate::Matches(regex) => is_matching_string(value, regex, parameters),
        Predicate::ElemMatch(element) => elem_match(value, element, parameters),
    }
}

fn equal_to_any(value: &str, values: &[&Value], parameters: &mut SqlParameters) -> String {
    match values {
        [] => "FALSE".to_owned(),
        _ => format!("{value} {}", parameters.equal_to_any_json(values)),
    }
}

/// Uses a strict path, because a lax one would check the elements. The comparison of different types is unknown; the filter
/// treats unknown as false.
fn in_range(
    value: &str,
    operator: RangeOperator,
    operand: &Value,
    parameters: &mut SqlParameters,
) -> String {
    let path = format!("strict $ ? (@ {} {operand})", operator.sign());
    format!("{value} @? {}", parameters.push_json_path(path))
}

fn of_type(value: &str, types: &[JsonType]) -> String {
    let names = types.iter();
    let names: Vec<String> = names.map(|one| format!("'{}'", one.sql_name())).collect();
    format!("pg_catalog.jsonb_typeof({value}) IN ({})", names.join(", "))
}

fn has_size(value: &str, length: u64) -> String {
    format!(
        "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN pg_catalog.jsonb_array_length({value}) = {length} ELSE FALSE END)"
    )
}

fn is_matching_string(value: &str, regex: &Regex, parameters: &mut SqlParameters) -> String {
    let matches = parameters.matches_regex(&format!("({value} #>> '{{}}'::text[])"), regex);
    format!("(CASE pg_catalog.jsonb_typeof({value}) WHEN 'string' THEN {matches} ELSE FALSE END)")
}

fn elem_match(value: &str, element: &ElementCondition, parameters: &mut SqlParameters) -> String {
    let condition = element_condition(element, "element.value", parameters);
    format!(
        "EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN {value} END) \
         AS element(value) WHERE {condition})"
    )
}
