//! SQL expressions for the values at a dotted path.

use super::index_key::STRING;
use crate::pongo::dotted_path::DottedPath;

impl DottedPath {
    /// Returns the first name as JSON.
    pub(super) fn first_in_json(&self) -> String {
        json_string(self.first())
    }

    /// Returns whether a name after the first can be read as a position in an array.
    pub(super) fn is_positional(&self) -> bool {
        self.names().skip(1).any(looks_like_an_integer)
    }

    /// Returns the value at the path of a document. Objects are accessed by name, arrays by position. It is NULL if the value
    /// is missing.
    pub(super) fn value(&self) -> String {
        let (get, _) = self.operators();
        ["data ", get, " ", &self.names_in_sql()].concat()
    }

    /// Returns the operators that read a value, and a value as text.
    fn operators(&self) -> (&'static str, &'static str) {
        if self.is_top_level() {
            ("->", "->>")
        } else {
            ("#>", "#>>")
        }
    }

    /// Returns the right operand of the operators. It has exactly their type; any other type would be resolved on the session's
    /// search path.
    fn names_in_sql(&self) -> String {
        if self.is_top_level() {
            return [&sql_literal(self.as_str()), "::text"].concat();
        }
        let names: Vec<String> = self.names().map(sql_literal).collect();
        format!("ARRAY[{}]", names.join(","))
    }

    /// Returns the [key](super::index_key) of an index on the path, which is never NULL.
    pub(super) fn index_key(&self, schema: &str) -> String {
        let ((get, get_text), names) = (self.operators(), &self.names_in_sql());
        [
            "(CASE pg_catalog.jsonb_typeof(data ",
            get,
            " ",
            names,
            ") WHEN 'string' THEN '",
            STRING,
            "' || (data ",
            get_text,
            " ",
            names,
            ") ELSE ",
            schema,
            ".emt_index_key(data ",
            get,
            " ",
            names,
            ") END) COLLATE \"C\"",
        ]
        .concat()
    }

    /// Returns the value if it is an array or an object, otherwise null.
    pub(super) fn container(&self) -> String {
        let value = self.value();
        format!(
            "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN {value} WHEN 'object' THEN {value} ELSE 'null'::jsonb END)"
        )
    }

    /// Returns the path in SQL's JSON path language. In lax mode, each name also leads into the objects of an array, one level
    /// deep, as in MongoDB.
    pub(super) fn json_path(&self) -> String {
        accessor(self.names())
    }

    /// Returns a JSON path predicate: `@` is an object, and the path leads to no value in it.
    ///
    /// Arrays on the way are searched. One object without the field is enough; other values do not count. An empty array on the
    /// way is therefore not a missing value, as in MongoDB.
    pub(super) fn missing_in_json_path(&self) -> String {
        let mut names = self.names().rev();
        let last = names
            .next()
            .map(|name| format!("!exists(@{})", accessor([name])));
        names.fold(last.unwrap_or_default(), |rest, name| {
            let name = accessor([name]);
            format!(
                r#"!exists(@{name}) || (@{name}.type() != "object" && @{name}.type() != "array") || exists(@{name} ? (@.type() == "object" && ({rest})))"#
            )
        })
    }

    /// Returns a `FROM` item with the column `candidate.value`, which is never NULL. It contains the values that the path leads
    /// to in the source and, `with_elements`, the elements of arrays among them.
    pub(super) fn candidates(&self, json: &str, with_elements: bool) -> String {
        if !self.is_positional() {
            let path = self.json_path();
            return format!(
                "LATERAL ({}) AS candidate(value)",
                values_at(&path, None, json, with_elements)
            );
        }
        let last = self.names().count() - 1;
        let mut source = json.to_owned();
        let steps = self.names().enumerate().map(|(number, name)| {
            let is_last = number == last;
            let alias = if is_last {
                "candidate".to_owned()
            } else {
                format!("step{number}")
            };
            let position = is_position(name).then_some(name);
            let values = values_at(
                &accessor([name]),
                position,
                &source,
                is_last && with_elements,
            );
            source = format!("{alias}.value");
            format!("LATERAL ({values}) AS {alias}(value)")
        });
        steps.collect::<Vec<_>>().join(", ")
    }
}

fn values_at(path: &str, position: Option<&str>, source: &str, with_elements: bool) -> String {
    let query = |path: &str| {
        format!(
            "SELECT pg_catalog.jsonb_path_query({source}, {}::jsonpath)",
            sql_literal(path)
        )
    };
    let mut queries = vec![query(&format!("${path}"))];
    if with_elements {
        queries.push(query(&format!("${path}[*]")));
    }
    // Strict, because a lax path treats a scalar as its own position 0. Silent, because a strict path fails at a scalar.
    queries.extend(position.map(|position| {
        format!(
            "SELECT pg_catalog.jsonb_path_query({source}, 'strict $[{position}]', '{{}}', TRUE)"
        )
    }));
    queries.join(" UNION ALL ")
}

fn accessor<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names = names.into_iter();
    names
        .flat_map(|name| [".".to_owned(), json_string(name)])
        .collect()
}

/// Returns a JSON string, which is also a string and a quoted name in the JSON path language.
fn json_string(text: &str) -> String {
    // A string can always be serialized.
    serde_json::to_string(text).unwrap_or_default()
}

/// Returns an SQL string constant with exactly this text.
///
/// If the session turns off `standard_conforming_strings`, a backslash is an escape character in a plain constant. The result
/// must not depend on session settings. Text with a backslash is therefore written in the `E''` form, which every setting reads
/// in the same way.
pub(crate) fn sql_literal(text: &str) -> String {
    if !text.bytes().any(|byte| matches!(byte, b'\'' | b'\\')) {
        return ["'", text, "'"].concat();
    }
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', r"\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Returns whether `#>` may read the name as a position. It accepts blanks, signs and leading zeros, and counts negative
/// positions from the end. MongoDB does none of that.
fn looks_like_an_integer(name: &str) -> bool {
    let digits = name.trim_start().trim_start_matches(['+', '-']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_position(name: &str) -> bool {
    name.parse::<u16>()
        .is_ok_and(|position| position.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DottedPath {
        DottedPath::parse(text).unwrap()
    }

    #[test]
    fn names_are_written_as_constants_that_cannot_end_early() {
        assert_eq!(path("it's").value(), "data -> 'it''s'::text");
        assert_eq!(path(r"a\").value(), r"data -> E'a\\'::text");
        assert_eq!(path(r"a\'; --").value(), r"data -> E'a\\''; --'::text");
        assert_eq!(path("größe.😀").value(), "data #> ARRAY['größe','😀']");
        assert_eq!(path("\"$\".\n").json_path(), r#"."\"$\""."\n""#);
    }

    #[test]
    fn a_number_behind_the_first_name_may_be_a_position() {
        for positional in ["a.0", "a.12.b", "a.-1", "a.+1", "a. 7", "a.007"] {
            assert!(path(positional).is_positional(), "{positional}");
        }
        for named in ["0", "7.a", "a.b1", "a.1b", "a.-", "a. "] {
            assert!(!path(named).is_positional(), "{named}");
        }
        let candidates = |text| path(text).candidates("data", true);
        assert_eq!(candidates("a.0").matches("strict $[0]").count(), 1);
        assert!(!candidates("a.-1").contains("strict"));
        assert!(!candidates("a.007").contains("strict"));
    }

    #[test]
    fn a_field_is_missing_when_an_object_on_the_way_lacks_it() {
        assert_eq!(path("a").missing_in_json_path(), r#"!exists(@."a")"#);
        assert_eq!(
            path("a.b").missing_in_json_path(),
            r#"!exists(@."a") || (@."a".type() != "object" && @."a".type() != "array") || exists(@."a" ? (@.type() == "object" && (!exists(@."b"))))"#
        );
    }
}
