use serde_json::Value;

/// A type of JSON values, for `$type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonType {
    /// `null`; a missing field has no type.
    Null,
    /// `true` or `false`.
    Bool,
    /// Any number: JSON does not distinguish integers, doubles and decimals.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Each type with MongoDB's alias and number. MongoDB has several numbers for numeric types, and none for all of them.
const TYPES: [(JsonType, &str, Option<i64>); 6] = [
    (JsonType::Null, "null", Some(10)),
    (JsonType::Bool, "bool", Some(8)),
    (JsonType::Number, "number", None),
    (JsonType::String, "string", Some(2)),
    (JsonType::Array, "array", Some(4)),
    (JsonType::Object, "object", Some(3)),
];

impl JsonType {
    /// The aliases and numbers that [`JsonType::named`] accepts.
    pub(super) const KNOWN: &'static str =
        "one of null, bool, number, string, array and object, or an array of them";

    /// Returns the type of MongoDB's alias or number.
    pub(super) fn named(name: &Value) -> Option<Self> {
        let is_named = |(_, alias, number): &(Self, &str, Option<i64>)| {
            name == alias || (number.is_some() && name.as_i64() == *number)
        };
        let found = TYPES.into_iter().find(is_named);
        found.map(|(json_type, _, _)| json_type)
    }

    /// Returns the name of the type in `jsonb_typeof`.
    pub(super) fn sql_name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            _ => self.alias(),
        }
    }

    /// Returns MongoDB's alias.
    pub(super) fn alias(self) -> &'static str {
        TYPES[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_type_has_an_alias_and_mostly_a_number() {
        for (number, json_type) in [
            (10, JsonType::Null),
            (8, JsonType::Bool),
            (2, JsonType::String),
            (4, JsonType::Array),
            (3, JsonType::Object),
        ] {
            assert_eq!(JsonType::named(&json!(number)), Some(json_type));
        }
        for (json_type, alias, _) in TYPES {
            assert_eq!(JsonType::named(&json!(alias)), Some(json_type));
            assert_eq!(json_type.alias(), alias);
        }
    }

    // JSON has one type of numbers, and no dates or object ids.
    #[test]
    fn what_json_does_not_have_is_no_type() {
        for name in ["int", "double", "date", "boolean"] {
            assert_eq!(JsonType::named(&json!(name)), None);
        }
        for number in [Some(1), Some(16), Some(18), Some(19), Some(-1), None] {
            assert_eq!(JsonType::named(&json!(number)), None);
        }
    }
}
