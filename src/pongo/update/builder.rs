//! Update documents, built field by field.

use super::conflict::refuse_conflicts;
use super::error::UpdateError;
use super::operation::{Operation, operations};
use crate::json::JsonError;
use crate::pongo::filter::ElementFilter;
use crate::pongo::operand::operand;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Changes to a document, in MongoDB's language. An update is written as JSON, or built field by field.
///
/// ```
/// use emmett_postgresql::pongo::Update;
/// use serde_json::{Value, json};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// # let store = emmett_postgresql::EventStore::open(database.url())?;
/// let carts = store.collection::<Value>("carts");
/// carts.insert_one(&json!({"_id": "cart-1", "status": "open", "items": [{"sku": "shoes"}]}))?;
///
/// let update = Update::new()
///     .set("status", "confirmed")
///     .inc("totals.items", 2)
///     .push("items", json!({"sku": "socks"}));
/// carts.update_one(json!({"_id": "cart-1"}), update)?;
/// carts.update_one(json!({"_id": "cart-1"}), json!({"$mul": {"totals.items": 10}}))?;
///
/// let cart = carts.find_one(json!({"_id": "cart-1"}))?.unwrap();
/// assert_eq!(cart["totals"], json!({"items": 20}));
/// assert_eq!(cart["items"], json!([{"sku": "shoes"}, {"sku": "socks"}]));
/// # Ok(())
/// # }
/// ```
///
/// # Paths
///
/// `address.city` is the field `city` of the object in `address`. Missing objects on the way are created. In an array, a number
/// is the position of an element; elsewhere, it is a field's name. Gaps before a position beyond the array's end are filled
/// with null, 10000 at most.
///
/// A path through any other value is refused, unless the operator removes something. Then there is nothing to remove. An update
/// touches each field once: `$set` of `a` together with `$inc` of `a.b` is refused. Therefore the order of the operators does
/// not matter. `_id` and `_version` cannot be changed.
///
/// # Operators
///
/// | Operator | Effect |
/// |---|---|
/// | `$set` | sets a value |
/// | `$setOnInsert` | sets a value, but only if an upsert inserts the document |
/// | `$unset` | removes a field; an array element becomes null |
/// | `$inc`, `$mul` | adds to a number, multiplies it: in decimal, also beyond 64 bits. A fraction that only a decimal could hold becomes the nearest float, unless one of the operands is such a decimal. A missing field counts as 0 |
/// | `$min`, `$max` | keeps the smaller or the larger value; a missing field is set to the value |
/// | `$push` | appends a value, or the values of `$each`. `$position` inserts elsewhere; then `$sort` sorts and `$slice` truncates the array |
/// | `$addToSet` | appends a value, or the values of `$each`, unless an element equals it |
/// | `$pull` | removes the elements that equal a value, or match a condition |
/// | `$pop` | removes the last element (`1`) or the first (`-1`) |
/// | `$rename` | moves a field to another path; neither path may lead through an array |
/// | `$currentDate` | sets the time of the transaction, as in `"2026-11-26T08:18:20.123Z"`; takes `true` and `{"$type": "date"}` |
///
/// Other operators, such as `$bit` and the positions `$` and `$[]`, are refused. An update without operators is refused, too.
/// An operator without fields, as in `{"$set": {}}`, does nothing.
///
/// Values are JSON's, so some rules differ from MongoDB's. 1 equals 1.0. Objects are equal regardless of the order of their
/// fields. `$min`, `$max` and `$sort` use this library's sort order: empty arrays, null, strings byte by byte, numbers,
/// booleans, arrays, objects. Strings inside arrays and objects compare in the collation of the database.
#[derive(Debug, Clone)]
#[must_use = "an update changes nothing by itself"]
pub struct Update(Result<Vec<Operation>, UpdateError>);

impl From<Value> for Update {
    fn from(document: Value) -> Self {
        Self(operations(document))
    }
}

impl Default for Update {
    fn default() -> Self {
        Self::new()
    }
}

impl Update {
    /// Creates an update without operators. A value that cannot be serialized as JSON is an error when the update is used.
    pub fn new() -> Self {
        Self(Err(UpdateError::Empty))
    }

    /// `$set`: sets a value.
    pub fn set(self, path: &str, value: impl Serialize) -> Self {
        self.with("$set", path, operand(value))
    }

    /// `$setOnInsert`: sets a value if an upsert inserts the document.
    pub fn set_on_insert(self, path: &str, value: impl Serialize) -> Self {
        self.with("$setOnInsert", path, operand(value))
    }

    /// `$unset`: removes a field.
    pub fn unset(self, path: &str) -> Self {
        self.with("$unset", path, Ok(json!("")))
    }

    /// `$inc`: adds to a number.
    pub fn inc(self, path: &str, by: impl Serialize) -> Self {
        self.with("$inc", path, operand(by))
    }

    /// `$mul`: multiplies a number.
    pub fn mul(self, path: &str, by: impl Serialize) -> Self {
        self.with("$mul", path, operand(by))
    }

    /// `$min`: replaces a larger value.
    pub fn min(self, path: &str, value: impl Serialize) -> Self {
        self.with("$min", path, operand(value))
    }

    /// `$max`: replaces a smaller value.
    pub fn max(self, path: &str, value: impl Serialize) -> Self {
        self.with("$max", path, operand(value))
    }

    /// `$currentDate`: sets the time of the transaction, as in `"2026-11-26T08:18:20.123Z"`.
    pub fn current_date(self, path: &str) -> Self {
        self.with("$currentDate", path, Ok(json!(true)))
    }

    /// `$rename`: moves a field to another path.
    pub fn rename(self, path: &str, renamed: &str) -> Self {
        self.with("$rename", path, Ok(json!(renamed)))
    }

    /// `$push`: appends a value to an array.
    pub fn push(self, path: &str, value: impl Serialize) -> Self {
        self.push_each(path, [value])
    }

    /// `$push` with `$each`: appends values to an array.
    pub fn push_each(self, path: &str, values: impl IntoIterator<Item = impl Serialize>) -> Self {
        self.with("$push", path, each(values))
    }

    /// `$addToSet`: appends a value to an array unless an element equals it.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::Update;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// # let products = store.collection::<Value>("products");
    /// products.insert_one(&json!({"_id": "shoes", "tags": ["new"]}))?;
    /// products.update_one(json!({"_id": "shoes"}), Update::new().add_to_set("tags", "new"))?;
    /// let both = Update::new().add_each_to_set("tags", ["new", "red"]);
    /// products.update_one(json!({"_id": "shoes"}), both)?;
    /// let found = products.find_one(json!({"_id": "shoes"}))?.unwrap();
    /// assert_eq!(found["tags"], json!(["new", "red"]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_to_set(self, path: &str, value: impl Serialize) -> Self {
        self.add_each_to_set(path, [value])
    }

    /// `$addToSet` with `$each`: appends each of the values to an array unless an element equals it.
    pub fn add_each_to_set(
        self,
        path: &str,
        values: impl IntoIterator<Item = impl Serialize>,
    ) -> Self {
        self.with("$addToSet", path, each(values))
    }

    /// `$pull`: removes the elements that equal a value from an array. [`pull_where`](Self::pull_where) removes those that
    /// match a condition.
    pub fn pull(self, path: &str, value: impl Serialize) -> Self {
        let value = operand(value);
        if let Some(value) = value.as_ref().ok().filter(|value| has_operator(value)) {
            let refused = UpdateError::WrongOperand {
                operator: "$pull",
                path: path.to_owned(),
                expected: "a value (pull_where takes a condition)",
                found: value.to_string(),
            };
            return self.and(Err(refused));
        }
        let condition = value.map(|value| match value {
            // A plain object would be a condition.
            Value::Object(_) => json!({"$eq": value}),
            _ => value,
        });
        self.with("$pull", path, condition)
    }

    /// `$pull` with a condition: removes the matching elements from an array. The condition is a
    /// [`Filter`](crate::pongo::Filter) on the fields of an element, or on the [`element`](crate::pongo::element) itself.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{Update, element, field};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// # let games = store.collection::<Value>("games");
    /// games.insert_one(&json!({"_id": "chess", "scores": [3, 9], "players": [{"name": "anna"}, {"name": "bob"}]}))?;
    /// let update = Update::new()
    ///     .pull_where("scores", element().lt(5))
    ///     .pull_where("players", field("name").eq("bob"));
    /// games.update_one(json!({"_id": "chess"}), update)?;
    /// let found = games.find_one(json!({"_id": "chess"}))?.unwrap();
    /// assert_eq!(found["scores"], json!([9]));
    /// assert_eq!(found["players"], json!([{"name": "anna"}]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pull_where(self, path: &str, condition: impl Into<ElementFilter>) -> Self {
        match condition.into().into_document() {
            Ok(condition) => self.with("$pull", path, Ok(condition)),
            Err(condition) => self.and(Operation::pull(path, condition)),
        }
    }

    /// `$pop`: removes the first element of an array.
    pub fn pop_first(self, path: &str) -> Self {
        self.with("$pop", path, Ok(json!(-1)))
    }

    /// `$pop`: removes the last element of an array.
    pub fn pop_last(self, path: &str) -> Self {
        self.with("$pop", path, Ok(json!(1)))
    }

    /// Returns the operations, which touch each field once.
    pub(super) fn operations(&self) -> Result<&[Operation], UpdateError> {
        let operations = self.0.as_ref().map_err(Clone::clone)?;
        refuse_conflicts(operations.iter().flat_map(Operation::touched).collect())?;
        Ok(operations)
    }

    /// Returns whether the update changes every document that it is applied to.
    pub(crate) fn counts(&self) -> bool {
        let operations = self.0.as_ref();
        operations.is_ok_and(|operations| operations.iter().any(Operation::counts))
    }

    fn with(self, operator: &'static str, path: &str, operand: Result<Value, JsonError>) -> Self {
        self.and(match operand {
            Ok(operand) => Operation::new(operator, path, operand),
            Err(source) => Err(UpdateError::Value {
                operator,
                path: path.to_owned(),
                source: Arc::new(source),
            }),
        })
    }

    /// Adds an operation. The first error is kept.
    fn and(self, operation: Result<Operation, UpdateError>) -> Self {
        let mut operations = match self.0 {
            Err(UpdateError::Empty) => Vec::new(),
            Err(error) => return Self(Err(error)),
            Ok(operations) => operations,
        };
        Self(operation.map(|operation| {
            operations.push(operation);
            operations
        }))
    }
}

fn each(values: impl IntoIterator<Item = impl Serialize>) -> Result<Value, JsonError> {
    let values = values.into_iter().map(operand);
    Ok(json!({"$each": values.collect::<Result<Vec<_>, _>>()?}))
}

/// Returns whether a value contains an operator, so that no element equals it.
fn has_operator(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_operator),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.starts_with('$') || has_operator(value)),
        _ => false,
    }
}
