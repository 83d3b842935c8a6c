//! Replacements of several documents in one statement.

use super::outcome::Updated;
use crate::database::ExpectedVersion;
use crate::pongo::collection::Collection;
use crate::pongo::document::{
    DocumentTable, DocumentWrite, WriteRules, WrittenDocument, check_ids,
};
use crate::pongo::error::{Error, Result};
use serde::Serialize;

/// A document that replaces the document of this id.
///
/// ```
/// use emmett_postgresql::pongo::Replacement;
/// use serde_json::json;
/// let cart = json!({"items": 2});
/// let whatever_it_is: Replacement<_> = ("cart-1", &cart).into();
/// let first_change = Replacement::new("cart-1", &cart).expected_version(1);
/// ```
#[derive(Debug)]
pub struct Replacement<'d, T> {
    id: String,
    document: &'d T,
    expected: ExpectedVersion,
}

impl<'d, T> Replacement<'d, T> {
    /// Replaces the document of this id at any version. Does nothing if it does not exist.
    pub fn new(id: impl Into<String>, document: &'d T) -> Self {
        Self {
            id: id.into(),
            document,
            expected: ExpectedVersion::Any,
        }
    }

    /// Version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        self.expect(version)
    }

    /// Expectation of the document. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl<'d, I: Into<String>, T> From<(I, &'d T)> for Replacement<'d, T> {
    fn from((id, document): (I, &'d T)) -> Self {
        Self::new(id, document)
    }
}

impl<T: Serialize> Collection<'_, T> {
    /// Replaces whole documents by id, in one statement. It replaces all that exist, or none if one does not meet its
    /// expectation. The results are in the order of the replacements. A missing document is not `matched`;
    /// [`upsert_many`](Collection::upsert_many) would insert it.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{PongoClient, Replacement};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let notes = client.collection::<Value>("notes");
    /// notes.insert_many(&[json!({"_id": "a"}), json!({"_id": "b"})])?;
    /// let (first, second) = (json!({"text": "one"}), json!({"text": "two"}));
    ///
    /// let replaced = notes.replace_many([("a", &first), ("b", &second)])?;
    /// assert_eq!(replaced[1].version, Some(2));
    ///
    /// let outdated = Replacement::new("b", &first).expected_version(1);
    /// assert!(notes.replace_many([("a", &second).into(), outdated]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Conflict`]: a document does not meet its replacement's expectation.
    /// - [`Error::NotUnique`]: a unique index already has the values of a new document.
    /// - [`Error::InvalidInput`]: an id is given twice, or a new document has a different id than its replacement.
    /// - [`Error::Json`]: a document cannot be serialized as JSON.
    ///
    /// Nothing is written then.
    pub fn replace_many<'d>(
        &self,
        replacements: impl IntoIterator<Item = impl Into<Replacement<'d, T>>>,
    ) -> Result<Vec<Updated>>
    where
        T: 'd,
    {
        let replacements: Vec<_> = replacements.into_iter().map(Into::into).collect();
        let replaced = self.replace_each(&replacements, false)?;
        match replaced.iter().find_map(|updated| updated.conflict.clone()) {
            Some(conflict) => Err(Error::Conflict(conflict)),
            None => Ok(replaced),
        }
    }

    /// Replaces documents like [`replace_many`](Collection::replace_many), but reports conflicts in the results and replaces
    /// the other documents.
    ///
    /// # Errors
    /// Those of [`replace_many`](Collection::replace_many), except [`Error::Conflict`].
    pub fn replace_many_reporting<'d>(
        &self,
        replacements: impl IntoIterator<Item = impl Into<Replacement<'d, T>>>,
    ) -> Result<Vec<Updated>>
    where
        T: 'd,
    {
        let replacements: Vec<_> = replacements.into_iter().map(Into::into).collect();
        self.replace_each(&replacements, true)
    }

    fn replace_each(
        &self,
        replacements: &[Replacement<'_, T>],
        despite_conflicts: bool,
    ) -> Result<Vec<Updated>> {
        check_ids(replacements.iter().map(|replacement| &replacement.id))?;
        if replacements.is_empty() {
            return Ok(Vec::new());
        }
        let table = self.table()?;
        let documents = replacements
            .iter()
            .map(|replacement| {
                let document = self.encode(replacement.document)?.refuse_operators()?;
                document.for_id(&replacement.id)
            })
            .collect::<Result<Vec<_>>>()?;
        let writes: Vec<_> = replacements
            .iter()
            .zip(&documents)
            .map(|(replacement, json)| DocumentWrite {
                id: &replacement.id,
                json: Some(json),
                expected: replacement.expected,
            })
            .collect();
        let rules = WriteRules {
            despite_conflicts,
            unchanged_too: false,
        };
        let written = self.write(|sql| table.write(sql, &writes, rules))?;
        Ok(writes
            .iter()
            .zip(written)
            .map(|(write, written)| replaced(table, write, written))
            .collect())
    }
}

fn replaced(table: &DocumentTable, write: &DocumentWrite<'_>, written: WrittenDocument) -> Updated {
    let id = || Some(write.id.to_owned());
    let matched = written.before > 0;
    let conflict =
        (!written.is_expected).then(|| table.conflict(id(), write.expected, written.before));
    Updated {
        matched,
        modified: written.is_modified,
        inserted: false,
        id: id().filter(|_| matched || conflict.is_some()),
        version: matched.then_some(written.before + u64::from(written.is_modified)),
        conflict,
    }
}
