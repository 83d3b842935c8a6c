//! Checks that the server is new enough.

use super::statement::look_failed;
use crate::database::error::{DatabaseError, Result};
use crate::database::{Sql, get, scalar};

/// PostgreSQL 13 is the first version with `pg_current_xact_id`.
const OLDEST_SERVER: i32 = 130_000;

const SERVER_VERSION: &str = "
    SELECT pg_catalog.current_setting('server_version_num')::INTEGER AS number, pg_catalog.current_setting('server_version') AS version";

const ENCODING: &str = "SELECT getdatabaseencoding()::TEXT";

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

/// Returns the limitations of a database whose encoding is not UTF-8.
pub(super) fn encoding_remark(sql: &mut dyn Sql) -> Result<Option<String>> {
    let rows = sql.query(ENCODING, &[]).map_err(look_failed)?;
    let encoding: String = scalar(&rows)?.unwrap_or_default();
    Ok(remark_on(&encoding))
}

fn remark_on(encoding: &str) -> Option<String> {
    match encoding {
        "UTF8" => None,
        "SQL_ASCII" => Some(
            "the encoding of the database is SQL_ASCII: it counts bytes as characters, so names of tenants have to be ASCII, and \
             filters and sort orders split other characters; create the database with UTF8"
                .to_owned(),
        ),
        other => Some(format!(
            "the encoding of the database is {other}: texts with other characters are refused; create the database with UTF8"
        )),
    }
}
