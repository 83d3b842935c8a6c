//! Whether the server is new enough.

use super::statement::look_failed;
use crate::database::error::{DatabaseError, Result};
use crate::database::{Sql, get};

/// PostgreSQL 13 is the first with `pg_current_xact_id`.
const OLDEST_SERVER: i32 = 130_000;

const SERVER_VERSION: &str = "
    SELECT current_setting('server_version_num')::INTEGER AS number, current_setting('server_version') AS version";

pub(super) fn check_server(sql: &mut dyn Sql) -> Result<()> {
    let rows = sql.query(SERVER_VERSION, &[]).map_err(look_failed)?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if get::<i32>(row, "number")? >= OLDEST_SERVER {
        return Ok(());
    }
    let version: &str = get(row, "version")?;
    Err(DatabaseError::schema(format!(
        "the server runs PostgreSQL {version}, this library needs 13 or newer"
    )))
}
