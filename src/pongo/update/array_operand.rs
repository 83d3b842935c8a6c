//! The operands of `$push` and `$addToSet`: a value, or the values of `$each`.

use super::error::UpdateError;
use super::field::Field;
use crate::json::type_name;
use crate::pongo::dotted_path::DottedPath;
use crate::pongo::operand::direction;
use serde_json::{Map, Value, json};

/// Returns the values and positions of a `$push`, as the SQL function takes them.
pub(super) fn pushed_values(field: &Field, operand: &Value) -> Result<Value, UpdateError> {
    let Some(modifiers) = modifiers(field, operand)? else {
        return Ok(json!({"each": [operand]}));
    };
    let mut pushed = json!({});
    for (modifier, value) in modifiers {
        match modifier.as_str() {
            "$each" => pushed["each"] = each(field, value)?,
            "$position" => {
                let expected = "a whole number in `$position`";
                pushed["position"] = whole_number(field, expected, value)?;
            }
            "$slice" => {
                let expected = "a whole number in `$slice`";
                pushed["slice"] = whole_number(field, expected, value)?;
            }
            "$sort" => pushed["sort"] = sort_keys(field, value)?,
            _ => return Err(refused(field, modifier, "")),
        }
    }
    Ok(pushed)
}

/// Returns the values that `$addToSet` adds.
pub(super) fn added_values(field: &Field, operand: &Value) -> Result<Value, UpdateError> {
    let Some(modifiers) = modifiers(field, operand)? else {
        return Ok(json!([operand]));
    };
    match modifiers.keys().find(|modifier| *modifier != "$each") {
        Some(modifier) => Err(refused(field, modifier, "")),
        None => each(field, &modifiers["$each"]),
    }
}

/// Returns the object with `$each`, or `None` for a plain value.
fn modifiers<'v>(
    field: &Field,
    operand: &'v Value,
) -> Result<Option<&'v Map<String, Value>>, UpdateError> {
    let Some(object) = operand.as_object() else {
        return Ok(None);
    };
    if object.contains_key("$each") {
        return Ok(Some(object));
    }
    match object.keys().find(|key| key.starts_with('$')) {
        Some(modifier) => Err(refused(field, modifier, " without `$each`")),
        None => Ok(None),
    }
}

fn each(field: &Field, values: &Value) -> Result<Value, UpdateError> {
    if values.is_array() {
        return Ok(values.clone());
    }
    Err(field.wrong_operand("an array in `$each`", type_name(values)))
}

fn whole_number(
    field: &Field,
    expected: &'static str,
    value: &Value,
) -> Result<Value, UpdateError> {
    if value.is_i64() {
        return Ok(value.clone());
    }
    Err(field.wrong_operand(expected, value))
}

/// Returns the sort keys with their directions. The empty path is the element itself.
fn sort_keys(field: &Field, sort: &Value) -> Result<Value, UpdateError> {
    let expected = "1, -1 or an object of fields with 1 or -1 in `$sort`";
    let refused = || field.wrong_operand(expected, sort);
    if let Some(direction) = direction(sort) {
        return Ok(json!([["", direction]]));
    }
    let fields = sort.as_object().filter(|fields| !fields.is_empty());
    let keys = fields
        .ok_or_else(refused)?
        .iter()
        .map(|(path, value)| match direction(value) {
            Some(direction) if DottedPath::parse(path).is_ok() => Ok(json!([path, direction])),
            _ => Err(refused()),
        });
    keys.collect()
}

fn refused(field: &Field, modifier: &str, hint: &'static str) -> UpdateError {
    UpdateError::Modifier {
        operator: field.operator,
        path: field.path(),
        modifier: modifier.to_owned(),
        hint,
    }
}
