//! Filters whose operators are methods.

use std::fmt;
use std::ops::Not;

use serde_json::{Value, json};

use super::error::FilterError;

/// Which documents of a collection to take.
///
/// It is built from [`field`](crate::pongo::field), whose methods are the operators, or made of a document as MongoDB has
/// it. The compiler finds a misspelt method; a misspelt operator of a document is found when the filter is used.
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
/// A value that is not JSON, such as NaN, is refused when the filter is used.
///
/// # Paths
///
/// `address.city` is the field `city` of the object in `address`, and of each object of an array there; `lines.0` is the
/// first element of an array. A condition holds for an array when it holds for the array itself or for one of its elements.
/// A missing field is equal to null.
///
/// # Operators
///
/// | Operator | Method | Matches |
/// |---|---|---|
/// | `$eq`, or the value alone | [`eq`](crate::pongo::Field::eq) | what is equal to the value |
/// | `$ne` | [`ne`](crate::pongo::Field::ne) | what `$eq` does not match |
/// | `$in` | [`is_in`](crate::pongo::Field::is_in) | what is equal to one of the values of an array; nothing for `[]` |
/// | `$nin` | [`not_in`](crate::pongo::Field::not_in) | what `$in` does not match |
/// | `$gt`, `$gte`, `$lt`, `$lte` | [`gt`](crate::pongo::Field::gt), [`gte`](crate::pongo::Field::gte), [`lt`](crate::pongo::Field::lt), [`lte`](crate::pongo::Field::lte) | what is of the operand's type and greater or less. The operand is a string, a number, a boolean or null, never an array or an object |
/// | `$exists` | [`exists`](crate::pongo::Field::exists), [`is_missing`](crate::pongo::Field::is_missing) | a field that is there, even as null (`true`), or is not (`false`). It takes nothing else, such as 1 |
/// | `$type` | [`has_type`](crate::pongo::Field::has_type) | values of a type, or of one of an array of types: `"null"`, `"bool"`, `"number"`, `"string"`, `"array"`, `"object"`, or MongoDB's numbers of these, as far as it has one |
/// | `$all` | [`all`](crate::pongo::Field::all) | what is equal to each value of an array; or, for an array of `{"$elemMatch": ..}`, what has an element for each. Nothing for `[]` |
/// | `$elemMatch` | [`elem_match`](crate::pongo::Field::elem_match) | an array with one element that matches everything: a filter of its fields, or operators for the element itself |
/// | `$size` | [`size`](crate::pongo::Field::size) | an array of so many elements: a whole number that is not negative |
/// | `$regex`, with `$options` | [`matches`](crate::pongo::Field::matches), [`matches_with`](crate::pongo::Field::matches_with) | a string in which a regular expression of PostgreSQL matches; the options are letters of `imsx` |
/// | `$not` | [`not`](Filter::not), [`Element::not`](crate::pongo::Element::not) | what an object of operators, which is not empty, does not match |
/// | `$and` | [`and`](Filter::and), [`all_of`](Filter::all_of) | what all filters of an array match, which is not empty |
/// | `$or` | [`or`](Filter::or), [`any_of`](Filter::any_of) | what one of them matches |
/// | `$nor` | [`not`](Filter::not), [`none_of`](Filter::none_of) | what none of them matches |
///
/// MongoDB's others are not there, such as `$mod`, `$expr`, `$where`, `$text`, `$jsonSchema`, `$comment`, `$bitsAllSet` and
/// `$near`: a filter with one of them is refused by an error that names it. So is a value to compare with that has a key
/// with `$`: `{"a.b": {"$gt": 1}}` is right, `{"a": {"b": {"$gt": 1}}}` is not.
///
/// `_id` compares with strings only, `_version` with 64-bit integers. Null is neither greater nor less than anything: `$gte`
/// and `$lte` of null are `$eq` of null. Values are JSON's: 1 equals 1.0, and objects are equal whatever the order of their
/// fields.
#[derive(Clone)]
pub struct Filter {
    document: Result<Value, FilterError>,
}

impl Filter {
    /// Matches all documents.
    pub fn all() -> Self {
        Self::from(json!({}))
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

    /// `$and`: matches what all filters match, everything when there are none.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Filter, field};
    ///
    /// let wanted = [("status", "open"), ("country", "at")];
    /// let filter = Filter::all_of(wanted.map(|(name, value)| field(name).eq(value)));
    /// ```
    pub fn all_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::joined("$and", filters, Self::all)
    }

    /// `$or`: matches what at least one of the filters matches, nothing when there are none.
    pub fn any_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::joined("$or", filters, Self::nothing)
    }

    /// `$nor`: matches what none of the filters matches, everything when there are none.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Filter, field};
    ///
    /// let living = Filter::none_of([field("status").eq("closed"), field("deletedAt").exists()]);
    /// ```
    pub fn none_of(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::joined("$nor", filters, Self::all)
    }

    /// `$and`: matches what both match.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.with("$and", other.into())
    }

    /// `$or`: matches what one of the two or both match.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.with("$or", other.into())
    }

    /// `$nor`, of this filter alone: matches what it does not match, so also the documents in which its fields are missing.
    /// `!filter` is the same.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait is there too, and this needs no import"
    )]
    pub fn not(self) -> Self {
        Self::none_of([self])
    }

    /// The filter as MongoDB's document.
    pub(crate) fn document(&self) -> Result<&Value, FilterError> {
        self.document.as_ref().map_err(Clone::clone)
    }

    pub(super) fn new(document: Result<Value, FilterError>) -> Self {
        Self { document }
    }

    pub(super) fn into_document(self) -> Result<Value, FilterError> {
        self.document
    }

    fn nothing() -> Self {
        Self::from(json!({"_id": {"$in": []}}))
    }

    fn joined(
        operator: &str,
        filters: impl IntoIterator<Item = impl Into<Self>>,
        when_empty: impl FnOnce() -> Self,
    ) -> Self {
        let branches = filters.into_iter().map(|filter| filter.into().document);
        match branches.collect::<Result<Vec<_>, _>>() {
            Ok(branches) if branches.is_empty() => when_empty(),
            branches => Self::new(branches.map(|branches| json!({operator: branches}))),
        }
    }

    /// Joins the other filter to the branches of this one, where it is made of such.
    fn with(self, operator: &str, other: Self) -> Self {
        let (Ok(mut document), Ok(other)) = (self.document.clone(), other.document.clone()) else {
            return Self::joined(operator, [self, other], Self::all);
        };
        let is_joined = document
            .as_object()
            .is_some_and(|entries| entries.len() == 1);
        if let Some(Value::Array(branches)) = document.get_mut(operator).filter(|_| is_joined) {
            branches.push(other);
            return Self::from(document);
        }
        Self::from(json!({operator: [document, other]}))
    }
}

/// Matches what the filter does not match.
impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Filter::not(self)
    }
}

/// A filter as MongoDB writes it.
impl From<Value> for Filter {
    fn from(document: Value) -> Self {
        Self::new(Ok(document))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.document {
            Ok(document) => write!(formatter, "Filter({document})"),
            Err(error) => write!(formatter, "Filter({error:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::field;
    use super::*;

    fn document(filter: Filter) -> Value {
        filter.document().unwrap().clone()
    }

    #[test]
    fn filters_are_joined_by_mongodb_s_operators() {
        let (a, b) = (json!({"a": {"$eq": 1}}), json!({"b": {"$eq": 2}}));
        let filters = || [field("a").eq(1), field("b").eq(2)];

        assert_eq!(document(Filter::all_of(filters())), json!({"$and": [a, b]}));
        assert_eq!(document(Filter::any_of(filters())), json!({"$or": [a, b]}));
        assert_eq!(
            document(Filter::none_of(filters())),
            json!({"$nor": [a, b]})
        );
        assert_eq!(document(field("a").eq(1).not()), json!({"$nor": [a]}));
        assert_eq!(document(!field("a").eq(1)), json!({"$nor": [a]}));
        assert_eq!(
            document(field("a").eq(1).and(field("b").eq(2)).and(json!({"c": 3}))),
            json!({"$and": [a, b, {"c": 3}]})
        );
        assert_eq!(
            document(field("a").eq(1).or(field("b").eq(2)).and(Filter::all())),
            json!({"$and": [{"$or": [a, b]}, {}]})
        );
    }

    #[test]
    fn a_branch_never_joins_a_filter_with_other_conditions() {
        let both = json!({"$or": [{"a": 1}], "b": 2});

        assert_eq!(
            document(Filter::from(both.clone()).or(json!({"c": 3}))),
            json!({"$or": [both, {"c": 3}]})
        );
    }

    #[test]
    fn no_filters_match_everything_or_nothing() {
        let none = || Vec::<Filter>::new();

        assert_eq!(document(Filter::all_of(none())), json!({}));
        assert_eq!(document(Filter::none_of(none())), json!({}));
        assert_eq!(
            document(Filter::any_of(none())),
            json!({"_id": {"$in": []}})
        );
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
            let message = filter.document().unwrap_err().to_string();
            assert!(
                message.starts_with("`total` is compared with a value that JSON does not have")
            );
        }
    }
}
