//! MongoDB's filters, parsed or built.

use std::ops::Not;

use serde_json::{Value, json};

use super::column_condition::check_columns;
use super::condition::Condition;
use super::condition_sql::document_condition;
use super::error::FilterError;
use super::parser;
use super::sql_parameters::SqlParameters;
use crate::pongo::dotted_path::DottedPath;

/// A condition that selects documents of a collection.
///
/// A filter is built from [`field`](crate::pongo::field), whose methods are the operators, or converted from MongoDB's
/// document. The compiler rejects a misspelt method. A misspelt operator of a document is an error when the filter is used.
///
/// ```
/// use emmett_postgresql::pongo::{Filter, field};
/// use serde_json::json;
///
/// let large = field("total").gte(1000).and(field("status").eq("open"));
/// let same = Filter::from(json!({"total": {"$gte": 1000}, "status": "open"}));
/// let others = !large.clone();
/// ```
///
/// A value that is not JSON, such as NaN, is an error when the filter is used.
///
/// # Paths
///
/// `address.city` is the field `city` of the object in `address`, and of each object of an array there. `lines.0` is the first
/// element of an array. A condition matches an array if it matches the array itself or one of its elements. A missing field
/// equals null.
///
/// # Operators
///
/// | Operator | Method | Matches |
/// |---|---|---|
/// | `$eq`, or the value alone | [`eq`](crate::pongo::Field::eq) | a field equal to the value |
/// | `$ne` | [`ne`](crate::pongo::Field::ne) | the opposite of `$eq` |
/// | `$in` | [`is_in`](crate::pongo::Field::is_in) | a field equal to one of the values of an array; nothing for `[]` |
/// | `$nin` | [`not_in`](crate::pongo::Field::not_in) | the opposite of `$in` |
/// | `$gt`, `$gte`, `$lt`, `$lte` | [`gt`](crate::pongo::Field::gt), [`gte`](crate::pongo::Field::gte), [`lt`](crate::pongo::Field::lt), [`lte`](crate::pongo::Field::lte) | a value of the operand's type that is greater or less. The operand is a string, a number, a boolean or null, never an array or an object |
/// | `$exists` | [`exists`](crate::pongo::Field::exists), [`is_missing`](crate::pongo::Field::is_missing) | a present field, even if it is null (`true`), or a missing field (`false`). Other operands, such as 1, are refused |
/// | `$type` | [`has_type`](crate::pongo::Field::has_type) | a value of a type, or of one of an array of types: `"null"`, `"bool"`, `"number"`, `"string"`, `"array"`, `"object"`, or MongoDB's numbers of these, as far as it has one |
/// | `$all` | [`all`](crate::pongo::Field::all) | a field equal to each value of an array; for an array of `{"$elemMatch": ..}`, a field with a matching element for each. Nothing for `[]` |
/// | `$elemMatch` | [`elem_match`](crate::pongo::Field::elem_match) | an array with one element that matches everything: a filter on its fields, or operators on the element itself |
/// | `$size` | [`size`](crate::pongo::Field::size) | an array with this number of elements: a whole number that is not negative |
/// | `$regex`, with `$options` | [`matches`](crate::pongo::Field::matches), [`matches_with`](crate::pongo::Field::matches_with) | a string in which a regular expression of PostgreSQL matches; the options are letters of `imsx` |
/// | `$not` | [`not`](Filter::not), [`Element::not`](crate::pongo::Element::not) | the opposite of a non-empty object of operators |
/// | `$and` | [`and`](Filter::and), [`all_of`](Filter::all_of) | a document that matches all filters of a non-empty array |
/// | `$or` | [`or`](Filter::or), [`any_of`](Filter::any_of) | a document that matches at least one of them |
/// | `$nor` | [`not`](Filter::not), [`none_of`](Filter::none_of) | a document that matches none of them |
///
/// MongoDB's other operators are not supported, such as `$mod`, `$expr`, `$where`, `$text`, `$jsonSchema`, `$comment`,
/// `$bitsAllSet` and `$near`. A filter with one of them is refused, and the error names it. A value to compare with is refused
/// if it has a key with `$`: `{"a.b": {"$gt": 1}}` is valid, `{"a": {"b": {"$gt": 1}}}` is not.
///
/// `_id` compares with strings only, `_version` with 64-bit integers. Null is neither greater nor less than any value: `$gte`
/// and `$lte` of null equal `$eq` of null. Values are JSON's: 1 equals 1.0, and objects are equal regardless of the order of
/// their fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Result<Condition, FilterError>);

impl Filter {
    /// Matches all documents.
    pub fn all() -> Self {
        Self(Ok(Condition::All(Vec::new())))
    }

    /// Matches the document with this id.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Filter, field};
    ///
    /// let open = Filter::by_id("cart-1").and(field("status").eq("open"));
    /// ```
    pub fn by_id(id: impl Into<String>) -> Self {
        Self::from(json!({"_id": {"$eq": id.into()}}))
    }

    /// `$and`: matches documents that match all filters. Without filters, it matches all documents.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Filter, field};
    ///
    /// let wanted = [("status", "open"), ("country", "at")];
    /// let filter = Filter::all_of(wanted.map(|(name, value)| field(name).eq(value)));
    /// ```
    pub fn all_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self(conditions(filters).map(Condition::all))
    }

    /// `$or`: matches documents that match at least one of the filters. Without filters, it matches none.
    pub fn any_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self(conditions(filters).map(Condition::Any))
    }

    /// `$nor`: matches documents that match none of the filters. Without filters, it matches all documents.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Filter, field};
    ///
    /// let living = Filter::none_of([field("status").eq("closed"), field("deletedAt").exists()]);
    /// ```
    pub fn none_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self(conditions(filters).map(Condition::none))
    }

    /// `$and`: matches documents that match both filters.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.joined(Condition::and, other.into())
    }

    /// `$or`: matches documents that match one of the two filters, or both.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.joined(Condition::or, other.into())
    }

    /// `$nor` of this filter alone: matches documents that it does not match, including those without its fields. `!filter` is
    /// the same.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait is there too, and this needs no import"
    )]
    pub fn not(self) -> Self {
        Self::none_of([self])
    }

    /// Returns the filter as a condition for `WHERE`; its values go to `parameters`. `schema` is quoted.
    pub(crate) fn condition(
        &self,
        schema: &str,
        parameters: &mut SqlParameters,
    ) -> Result<String, FilterError> {
        let condition = self.0.as_ref().map_err(Clone::clone)?;
        check_columns(condition)?;
        Ok(document_condition(condition, schema, parameters))
    }

    /// Returns the id of the only document that can match, if the filter tests `_id` for equality.
    pub(crate) fn pinned_id(&self) -> Option<&str> {
        self.0.as_ref().ok()?.pinned_id()
    }

    /// Returns whether one plan is good for all values: the filter gives the id, or compares fields by equality.
    pub(crate) fn has_one_plan(&self) -> bool {
        let condition = self.0.as_ref();
        condition.is_ok_and(|one| one.pinned_id().is_some() || one.is_plain_equality())
    }

    /// Returns the fields that are compared by equality. The columns are not included.
    pub(crate) fn equal_fields(&self) -> Vec<(&DottedPath, &Value)> {
        self.0
            .as_ref()
            .map_or_else(|_| Vec::new(), Condition::equal_fields)
    }

    pub(super) fn new(condition: Result<Condition, FilterError>) -> Self {
        Self(condition)
    }

    pub(super) fn into_condition(self) -> Result<Condition, FilterError> {
        self.0
    }

    fn joined(self, join: fn(Condition, Condition) -> Condition, other: Self) -> Self {
        let condition = self.0;
        Self(condition.and_then(|condition| Ok(join(condition, other.0?))))
    }
}

fn conditions(
    filters: impl IntoIterator<Item = impl Into<Filter>>,
) -> Result<Vec<Condition>, FilterError> {
    filters.into_iter().map(|filter| filter.into().0).collect()
}

/// Matches documents that the filter does not match.
impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Filter::not(self)
    }
}

/// Takes a filter as MongoDB writes it.
impl From<Value> for Filter {
    fn from(document: Value) -> Self {
        Self(parser::filter("the filter", document))
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::field;
    use super::*;

    fn parsed(document: Value) -> Filter {
        Filter::from(document)
    }

    fn sql(filter: &Filter) -> String {
        filter
            .condition("public", &mut SqlParameters::new())
            .unwrap()
    }

    #[test]
    fn filters_are_joined_by_mongodb_s_operators() {
        let (a, b) = (json!({"a": {"$eq": 1}}), json!({"b": {"$eq": 2}}));
        let filters = || [field("a").eq(1), field("b").eq(2)];

        assert_eq!(Filter::all_of(filters()), parsed(json!({"$and": [a, b]})));
        assert_eq!(Filter::any_of(filters()), parsed(json!({"$or": [a, b]})));
        assert_eq!(Filter::none_of(filters()), parsed(json!({"$nor": [a, b]})));
        assert_eq!(field("a").eq(1).not(), parsed(json!({"$nor": [a]})));
        assert_eq!(!field("a").eq(1), parsed(json!({"$nor": [a]})));
        assert_eq!(
            field("a").eq(1).and(field("b").eq(2)).and(json!({"c": 3})),
            parsed(json!({"$and": [a, b, {"c": 3}]}))
        );
        assert_eq!(
            field("a").eq(1).or(field("b").eq(2)).and(Filter::all()),
            parsed(json!({"$and": [{"$or": [a, b]}, {}]}))
        );
    }

    #[test]
    fn a_branch_never_joins_a_filter_with_other_conditions() {
        let both = json!({"$or": [{"a": 1}], "b": 2});

        assert_eq!(
            parsed(both.clone()).or(json!({"c": 3})),
            parsed(json!({"$or": [both, {"c": 3}]}))
        );
    }

    #[test]
    fn no_filters_match_everything_or_nothing() {
        let none = || Vec::<Filter>::new();

        assert_eq!(sql(&Filter::all_of(none())), "TRUE");
        assert_eq!(sql(&Filter::none_of(none())), "(NOT FALSE)");
        assert_eq!(sql(&Filter::any_of(none())), "FALSE");
    }

    #[test]
    fn a_value_that_is_no_json_is_refused_wherever_it_stands() {
        let refused = || field("total").eq(f64::NAN);
        for filter in [
            refused(),
            refused().and(Filter::all()),
            Filter::all().or(refused()),
            !refused(),
            Filter::none_of([Filter::all(), refused()]),
            field("lines").elem_match(refused()),
        ] {
            let message = filter.into_condition().unwrap_err().to_string();
            assert!(
                message.starts_with("`total` is compared with a value that JSON does not have")
            );
        }
    }

    /// Each line is a filter.
    fn lines(filters: &str) -> impl Iterator<Item = Filter> {
        let filters = filters
            .lines()
            .map(str::trim)
            .filter(|filter| !filter.is_empty());
        filters.map(|filter| Filter::from(serde_json::from_str::<Value>(filter).unwrap()))
    }

    #[test]
    fn an_id_is_pinned_by_equality_with_a_string() {
        let pinned = r#"
            {"_id": "a"}
            {"_id": {"$eq": "a"}, "total": {"$gt": 1}}
            {"$and": [{"total": 1}, {"_id": "a"}]}
        "#;
        for filter in lines(pinned) {
            assert_eq!(filter.pinned_id(), Some("a"), "{filter:?}");
        }
        let open = r#"
            {}
            "a"
            {"_id": 1}
            {"_id": {"$in": ["a"]}}
            {"_id": {"$eq": "a", "$ne": "b"}}
            {"$or": [{"_id": "a"}]}
            {"x": {"_id": "a"}}
        "#;
        for filter in lines(open) {
            assert_eq!(filter.pinned_id(), None, "{filter:?}");
        }
    }

    #[test]
    fn one_plan_is_good_for_an_id_and_for_equality_of_fields_with_scalars() {
        let plain = r#"
            {"a": 1}
            {"a": {"$eq": "x"}, "_id": "y", "b": true}
            {"$and": [{"a": 1}, {"b": 2}]}
            {"_id": "y", "b": {"$gt": 1}}
        "#;
        for filter in lines(plain) {
            assert!(filter.has_one_plan(), "{filter:?}");
        }
        let other = r#"
            {}
            []
            {"a": null}
            {"a": [1]}
            {"a": {}}
            {"a": {"b": 1}}
            {"a": {"$gt": 1}}
            {"a": {"$eq": 1, "$exists": true}}
            {"a": {"$in": [1]}}
            {"a.b": 1}
            {"$or": [{"a": 1}]}
            {"$and": [{"a": 1}, {"b": {"$lt": 2}}]}
            {"$and": 1}
        "#;
        for filter in lines(other) {
            assert!(!filter.has_one_plan(), "{filter:?}");
        }
    }
}
