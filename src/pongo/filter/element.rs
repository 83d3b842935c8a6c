//! Conditions on the elements of arrays, whose operators are methods.

use serde::Serialize;
use serde_json::Value;

use super::condition::{Condition, ElementCondition, Predicate};
use super::error::FilterError;
use super::filter::Filter;
use super::json_type::JsonType;
use super::operators::{operand_of, operators};
use super::parser;
use super::regex::RegexOption;

/// Begins a condition on an element of an array, for [`Field::elem_match`]. Its methods may follow each other.
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

/// Conditions on an element of an array; made by [`element`].
#[derive(Debug, Clone)]
#[must_use = "it belongs into elem_match"]
pub struct Element {
    parts: Result<Vec<ElementPart>, FilterError>,
}

/// What [`Field::elem_match`] and [`Update::pull_where`](crate::pongo::update::Update::pull_where) demand of an element: a [`Filter`] of its fields, or conditions on the [`element`] itself.
#[derive(Debug, Clone)]
pub struct ElementFilter(ElementFilterForm);

/// What becomes a condition as soon as the array's path is known, which messages name.
#[derive(Debug, Clone)]
enum ElementFilterForm {
    Document(Value),
    Fields(Result<Condition, FilterError>),
    Element(Result<Vec<ElementPart>, FilterError>),
}

/// What a method says of an element.
#[derive(Debug, Clone)]
enum ElementPart {
    Operator(&'static str, Value),
    Not(Vec<ElementPart>),
    ElemMatch(ElementFilter),
}

impl Element {
    operators!(Element);

    /// `$not`: an element that does not satisfy all conditions so far.
    #[expect(
        clippy::should_implement_trait,
        reason = "behind other conditions an operator would be read wrongly"
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
    /// The condition on an element of the array at `path`.
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

    /// MongoDB's document, where it is one.
    pub(crate) fn into_document(self) -> Result<Value, Self> {
        match self.0 {
            ElementFilterForm::Document(document) => Ok(document),
            other => Err(Self(other)),
        }
    }
}

/// The element is an object that matches the filter.
impl From<Filter> for ElementFilter {
    fn from(filter: Filter) -> Self {
        Self(ElementFilterForm::Fields(filter.into_condition()))
    }
}

/// The element itself satisfies the conditions; every element does when there are none.
impl From<Element> for ElementFilter {
    fn from(element: Element) -> Self {
        Self(ElementFilterForm::Element(element.parts))
    }
}

/// What MongoDB has behind `$elemMatch`.
impl From<Value> for ElementFilter {
    fn from(document: Value) -> Self {
        Self(ElementFilterForm::Document(document))
    }
}
