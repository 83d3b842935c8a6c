//! News in the feeds of many tenants, in one statement.

use crate::database::position::{get_u64, to_sql};
use crate::database::{SchemaSql, Sql, get, param};
use crate::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use std::time::SystemTime;

const NEWS: SchemaSql = SchemaSql::new(
    "SELECT change, partition, created_at, head FROM {schema}.emt_feed_news($1, $2, $3, $4)",
);

/// A tenant as a reader of all tenants knows it. A tenant that was removed and added again has another key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TenantKey {
    pub(crate) name: String,
    pub(crate) created_at: SystemTime,
}

/// The position that a reader has reached in a tenant's feed.
pub(crate) struct ReadTenant {
    pub(crate) tenant: TenantKey,
    /// `None` if the tenant's feed is not asked about.
    pub(crate) after: Option<u64>,
}

/// Changes since the last poll.
#[derive(Debug, Default)]
pub(crate) struct FeedNews {
    /// The last position that was drawn.
    pub(crate) head: u64,
    pub(crate) added: Vec<TenantKey>,
    pub(crate) removed: Vec<TenantKey>,
    /// Tenants with a message to read.
    pub(crate) readable: Vec<TenantKey>,
    /// An open append of some tenant may still add a message.
    pub(crate) is_held: bool,
}

/// Polls the feeds of all tenants. At the head `quiet_at`, nothing was readable or held back for the same positions.
pub(crate) fn news(
    sql: &mut dyn Sql,
    schema: &str,
    known: &[ReadTenant],
    quiet_at: Option<u64>,
) -> Result<FeedNews> {
    let names: Vec<&str> = known.iter().map(|read| &*read.tenant.name).collect();
    let created_at: Vec<SystemTime> = known.iter().map(|read| read.tenant.created_at).collect();
    let after: Vec<Option<i64>> = known.iter().map(|read| read.after.map(to_sql)).collect();
    let quiet_at = quiet_at.map(to_sql);
    let parameters = [
        param(&names, Type::TEXT_ARRAY),
        param(&created_at, Type::TIMESTAMPTZ_ARRAY),
        param(&after, Type::INT8_ARRAY),
        param(&quiet_at, Type::INT8),
    ];
    let rows = sql
        .query(&NEWS.in_schema(schema), &parameters)
        .map_err(|source| Error::database("poll the feeds of all tenants", source))?;
    let mut news = FeedNews::default();
    for row in &rows {
        news.take(row)?;
    }
    Ok(news)
}

impl FeedNews {
    fn take(&mut self, row: &Row) -> Result<()> {
        match get(row, "change")? {
            "head" => self.head = get_u64(row, "head")?,
            "added" => self.added.push(tenant(row)?),
            "removed" => self.removed.push(tenant(row)?),
            "readable" => self.readable.push(tenant(row)?),
            "held" => self.is_held = true,
            other => {
                return Err(Error::schema(format!(
                    "the function emt_feed_news returned {other:?}, which this library does not know: update the library or migrate the schema"
                )));
            }
        }
        Ok(())
    }
}

fn tenant(row: &Row) -> Result<TenantKey> {
    Ok(TenantKey {
        name: get(row, "partition")?,
        created_at: get(row, "created_at")?,
    })
}
