//! The SQL that reads what a dotted path names.

use super::index_key::STRING;
use crate::pongo::dotted_path::DottedPath;

impl DottedPath {
    /// The first name as JSON.
    pub(super) fn first_in_json(&self) -> String {
        json_string(self.first())
    }

    /// Whether a name below the first might be read as a position in an array.
    pub(super) fn is_positional(&self) -> bool {
        self.names().skip(1).any(looks_like_an_integer)
    }

    /// The value at the path of a document: objects by name, arrays by position, NULL when there is none.
    pub(super) fn value(&self) -> String {
        let (get, _) = self.operators();
        ["data ", get, " ", &self.names_in_sql()].concat()
    }

    /// Those that get a value, and a value as text.
    fn operators(&self) -> (&'static str, &'static str) {
        if self.is_top_level() {
            ("->", "->>")
        } else {
            ("#>", "#>>")
        }
    }

    /// What stands behind the operators. Of exactly their type: what does not fit is looked for on the session's search path.
    fn names_in_sql(&self) -> String {
        if self.is_top_level() {
            return [&sql_literal(self.as_str()), "::text"].concat();
        }
        let names: Vec<String> = self.names().map(sql_literal).collect();
        format!("ARRAY[{}]", names.join(","))
    }

    /// The [key](super::index_key) of an index on the path, which is never NULL.
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

    /// The value if it is an array or an object, otherwise null.
    pub(super) fn container(&self) -> String {
        let value = self.value();
        format!(
            "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN {value} WHEN 'object' THEN {value} ELSE 'null'::jsonb END)"
        )
    }

    /// The path in SQL's JSON path language. In its lax mode each name also looks into the objects of an
    /// array that it meets, one level deep, as MongoDB's paths do.
    pub(super) fn json_path(&self) -> String {
        accessor(self.names())
    }

    /// A JSON path predicate: `@` is an object and the path leads to nothing in it.
    ///
    /// Arrays on the way are looked into: one object without the field is enough, values that are no objects
    /// do not count. So an empty array on the way is not a missing value, as in MongoDB.
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

    /// A `FROM` item with the column `candidate.value`, which is never NULL: what the path leads to in the source and, `with_elements`,
    /// the elements of what of that is an array.
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
    // Strict, because a lax path finds a scalar at its position 0; and silent, because a strict one fails there.
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

/// A JSON string, which is also a string and a quoted name in the JSON path language.
fn json_string(text: &str) -> String {
    // A string can always be written.
    serde_json::to_string(text).unwrap_or_default()
}

/// An SQL string constant with exactly this text.
///
/// A backslash is an escape character in a plain constant when the session has turned
/// `standard_conforming_strings` off, and we do not depend on session settings. So text with a backslash is
/// written in the `E''` form, which reads it the same way under every setting.
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

/// Whether `#>` may read the name as a position: it takes blanks, signs and leading zeros, and counts
/// negative ones from the end. MongoDB does none of that.
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
