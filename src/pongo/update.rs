//! Updating documents.

use super::collection::Collection;
use super::statement::Statement;
use crate::error::{Error, Result};
use crate::filter::{SqlParameters, SqlValue, filter_condition};
use crate::identifier;
use crate::update::{Update, UpdatePhase, update_expression};
use serde_json::Value;

impl<T> Collection<'_, T> {
    /// Updates the documents that match the filter.
    ///
    /// # Errors
    /// [`Error::Filter`] and [`Error::Update`] when the filter or the update is not valid, [`Error::UpdateRefused`] when the
    /// update does not fit a document.
    pub fn update_one(&self, filter: Value, update: impl Into<Update>) -> Result<u64> {
        let table = self.table()?;
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text(table.partition.clone()));
        let update = update.into();
        let document = update.document().map_err(Error::Update)?;
        let changed = update_expression(document, "data", UpdatePhase::Change, &mut parameters)
            .map_err(Error::Update)?
            .replacen(
                "{schema}",
                &identifier::quote(&self.home.partition().schema),
                1,
            );
        let condition = filter_condition(&filter, &mut parameters).map_err(Error::Filter)?;
        let text = format!(
            "UPDATE {} SET data = {changed}, _version = _version + 1 WHERE _partition = $1 AND {condition}",
            table.table
        );
        let statement = Statement { text, parameters };
        self.home
            .run(&self.name, false, |sql| statement.execute(sql))
    }
}
