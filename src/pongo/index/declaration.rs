//! Declarations of indexes, and their names.

use super::definition::{DIGEST_LENGTH, IndexDefinition, IndexNote};
use crate::database::{TextDigest, identifier};
use crate::pongo::error::{Error, Result};

/// An index of a collection.
///
/// An index on fields serves filters by equality, `$in` and ranges on a prefix of its fields. It also serves sorts by them. It
/// covers values that are directly in the field.
///
/// For array elements, and for fields of objects in arrays, use an [index on the whole document](Index::whole_document). It
/// serves equality of any field. Strings in an indexed field must be shorter than about 2,700 bytes. In a unique index, arrays
/// and objects must be, too.
///
/// ```
/// use emmett_postgresql::pongo::{CollectionDefinition, Index};
///
/// let carts = CollectionDefinition::new("carts")
///     .index(Index::field("customerId"))
///     .index(Index::fields(["status", "total"]))
///     .index(Index::unique("number"))
///     .index(Index::whole_document().concurrently());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Index {
    definition: IndexDefinition,
    /// Marks an index that has no fields on purpose.
    is_on_whole_document: bool,
    name: Option<String>,
    concurrently: bool,
}

impl Index {
    /// An index on one field, by its dotted path. It serves equality, `$in`, ranges, and sorts.
    ///
    /// The index treats an array as one value. If the field is an array, or is inside objects of one, filters still work, but
    /// check each such document. To search for elements, declare [`Index::whole_document`].
    ///
    /// ```
    /// use emmett_postgresql::pongo::{CollectionDefinition, Index};
    ///
    /// // `{"title": "Refactoring"}` by the first, `{"authors": "Beck"}` by the second.
    /// let books = CollectionDefinition::new("books")
    ///     .index(Index::field("title"))
    ///     .index(Index::whole_document());
    /// ```
    pub fn field(path: impl Into<String>) -> Self {
        Self::fields([path])
    }

    /// An index on several fields. It serves filters on a prefix of the fields, and sorts by all fields in this order.
    ///
    /// Equality on the first field with a sort by the second uses the index to find the documents. It then sorts them, because
    /// equality also matches arrays, which are elsewhere in the index.
    ///
    /// Documents with equal sort fields are ordered by id, and this last step is sorted during the read. If many documents are
    /// equal, as in a field with few values, add `_id` as the last field. The index then provides the whole order.
    ///
    /// ```
    /// use emmett_postgresql::pongo::{CollectionDefinition, Index};
    ///
    /// // `sort({"status": 1})` page by page, whichever number of documents have one status.
    /// let orders = CollectionDefinition::new("orders").index(Index::fields(["status", "_id"]));
    /// ```
    pub fn fields<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new(paths, false)
    }

    /// A unique index on a field: no two documents of a tenant have the same value. A missing field counts as null, as in
    /// MongoDB, so only one document may lack it. [`sparse`](Index::sparse) leaves such documents out. An array is one value.
    pub fn unique(path: impl Into<String>) -> Self {
        Self::unique_fields([path])
    }

    /// A unique index on several fields: no two documents of a tenant have the same values.
    pub fn unique_fields<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new(paths, true)
    }

    /// An index on the whole document. It serves equality of any field and of array elements, but no ranges and no sorts.
    pub fn whole_document() -> Self {
        Self {
            is_on_whole_document: true,
            ..Self::new(Vec::<String>::new(), false)
        }
    }

    fn new<P: Into<String>>(paths: impl IntoIterator<Item = P>, unique: bool) -> Self {
        Self {
            definition: IndexDefinition {
                fields: paths.into_iter().map(Into::into).collect(),
                unique,
                sparse: false,
            },
            is_on_whole_document: false,
            name: None,
            concurrently: false,
        }
    }

    /// Sets the index's name, which must be unique in the PostgreSQL schema. Defaults to a name derived from the collection and
    /// the fields.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Leaves out documents that have none of the fields. Use it for unique indexes. A sparse index serves no filters.
    pub fn sparse(mut self) -> Self {
        self.definition.sparse = true;
        self
    }

    /// Builds the index outside of any transaction, while writes continue. The build takes longer, and waits for transactions
    /// that were open before it, such as the transaction of a [`cursor`](crate::pongo::read::Find::cursor). The next build
    /// removes the remains of a failed one.
    pub fn concurrently(mut self) -> Self {
        self.concurrently = true;
        self
    }

    pub(crate) fn is_concurrent(&self) -> bool {
        self.concurrently
    }

    pub(crate) fn definition(&self) -> &IndexDefinition {
        &self.definition
    }

    pub(crate) fn name(&self, collection: &str) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.definition.name(collection))
    }

    /// Returns the temporary name of a concurrent build. Different definitions have different names.
    pub(crate) fn built_as(&self, collection: &str) -> String {
        let what = [collection, &self.name(collection), &self.comment()].join("\0");
        let digest = TextDigest::from(what.as_str()).text();
        format!("emt_index_{}", &digest[..2 * DIGEST_LENGTH])
    }

    /// Returns the text of the index's comment.
    pub(crate) fn comment(&self) -> String {
        let note = IndexNote {
            definition: self.definition.clone(),
            has_own_name: self.name.is_some(),
        };
        note.to_comment()
    }

    /// Refuses an invalid index before any statement is sent.
    pub(crate) fn check(&self, collection: &str) -> Result<()> {
        let what = || format!("an index of \"{collection}\"");
        let refuse = |reason: &str| Err(Error::invalid(what(), reason));
        identifier::check("the index name", &self.name(collection))?;
        let IndexDefinition {
            fields,
            unique,
            sparse,
        } = &self.definition;
        if *sparse && !unique {
            return refuse("must be unique to be sparse");
        }
        if fields.is_empty() && !self.is_on_whole_document {
            return refuse("needs a field");
        }
        self.definition.columns("").map(|_| ())
    }

    /// Returns the `CREATE INDEX` statement. It is not part of a schema function, because `CONCURRENTLY` cannot run in one.
    pub(crate) fn statement(
        &self,
        schema: &str,
        collection: &str,
        name: &str,
        concurrently: bool,
    ) -> Result<String> {
        let unique = if self.definition.unique {
            "UNIQUE "
        } else {
            ""
        };
        let concurrently = if concurrently { "CONCURRENTLY " } else { "" };
        Ok(format!(
            "CREATE {unique}INDEX {concurrently}IF NOT EXISTS {} ON {} {}{}",
            identifier::quote(name),
            identifier::qualify(schema, collection),
            self.definition.columns(&identifier::quote(schema))?,
            self.definition.condition()?
        ))
    }
}

/// An existing index of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexDescription {
    /// Its name.
    pub name: String,
    /// The indexed fields. Empty for an index on the whole document, and for an index that this library did not create.
    pub fields: Vec<String>,
    /// Whether the index is unique.
    pub unique: bool,
    /// Whether the index is complete. A failed build leaves an incomplete index.
    pub valid: bool,
    /// The index's definition in SQL.
    pub sql: String,
}

#[cfg(test)]
mod tests {
    use super::super::definition::LONGEST_NAME;
    use super::*;

    #[test]
    fn names_are_made_of_collection_and_fields() {
        for (index, expected) in [
            (Index::field("customerId"), "carts_customer_id_idx"),
            (Index::fields(["status", "total"]), "carts_status_total_idx"),
            (
                Index::unique("address.zipCode"),
                "carts_address_zip_code_key",
            ),
            (Index::whole_document(), "carts_document_idx"),
            (Index::field("_id"), "carts__id_idx"),
            (Index::field("HTTPStatus2xx"), "carts_httpstatus2xx_idx"),
            (Index::field("a").named("Own"), "Own"),
        ] {
            assert_eq!(index.name("carts"), expected);
        }
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let long = "ü".repeat(31);
        let (one, other) = (
            Index::field(format!("{long}a")),
            Index::field(format!("{long}b")),
        );

        assert!(
            one.name("carts").len() <= LONGEST_NAME,
            "{}",
            one.name("carts")
        );
        assert_ne!(one.name("carts"), other.name("carts"));
        assert!(one.name(&"c".repeat(63)).len() <= LONGEST_NAME);
    }

    #[test]
    fn an_index_that_makes_no_sense_is_refused() {
        for refused in [
            Index::field("a").sparse(),
            Index::unique_fields(Vec::<String>::new()),
            Index::fields(Vec::<String>::new()),
            Index::field("a..b"),
            Index::field("$a"),
            Index::field("a").named(""),
            Index::field("a").named("x".repeat(64)),
        ] {
            assert!(refused.check("carts").is_err(), "{refused:?}");
        }
        assert!(Index::unique("a").sparse().check("carts").is_ok());
        assert!(Index::whole_document().check("carts").is_ok());
    }

    #[test]
    fn a_comment_is_read_back() {
        let index = Index::unique("a").sparse().named("x");
        let note = IndexNote::parse(&index.comment()).unwrap();

        assert_eq!(&note.definition, index.definition());
        assert!(note.has_own_name);
        assert_eq!(IndexNote::parse("made by hand"), None);
    }
}
