//! MongoDB's filters as SQL conditions over one collection's table.
//!
//! Every condition is TRUE or FALSE, never NULL, so that `NOT` keeps the documents in which a field is missing.
//!
//! A condition on a field has two parts, joined by `AND`. The first is exact by itself: a JSON path predicate
//! (`data @? ..`), which a GIN index on `data` serves when it tests equality. The second follows from the first
//! and only names a range of the index on that path, see [`index_expression`](super::field_path::index_expression).

use serde_json::{Map, Value};

use super::{
    column::Column,
    field_path::{ANY_STRING, FieldPath, Target},
    filter_error::FilterError,
    predicate::{Predicate, RangeOperator, predicates, type_name},
    sql_parameters::{SqlParameters, SqlValue},
};

/// The longest list of values that becomes a JSON path predicate, whose cost grows with each value. A longer
/// one is looked up by hash, which a GIN index cannot serve.
const MOST_VALUES_IN_JSON_PATH: usize = 32;

/// Translates a filter into a condition for `WHERE`; its values go to `parameters`.
///
/// The condition reads the columns `_id`, `_version` and `data` without a table name. `{}` matches everything.
pub(crate) fn filter_condition(
    filter: &Value,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    FilterWriter { parameters }.document("the filter", filter)
}

/// Not counting the empty array, in which nothing is found.
const LEAST_ARRAY: &str = "'[null]'::jsonb";
const LEAST_OBJECT: &str = "'{}'::jsonb";

struct FilterWriter<'p> {
    parameters: &'p mut SqlParameters,
}

impl FilterWriter<'_> {
    fn document(&mut self, place: &str, filter: &Value) -> Result<String, FilterError> {
        let entries = object(place, filter)?.iter();
        entries
            .map(|(key, condition)| self.entry(key, condition))
            .collect::<Result<_, _>>()
            .map(all_of)
    }

    fn entry(&mut self, key: &str, condition: &Value) -> Result<String, FilterError> {
        match key {
            "$and" => Ok(all_of(self.branches(key, condition)?)),
            "$or" => Ok(any_of(self.branches(key, condition)?)),
            "$nor" => Ok(format!("NOT {}", any_of(self.branches(key, condition)?))),
            _ if key.starts_with('$') => Err(FilterError::UnknownOperator {
                operator: key.to_owned(),
                place: "outside a field".to_owned(),
            }),
            _ => self.field(key, condition),
        }
    }

    fn branches(&mut self, operator: &str, operand: &Value) -> Result<Vec<String>, FilterError> {
        let branches = operand.as_array().filter(|branches| !branches.is_empty());
        let Some(branches) = branches else {
            return Err(FilterError::NoBranches {
                operator: operator.to_owned(),
            });
        };
        let place = format!("each entry of `{operator}`");
        branches
            .iter()
            .map(|branch| self.document(&place, branch))
            .collect()
    }

    fn field(&mut self, key: &str, condition: &Value) -> Result<String, FilterError> {
        let target = Target::parse(key)?;
        let predicates = predicates(key, condition)?;
        match target {
            Target::Column(column) => self.column(column, &predicates),
            Target::Field(path) => Ok(self.document_field(&path, &predicates)),
        }
    }

    fn document_field(&mut self, path: &FieldPath<'_>, predicates: &[Predicate<'_>]) -> String {
        let exact = self.all_exact(path, predicates);
        let indexed = self.index_range(path, predicates);
        all_of(std::iter::once(exact).chain(indexed).collect())
    }
}

/// Conditions on a column.
impl FilterWriter<'_> {
    fn column(
        &mut self,
        column: Column,
        predicates: &[Predicate<'_>],
    ) -> Result<String, FilterError> {
        let conditions = predicates
            .iter()
            .map(|predicate| self.column_predicate(column, predicate));
        conditions.collect::<Result<_, _>>().map(all_of)
    }

    fn column_predicate(
        &mut self,
        column: Column,
        predicate: &Predicate<'_>,
    ) -> Result<String, FilterError> {
        let name = column.name();
        match predicate {
            Predicate::AnyOf(values) => match values[..] {
                [] => Ok("FALSE".to_owned()),
                [value] => Ok(format!(
                    "{name} = {}",
                    self.parameters.push(column.value(value)?)
                )),
                _ => Ok(format!(
                    "{name} = ANY({})",
                    self.parameters.push(column.values(values)?)
                )),
            },
            Predicate::Range(operator, operand) => {
                let operand = self.parameters.push(column.value(operand)?);
                Ok(format!(
                    "{name} {} {operand}{}",
                    operator.sign(),
                    column.collation()
                ))
            }
            Predicate::Exists => Ok("TRUE".to_owned()),
            Predicate::Not(predicates) => Ok(format!("NOT {}", self.column(column, predicates)?)),
        }
    }
}

/// The exact part of a condition on a field.
impl FilterWriter<'_> {
    fn all_exact(&mut self, path: &FieldPath<'_>, predicates: &[Predicate<'_>]) -> String {
        all_of(
            predicates
                .iter()
                .map(|predicate| self.exact(path, predicate))
                .collect(),
        )
    }

    fn exact(&mut self, path: &FieldPath<'_>, predicate: &Predicate<'_>) -> String {
        match predicate {
            Predicate::AnyOf(values) => self.any_of(path, values),
            Predicate::Range(operator, operand) => self.range(path, *operator, operand),
            Predicate::Exists => self.exists(path),
            Predicate::Not(predicates) => format!("NOT {}", self.all_exact(path, predicates)),
        }
    }

    fn any_of(&mut self, path: &FieldPath<'_>, values: &[&Value]) -> String {
        let is_short = values.len() <= MOST_VALUES_IN_JSON_PATH;
        let (nulls, values): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| value.is_null());
        let (scalars, others): (Vec<&Value>, Vec<&Value>) = values
            .into_iter()
            .partition(|value| is_short && is_scalar(value) && !path.is_positional());
        let mut alternatives = Vec::new();
        if !nulls.is_empty() {
            alternatives.push(self.null_or_missing(path));
        }
        if !scalars.is_empty() {
            alternatives.push(self.json_path_equality(path, &scalars));
        }
        if !others.is_empty() {
            alternatives.push(self.some_candidate_of(path, &others));
        }
        any_of(alternatives)
    }

    fn null_or_missing(&mut self, path: &FieldPath<'_>) -> String {
        if path.is_positional() {
            let missing = format!("NOT {}", self.exists(path));
            return any_of(vec![missing, self.some_candidate_of(path, &[&Value::Null])]);
        }
        let (json_path, missing) = (path.json_path(), path.missing_in_json_path());
        self.json_path_predicate(&format!("@{json_path} == null || {missing}"))
    }

    fn json_path_equality(&mut self, path: &FieldPath<'_>, scalars: &[&Value]) -> String {
        let json_path = path.json_path();
        let terms: Vec<String> = scalars
            .iter()
            .map(|scalar| format!("@{json_path} == {scalar}"))
            .collect();
        self.json_path_predicate(&terms.join(" || "))
    }

    fn some_candidate_of(&mut self, path: &FieldPath<'_>, values: &[&Value]) -> String {
        let equal = self.equal_to_any(values);
        some_candidate(path, &equal)
    }

    fn range(&mut self, path: &FieldPath<'_>, operator: RangeOperator, operand: &Value) -> String {
        let sign = operator.sign();
        if path.is_positional() {
            let test = self.json_path(format!("strict $ {sign} {operand}"));
            return some_candidate(path, &format!("@@ {test}"));
        }
        self.json_path_predicate(&format!("@{} {sign} {operand}", path.json_path()))
    }

    fn exists(&mut self, path: &FieldPath<'_>) -> String {
        if path.is_positional() {
            return some_candidate(path, "IS NOT NULL");
        }
        format!(
            "data @? {}",
            self.json_path(format!("${}", path.json_path()))
        )
    }

    /// Tests the document by `@?` and a filter, because that is never NULL: a comparison of different types is
    /// unknown in a JSON path, and a filter takes unknown for false.
    fn json_path_predicate(&mut self, predicate: &str) -> String {
        format!("data @? {}", self.json_path(format!("$ ? ({predicate})")))
    }

    /// Reads the JSON path in a sub-select, so that a generic plan parses it once and not for each row.
    fn json_path(&mut self, json_path: String) -> String {
        format!(
            "(SELECT {}::jsonpath)",
            self.parameters.push(SqlValue::Text(json_path))
        )
    }

    fn equal_to_any(&mut self, values: &[&Value]) -> String {
        if let [value] = values {
            return format!(
                "= {}",
                self.parameters.push(SqlValue::Json((*value).clone()))
            );
        }
        let values = values.iter().map(|value| (*value).clone()).collect();
        format!(
            "= ANY({})",
            self.parameters.push(SqlValue::JsonArray(values))
        )
    }
}

/// The part of a condition on a field that an index on its path serves.
impl FilterWriter<'_> {
    /// What follows from the predicates for the two columns of the path's index.
    ///
    /// A match stands directly at the path, or in a non-empty array there, or, for a dotted path, below an
    /// array on the way, and then the index holds null. A position in an array is not served.
    fn index_range(
        &mut self,
        path: &FieldPath<'_>,
        predicates: &[Predicate<'_>],
    ) -> Option<String> {
        if path.is_positional() {
            return None;
        }
        if let [Predicate::Range(operator, operand)] = predicates
            && operator.is_lower_bound()
            && path.is_top_level()
        {
            return Some(self.index_from(path, *operator, operand));
        }
        let direct: Vec<String> = predicates
            .iter()
            .filter_map(|predicate| self.direct(path, predicate))
            .collect();
        if direct.is_empty() {
            return None;
        }
        let value = path.ranked_value();
        let mut ranges = vec![
            all_of(direct),
            format!("{value} BETWEEN {LEAST_ARRAY} AND {LEAST_OBJECT}"),
        ];
        if !path.is_top_level() {
            ranges.push(format!("{value} = 'null'::jsonb"));
        }
        Some(any_of(ranges))
    }

    /// One range from the operand to the index's end, in which the arrays lie too; the index's order is kept,
    /// so that a sort by the same path with a limit reads only what it returns.
    fn index_from(
        &mut self,
        path: &FieldPath<'_>,
        operator: RangeOperator,
        operand: &Value,
    ) -> String {
        let (value, sign) = (path.ranked_value(), operator.sign());
        match operand {
            Value::String(text) => {
                let text = self.parameters.push(SqlValue::Text(text.clone()));
                let string = path.string_value();
                format!(r#"({value}, {string}) {sign} ({ANY_STRING}, {text} COLLATE "C")"#)
            }
            _ => format!(
                "{value} {sign} {}",
                self.parameters.push(SqlValue::Json(operand.clone()))
            ),
        }
    }

    fn direct(&mut self, path: &FieldPath<'_>, predicate: &Predicate<'_>) -> Option<String> {
        match predicate {
            Predicate::AnyOf(values) if values.is_empty() => None,
            Predicate::AnyOf(values) => Some(self.direct_any_of(path, values)),
            Predicate::Range(operator, operand) => {
                Some(self.direct_range(path, *operator, operand))
            }
            Predicate::Exists | Predicate::Not(_) => None,
        }
    }

    fn direct_any_of(&mut self, path: &FieldPath<'_>, values: &[&Value]) -> String {
        let (strings, others): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| value.is_string());
        let mut alternatives = Vec::new();
        if !strings.is_empty() {
            let equal = self.string_equal_to_any(&strings);
            alternatives.push(among_strings(path, &equal));
        }
        if !others.is_empty() {
            alternatives.push(format!(
                "{} {}",
                path.ranked_value(),
                self.equal_to_any(&others)
            ));
        }
        any_of(alternatives)
    }

    fn string_equal_to_any(&mut self, strings: &[&Value]) -> String {
        let texts = strings
            .iter()
            .filter_map(|string| string.as_str().map(str::to_owned))
            .collect();
        format!(
            r#"= ANY({} COLLATE "C")"#,
            self.parameters.push(SqlValue::TextArray(texts))
        )
    }

    fn direct_range(
        &mut self,
        path: &FieldPath<'_>,
        operator: RangeOperator,
        operand: &Value,
    ) -> String {
        let sign = operator.sign();
        if let Value::String(text) = operand {
            let text = self.parameters.push(SqlValue::Text(text.clone()));
            return among_strings(path, &format!(r#"{sign} {text} COLLATE "C""#));
        }
        let value = path.ranked_value();
        let end_of_type = match (operand.is_boolean(), operator.is_lower_bound()) {
            (true, true) => "<= 'true'::jsonb".to_owned(),
            (true, false) => ">= 'false'::jsonb".to_owned(),
            (false, true) => "< 'false'::jsonb".to_owned(),
            (false, false) => format!("> {ANY_STRING}"),
        };
        let operand = self.parameters.push(SqlValue::Json(operand.clone()));
        format!("({value} {sign} {operand} AND {value} {end_of_type})")
    }
}

fn among_strings(path: &FieldPath<'_>, test: &str) -> String {
    format!(
        "({} = {ANY_STRING} AND {} {test})",
        path.ranked_value(),
        path.string_value()
    )
}

fn some_candidate(path: &FieldPath<'_>, test: &str) -> String {
    format!(
        "EXISTS (SELECT FROM {} WHERE candidate.value {test})",
        path.candidates()
    )
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn all_of(conditions: Vec<String>) -> String {
    joined(conditions, " AND ", "TRUE")
}

fn any_of(conditions: Vec<String>) -> String {
    joined(conditions, " OR ", "FALSE")
}

fn joined(mut conditions: Vec<String>, operator: &str, when_empty: &str) -> String {
    match conditions.len() {
        0 => when_empty.to_owned(),
        1 => conditions.remove(0),
        _ => format!("({})", conditions.join(operator)),
    }
}

fn object<'v>(place: &str, filter: &'v Value) -> Result<&'v Map<String, Value>, FilterError> {
    filter.as_object().ok_or_else(|| FilterError::NotAnObject {
        place: place.to_owned(),
        found: type_name(filter),
    })
}
