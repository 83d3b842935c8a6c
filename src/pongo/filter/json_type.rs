use serde_json::Value;

/// A type of JSON values, for `$type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonType {
    /// `null`; a missing field has no type.
    Null,
    /// `true` or `false`.
    Bool,
    /// Any number: JSON does not tell integers, doubles and decimals apart.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl JsonType {
    const ALL: [Self; 6] = [
        Self::Null,
        Self::Bool,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
    ];

    /// What [`JsonType::named`] knows.
    pub(super) const KNOWN: &'static str =
        "one of null, bool, number, string, array and object, or an array of them";

    /// The type that an alias or a number of MongoDB's names.
    pub(super) fn named(name: &Value) -> Option<Self> {
        Self::ALL.into_iter().find(|json_type| {
            let number = json_type.number();
            name == json_type.alias() || (number.is_some() && name.as_i64() == number)
        })
    }

    /// MongoDB's alias.
    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// MongoDB's number. It has several for numbers, none for all of them.
    fn number(self) -> Option<i64> {
        match self {
            Self::Null => Some(10),
            Self::Bool => Some(8),
            Self::Number => None,
            Self::String => Some(2),
            Self::Array => Some(4),
            Self::Object => Some(3),
        }
    }

    /// What `jsonb_typeof` calls it.
    pub(super) fn sql_name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            _ => self.alias(),
        }
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
        for json_type in JsonType::ALL {
            assert_eq!(JsonType::named(&json!(json_type.alias())), Some(json_type));
        }
    }

    // JSON has one type of numbers, and no dates or object ids.
    #[test]
    fn what_json_does_not_have_is_no_type() {
        for name in [
            json!("int"),
            json!("double"),
            json!("date"),
            json!("boolean"),
        ] {
            assert_eq!(JsonType::named(&name), None);
        }
        for number in [
            json!(1),
            json!(16),
            json!(18),
            json!(19),
            json!(-1),
            json!(null),
        ] {
            assert_eq!(JsonType::named(&number), None);
        }
    }
}
