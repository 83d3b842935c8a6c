//! Documents that an upsert creates from its filter.

use crate::pongo::error::{Error, Result};
use crate::pongo::filter::{Filter, FilterError};
use serde_json::{Map, Value};

/// Returns the start of an upserted document: the fields that the filter compares by equality.
pub(crate) fn upsert_seed(filter: &Filter) -> Result<Value> {
    let mut seed = Map::new();
    for (path, value) in filter.equal_fields() {
        if !path.insert_into(&mut seed, value.clone()) {
            return Err(Error::Filter(FilterError::TwoValues {
                path: path.as_str().to_owned(),
            }));
        }
    }
    Ok(Value::Object(seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_seed_has_what_the_filter_compares_by_equality() {
        let filter = json!({
            "_id": "x", "a": 1, "b.c": {"$eq": [2]}, "d": {"$gt": 3}, "$and": [{"b.e": "f"}], "$or": [{"g": 1}]
        });
        assert_eq!(
            upsert_seed(&filter.into()).unwrap(),
            json!({"a": 1, "b": {"c": [2], "e": "f"}})
        );
    }

    #[test]
    fn two_values_for_one_field_are_refused() {
        for (filter, path) in [
            (json!({"a": 1, "$and": [{"a": 2}]}), "a"),
            (json!({"a": 1, "a.b": 2}), "a.b"),
            (json!({"x.a": 1, "x.a.b": 2}), "x.a.b"),
        ] {
            let Err(Error::Filter(refused)) = upsert_seed(&filter.clone().into()) else {
                panic!("{filter}");
            };
            assert_eq!(
                refused.to_string(),
                format!("the upsert would give `{path}` two values")
            );
        }
    }
}
