//! The operators of filters as methods.

use serde::Serialize;

use super::condition::{Condition, Predicate};
use super::element::ElementFilter;
use super::error::FilterError;
use super::filter::Filter;
use super::json_type::JsonType;
use super::operators::{operand_of, operators};
use super::parser;
use super::regex::RegexOption;
use crate::pongo::dotted_path::DottedPath;

/// Begins a condition on the field at a dotted path, such as `address.city` or `lines.0.price`.
///
/// The path also leads into the objects of arrays on the way. A condition matches an array if it matches one of its elements.
///
/// ```
/// use emmett_postgresql::pongo::field;
///
/// let filter = field("address.city").eq("Graz").and(field("tags").is_in(["red", "blue"]));
/// ```
///
/// Operators are methods, so a misspelt operator does not compile:
///
/// ```compile_fail
/// # use emmett_postgresql::pongo::field;
/// let filter = field("total").gtt(1000);
/// ```
pub fn field(path: impl Into<String>) -> Field {
    Field { path: path.into() }
}

/// A field of the documents. Made by [`field`].
#[derive(Debug, Clone)]
#[must_use = "a field alone is no filter"]
pub struct Field {
    path: String,
}

impl Field {
    operators!(Filter);

    /// `$exists` of true: matches a present field, even if it is null.
    pub fn exists(self) -> Filter {
        self.compare("$exists", true)
    }

    /// `$exists` of false: matches a missing field.
    pub fn is_missing(self) -> Filter {
        self.compare("$exists", false)
    }

    fn compare(self, operator: &str, value: impl Serialize) -> Filter {
        let operand = operand_of(&self.path, value);
        let predicate =
            operand.and_then(|operand| parser::predicate(&self.path, operator, operand));
        self.filter(predicate)
    }

    fn has_element(self, filter: ElementFilter) -> Filter {
        let element = filter.into_condition("$elemMatch", &self.path);
        self.filter(element.map(Predicate::ElemMatch))
    }

    fn filter(self, predicate: Result<Predicate, FilterError>) -> Filter {
        Filter::new(predicate.and_then(|predicate| {
            let path = DottedPath::parse(self.path)?;
            Ok(Condition::Field(path, vec![predicate]))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::element;
    use super::super::sql_parameters::SqlParameters;
    use super::*;
    use serde_json::json;

    fn sql(filter: &Filter) -> Result<String, FilterError> {
        filter.condition("public", &mut SqlParameters::new())
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
                f().elem_match(json!({"$or": [{"a": 1}]})),
                json!({"$elemMatch": {"$or": [{"a": 1}]}}),
            ),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter, Filter::from(json!({"f": expected})));
            assert!(sql(&filter).is_ok());
        }
        assert_eq!(Filter::by_id("a"), field("_id").eq("a"));
        let any_element = Filter::from(json!({"f": {"$elemMatch": {"$exists": true}}}));
        assert_eq!(sql(&f().elem_match(element())), sql(&any_element));
    }

    #[test]
    fn an_operator_given_twice_for_an_element_counts_twice() {
        let twice = field("f").elem_match(element().ne(1).ne(2));

        assert!(
            sql(&twice)
                .unwrap()
                .contains("= $1::jsonb) AND (NOT element.value = $2::jsonb)")
        );
    }

    #[test]
    fn a_value_that_is_no_json_is_named_by_its_field() {
        let path_of = |filter: Filter| match filter.into_condition() {
            Err(FilterError::InvalidValue { path, .. }) => path,
            other => format!("{other:?}"),
        };

        assert_eq!(path_of(field("total").gt(f64::INFINITY)), "total");
        assert_eq!(path_of(field("total").is_in([1.0, f64::NAN])), "total");
        assert_eq!(path_of(field("name").eq("a\0")), "name");
        assert_eq!(path_of(field("total").eq(u128::MAX)), "total");
        assert_eq!(
            path_of(field("scores").elem_match(element().lt(f32::NAN))),
            "an element"
        );
    }
}
