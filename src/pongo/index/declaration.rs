//! Indexes of collections: what they are, and what they are called.

use super::definition::{DIGEST_LENGTH, IndexDefinition, IndexNote};
use crate::database::{TextDigest, identifier};
use crate::pongo::error::{Error, Result};

/// An index of a collection.
///
/// An index on fields serves filters by equality, `$in` and ranges on its first field, or on its first fields, and sorts by
/// them, for values that stand directly in the field. Elements of arrays, and fields of objects in arrays, are what an
/// [index on the whole document](Index::whole_document) is for, which serves equality of any field. The strings of a field must
/// be shorter than about 2,700 bytes; in a unique index, arrays and objects, too.
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
    /// Meant to have no fields.
    is_on_whole_document: bool,
    name: Option<String>,
    concurrently: bool,
}

impl Index {
    /// An index on one field, by its dotted path: for equality, `$in`, ranges, and sorts.
    ///
    /// An array is one value in it. Where the field is an array, or lies in the objects of one, a filter is answered all the
    /// same, but looks at each such document. To search for elements, declare [`Index::whole_document`].
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

    /// An index on several fields: for filters on the first, on the first two, and so on, and for sorts by all in this order.
    ///
    /// Equality on the first field with a sort by the second finds the documents by the index, and then sorts what it has
    /// found: equality also looks for arrays, and those lie elsewhere in the index.
    ///
    /// Documents that are equal in all fields of a sort are in the order of their ids, and are sorted by these as they are read.
    /// Where many are equal, as in a field with few values, put `_id` last: then the index has the whole order.
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

    /// A field that no two documents of a tenant have the same value of. A document without it has the value null, as in
    /// MongoDB, so there can be only one; [`sparse`](Index::sparse) leaves those out. An array is one value.
    pub fn unique(path: impl Into<String>) -> Self {
        Self::unique_fields([path])
    }

    /// Several fields that no two documents of a tenant have the same values of.
    pub fn unique_fields<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new(paths, true)
    }

    /// An index on all that a document contains, for equality of any field and of elements of arrays. It serves no ranges and
    /// no sorts.
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

    /// Its name, of which there can be only one in the PostgreSQL schema. Defaults to one that is made of collection and
    /// fields.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Leaves out the documents that have none of the fields. For unique indexes. Such an index serves no filters.
    pub fn sparse(mut self) -> Self {
        self.definition.sparse = true;
        self
    }

    /// Builds the index while others write to the collection, outside of any transaction. It takes longer, and waits for
    /// transactions that were open before, such as that of a [`cursor`](crate::pongo::read::Find::cursor). What a build that failed has left
    /// is removed by the next one.
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

    /// The name under which it is built concurrently: two that are not the same have two.
    pub(crate) fn built_as(&self, collection: &str) -> String {
        let what = [collection, &self.name(collection), &self.comment()].join("\0");
        let digest = TextDigest::from(what.as_str()).text();
        format!("emt_index_{}", &digest[..2 * DIGEST_LENGTH])
    }

    /// What its comment has to say.
    pub(crate) fn comment(&self) -> String {
        let note = IndexNote {
            definition: self.definition.clone(),
            has_own_name: self.name.is_some(),
        };
        note.to_comment()
    }

    /// Refuses an index that makes no sense, before anything is sent.
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

    /// `CREATE INDEX`. It is not in a function of the schema, because `CONCURRENTLY` runs in none.
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

/// An index that a collection has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexDescription {
    /// Its name.
    pub name: String,
    /// Its fields; none where it is on the whole document, or was not made by this library.
    pub fields: Vec<String>,
    /// Whether no two documents have the same values.
    pub unique: bool,
    /// Whether it is complete. One that is not was left by a build that failed.
    pub valid: bool,
    /// Its definition in SQL.
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
