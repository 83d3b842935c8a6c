/// What a filter is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'s> {
    /// A document of a collection: the columns `_id` and `_version`, and the fields of the column `data`. The schema is that of
    /// the functions, quoted.
    Document { schema: &'s str },
    /// An SQL expression of type `jsonb` that is never NULL. Its `_id` and `_version` are fields like all others.
    Element(&'s str),
}

impl<'s> Source<'s> {
    /// The SQL expression that holds the fields.
    pub(super) fn json(self) -> &'s str {
        match self {
            Self::Document { .. } => "data",
            Self::Element(expression) => expression,
        }
    }
}
