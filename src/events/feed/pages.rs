//! Reading many pages of the feed.

use super::{Part, filled, page, small_content};
use crate::database::position::to_sql;
use crate::database::{Sql, param};
use crate::error::{Error, Result};
use crate::events::batch_limits::{BatchLimits, Page};
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;

/// A page of a few positions, without the function, which stores a page before it sends it. It is planned anew each time: a
/// plan that was made while a table was small could read all of it later.
const READ_FEW: PartitionSql = PartitionSql::new(concat!(
    small_content!("$6", "$7"),
    "
      FROM {messages}
     WHERE global_position > $1 AND global_position <= $2
       AND ($4::TEXT[] IS NULL OR message_type = ANY ($4))
       AND ($5::TEXT[] IS NULL OR {schema}.emt_stream_category(stream_id) = ANY ($5))
     ORDER BY global_position
     LIMIT $3"
));

impl Part<'_> {
    /// The first positions of the part.
    fn at_most(self, positions: u64) -> Self {
        let up_to = self.up_to.min(self.after.saturating_add(positions));
        Self { up_to, ..self }
    }
}

/// Reads the feed page by page, each up to a horizon that is known. Where the messages are close together, a page asks for as
/// many positions as will fill it.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The number of positions that the next page probably takes.
    span: Option<u64>,
}

impl Pages {
    /// Returns the messages of a part, as many as fit. The part must end at or below a horizon.
    pub(crate) fn next(
        &mut self,
        sql: &mut dyn Sql,
        partition: &Partition,
        part: Part<'_>,
        limits: BatchLimits,
    ) -> Result<Page> {
        let page = match self.span {
            Some(span) => few(sql, partition, part.at_most(span), limits)?,
            None => page(sql, partition, part, limits)?,
        };
        // A job may ask for a part that ends before the reader's position.
        let positions = page.position.saturating_sub(part.after);
        self.span = span(positions, page.messages.len() as u64, limits);
        Ok(page)
    }
}

/// Below this number of messages, planning a page takes longer than the function.
const WORTH_PLANNING: usize = 500;

/// Messages are close together if a page has one in this number of positions.
const CLOSE: u64 = 4;

/// Returns the number of positions that fill the next page, after a page of these positions in which these messages were found;
/// `None` if the messages are far apart.
fn span(positions: u64, found: u64, limits: BatchLimits) -> Option<u64> {
    let rows = limits.rows() as u64;
    let is_close = limits.rows() >= WORTH_PLANNING && found > 0 && positions <= found * CLOSE;
    is_close.then(|| rows.saturating_mul(positions).div_ceil(found))
}

/// Like [`page`], for a part with few positions.
fn few(
    sql: &mut dyn Sql,
    partition: &Partition,
    part: Part<'_>,
    limits: BatchLimits,
) -> Result<Page> {
    let (after, up_to, rows) = (
        to_sql(part.after),
        to_sql(part.up_to),
        to_sql(limits.rows()),
    );
    let (stored, real) = (to_sql(limits.small_stored()), to_sql(limits.small()));
    let parameters = [
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&rows, Type::INT8),
        param(&part.filter.types, Type::TEXT_ARRAY),
        param(&part.filter.categories, Type::TEXT_ARRAY),
        param(&stored, Type::INT8),
        param(&real, Type::INT8),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(READ_FEW), &parameters)
        .map_err(|source| Error::in_partition("read the feed", &partition.name, source))?;
    filled(sql, partition, part, limits, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_close_messages_asks_for_as_many_positions_as_fill_it() {
        let of = |messages| BatchLimits {
            messages,
            ..BatchLimits::default()
        };
        assert_eq!(span(100, 100, of(1_000)), Some(1_000));
        assert_eq!(span(400, 100, of(1_000)), Some(4_000));
        assert_eq!(span(401, 100, of(1_000)), None, "far apart");
        assert_eq!(span(1, 0, of(1_000)), None, "none found");
        assert_eq!(span(100, 100, of(499)), None, "small pages");
    }
}
