//! MongoDB's sort documents as the list of `ORDER BY`.

use serde_json::Value;

use super::boolean_logic::{all_of, any_of};
use super::error::FilterError;
use super::sql_parameters::{SqlParameters, SqlValue};
use super::target::{SortKey, Target};
use crate::pongo::dotted_path::Column;
use crate::pongo::operand::direction;

/// A total order of documents: the fields of a sort document such as `{"totalAmount": -1}`, and the id.
///
/// The first key is the most important. An object keeps the order of its keys, because this crate enables `serde_json`'s
/// feature `preserve_order`. If the keys come from an unordered source, use an array of objects: `[{"totalAmount": -1},
/// {"name": 1}]`. `_id` breaks ties, so the order is total.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SortOrder(Vec<DirectedKey>);

#[derive(Debug, PartialEq, Eq)]
struct DirectedKey {
    key: SortKey,
    is_descending: bool,
}

impl SortOrder {
    pub(crate) fn parse(sort: &Value, schema: &str) -> Result<Self, FilterError> {
        let mut order = Vec::new();
        let mut names_id = false;
        let mut is_descending = false;
        for (path, value) in entries(sort)? {
            let target = Target::parse(path)?;
            is_descending = is_descending_of(path, value)?;
            names_id |= matches!(target, Target::Column(Column::Id));
            order.push(DirectedKey {
                key: target.sort_key(schema),
                is_descending,
            });
        }
        if !names_id {
            // In the direction of the last key, so that one index serves the order forwards and backwards.
            order.push(DirectedKey {
                key: SortKey::of_column(Column::Id),
                is_descending,
            });
        }
        Ok(Self(order))
    }

    /// Returns the list of `ORDER BY`.
    pub(crate) fn clause(&self) -> String {
        let keys = self.0.iter().map(|directed| {
            let direction = if directed.is_descending {
                "DESC"
            } else {
                "ASC"
            };
            format!("{} {direction}", directed.key.sql)
        });
        keys.collect::<Vec<_>>().join(", ")
    }

    /// Returns the position of a document in the order, as an SQL array of texts.
    pub(crate) fn place(&self) -> String {
        let keys = self
            .0
            .iter()
            .map(|directed| format!("({})::text", directed.key.sql));
        format!("ARRAY[{}]", keys.collect::<Vec<_>>().join(", "))
    }

    /// Returns the condition on the documents after a position, or `None` for a position of another order.
    pub(crate) fn behind(
        &self,
        place: &[String],
        parameters: &mut SqlParameters,
    ) -> Option<String> {
        if place.len() != self.0.len() {
            return None;
        }
        let values: Vec<String> = self
            .0
            .iter()
            .zip(place)
            .map(|(directed, value)| {
                directed
                    .key
                    .parameter(&parameters.push(SqlValue::Text(value.clone())))
            })
            .collect();
        Some(if self.has_one_direction() {
            self.behind_in_one_direction(&values)
        } else {
            self.behind_key_by_key(&values)
        })
    }

    fn has_one_direction(&self) -> bool {
        self.0
            .windows(2)
            .all(|pair| pair[0].is_descending == pair[1].is_descending)
    }

    /// Returns a comparison of rows, which an index on the keys serves.
    fn behind_in_one_direction(&self, values: &[String]) -> String {
        let keys: Vec<&str> = self
            .0
            .iter()
            .map(|directed| directed.key.sql.as_str())
            .collect();
        let sign = self.0.first().map_or(">", DirectedKey::sign);
        format!("({}) {sign} ({})", keys.join(", "), values.join(", "))
    }

    /// Tests each key for a later value, with equal values in the keys before it.
    fn behind_key_by_key(&self, values: &[String]) -> String {
        let alternatives = self.0.iter().enumerate().map(|(number, directed)| {
            let equal = self.0[..number]
                .iter()
                .zip(values)
                .map(|(before, value)| format!("{} = {value}", before.key.sql));
            let behind = format!(
                "{} {} {}",
                directed.key.sql,
                directed.sign(),
                values[number]
            );
            all_of(equal.chain(std::iter::once(behind)).collect())
        });
        any_of(alternatives.collect())
    }
}

impl DirectedKey {
    fn sign(&self) -> &'static str {
        if self.is_descending { "<" } else { ">" }
    }
}

fn entries(sort: &Value) -> Result<Vec<(&String, &Value)>, FilterError> {
    match sort {
        Value::Object(keys) => Ok(keys.iter().collect()),
        Value::Array(objects) => objects.iter().map(only_entry).collect(),
        _ => Err(refused(
            sort,
            "a sort document is an object of fields with 1 or -1",
        )),
    }
}

fn only_entry(object: &Value) -> Result<(&String, &Value), FilterError> {
    let keys = object.as_object().filter(|keys| keys.len() == 1);
    keys.and_then(|keys| keys.iter().next()).ok_or_else(|| {
        refused(
            object,
            "each entry of the array is an object with one field",
        )
    })
}

fn is_descending_of(path: &str, value: &Value) -> Result<bool, FilterError> {
    let direction = direction(value).ok_or_else(|| FilterError::InvalidSort {
        path: path.to_owned(),
        reason: "the direction is 1 or -1",
    })?;
    Ok(direction < 0)
}

fn refused(sort: &Value, reason: &'static str) -> FilterError {
    FilterError::InvalidSort {
        path: sort.to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::check_refused;
    use super::*;
    use serde_json::json;

    fn sort_order(sort: Value) -> Result<String, FilterError> {
        SortOrder::parse(&sort, "public").map(|order| order.clause())
    }

    fn behind(sort: &Value) -> String {
        let order = SortOrder::parse(sort, "public").unwrap();
        let place = vec!["1".to_owned(); order.0.len()];
        order.behind(&place, &mut SqlParameters::new()).unwrap()
    }

    #[test]
    fn the_id_breaks_ties_in_the_direction_of_the_last_key() {
        let by_version = json!({"_version": -1});

        assert_eq!(
            sort_order(json!({})).as_deref(),
            Ok("_id COLLATE \"C\" ASC")
        );
        assert_eq!(
            sort_order(by_version).as_deref(),
            Ok("_version DESC, _id COLLATE \"C\" DESC")
        );
        assert_eq!(
            sort_order(json!({"_id": -1.0})).as_deref(),
            Ok("_id COLLATE \"C\" DESC")
        );
    }

    #[test]
    fn a_field_is_sorted_by_the_key_of_its_index() {
        let key = Target::parse("total").unwrap().sort_key("public").sql;
        assert_eq!(
            sort_order(json!({"total": -1})),
            Ok(format!("{key} DESC, _id COLLATE \"C\" DESC"))
        );
    }

    #[test]
    fn a_place_is_compared_as_a_row_or_key_by_key() {
        assert_eq!(
            behind(&json!({"_version": -1})),
            r#"(_version, _id COLLATE "C") < ($1::text::bigint, $2::text COLLATE "C")"#
        );
        assert_eq!(
            behind(&json!({"_version": -1, "_id": 1})),
            r#"(_version < $1::text::bigint OR (_version = $1::text::bigint AND _id COLLATE "C" > $2::text COLLATE "C"))"#
        );
        let order = SortOrder::parse(&json!({"a": 1}), "public").unwrap();
        let place = vec!["1".to_owned()];
        assert_eq!(order.behind(&place, &mut SqlParameters::new()), None);
    }

    #[test]
    fn keys_keep_their_order() {
        let expected = Ok("_version DESC, _id COLLATE \"C\" ASC");

        assert_eq!(
            sort_order(json!({"_version": -1, "_id": 1})).as_deref(),
            expected
        );
        assert_eq!(
            sort_order(json!([{"_version": -1}, {"_id": 1}])).as_deref(),
            expected
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = r#"
            "total"  =>  cannot sort by `"total"`: a sort document is an object of fields with 1 or -1
            {"total": "asc"}  =>  cannot sort by `total`: the direction is 1 or -1
            {"total": 2}  =>  cannot sort by `total`: the direction is 1 or -1
            [{"a": 1, "b": 1}]  =>  cannot sort by `{"a":1,"b":1}`: each entry of the array is an object with one field
            {"$natural": 1}  =>  `$natural` is not a field: its names must not begin with `$`
        "#;
        check_refused(sort_order, cases);
    }
}
