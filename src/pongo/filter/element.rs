//! Conditions on the elements of arrays, with methods as operators.

use serde::Serialize;
use serde_json::Value;

use super::condition::{Condition, ElementCondition, Predicate};
use super::error::FilterError;
use super::filter::Filter;
use super::json_type::JsonType;
use super::operators::{operand_of, operators};
use super::parser;
use super::regex::RegexOption;

/// Begins a condition on an element of an array, for [`Field::elem_match`](crate::pongo::Field::elem_match). Methods can be
/// chained.
///
/// ```
/// use emmett_postgresql::pongo::{element, field};
///
/// let filter = field("scores").elem_match(element().gte(80).lt(85));
/// ```
pub fn element() -> Element {
    Element {
        parts: Ok(Vec::new()),
    }
}

/// Conditions on an element of an array. Made by [`element`].
#[derive(Debug, Clone)]
#[must_use = "it belongs into elem_match"]
pub struct Element {
    parts: Result<Vec<ElementPart>, FilterError>,
}

/// The condition of [`Field::elem_match`](crate::pongo::Field::elem_match) and
/// [`Update::pull_where`](crate::pongo::update::Update::pull_where). It is a [`Filter`] on the element's fields, or conditions
/// on the [`element`] itself.
#[derive(Debug, Clone)]
pub struct ElementFilter(ElementFilterForm);

/// Becomes a condition once the array's path is known, because messages name the path.
#[derive(Debug, Clone)]
enum ElementFilterForm {
    Document(Value),
    Fields(Result<Condition, FilterError>),
    Element(Result<Vec<ElementPart>, FilterError>),
}

/// A method's condition on an element.
#[derive(Debug, Clone)]
enum ElementPart {
    Operator(&'static str, Value),
    Not(Vec<ElementPart>),
    ElemMatch(ElementFilter),
}

impl Element {
    operators!(Element);

    /// `$not`: matches an element that does not satisfy all previous conditions.
    #[expect(
        clippy::should_implement_trait,
        reason = "after other conditions an operator would be read wrongly"
    )]
    pub fn not(self) -> Self {
        Self {
            parts: self.parts.map(|parts| vec![ElementPart::Not(parts)]),
        }
    }

    fn compare(self, operator: &'static str, value: impl Serialize) -> Self {
        let operand = operand_of("an element", value);
        self.with(operand.map(|operand| ElementPart::Operator(operator, operand)))
    }

    fn has_element(self, filter: ElementFilter) -> Self {
        self.with(Ok(ElementPart::ElemMatch(filter)))
    }

    fn with(self, part: Result<ElementPart, FilterError>) -> Self {
        let parts = self.parts.and_then(|mut parts| {
            parts.push(part?);
            Ok(parts)
        });
        Self { parts }
    }
}

impl ElementPart {
    fn into_predicate(self, path: &str) -> Result<Predicate, FilterError> {
        match self {
            Self::Operator(operator, operand) => parser::predicate(path, operator, operand),
            Self::Not(parts) => predicates(parts, path).map(Predicate::Not),
            Self::ElemMatch(filter) => {
                let element = filter.into_condition("$elemMatch", path)?;
                Ok(Predicate::ElemMatch(element))
            }
        }
    }
}

fn predicates(parts: Vec<ElementPart>, path: &str) -> Result<Vec<Predicate>, FilterError> {
    let parts = parts.into_iter();
    parts.map(|part| part.into_predicate(path)).collect()
}

impl ElementFilter {
    /// Returns the condition on an element of the array at `path`.
    pub(crate) fn into_condition(
        self,
        operator: &str,
        path: &str,
    ) -> Result<ElementCondition, FilterError> {
        match self.0 {
            ElementFilterForm::Document(document) => parser::element(operator, path, document),
            ElementFilterForm::Fields(condition) => condition.map(ElementCondition::Object),
            ElementFilterForm::Element(parts) => {
                predicates(parts?, path).map(ElementCondition::Value)
            }
        }
    }

    /// Returns MongoDB's document, if the filter was given as one.
    pub(crate) fn into_document(self) -> Result<Value, Self> {
        match self.0 {
            ElementFilterForm::Document(document) => Ok(document),
            other => Err(Self(other)),
        }
    }
}

/// Matches an element that is an object and matches the filter.
impl From<Filter> for ElementFilter {
    fn from(filter: Filter) -> Self {
        Self(ElementFilterForm::Fields(filter.into_condition()))
    }
}

/// Matches an element that satisfies the conditions itself. Without conditions, every element matches.
impl From<Element> for ElementFilter {
    fn from(element: Element) -> Self {
        Self(ElementFilterForm::Element(element.parts))
    }
}

/// Takes the operand of MongoDB's `$elemMatch`.
impl From<Value> for ElementFilter {
    fn from(document: Value) -> Self {
        Self(ElementFilterForm::Document(document))
    }
}
