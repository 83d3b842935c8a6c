//! What a path names in a document: a column, or a field; and what indexes and sorts make of it.

use super::error::FilterError;
use crate::pongo::dotted_path::{Column, DottedPath};

#[derive(Debug)]
pub(crate) enum Target {
    Column(Column),
    Field(DottedPath),
}

/// One of the expressions that a sort compares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SortKey {
    pub(super) sql: String,
    is_bigint: bool,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Result<Self, FilterError> {
        let path = DottedPath::parse(path)?;
        Ok(match column_of(&path)? {
            Some(column) => Self::Column(column),
            None => Self::Field(path),
        })
    }

    /// What an index on the target lists, and what a sort by it compares. `schema` is that of the library's functions, quoted.
    pub(super) fn sort_key(&self, schema: &str) -> SortKey {
        match self {
            Self::Column(column) => SortKey::of_column(*column),
            Self::Field(path) => SortKey {
                sql: path.index_key(schema),
                is_bigint: false,
            },
        }
    }

    /// The column of an index that serves filters and sorts on the target, as `CREATE INDEX` lists it.
    pub(crate) fn index_expression(&self, schema: &str) -> String {
        self.sort_key(schema).sql
    }

    /// What tells apart those arrays and objects that have one key, for an index that is to do that; `None` where there are none.
    pub(crate) fn container_expression(&self) -> Option<String> {
        match self {
            Self::Column(_) => None,
            Self::Field(path) => Some(path.container()),
        }
    }

    /// The condition on documents that have the field, for an index of those alone.
    pub(crate) fn index_presence(&self) -> String {
        match self {
            Self::Column(_) => "TRUE".to_owned(),
            Self::Field(path) => format!("{} IS NOT NULL", path.value()),
        }
    }

    /// `FROM` items behind the table of a collection that give the column `found.value`: what the path leads to in a document,
    /// and the elements of what of that is an array.
    pub(crate) fn found_values(&self) -> String {
        match self {
            Self::Column(column) => format!(
                "LATERAL (SELECT pg_catalog.to_jsonb({})) AS found (value)",
                column.name()
            ),
            Self::Field(path) => format!(
                "{}, LATERAL pg_catalog.jsonb_path_query(candidate.value, '$[*]') AS found (value)",
                path.candidates("data", false)
            ),
        }
    }
}

impl SortKey {
    pub(super) fn of_column(column: Column) -> Self {
        Self {
            sql: [column.name(), collation(column)].concat(),
            is_bigint: column == Column::Version,
        }
    }

    /// A parameter that is a text, as what the key is compared with.
    pub(super) fn parameter(&self, text: &str) -> String {
        if self.is_bigint {
            format!("{text}::bigint")
        } else {
            format!(r#"{text} COLLATE "C""#)
        }
    }
}

/// The column that a path in a document names; a path into one is refused.
pub(super) fn column_of(path: &DottedPath) -> Result<Option<Column>, FilterError> {
    let column = path.column();
    if column.is_some() && !path.is_top_level() {
        return Err(FilterError::InvalidPath {
            path: path.as_str().to_owned(),
            reason: "the column has no fields inside",
        });
    }
    Ok(column)
}

/// The collation of ranges and sorts. Equality goes without, so that the primary key serves it whatever collation the column
/// was created with; it serves ranges when that is "C".
pub(super) fn collation(column: Column) -> &'static str {
    match column {
        Column::Id => r#" COLLATE "C""#,
        Column::Version => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // An index is only used while its expression is, to the letter, what queries compare: a change of this text leaves
    // every index that exists without use.
    #[test]
    fn the_expression_of_an_index_does_not_change() {
        let key = |value: &str, text: &str| {
            format!(
                "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'string' THEN '2' || ({text}) ELSE \"s\".emt_index_key({value}) END) COLLATE \"C\""
            )
        };
        let city = key("data -> 'city'::text", "data ->> 'city'::text");
        let (value, text) = (
            "data #> ARRAY['address','city']",
            "data #>> ARRAY['address','city']",
        );
        for (path, expected) in [
            ("city", city.as_str()),
            ("address.city", &key(value, text)),
            ("_id", "_id COLLATE \"C\""),
            ("_version", "_version"),
        ] {
            let target = Target::parse(path).unwrap();
            assert_eq!(target.index_expression("\"s\""), expected);
        }
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for refused in " . a. .a a..b $a a.$b a\0 _id.a _version.a".split(' ') {
            let error = Target::parse(refused).unwrap_err();
            assert!(matches!(error, FilterError::InvalidPath { ref path, .. } if path == refused));
        }
        assert!(Target::parse("a.b$c._id").is_ok());
    }
}
