//! Schemas in which other roles may create functions and operators that statements of this role find.

use super::finding::{Finding, FindingKind, Severity, refused};
use crate::database::{Sql, get, identifier, param};
use crate::error::Result;
use crate::events::Partition;
use postgres::Row;
use postgres::types::Type;

/// Superusers, the role itself, and the owners of the database and of the store's schema are trusted anyway.
const CREATORS: &str = "
    SELECT place.nspname::TEXT AS schema,
           CASE WHEN granted.grantee::BIGINT = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(granted.grantee)::TEXT END AS role,
           place.nspname::TEXT = $1 AS is_ours
      FROM pg_catalog.pg_namespace AS place,
           LATERAL pg_catalog.aclexplode(
               coalesce(place.nspacl, pg_catalog.acldefault('n'::\"char\", place.nspowner))) AS granted
      LEFT JOIN pg_catalog.pg_roles AS role ON role.oid = granted.grantee
     WHERE (place.nspname::TEXT = $1 OR place.nspname = ANY (pg_catalog.current_schemas(FALSE)))
       AND place.nspname <> 'pg_catalog'
       AND granted.privilege_type = 'CREATE' AND role.rolsuper IS NOT TRUE
       AND coalesce(role.rolname::TEXT, '') <> 'pg_database_owner'
       AND coalesce(role.rolname::TEXT, '') <> CURRENT_USER::TEXT
       AND granted.grantee <> (SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database())
       AND granted.grantee <> coalesce((SELECT ours.nspowner FROM pg_catalog.pg_namespace AS ours
                                         WHERE ours.nspname::TEXT = $1), 0::OID)
     ORDER BY schema, role";

/// PostgreSQL searches pg_catalog first, unless the path names it later.
const LATE: &str = "
    SELECT found.name::TEXT
      FROM pg_catalog.unnest(pg_catalog.current_schemas(TRUE)) WITH ORDINALITY AS found (name, number)
     WHERE found.name::TEXT NOT LIKE 'pg\\_%'
       AND found.number < (SELECT own.number
                             FROM pg_catalog.unnest(pg_catalog.current_schemas(TRUE)) WITH ORDINALITY AS own (name, number)
                            WHERE own.name = 'pg_catalog')
     ORDER BY found.number
     LIMIT 1";

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let late = sql.query_unnamed(LATE, &[]).map_err(refused)?;
    let schema = &**partition.schema();
    let creators = sql
        .query_unnamed(CREATORS, &[param(&schema, Type::TEXT)])
        .map_err(refused)?;
    let late = late.iter().map(before_own);
    late.chain(creators.iter().map(open)).collect()
}

fn before_own(row: &Row) -> Result<Finding> {
    let schema: String = get(row, 0)?;
    Ok(Finding::new(
        FindingKind::SearchPath,
        Severity::Warning,
        format!(
            "The search path of this role has \"{schema}\" before pg_catalog: each function and operator there replaces \
             PostgreSQL's own."
        ),
        "Remove pg_catalog from search_path: PostgreSQL then searches it first.",
    ))
}

fn open(row: &Row) -> Result<Finding> {
    let schema: String = get(row, "schema")?;
    let role: Option<String> = get(row, "role")?;
    let is_ours: bool = get(row, "is_ours")?;
    let (who, from) = match &role {
        Some(role) => (format!("role \"{role}\""), identifier::quote(role)),
        None => ("every role".to_owned(), "PUBLIC".to_owned()),
    };
    let place = if is_ours {
        "which holds the store"
    } else {
        "which is on the search path"
    };
    Ok(Finding::new(
        FindingKind::SearchPath,
        Severity::Warning,
        format!(
            "In schema \"{schema}\", {place}, {who} may create functions and operators, which the statements of others may \
             call."
        ),
        format!(
            "REVOKE CREATE ON SCHEMA {} FROM {from}",
            identifier::quote(&schema)
        ),
    ))
}
