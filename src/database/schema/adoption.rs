//! Adoption of databases that Emmett created.

use super::applied::Applied;
use super::files::EVENT_STORE;
use super::migration::{MIGRATIONS, SchemaPart};
use super::statement::{is_true, migration_failed};
use super::text::render;
use crate::database::Sql;
use crate::database::error::{DatabaseError, Result};

/// Whether tables of events exist without the first of this library's own tables.
const HAS_FOREIGN_EVENTS: &str = "
    SELECT (pg_catalog.to_regclass(pg_catalog.format('%I.emt_streams', $1)) IS NOT NULL
            OR pg_catalog.to_regclass(pg_catalog.format('%I.emt_messages', $1)) IS NOT NULL)
       AND pg_catalog.to_regclass(pg_catalog.format('%I.emt_partitions', $1)) IS NULL";

/// The layout of Emmett's tables that can be adopted: the columns that the library uses, and primary keys that Emmett
/// created. Databases that began with Emmett 0.38 or older have the second key of streams; the adoption replaces it.
const EMMETT_LAYOUT: &str = "
    SELECT (SELECT pg_catalog.string_agg(column_name::TEXT, ',' ORDER BY column_name::TEXT COLLATE \"C\")
              FROM information_schema.columns
             WHERE table_schema::TEXT = $1 AND table_name::TEXT = 'emt_streams') =
           'is_archived,partition,stream_id,stream_metadata,stream_position,stream_type'
       AND (SELECT pg_catalog.string_agg(column_name::TEXT, ',' ORDER BY column_name::TEXT COLLATE \"C\")
              FROM information_schema.columns
             WHERE table_schema::TEXT = $1 AND table_name::TEXT = 'emt_messages') =
           'created,global_position,is_archived,message_data,message_id,message_kind,message_metadata,'
           'message_schema_version,message_type,partition,stream_id,stream_position,transaction_id'
       AND (SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = pg_catalog.to_regclass(pg_catalog.format('%I.emt_streams', $1))::OID AND contype = 'p') IN
           ('PRIMARY KEY (stream_id, partition, is_archived)',
            'PRIMARY KEY (stream_id, stream_position, partition, is_archived)')
       AND (SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = pg_catalog.to_regclass(pg_catalog.format('%I.emt_messages', $1))::OID AND contype = 'p') =
           'PRIMARY KEY (stream_id, stream_position, partition, is_archived)'
       AND pg_catalog.to_regclass(pg_catalog.format('%I.emt_global_message_position', $1)) IS NOT NULL";

const ADOPT_EMMETT: &str = include_str!("../../../sql/upgrades/adopt_emmett.sql");

/// One of Emmett's indexes, which costs every append a second index entry.
const SECOND_STREAM_INDEX: &str =
    "SELECT pg_catalog.to_regclass(pg_catalog.format('%I.idx_streams_unique', $1)) IS NOT NULL";

/// Whether Emmett created the tables. Tables of other programs are refused.
pub(super) fn is_emmetts(sql: &mut dyn Sql, schema: &str, applied: &[Applied]) -> Result<bool> {
    if has_event_store(applied) || !is_true(sql, HAS_FOREIGN_EVENTS, schema)? {
        return Ok(false);
    }
    if is_true(sql, EMMETT_LAYOUT, schema)? {
        return Ok(true);
    }
    Err(DatabaseError::schema(format!(
        "schema \"{schema}\" has tables emt_streams or emt_messages that neither this library nor Emmett 0.42 or newer \
         created: upgrade them with Emmett first, or choose another schema name or database"
    )))
}

fn has_event_store(applied: &[Applied]) -> bool {
    applied.iter().any(|found| {
        MIGRATIONS.iter().any(|migration| {
            migration.version == found.version && migration.part == SchemaPart::EventStore
        })
    })
}

/// Names of Emmett's functions that no longer lead to this library's: Emmett's migrations have replaced them. Ours either
/// set a search path or call a function that does.
const REPLACED: &str = "
    SELECT EXISTS (
        SELECT proname FROM pg_proc
         WHERE pronamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1))::OID
           AND proname::TEXT = ANY (ARRAY[
               'emt_append_to_stream', 'emt_sanitize_name', 'emt_add_partition', 'emt_add_table_partition',
               'store_processor_checkpoint', 'emt_try_acquire_processor_lock', 'emt_release_processor_lock',
               'emt_try_acquire_projection_lock', 'emt_register_projection', 'emt_activate_projection',
               'emt_deactivate_projection'])
         GROUP BY proname
        HAVING NOT pg_catalog.bool_or(proconfig IS NOT NULL
                                      OR prosrc ~ '[.]emt_(append|partition_suffix|partition_create)[(]'::TEXT))";

/// Whether Emmett's migrations have replaced functions of the schema that its clients call.
pub(crate) fn is_replaced(sql: &mut dyn Sql, schema: &str) -> Result<bool> {
    is_true(sql, REPLACED, schema)
}

/// Restores these functions.
pub(super) fn mend(sql: &mut dyn Sql, schema: &str) -> Result<()> {
    let files = EVENT_STORE.files.iter();
    for file in files.filter(|file| file.path.contains("/emmett")) {
        sql.batch(&render(file.sql, schema))
            .map_err(migration_failed)?;
    }
    Ok(())
}

/// Adopts the tables, after the schema has added the missing objects.
pub(super) fn adopt(sql: &mut dyn Sql, schema: &str) -> Result<()> {
    sql.batch(&render(ADOPT_EMMETT, schema))
        .map_err(migration_failed)
}

pub(super) fn remark(sql: &mut dyn Sql, schema: &str) -> Result<Option<String>> {
    let remark = "the index idx_streams_unique, which Emmett created, makes appends slower and has no use: drop it";
    Ok(is_true(sql, SECOND_STREAM_INDEX, schema)?.then(|| remark.to_owned()))
}
