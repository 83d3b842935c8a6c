//! The operators of filters as methods.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::FilterError;
use super::filter::Filter;
use super::json_type::JsonType;
use super::regex::RegexOption;
use crate::json::{JsonError, to_json};

/// Begins a condition on the field at a dotted path, such as `address.city` or `lines.0.price`.
///
/// A path also looks into the objects of an array on the way, and a condition holds for an array when it holds for one of
/// its elements.
///
/// ```
/// use emmett_postgresql::pongo::field;
///
/// let filter = field("address.city").eq("Graz").and(field("tags").is_in(["red", "blue"]));
/// ```
///
/// Methods are operators, so a misspelt one does not compile:
///
/// ```compile_fail
/// # use emmett_postgresql::pongo::field;
/// let filter = field("total").gtt(1000);
/// ```
pub fn field(path: impl Into<String>) -> Field {
    Field { path: path.into() }
}

/// Begins a condition on an element of an array, for [`Field::elem_match`]. Its methods may follow each other.
///
/// ```
/// use emmett_postgresql::pongo::{element, field};
///
/// let filter = field("scores").elem_match(element().gte(80).lt(85));
/// ```
pub fn element() -> Element {
    Element {
        operators: Ok(Map::new()),
    }
}

/// A field of the documents; made by [`field`].
#[derive(Debug, Clone)]
#[must_use = "a field alone is no filter"]
pub struct Field {
    path: String,
}

/// Conditions on an element of an array; made by [`element`].
#[derive(Debug, Clone)]
#[must_use = "it belongs into elem_match"]
pub struct Element {
    operators: Result<Map<String, Value>, FilterError>,
}

/// What [`Field::elem_match`] and [`Update::pull_where`](crate::pongo::update::Update::pull_where) demand of an element: a [`Filter`] of its fields, or conditions on the [`element`] itself.
#[derive(Debug, Clone)]
pub struct ElementFilter(Result<Value, FilterError>);

macro_rules! operators {
    ($output:ident) => {
        /// `$eq`: equal to the value. Null is also equal to a missing field. Numbers are equal by value, so 1 is 1.0.
        pub fn eq(self, value: impl Serialize) -> $output {
            self.compare("$eq", value)
        }

        /// `$ne`: not equal to the value, or missing.
        pub fn ne(self, value: impl Serialize) -> $output {
            self.compare("$ne", value)
        }

        /// `$gt`: of the value's type and greater. The value is a string, a number or a boolean.
        pub fn gt(self, value: impl Serialize) -> $output {
            self.compare("$gt", value)
        }

        /// `$gte`: of the value's type and greater or equal. The value is a string, a number, a boolean or null.
        pub fn gte(self, value: impl Serialize) -> $output {
            self.compare("$gte", value)
        }

        /// `$lt`: of the value's type and less. The value is a string, a number or a boolean.
        pub fn lt(self, value: impl Serialize) -> $output {
            self.compare("$lt", value)
        }

        /// `$lte`: of the value's type and less or equal. The value is a string, a number, a boolean or null.
        pub fn lte(self, value: impl Serialize) -> $output {
            self.compare("$lte", value)
        }

        /// `$in`: equal to one of the values; nothing is, when there are none.
        pub fn is_in(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare_all("$in", values)
        }

        /// `$nin`: not equal to any of the values, or missing.
        pub fn not_in(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare_all("$nin", values)
        }

        /// `$type`: of this type.
        pub fn has_type(self, json_type: JsonType) -> $output {
            self.with("$type", json_type.alias().into())
        }

        /// `$all`: equal to each of the values, for an array by its elements; nothing is, when there are none.
        pub fn all(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare_all("$all", values)
        }

        /// `$elemMatch`: an array of which at least one element matches everything.
        ///
        /// ```
        /// use emmett_postgresql::pongo::{element, field};
        ///
        /// let of_fields = field("lines").elem_match(field("sku").eq("x").and(field("quantity").gt(3)));
        /// let of_elements = field("scores").elem_match(element().gte(80).lt(85));
        /// ```
        pub fn elem_match(self, filter: impl Into<ElementFilter>) -> $output {
            self.checked("$elemMatch", filter.into().0)
        }

        /// `$size`: an array of so many elements.
        pub fn size(self, elements: u32) -> $output {
            self.with("$size", elements.into())
        }

        /// `$regex`: a string in which the regular expression matches, in PostgreSQL's syntax, which is close to Perl's.
        ///
        /// ```
        /// use emmett_postgresql::pongo::field;
        ///
        /// let filter = field("email").matches(r"@example\.(com|org)$");
        /// ```
        pub fn matches(self, pattern: impl Into<String>) -> $output {
            self.matches_with(pattern, [])
        }

        /// `$regex`, like [`matches`](Self::matches), with `$options`.
        ///
        /// ```
        /// use emmett_postgresql::pongo::{RegexOption, field};
        ///
        /// let filter = field("name").matches_with("^mar", [RegexOption::IgnoreCase]);
        /// ```
        pub fn matches_with(
            self,
            pattern: impl Into<String>,
            options: impl IntoIterator<Item = RegexOption>,
        ) -> $output {
            let letters: String = options.into_iter().map(RegexOption::letter).collect();
            let mut pattern = pattern.into();
            if !letters.is_empty() {
                pattern.insert_str(0, &format!("(?{letters})"));
            }
            self.with("$regex", pattern.into())
        }
    };
}

impl Field {
    operators!(Filter);

    /// `$exists` of true: present, even as null.
    pub fn exists(self) -> Filter {
        self.with("$exists", true.into())
    }

    /// `$exists` of false: not present.
    pub fn is_missing(self) -> Filter {
        self.with("$exists", false.into())
    }

    fn compare(self, operator: &str, value: impl Serialize) -> Filter {
        let operand = to_value(&self.path, value);
        self.checked(operator, operand)
    }

    fn compare_all(
        self,
        operator: &str,
        values: impl IntoIterator<Item = impl Serialize>,
    ) -> Filter {
        let operand = to_values(&self.path, values);
        self.checked(operator, operand)
    }

    fn with(self, operator: &str, operand: Value) -> Filter {
        self.checked(operator, Ok(operand))
    }

    fn checked(self, operator: &str, operand: Result<Value, FilterError>) -> Filter {
        Filter::new(operand.map(|operand| json!({self.path: {operator: operand}})))
    }
}

impl Element {
    operators!(Element);

    /// `$not`: an element that does not satisfy all conditions so far.
    #[expect(
        clippy::should_implement_trait,
        reason = "behind other conditions an operator would be read wrongly"
    )]
    pub fn not(self) -> Self {
        let negated = ElementFilter::from(self).0;
        Self {
            operators: negated.map(|conditions| Map::from_iter([("$not".to_owned(), conditions)])),
        }
    }

    fn compare(self, operator: &str, value: impl Serialize) -> Self {
        self.checked(operator, to_value("an element", value))
    }

    fn compare_all(self, operator: &str, values: impl IntoIterator<Item = impl Serialize>) -> Self {
        self.checked(operator, to_values("an element", values))
    }

    fn with(self, operator: &str, operand: Value) -> Self {
        self.checked(operator, Ok(operand))
    }

    fn checked(self, operator: &str, operand: Result<Value, FilterError>) -> Self {
        let operators = self.operators.and_then(|mut operators| {
            let earlier = operators.insert(operator.to_owned(), operand?);
            match earlier {
                None => Ok(operators),
                Some(_) => Err(FilterError::RepeatedOperator {
                    operator: operator.to_owned(),
                }),
            }
        });
        Self { operators }
    }
}

impl ElementFilter {
    /// What stands behind `$pull`.
    pub(crate) fn into_condition(self) -> Result<Value, FilterError> {
        self.0
    }
}

/// The element is an object that matches the filter.
impl From<Filter> for ElementFilter {
    fn from(filter: Filter) -> Self {
        Self(filter.into_document())
    }
}

/// The element itself satisfies the conditions; every element does when there are none.
impl From<Element> for ElementFilter {
    fn from(element: Element) -> Self {
        Self(element.operators.map(|operators| {
            if operators.is_empty() {
                json!({"$exists": true})
            } else {
                operators.into()
            }
        }))
    }
}

/// What MongoDB has behind `$elemMatch`.
impl From<Value> for ElementFilter {
    fn from(document: Value) -> Self {
        Self(Ok(document))
    }
}

fn to_value(path: &str, value: impl Serialize) -> Result<Value, FilterError> {
    let refused = |reason: String| FilterError::InvalidValue {
        path: path.to_owned(),
        reason,
    };
    let json = to_json(&value).map_err(|error| match error {
        JsonError::Serde(source) => refused(source.to_string()),
        error => refused(error.to_string()),
    })?;
    serde_json::from_slice(&json).map_err(|error| refused(error.to_string()))
}

fn to_values(
    path: &str,
    values: impl IntoIterator<Item = impl Serialize>,
) -> Result<Value, FilterError> {
    let values = values.into_iter().map(|value| to_value(path, value));
    values.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::super::condition::filter_condition;
    use super::super::sql_parameters::SqlParameters;
    use super::*;

    fn document(filter: &Filter) -> Value {
        filter.document().unwrap().clone()
    }

    #[test]
    fn every_method_is_an_operator_that_filters_know() {
        let f = || field("f");
        let cases = [
            (f().eq(1), json!({"$eq": 1})),
            (f().eq(json!({"a": [null]})), json!({"$eq": {"a": [null]}})),
            (f().ne("x"), json!({"$ne": "x"})),
            (f().gt(1.5), json!({"$gt": 1.5})),
            (f().gte(1), json!({"$gte": 1})),
            (f().lt(true), json!({"$lt": true})),
            (f().lte("x"), json!({"$lte": "x"})),
            (f().is_in([1, 2]), json!({"$in": [1, 2]})),
            (f().not_in(vec!["x"]), json!({"$nin": ["x"]})),
            (f().exists(), json!({"$exists": true})),
            (f().is_missing(), json!({"$exists": false})),
            (f().has_type(JsonType::Bool), json!({"$type": "bool"})),
            (f().all(["x", "y"]), json!({"$all": ["x", "y"]})),
            (f().size(2), json!({"$size": 2})),
            (f().matches("^a"), json!({"$regex": "^a"})),
            (
                f().matches_with("^a", RegexOption::ALL),
                json!({"$regex": "(?imsx)^a"}),
            ),
            (
                f().elem_match(field("sku").eq("x")),
                json!({"$elemMatch": {"sku": {"$eq": "x"}}}),
            ),
            (
                f().elem_match(element().gte(1).lt(5)),
                json!({"$elemMatch": {"$gte": 1, "$lt": 5}}),
            ),
            (
                f().elem_match(element().gte(1).not().matches("a")),
                json!({"$elemMatch": {"$not": {"$gte": 1}, "$regex": "a"}}),
            ),
            (
                f().elem_match(element()),
                json!({"$elemMatch": {"$exists": true}}),
            ),
            (
                f().elem_match(json!({"$or": [{"a": 1}]})),
                json!({"$elemMatch": {"$or": [{"a": 1}]}}),
            ),
        ];
        for (filter, expected) in cases {
            let document = document(&filter);
            assert_eq!(document, json!({"f": expected}));
            assert!(filter_condition(&document, "public", &mut SqlParameters::new()).is_ok());
        }
        let by_id = document(&Filter::by_id("a"));
        assert_eq!(by_id, json!({"_id": {"$eq": "a"}}));
    }

    // An object of keys could not hold both, and the second one alone would match too much.
    #[test]
    fn an_operator_given_twice_for_an_element_is_refused() {
        let filter = field("f").elem_match(element().ne(1).ne(2));

        assert_eq!(
            filter.document().unwrap_err().to_string(),
            "the operator `$ne` is given twice for one element"
        );
    }

    #[test]
    fn a_value_that_is_no_json_is_named_by_its_field() {
        let path_of = |filter: Filter| match filter.document() {
            Err(FilterError::InvalidValue { path, .. }) => path,
            other => format!("{other:?}"),
        };

        assert_eq!(path_of(field("total").gt(f64::INFINITY)), "total");
        assert_eq!(path_of(field("total").is_in([1.0, f64::NAN])), "total");
        assert_eq!(path_of(field("name").eq("a\0")), "name");
        assert_eq!(
            path_of(field("scores").elem_match(element().lt(f32::NAN))),
            "an element"
        );
    }
}
