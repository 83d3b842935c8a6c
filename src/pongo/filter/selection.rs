//! MongoDB's projections: the fields of a document to read.

use serde_json::{Map, Value};

use super::error::FilterError;
use crate::pongo::dotted_path::DottedPath;

/// The fields of a document that a query reads.
///
/// An inclusive selection names the fields to read, in addition to the id: `["name", "address.city"]`, or `{"name": 1,
/// "address.city": 1}` as in MongoDB. An exclusive selection names the fields to leave out: `{"password": 0}`. `"_id": 0`
/// leaves the id out, `"_version": 1` adds the version. In an array, a path continues in each of its objects.
///
/// ```
/// use emmett_postgresql::pongo::FieldSelection;
/// use serde_json::json;
/// let named: FieldSelection = ["name", "address.city"].into();
/// let all_but: FieldSelection = json!({"password": 0}).into();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSelection(Value);

/// Takes MongoDB's object, or an array of names.
impl From<Value> for FieldSelection {
    fn from(projection: Value) -> Self {
        let names = projection.as_array().and_then(|names| {
            let names = names.iter().map(Value::as_str);
            names.collect::<Option<Vec<&str>>>()
        });
        match names {
            Some(names) => Self::from(names),
            None => Self(projection),
        }
    }
}

impl<S: AsRef<str>> From<&[S]> for FieldSelection {
    fn from(fields: &[S]) -> Self {
        // The id is always read. It is named here because an empty list would become the empty object, which reads everything.
        let named = std::iter::once("_id").chain(fields.iter().map(AsRef::as_ref));
        let fields = named.map(|field| (field.to_owned(), 1.into()));
        Self(Value::Object(fields.collect()))
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for FieldSelection {
    fn from(fields: [S; N]) -> Self {
        Self::from(fields.as_slice())
    }
}

impl<S: AsRef<str>> From<Vec<S>> for FieldSelection {
    fn from(fields: Vec<S>) -> Self {
        Self::from(fields.as_slice())
    }
}

/// A selection in the form of the SQL function's argument.
#[derive(Debug, PartialEq)]
pub(crate) struct SelectedFields {
    /// Field names as a tree with `true` as leaves.
    pub(crate) tree: Value,
    /// Whether the tree contains the fields to read, or the fields to leave out.
    pub(crate) is_inclusive: bool,
    pub(crate) has_id: bool,
    pub(crate) has_version: bool,
}

impl FieldSelection {
    pub(crate) fn fields(&self) -> Result<SelectedFields, FilterError> {
        let Value::Object(entries) = &self.0 else {
            return Err(refused(
                &self.0.to_string(),
                "a selection is an object of fields with 1 or 0, or a list of fields",
            ));
        };
        let mut tree = Map::new();
        let mut is_inclusive = None;
        let names_id = entries.contains_key("_id");
        let (mut has_id, mut has_version) = (true, None);
        for (path, value) in entries {
            let is_read = is_read(path, value)?;
            match path.as_str() {
                "_id" => has_id = is_read,
                "_version" => has_version = Some(is_read),
                _ if *is_inclusive.get_or_insert(is_read) != is_read => {
                    return Err(refused(
                        path,
                        "fields are either read or left out, not both",
                    ));
                }
                _ if !DottedPath::parse(path)?.insert_into(&mut tree, true.into()) => {
                    return Err(refused(
                        path,
                        "it and a field inside of it, or above it, are both named",
                    ));
                }
                _ => {}
            }
        }
        // A selection of columns alone has no other sign: `{"_id": 1}` reads the id, `{"_id": 0}` reads everything else.
        let is_inclusive = is_inclusive.unwrap_or(has_version == Some(true) || names_id && has_id);
        Ok(SelectedFields {
            tree: Value::Object(tree),
            is_inclusive,
            has_id,
            has_version: has_version.unwrap_or(!is_inclusive),
        })
    }
}

fn is_read(path: &str, value: &Value) -> Result<bool, FilterError> {
    match (value, value.as_f64()) {
        (Value::Bool(is_read), _) => Ok(*is_read),
        (_, Some(1.0)) => Ok(true),
        (_, Some(0.0)) => Ok(false),
        _ => Err(refused(path, "it has neither 1 nor 0")),
    }
}

fn refused(path: &str, reason: &'static str) -> FilterError {
    FilterError::InvalidSelection {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::check_refused;
    use super::*;
    use serde_json::json;

    fn fields<S: Into<FieldSelection>>(selection: S) -> Result<SelectedFields, FilterError> {
        selection.into().fields()
    }

    #[test]
    fn paths_become_a_tree() {
        let expected = SelectedFields {
            tree: json!({"name": true, "address": {"city": true, "zip": true}}),
            is_inclusive: true,
            has_id: true,
            has_version: false,
        };
        assert_eq!(
            fields(["name", "address.city", "address.zip"]),
            Ok(expected)
        );
    }

    #[test]
    fn a_json_array_of_names_is_a_list_of_fields() {
        assert_eq!(fields(json!(["a", "b.c"])), fields(["a", "b.c"]));
        assert!(fields(json!(["a", 1])).is_err());
    }

    #[test]
    fn an_empty_list_reads_the_id_alone() {
        for selection in [
            FieldSelection::from(Vec::<String>::new()),
            json!([]).into(),
            ["_id"].into(),
        ] {
            let found = fields(selection).unwrap();
            assert_eq!(found.tree, json!({}));
            assert!(found.is_inclusive && found.has_id && !found.has_version);
        }
    }

    #[test]
    fn the_columns_are_chosen_apart() {
        for (selection, is_inclusive, has_id, has_version) in [
            (json!({}), false, true, true),
            (json!({"a": 1}), true, true, false),
            (
                json!({"a": true, "_id": 0, "_version": 1}),
                true,
                false,
                true,
            ),
            (json!({"a": 0}), false, true, true),
            (
                json!({"a": false, "_id": 0, "_version": 0}),
                false,
                false,
                false,
            ),
            (json!({"_version": 1}), true, true, true),
            (json!({"_id": 0}), false, false, true),
            (json!({"_id": 1}), true, true, false),
            (json!({"_id": 1, "_version": 0}), true, true, false),
            (json!({"_id": 0, "_version": 1}), true, false, true),
        ] {
            let found = fields(selection.clone()).unwrap();
            assert_eq!(
                (found.is_inclusive, found.has_id, found.has_version),
                (is_inclusive, has_id, has_version),
                "{selection}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = r#"
            {"a": 1, "b": 0}  =>  cannot select `b`: fields are either read or left out, not both
            {"a": 2}  =>  cannot select `a`: it has neither 1 nor 0
            {"a": 1, "a.b": 1}  =>  cannot select `a.b`: it and a field inside of it, or above it, are both named
            {"a.b": 1, "a": 1}  =>  cannot select `a`: it and a field inside of it, or above it, are both named
            {"a..b": 1}  =>  `a..b` is not a field: it has an empty name
            "a"  =>  cannot select `"a"`: a selection is an object of fields with 1 or 0, or a list of fields
        "#;
        check_refused(fields::<Value>, cases);
    }
}
