//! Statements with placeholders for names, such as `{name}`.

use super::identifier;
use std::marker::PhantomData;

/// The placeholders of a template and their values: quoted identifiers.
pub(crate) trait SqlNames {
    const OPEN: &'static [&'static str];

    /// Returns the value of a placeholder.
    fn get(&self, name: &str) -> Option<&str>;
}

/// A statement with placeholders for the names of `N`.
pub(crate) struct SqlTemplate<N> {
    text: &'static str,
    names: PhantomData<fn(&N)>,
}

// Not derived: a template is `Copy` even if `N` is not.
impl<N> Clone for SqlTemplate<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for SqlTemplate<N> {}

impl<N: SqlNames> SqlTemplate<N> {
    /// Creates a template. In a `const`, a placeholder that `N` does not have is a compile error.
    pub(crate) const fn new(text: &'static str) -> Self {
        assert!(
            leaves_open_only(text.as_bytes(), N::OPEN),
            "the template has a placeholder that its names do not have"
        );
        Self {
            text,
            names: PhantomData,
        }
    }

    /// Returns the template's address as its identity: looking it up costs less than hashing its text.
    pub(crate) fn address(self) -> (usize, usize) {
        (self.text.as_ptr() as usize, self.text.len())
    }

    pub(crate) fn length(self) -> usize {
        self.text.len()
    }

    pub(crate) fn with(self, names: &N) -> String {
        let mut text = String::with_capacity(self.text.len() + 100);
        self.write_to(&mut text, names);
        text
    }

    /// Writes the statement. Values are not expanded again: a field's name may be `{table}`. Braces around anything but a
    /// name stay unchanged.
    pub(crate) fn write_to(self, text: &mut String, names: &N) {
        let mut rest = self.text;
        while let Some(at) = memchr::memchr(b'{', rest.as_bytes()) {
            let (before, open) = rest.split_at(at);
            text.push_str(before);
            let length = open_name(open.as_bytes());
            if length == 0 {
                text.push('{');
                rest = &open[1..];
                continue;
            }
            let (open, after) = open.split_at(length + 2);
            let value = names.get(&open[1..=length]);
            debug_assert!(value.is_some(), "the placeholder {open} has no value");
            text.push_str(value.unwrap_or(open));
            rest = after;
        }
        text.push_str(rest);
    }
}

/// A template whose only placeholder is the schema.
pub(crate) type SchemaSql = SqlTemplate<SchemaName>;

pub(crate) struct SchemaName(String);

impl SqlNames for SchemaName {
    const OPEN: &'static [&'static str] = &["schema"];

    fn get(&self, name: &str) -> Option<&str> {
        (name == "schema").then_some(&self.0)
    }
}

impl SchemaSql {
    pub(crate) fn in_schema(self, schema: &str) -> String {
        self.with(&SchemaName(identifier::quote(schema)))
    }
}

/// Returns the length of the braced name at the start of the text; 0 if there is none.
const fn open_name(text: &[u8]) -> usize {
    let mut length = 0;
    while length + 1 < text.len() && matches!(text[length + 1], b'a'..=b'z' | b'_') {
        length += 1;
    }
    if length + 1 < text.len() && text[length + 1] == b'}' {
        return length;
    }
    0
}

const fn leaves_open_only(mut text: &[u8], names: &[&str]) -> bool {
    while let [first, rest @ ..] = text {
        if *first == b'{' {
            let length = open_name(text);
            if length > 0 && !has(names, rest.split_at(length).0) {
                return false;
            }
        }
        text = rest;
    }
    true
}

const fn has(names: &[&str], name: &[u8]) -> bool {
    let mut index = 0;
    while index < names.len() {
        if are_equal(names[index].as_bytes(), name) {
            return true;
        }
        index += 1;
    }
    false
}

const fn are_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl SqlNames for Names {
        const OPEN: &'static [&'static str] = &["table", "filter"];

        fn get(&self, name: &str) -> Option<&str> {
            match name {
                "table" => Some("\"{filter}\""),
                "filter" => Some("a = '{table}'"),
                _ => None,
            }
        }
    }

    #[test]
    fn what_stands_for_a_name_is_not_looked_at_again() {
        const TEMPLATE: SqlTemplate<Names> = SqlTemplate::new("SELECT FROM {table} WHERE {filter}");
        assert_eq!(
            TEMPLATE.with(&Names),
            "SELECT FROM \"{filter}\" WHERE a = '{table}'"
        );
    }

    #[test]
    fn braces_around_other_things_stay() {
        const TEMPLATE: SqlTemplate<Names> =
            SqlTemplate::new("'{}' || '{_id,_version}' || '{{A}}' || '{");
        assert_eq!(
            TEMPLATE.with(&Names),
            "'{}' || '{_id,_version}' || '{{A}}' || '{"
        );
    }

    #[test]
    fn only_open_names_are_left_open() {
        for (text, is_right) in [
            ("{table}", true),
            ("{table} {{filter}}", true),
            ("{}{1}{Table}{", true),
            ("{tables}", false),
            ("{tabl}", false),
            ("'{{_id}}'", false),
        ] {
            assert_eq!(
                leaves_open_only(text.as_bytes(), Names::OPEN),
                is_right,
                "{text}"
            );
        }
    }

    #[test]
    fn a_schema_is_quoted() {
        const TEMPLATE: SchemaSql = SchemaSql::new("SELECT {schema}.f()");
        assert_eq!(TEMPLATE.in_schema("a\"b"), "SELECT \"a\"\"b\".f()");
    }
}
