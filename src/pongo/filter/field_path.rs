//! Dotted field paths and the SQL that reads what they name.

use super::column::Column;
use super::error::FilterError;
use super::index_key::STRING;
use super::source::Source;
use crate::pongo::dotted_path;

/// What a key of a filter or of a sort document names.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Column(Column),
    Field(FieldPath<'a>),
}

impl<'a> Target<'a> {
    /// A column or a field of a document.
    pub(super) fn parse(path: &'a str) -> Result<Self, FilterError> {
        if let Some(column) = Column::named(path) {
            return Ok(Self::Column(column));
        }
        let field = FieldPath::parse(path)?;
        if Column::named(field.segments[0]).is_some() {
            return Err(FilterError::InvalidPath {
                path: path.to_owned(),
                reason: "the column has no fields inside",
            });
        }
        Ok(Self::Field(field))
    }

    /// What the path names in the source.
    pub(super) fn in_source(source: Source<'_>, path: &'a str) -> Result<Self, FilterError> {
        match source {
            Source::Document { .. } => Self::parse(path),
            Source::Element(_) => FieldPath::parse(path).map(Self::Field),
        }
    }

    /// What an index on the target lists, and what a sort by it compares.
    pub(super) fn sort_key(&self, schema: &str) -> SortKey {
        match self {
            Self::Column(column) => column.sort_key(),
            Self::Field(field) => SortKey {
                sql: field.index_key(schema),
                kind: SortKeyKind::Text,
            },
        }
    }
}

/// One of the expressions that a sort compares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SortKey {
    pub(super) sql: String,
    pub(super) kind: SortKeyKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SortKeyKind {
    Text,
    Bigint,
}

impl SortKey {
    /// A parameter that is a text, as what the key is compared with.
    pub(super) fn parameter(&self, text: &str) -> String {
        match self.kind {
            SortKeyKind::Text => format!(r#"{text} COLLATE "C""#),
            SortKeyKind::Bigint => format!("{text}::bigint"),
        }
    }
}

/// The column of an index that serves filters and sorts on `path`, as `CREATE INDEX` lists it. `schema` is that of the library's
/// functions, quoted.
pub(crate) fn index_expression(path: &str, schema: &str) -> Result<String, FilterError> {
    Ok(Target::parse(path)?.sort_key(schema).sql)
}

/// What tells apart those arrays and objects that have one key, for an index that is to do that; `None` where there are none.
pub(crate) fn container_expression(path: &str) -> Result<Option<String>, FilterError> {
    Ok(match Target::parse(path)? {
        Target::Column(_) => None,
        Target::Field(field) => Some(field.container()),
    })
}

/// The condition on documents that have the field, for an index of those alone.
pub(crate) fn index_presence(path: &str) -> Result<String, FilterError> {
    Ok(match Target::parse(path)? {
        Target::Column(_) => "TRUE".to_owned(),
        Target::Field(field) => format!("{} IS NOT NULL", field.value()),
    })
}

/// A dotted path such as `address.city`, checked and split.
#[derive(Debug)]
pub(super) struct FieldPath<'a> {
    segments: Vec<&'a str>,
}

impl<'a> FieldPath<'a> {
    pub(super) fn parse(path: &'a str) -> Result<Self, FilterError> {
        let segments = dotted_path::names(path).map_err(|reason| FilterError::InvalidPath {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self { segments })
    }

    pub(super) fn names_of_fields(&self) -> &[&'a str] {
        &self.segments
    }

    /// The first name as JSON.
    pub(super) fn first_in_json(&self) -> String {
        json_string(self.segments[0])
    }

    /// Whether the path is one name, so that no array can stand on the way to its value.
    pub(super) fn is_top_level(&self) -> bool {
        self.segments.len() == 1
    }

    /// Whether a name below the first might be read as a position in an array.
    pub(super) fn is_positional(&self) -> bool {
        self.segments[1..]
            .iter()
            .any(|segment| looks_like_an_integer(segment))
    }

    /// The value at the path of a document: objects by name, arrays by position, NULL when there is none.
    fn value(&self) -> String {
        let (get, _) = self.operators();
        ["data ", get, " ", &self.names()].concat()
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
    fn names(&self) -> String {
        if let [name] = self.segments[..] {
            return [&sql_literal(name), "::text"].concat();
        }
        let names: Vec<String> = self.segments.iter().map(|name| sql_literal(name)).collect();
        format!("ARRAY[{}]", names.join(","))
    }

    /// The [key](super::index_key) of an index on the path, which is never NULL.
    pub(super) fn index_key(&self, schema: &str) -> String {
        let ((get, get_text), names) = (self.operators(), &self.names());
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
    fn container(&self) -> String {
        let value = self.value();
        format!(
            "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN {value} WHEN 'object' THEN {value} ELSE 'null'::jsonb END)"
        )
    }

    /// The path in SQL's JSON path language. In its lax mode each name also looks into the objects of an
    /// array that it meets, one level deep, as MongoDB's paths do.
    pub(super) fn json_path(&self) -> String {
        accessor(&self.segments)
    }

    /// A JSON path predicate: `@` is an object and the path leads to nothing in it.
    ///
    /// Arrays on the way are looked into: one object without the field is enough, values that are no objects
    /// do not count. So an empty array on the way is not a missing value, as in MongoDB.
    pub(super) fn missing_in_json_path(&self) -> String {
        missing(&self.segments)
    }

    /// A `FROM` item with the column `candidate.value`, which is never NULL: what the path leads to in the source and, `with_elements`,
    /// the elements of what of that is an array.
    pub(super) fn candidates(&self, json: &str, with_elements: bool) -> String {
        let steps: Vec<&[&str]> = if self.is_positional() {
            self.segments.chunks(1).collect()
        } else {
            vec![&self.segments]
        };
        let mut from = Vec::new();
        let mut source = json.to_owned();
        for (number, names) in steps.iter().enumerate() {
            let is_last = number + 1 == steps.len();
            let alias = if is_last {
                "candidate".to_owned()
            } else {
                format!("step{number}")
            };
            from.push(format!(
                "LATERAL ({}) AS {alias}(value)",
                values_at(names, &source, is_last && with_elements)
            ));
            source = format!("{alias}.value");
        }
        from.join(", ")
    }
}

fn values_at(names: &[&str], source: &str, with_elements: bool) -> String {
    let path = format!("${}", accessor(names));
    let query = |path: &str| {
        format!(
            "SELECT pg_catalog.jsonb_path_query({source}, {}::jsonpath)",
            sql_literal(path)
        )
    };
    let mut queries = vec![query(&path)];
    if with_elements {
        queries.push(query(&format!("{path}[*]")));
    }
    if let [position] = names
        && is_position(position)
    {
        // Strict, because a lax path finds a scalar at its position 0; and silent, because a strict one fails there.
        queries.push(format!(
            "SELECT pg_catalog.jsonb_path_query({source}, 'strict $[{position}]', '{{}}', TRUE)"
        ));
    }
    queries.join(" UNION ALL ")
}

fn accessor(names: &[&str]) -> String {
    let mut accessor = String::new();
    for name in names {
        accessor.push('.');
        accessor.push_str(&json_string(name));
    }
    accessor
}

fn missing(names: &[&str]) -> String {
    let first = accessor(&names[..1]);
    if names.len() == 1 {
        return format!("!exists(@{first})");
    }
    let rest = missing(&names[1..]);
    format!(
        r#"!exists(@{first}) || (@{first}.type() != "object" && @{first}.type() != "array") || exists(@{first} ? (@.type() == "object" && ({rest})))"#
    )
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

    fn path(text: &str) -> FieldPath<'_> {
        FieldPath::parse(text).unwrap()
    }

    // An index is only used while its expression is, to the letter, what queries compare: a change of this text leaves
    // every index that exists without use.
    #[test]
    fn the_expression_of_an_index_does_not_change() {
        let key = |value: &str, text: &str| {
            format!(
                "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'string' THEN '2' || ({text}) ELSE \"s\".emt_index_key({value}) END) COLLATE \"C\""
            )
        };
        for (path, expected) in [
            ("city", key("data -> 'city'::text", "data ->> 'city'::text")),
            (
                "address.city",
                key(
                    "data #> ARRAY['address','city']",
                    "data #>> ARRAY['address','city']",
                ),
            ),
            ("_id", "_id COLLATE \"C\"".to_owned()),
            ("_version", "_version".to_owned()),
        ] {
            assert_eq!(index_expression(path, "\"s\""), Ok(expected));
        }
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
    fn names_that_are_no_names_are_refused() {
        for refused in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "$a",
            "a.$b",
            "a\0",
            "_id.a",
            "_version.a",
        ] {
            let error = Target::parse(refused).unwrap_err();
            assert!(matches!(error, FilterError::InvalidPath { ref path, .. } if path == refused));
        }
        assert!(Target::parse("a.b$c._id").is_ok());
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
