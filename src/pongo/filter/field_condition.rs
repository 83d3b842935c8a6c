//! Conditions on a field: of a document, or of an element that is an object.

use serde_json::Value;

use super::boolean_logic::{all_of, any_of, negated};
use super::error::FilterError;
use super::field_path::FieldPath;
use super::index_range::index_range;
use super::predicate::{ElementFilter, Predicate, RangeOperator, predicates};
use super::source::Source;
use super::sql_parameters::SqlParameters;
use super::value_condition::value_condition;

/// The longest list of values that becomes a JSON path predicate, which tries one after the other. A longer one
/// is looked up by hash, and a GIN index does not serve that.
const MOST_VALUES_IN_JSON_PATH: usize = 32;

pub(super) fn field_condition(
    source: Source<'_>,
    path: &FieldPath<'_>,
    predicates: &[Predicate<'_>],
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let exact = FieldCondition {
        source,
        path,
        parameters,
    }
    .all(predicates)?;
    let range = match source {
        Source::Document { schema } => index_range(path, schema, predicates, parameters),
        Source::Element(_) => None,
    };
    Ok(all_of(std::iter::once(exact).chain(range).collect()))
}

struct FieldCondition<'f> {
    source: Source<'f>,
    path: &'f FieldPath<'f>,
    parameters: &'f mut SqlParameters,
}

impl FieldCondition<'_> {
    fn all(&mut self, predicates: &[Predicate<'_>]) -> Result<String, FilterError> {
        let conditions = predicates.iter().map(|predicate| self.one(predicate));
        conditions.collect::<Result<_, _>>().map(all_of)
    }

    fn one(&mut self, predicate: &Predicate<'_>) -> Result<String, FilterError> {
        match predicate {
            Predicate::AnyOf(values) => self.equal_to_any(values),
            Predicate::Range(operator, operand) => self.in_range(*operator, operand, predicate),
            Predicate::Exists => self.exists(),
            Predicate::Not(predicates) => Ok(negated(&self.all(predicates)?)),
            Predicate::All(predicates) => self.all(predicates),
            Predicate::OfType(_) | Predicate::Matches(_) => self.has_value_or_element(predicate),
            Predicate::Size(_) => self.has_value(predicate),
            Predicate::ElemMatch(filter) => self.elem_match(filter, predicate),
        }
    }

    fn equal_to_any(&mut self, values: &[&Value]) -> Result<String, FilterError> {
        if let (Source::Document { .. }, [value]) = (self.source, values)
            && self.path.is_top_level()
            && is_scalar(value)
        {
            return Ok(self.contains(value));
        }
        let by_json_path = values.len() <= MOST_VALUES_IN_JSON_PATH && !self.path.is_positional();
        let (nulls, values): (Vec<&Value>, Vec<&Value>) =
            values.iter().partition(|value| value.is_null());
        let (scalars, others): (Vec<&Value>, Vec<&Value>) = values
            .iter()
            .partition(|value| by_json_path && !value.is_array() && !value.is_object());

        let mut alternatives = Vec::new();
        if !nulls.is_empty() {
            alternatives.push(self.null_or_missing()?);
        }
        if !scalars.is_empty() {
            alternatives.push(self.equal_in_json_path(&scalars));
        }
        if !others.is_empty() {
            alternatives.push(self.has_value_or_element(&Predicate::AnyOf(others))?);
        }
        Ok(any_of(alternatives))
    }

    /// Equality with a field of the document itself, or an element of it. A GIN index on `data` serves each of the two, and
    /// they cost the server less than a JSON path.
    fn contains(&mut self, scalar: &Value) -> String {
        let (name, value) = (self.path.first_in_json(), json_text(scalar));
        let field = ["{", &name, ":", &value, "}"].concat();
        let element = ["{", &name, ":[", &value, "]}"].concat();
        let (field, element) = (
            self.parameters.push_json_text(field),
            self.parameters.push_json_text(element),
        );
        ["(data @> ", &field, " OR data @> ", &element, ")"].concat()
    }

    fn null_or_missing(&mut self) -> Result<String, FilterError> {
        if self.path.is_positional() {
            let missing = negated(&self.exists()?);
            let null = self.has_value_or_element(&Predicate::AnyOf(vec![&Value::Null]))?;
            return Ok(any_of(vec![missing, null]));
        }
        let (value, missing) = (self.path.json_path(), self.path.missing_in_json_path());
        Ok(self.source_matches(&format!("@{value} == null || {missing}")))
    }

    fn equal_in_json_path(&mut self, scalars: &[&Value]) -> String {
        let equal = equal_to_any_in_json_path(&self.path.json_path(), scalars);
        self.source_matches(&equal)
    }

    fn in_range(
        &mut self,
        operator: RangeOperator,
        operand: &Value,
        predicate: &Predicate<'_>,
    ) -> Result<String, FilterError> {
        if self.path.is_positional() {
            return self.has_value_or_element(predicate);
        }
        let (value, sign) = (self.path.json_path(), operator.sign());
        Ok(self.source_matches(&format!("@{value} {sign} {operand}")))
    }

    fn exists(&mut self) -> Result<String, FilterError> {
        if self.path.is_positional() {
            return self.has_value(&Predicate::Exists);
        }
        let value = format!("${}", self.path.json_path());
        let value = self.parameters.push_json_path(value);
        Ok(format!("{} @? {value}", self.source.json()))
    }

    /// What follows for the equality of elements stands before it: a GIN index on `data` serves that.
    fn elem_match(
        &mut self,
        filter: &ElementFilter<'_>,
        predicate: &Predicate<'_>,
    ) -> Result<String, FilterError> {
        let exact = self.has_value(predicate)?;
        if self.path.is_positional() || matches!(self.source, Source::Element(_)) {
            return Ok(exact);
        }
        let equalities = self.equalities(filter);
        if equalities.is_empty() {
            return Ok(exact);
        }
        let implied = self.source_matches(&equalities.join(" && "));
        Ok(all_of(vec![implied, exact]))
    }

    /// JSON path predicates on the document that follow from the filter of an element.
    fn equalities(&self, filter: &ElementFilter<'_>) -> Vec<String> {
        let path = self.path.json_path();
        match filter {
            ElementFilter::Value(element) => equalities_in_json_path(&path, element),
            ElementFilter::Object(filter) => {
                let fields = filter.as_object().into_iter().flatten();
                fields
                    .filter_map(|(key, condition)| {
                        let field = FieldPath::parse(key)
                            .ok()
                            .filter(|field| !field.is_positional())?;
                        let predicates = predicates(key, condition).ok()?;
                        let path = format!("{path}{}", field.json_path());
                        Some(equalities_in_json_path(&path, &predicates))
                    })
                    .flatten()
                    .collect()
            }
        }
    }

    /// Tests the source by `@?` and a filter, because that is never NULL: a comparison of different types is
    /// unknown in a JSON path, and a filter takes unknown for false.
    fn source_matches(&mut self, predicate: &str) -> String {
        let predicate = ["$ ? (", predicate, ")"].concat();
        let predicate = self.parameters.push_json_path(predicate);
        [self.source.json(), " @? ", &predicate].concat()
    }

    /// One of the values that the path leads to, or one of their elements.
    fn has_value_or_element(&mut self, predicate: &Predicate<'_>) -> Result<String, FilterError> {
        self.has(predicate, self.path.candidates(self.source.json(), true))
    }

    /// One of the values that the path leads to.
    fn has_value(&mut self, predicate: &Predicate<'_>) -> Result<String, FilterError> {
        self.has(predicate, self.path.candidates(self.source.json(), false))
    }

    fn has(&mut self, predicate: &Predicate<'_>, from: String) -> Result<String, FilterError> {
        let predicate = std::slice::from_ref(predicate);
        let test = value_condition("candidate.value", predicate, self.parameters)?;
        Ok(format!("EXISTS (SELECT FROM {from} WHERE {test})"))
    }
}

/// The equality with scalars among the predicates.
fn equalities_in_json_path(path: &str, predicates: &[Predicate<'_>]) -> Vec<String> {
    let equalities = predicates.iter().filter_map(|predicate| match predicate {
        Predicate::AnyOf(values) => Some(values),
        _ => None,
    });
    equalities
        .filter(|values| (1..=MOST_VALUES_IN_JSON_PATH).contains(&values.len()))
        .filter(|values| values.iter().all(|value| is_scalar(value)))
        .map(|values| format!("({})", equal_to_any_in_json_path(path, values)))
        .collect()
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

/// A scalar as the JSON path language writes it, which is how JSON does.
fn json_text(scalar: &Value) -> String {
    // A value can always be written.
    serde_json::to_string(scalar).unwrap_or_default()
}

fn equal_to_any_in_json_path(path: &str, scalars: &[&Value]) -> String {
    let terms: Vec<String> = scalars
        .iter()
        .map(|scalar| ["@", path, " == ", &json_text(scalar)].concat())
        .collect();
    terms.join(" || ")
}
