//! An update document as an SQL expression.

use super::builder::Update;
use super::error::UpdateError;
use super::operation::{Operand, SqlOperation};
use crate::pongo::filter::{ElementCondition, SqlParameters, pull_condition};

/// The operation on the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpdatePhase {
    /// The document exists, and `$setOnInsert` does nothing.
    Change,
    /// An upsert inserts the document.
    Insert,
}

/// Translates an update document into an SQL expression for the new document. `document` is an SQL expression of type `jsonb`
/// that is an object.
///
/// The name of the schema is quoted. All values and paths go to `parameters`, so updates of one kind have the same text. Only
/// the conditions of `$pull` are part of it. The expression fails with SQLSTATE SE031 if the document does not fit, for example
/// if `$inc` meets a string.
pub(crate) fn update_expression(
    update: &Update,
    document: &str,
    phase: UpdatePhase,
    schema: &str,
    parameters: &mut SqlParameters,
) -> Result<String, UpdateError> {
    let (mut pulls, mut others) = (Vec::new(), Vec::new());
    for operation in update.operations()? {
        match &operation.operand {
            _ if phase == UpdatePhase::Change && operation.is_for_inserts() => {}
            Operand::Condition(condition) => pulls.push((operation, condition)),
            _ => others.push(operation.to_sql(None)),
        }
    }
    // The conditional operations come first, so that the text finds their paths at fixed places.
    let numbered = pulls.iter().zip(1..);
    let all: Vec<SqlOperation<'_>> = numbered
        .map(|((operation, _), number)| operation.to_sql(Some(number)))
        .chain(others)
        .collect();
    // An update document can always be serialized as JSON.
    let all = parameters.push_json_text(serde_json::to_vec(&all).unwrap_or_default());

    let mut pulled = Vec::with_capacity(pulls.len());
    for (index, (_, condition)) in pulls.into_iter().enumerate() {
        let elements = format!(
            "({document}) #> pg_catalog.string_to_array({all} #>> '{{{index},path}}'::text[], '.')"
        );
        pulled.push(pulled_elements(condition, &elements, parameters));
    }
    if pulled.is_empty() {
        return Ok(format!(
            "{schema}.emt_document_update({document}, {all}, '{{}}'::jsonb[])"
        ));
    }
    let pulled = pulled.join(", ");
    Ok(format!(
        "{schema}.emt_document_update({document}, {all}, ARRAY[{pulled}])"
    ))
}

/// Returns the elements that `$pull` keeps. The SQL function refuses a value that is no array, and ignores a missing field.
fn pulled_elements(
    condition: &ElementCondition,
    elements: &str,
    parameters: &mut SqlParameters,
) -> String {
    let condition = pull_condition(condition, "element.value", parameters);
    format!(
        "(SELECT coalesce(pg_catalog.jsonb_agg(element.value ORDER BY element.ordinality), '[]'::jsonb) \
         FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({elements}) WHEN 'array' THEN {elements} ELSE '[]'::jsonb END) \
         WITH ORDINALITY AS element(value, ordinality) WHERE NOT {condition})"
    )
}
