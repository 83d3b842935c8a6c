//! Targets of paths in a document, a column or a field, with their SQL for indexes and sorts.

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

    /// Returns the expression that an index lists and a sort compares. `schema` is the quoted schema of the library's
    /// functions.
    pub(super) fn sort_key(&self, schema: &str) -> SortKey {
        match self {
            Self::Column(column) => SortKey::of_column(*column),
            Self::Field(path) => SortKey {
                sql: path.index_key(schema),
                is_bigint: false,
            },
        }
    }

    /// Returns the column of an index that serves filters and sorts on the target, for `CREATE INDEX`.
    pub(crate) fn index_expression(&self, schema: &str) -> String {
        self.sort_key(schema).sql
    }

    /// Returns the expression that distinguishes arrays and objects with the same key, for a unique index. `None` if there are
    /// none.
    pub(crate) fn container_expression(&self) -> Option<String> {
        match self {
            Self::Column(_) => None,
            Self::Field(path) => Some(path.container()),
        }
    }

    /// Returns the condition that a document has the field, for a partial index.
    pub(crate) fn index_presence(&self) -> String {
        match self {
            Self::Column(_) => "TRUE".to_owned(),
            Self::Field(path) => format!("{} IS NOT NULL", path.value()),
        }
    }

    /// Returns `FROM` items that follow the table of a collection and provide the column `found.value`. It contains the values
    /// that the path leads to in a document, and the elements of arrays among them.
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

    /// Casts a text parameter to the type of the key, for comparisons.
    pub(super) fn parameter(&self, text: &str) -> String {
        if self.is_bigint {
            format!("{text}::bigint")
        } else {
            format!(r#"{text} COLLATE "C""#)
        }
    }
}

/// Returns the column that a path names, if there is one. A path into a column is refused.
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

/// The collation of ranges and sorts. Equality has no collation, so that the primary key serves it regardless of the column's
/// collation. The primary key serves ranges if that collation is "C".
pub(super) fn collation(column: Column) -> &'static str {
    match column {
        Column::Id => r#" COLLATE "C""#,
        Column::Version => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PostgreSQL uses an index only if its expression is identical to the expression of the query. A change of this text makes
    // all existing indexes useless.
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
