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

/// Changes to a document, in MongoDB's language: written as JSON, or built field by field.
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
/// `address.city` is the field `city` of the object in `address`; missing objects on the way are made. A number is the
/// position of an element where there is an array, and a field's name elsewhere; positions beyond an array's end are filled
/// with null, 10000 at most. A path that leads through anything else is refused, except where there is nothing to take away.
/// One update touches each field once: `$set` of `a` and `$inc` of `a.b` are refused together, so the order of the operators
/// does not matter. `_id` and `_version` cannot be changed.
///
/// # Operators
///
/// | Operator | Effect |
/// |---|---|
/// | `$set` | puts a value in place of what is there |
/// | `$setOnInsert` | the same, but only where an upsert makes the document |
/// | `$unset` | removes a field; an element of an array becomes null |
/// | `$inc`, `$mul` | adds to a number, multiplies it: as decimals, also beyond 64 bits. A fraction that only a decimal could hold becomes the nearest float, unless one of the two numbers was such a decimal. A missing field counts as 0 |
/// | `$min`, `$max` | keeps the smaller or the larger value; a missing field gets it |
/// | `$push` | appends a value, or those behind `$each`: with `$position` elsewhere, then sorted by `$sort`, then cut to `$slice` elements |
/// | `$addToSet` | appends a value, or those behind `$each`, unless an element equals it |
/// | `$pull` | takes out the elements that equal a value, or match a condition |
/// | `$pop` | takes out the last element (`1`) or the first (`-1`) |
/// | `$rename` | moves a field to another path; neither may lead through an array |
/// | `$currentDate` | the time of the transaction, as in `"2026-11-26T08:18:20.123Z"`; for `true` and `{"$type": "date"}` |
///
/// The others, such as `$bit` and the positions `$` and `$[]`, are refused, and so is an update without operators. An operator
/// without fields, as in `{"$set": {}}`, does nothing.
///
/// Values are JSON's, so some things differ from MongoDB: 1 equals 1.0; objects are equal whatever the order of their fields;
/// `$min`, `$max` and `$sort` compare in the order in which this library sorts: null, strings byte by byte, numbers,
/// booleans, arrays, objects, and an empty array before all of them. Strings inside of arrays and objects compare in
/// the collation of the database.
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
    /// An update without operators. A value that cannot be written as JSON is reported when the update is used.
    pub fn new() -> Self {
        Self(Err(UpdateError::Empty))
    }

    /// `$set`: puts a value in place of what is there.
    pub fn set(self, path: &str, value: impl Serialize) -> Self {
        self.with("$set", path, operand(value))
    }

    /// `$setOnInsert`: puts a value where an upsert makes the document.
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

    /// `$min`: puts a value in place of a larger one.
    pub fn min(self, path: &str, value: impl Serialize) -> Self {
        self.with("$min", path, operand(value))
    }

    /// `$max`: puts a value in place of a smaller one.
    pub fn max(self, path: &str, value: impl Serialize) -> Self {
        self.with("$max", path, operand(value))
    }

    /// `$currentDate`: puts the time of the transaction, as in `"2026-11-26T08:18:20.123Z"`.
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

    /// `$pull`: takes the elements that equal a value out of an array. [`pull_where`](Self::pull_where) takes those that match
    /// a condition.
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
            // Bare, it would be a condition.
            Value::Object(_) => json!({"$eq": value}),
            _ => value,
        });
        self.with("$pull", path, condition)
    }

    /// `$pull` with a condition: takes the elements that match out of an array. The condition is a
    /// [`Filter`](crate::pongo::Filter) of the fields of an element, or about the [`element`](crate::pongo::element) itself.
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

    /// `$pop`: takes the first element out of an array.
    pub fn pop_first(self, path: &str) -> Self {
        self.with("$pop", path, Ok(json!(-1)))
    }

    /// `$pop`: takes the last element out of an array.
    pub fn pop_last(self, path: &str) -> Self {
        self.with("$pop", path, Ok(json!(1)))
    }

    /// The operations, which touch each field once.
    pub(super) fn operations(&self) -> Result<&[Operation], UpdateError> {
        let operations = self.0.as_ref().map_err(Clone::clone)?;
        refuse_conflicts(operations.iter().flat_map(Operation::touched).collect())?;
        Ok(operations)
    }

    /// Whether the update changes every document that it is applied to.
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

    /// Adds an operation. The first thing that went wrong stays.
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

/// Whether a value has an operator in it, so that no element equals it.
fn has_operator(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_operator),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.starts_with('$') || has_operator(value)),
        _ => false,
    }
}
