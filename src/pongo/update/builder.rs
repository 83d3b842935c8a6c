//! Update documents, built field by field.

use super::error::UpdateError;
use crate::json::{JsonError, to_json, type_name};
use crate::pongo::filter::ElementFilter;
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
pub struct Update {
    document: Value,
    /// The first thing that went wrong while it was built.
    error: Option<UpdateError>,
}

impl From<Value> for Update {
    fn from(document: Value) -> Self {
        Self {
            document,
            error: None,
        }
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
        json!({}).into()
    }

    /// `$set`: puts a value in place of what is there.
    pub fn set(self, path: &str, value: impl Serialize) -> Self {
        self.with("$set", path, checked(value))
    }

    /// `$setOnInsert`: puts a value where an upsert makes the document.
    pub fn set_on_insert(self, path: &str, value: impl Serialize) -> Self {
        self.with("$setOnInsert", path, checked(value))
    }

    /// `$unset`: removes a field.
    pub fn unset(self, path: &str) -> Self {
        self.with("$unset", path, Ok(json!("")))
    }

    /// `$inc`: adds to a number.
    pub fn inc(self, path: &str, by: impl Serialize) -> Self {
        self.with("$inc", path, checked(by))
    }

    /// `$mul`: multiplies a number.
    pub fn mul(self, path: &str, by: impl Serialize) -> Self {
        self.with("$mul", path, checked(by))
    }

    /// `$min`: puts a value in place of a larger one.
    pub fn min(self, path: &str, value: impl Serialize) -> Self {
        self.with("$min", path, checked(value))
    }

    /// `$max`: puts a value in place of a smaller one.
    pub fn max(self, path: &str, value: impl Serialize) -> Self {
        self.with("$max", path, checked(value))
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
        let value = checked(value);
        if let Some(value) = value.as_ref().ok().filter(|value| has_operator(value)) {
            let found = value.to_string();
            return self.refused(UpdateError::WrongOperand {
                operator: "$pull",
                path: path.to_owned(),
                expected: "a value (pull_where takes a condition)",
                found,
            });
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
        match condition.into().into_condition() {
            Ok(condition) => self.with("$pull", path, Ok(condition)),
            Err(source) => self.refused(UpdateError::Condition {
                path: path.to_owned(),
                source,
            }),
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

    /// The update document.
    pub(crate) fn document(&self) -> Result<&Value, UpdateError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(&self.document),
        }
    }

    fn with(
        mut self,
        operator: &'static str,
        path: &str,
        operand: Result<Value, JsonError>,
    ) -> Self {
        match self.add(operator, path, operand) {
            Ok(()) => self,
            Err(error) => self.refused(error),
        }
    }

    fn refused(mut self, error: UpdateError) -> Self {
        self.error.get_or_insert(error);
        self
    }

    fn add(
        &mut self,
        operator: &'static str,
        path: &str,
        operand: Result<Value, JsonError>,
    ) -> Result<(), UpdateError> {
        let operand = operand.map_err(|source| UpdateError::Value {
            operator,
            path: path.to_owned(),
            source: Arc::new(source),
        })?;
        let found = type_name(&self.document);
        let operators = self
            .document
            .as_object_mut()
            .ok_or(UpdateError::NotAnObject { found })?;
        let fields = operators.entry(operator).or_insert_with(|| json!({}));
        let found = type_name(fields);
        let fields = fields
            .as_object_mut()
            .ok_or(UpdateError::NoFields { operator, found })?;
        match fields.insert(path.to_owned(), operand) {
            None => Ok(()),
            // As JSON, the second would silently take the place of the first.
            Some(_) => Err(UpdateError::Conflict {
                operator,
                path: path.to_owned(),
                other_operator: operator,
                other_path: path.to_owned(),
            }),
        }
    }
}

fn each(values: impl IntoIterator<Item = impl Serialize>) -> Result<Value, JsonError> {
    let values = values.into_iter().map(checked);
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

/// A value as JSON that `jsonb` keeps.
fn checked(value: impl Serialize) -> Result<Value, JsonError> {
    let json = to_json(&value)?;
    // Refuses integers beyond 64 bits, which the next line would make a float of.
    serde_json::to_value(&value).map_err(JsonError::Serde)?;
    // From the text, where a 32-bit float has its shortest form.
    serde_json::from_slice(&json).map_err(JsonError::Serde)
}
