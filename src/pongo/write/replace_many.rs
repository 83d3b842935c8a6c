//! Replacing several documents in one statement.

use super::change::other_id;
use super::outcome::Updated;
use crate::database::position::get_u64;
use crate::database::{Jsonb, get, param};
use crate::pongo::collection::Collection;
use crate::pongo::document::{CollectionSql, ExpectedDocument, check_ids};
use crate::pongo::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use serde::Serialize;
use std::collections::HashMap;

/// Locks the documents in the order of their ids before it looks at anything of them, so nothing can come between what is
/// expected and what is written. What is `checked` is compared and stored, so it is MATERIALIZED.
const REPLACE: CollectionSql = CollectionSql::new("
    WITH picked AS (
        SELECT _id, _version, data
          FROM {table}
         WHERE _partition = $1 AND {known} AND _id = ANY($2)
         ORDER BY _id COLLATE \"C\"
           FOR UPDATE
    ), checked AS MATERIALIZED (
        SELECT written.id, written.data, picked.data AS before, coalesce(picked._version, 0) AS version,
               written.expected IS NULL
                   OR written.expected = coalesce(picked._version, 0)
                   OR written.expected = -1 AND picked._id IS NOT NULL AS met
          FROM unnest($2, $3, $4) AS written (id, data, expected)
          LEFT JOIN picked ON picked._id = written.id
    ), replaced AS (
        UPDATE {table} AS document
           SET data = checked.data, _version = checked.version + 1, _updated = now()
          FROM checked
         WHERE document._id = checked.id AND document._partition = $1
           AND checked.met AND checked.data <> checked.before - '{_id,_version}'::text[]
           AND ($5 OR NOT EXISTS (SELECT FROM checked WHERE NOT met))
        RETURNING document._id
    )
    SELECT checked.id, checked.version, checked.met, replaced._id IS NOT NULL AS modified
      FROM checked LEFT JOIN replaced ON replaced._id = checked.id");

/// A document that takes the place of the one with this id.
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
    expected: ExpectedDocument,
}

impl<'d, T> Replacement<'d, T> {
    /// Replaces the document of this id at whatever version; does nothing where there is none.
    pub fn new(id: impl Into<String>, document: &'d T) -> Self {
        Self {
            id: id.into(),
            document,
            expected: ExpectedDocument::Any,
        }
    }

    /// The version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        self.expect(version)
    }

    /// What the document must be. Defaults to [`ExpectedDocument::Any`].
    #[must_use]
    pub fn expect(mut self, expected: impl Into<ExpectedDocument>) -> Self {
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
    /// Replaces documents as a whole, each by its id, in one statement: all that exist, or none where one of them is not what
    /// its replacement expects. The results are in the order of the replacements; a document that does not exist is not
    /// `matched`. [`upsert_many`](Collection::upsert_many) would insert it.
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
    /// [`Error::Conflict`] when a document is not what its replacement expects, [`Error::NotUnique`] when a unique index
    /// stands against one, [`Error::InvalidInput`] when an id is given twice or a document names another id than the one that
    /// it is to replace, [`Error::Json`] when one cannot be written as JSON. Nothing is written then.
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

    /// Like [`replace_many`](Collection::replace_many), but reports conflicts in the results and replaces the other documents.
    ///
    /// # Errors
    /// As there, but for the conflicts.
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
        let documents = replacements
            .iter()
            .map(|replacement| self.encode_replacement(replacement))
            .collect::<Result<Vec<_>>>()?;
        let rows = self.send_replacements(replacements, &documents, despite_conflicts)?;
        self.replaced(replacements, &rows)
    }

    fn encode_replacement(&self, replacement: &Replacement<'_, T>) -> Result<Vec<u8>> {
        let document = self.encode(replacement.document)?.refuse_operators()?;
        match document.id.as_ref().filter(|own| **own != replacement.id) {
            Some(own) => Err(other_id(own, &replacement.id)),
            None => Ok(document.json),
        }
    }

    fn send_replacements(
        &self,
        replacements: &[Replacement<'_, T>],
        documents: &[Vec<u8>],
        despite_conflicts: bool,
    ) -> Result<Vec<Row>> {
        let table = self.table()?;
        let ids: Vec<&str> = replacements
            .iter()
            .map(|replacement| replacement.id.as_str())
            .collect();
        let data: Vec<Jsonb<'_>> = documents.iter().map(|json| Jsonb(json)).collect();
        let expected: Vec<Option<i64>> = replacements
            .iter()
            .map(|replacement| replacement.expected.as_sql())
            .collect();
        let parameters = [
            param(&table.partition, Type::TEXT),
            param(&ids, Type::TEXT_ARRAY),
            param(&data, Type::JSONB_ARRAY),
            param(&expected, Type::INT8_ARRAY),
            param(&despite_conflicts, Type::BOOL),
        ];
        // Unnamed: a plan that was made while the table was small would look through all of it once it is large.
        self.write(|sql| {
            sql.query_unnamed(&REPLACE.with(table), &parameters)
                .map_err(|source| table.write_error("replace documents", source))
        })
    }

    /// What has become of the documents, in the order of the replacements.
    fn replaced(&self, replacements: &[Replacement<'_, T>], rows: &[Row]) -> Result<Vec<Updated>> {
        let mut by_id: HashMap<&str, &Row> = HashMap::with_capacity(rows.len());
        for row in rows {
            by_id.insert(get(row, "id")?, row);
        }
        replacements
            .iter()
            .filter_map(|replacement| {
                let row = by_id.get(replacement.id.as_str())?;
                Some(self.replacement_outcome(replacement, row))
            })
            .collect()
    }

    fn replacement_outcome(&self, replacement: &Replacement<'_, T>, row: &Row) -> Result<Updated> {
        let before = get_u64(row, "version")?;
        let (is_met, modified): (bool, bool) = (get(row, "met")?, get(row, "modified")?);
        let conflict = (!is_met)
            .then(|| self.conflict(Some(replacement.id.clone()), replacement.expected, before));
        let matched = before > 0;
        Ok(Updated {
            matched,
            modified,
            inserted: false,
            id: (matched || !is_met).then(|| replacement.id.clone()),
            version: matched.then_some(before + u64::from(modified)),
            conflict,
        })
    }
}
