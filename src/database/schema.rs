//! The database schema: what `schema.sql` says, which part of it a database has, and how it gets the rest.

mod files;
#[cfg(test)]
mod tests;

use crate::database::identifier;
use crate::database::sha256::TextDigest;
use crate::database::{Connections, PooledTransaction, Sql, get, param};
use crate::error::{Error, Result};
use postgres::error::SqlState;
use postgres::types::Type;
use std::fmt;
use std::sync::Arc;

/// Whether opening a store may change the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AutoMigration {
    /// Creates what is missing and applies new migrations. The default.
    #[default]
    CreateOrUpdate,
    /// Never touches the schema; opening a store whose schema is missing or old fails.
    None,
}

/// Which part of the schema a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaPart {
    /// Collections of documents alone.
    Documents,
    /// The event store, with its documents.
    EventStore,
}

struct Migration {
    version: i32,
    part: SchemaPart,
    name: &'static str,
    map: files::Map,
}

impl Migration {
    fn sql(&self) -> String {
        self.map.joined("")
    }
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        part: SchemaPart::Documents,
        name: "documents",
        map: files::DOCUMENTS,
    },
    Migration {
        version: 2,
        part: SchemaPart::EventStore,
        name: "schema",
        map: files::EVENT_STORE,
    },
];

impl SchemaPart {
    fn migrations(self) -> impl DoubleEndedIterator<Item = &'static Migration> {
        MIGRATIONS
            .iter()
            .filter(move |migration| self == Self::EventStore || migration.part == self)
    }

    fn latest(self) -> i32 {
        self.migrations()
            .next_back()
            .map_or(0, |migration| migration.version)
    }
}

/// The word that stands for the PostgreSQL schema in the files.
const SCHEMA_WORD: &str = "public";

/// PostgreSQL 13 is the first with `pg_current_xact_id`.
const OLDEST_SERVER: i32 = 130_000;

const SERVER_VERSION: &str =
    "SELECT current_setting('server_version_num')::INTEGER, current_setting('server_version')";

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('emt.migrate/' || $1, 0))";

const HAS_MIGRATIONS: &str = "SELECT to_regclass(format('%I.emt_migrations', $1)) IS NOT NULL";

/// Tables of events beside which the first of this library's own is missing.
const HAS_FOREIGN_EVENTS: &str = "
    SELECT (to_regclass(format('%I.emt_streams', $1)) IS NOT NULL
            OR to_regclass(format('%I.emt_messages', $1)) IS NOT NULL)
       AND to_regclass(format('%I.emt_partitions', $1)) IS NULL";

/// What Emmett's tables must look like to be adopted: the columns that the library uses, and the primary keys that make
/// its upserts right (databases that were upgraded from Emmett 0.36 have others).
const EMMETT_LAYOUT: &str = "
    SELECT (SELECT string_agg(column_name, ',' ORDER BY column_name COLLATE \"C\")
              FROM information_schema.columns
             WHERE table_schema = $1 AND table_name = 'emt_streams') =
           'is_archived,partition,stream_id,stream_metadata,stream_position,stream_type'
       AND (SELECT string_agg(column_name, ',' ORDER BY column_name COLLATE \"C\")
              FROM information_schema.columns
             WHERE table_schema = $1 AND table_name = 'emt_messages') =
           'created,global_position,is_archived,message_data,message_id,message_kind,message_metadata,'
           'message_schema_version,message_type,partition,stream_id,stream_position,transaction_id'
       AND (SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = to_regclass(format('%I.emt_streams', $1)) AND contype = 'p') =
           'PRIMARY KEY (stream_id, partition, is_archived)'
       AND (SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = to_regclass(format('%I.emt_messages', $1)) AND contype = 'p') =
           'PRIMARY KEY (stream_id, stream_position, partition, is_archived)'
       AND to_regclass(format('%I.emt_global_message_position', $1)) IS NOT NULL";

const ADOPT_EMMETT: &str = include_str!("../../sql/upgrades/adopt_emmett.sql");

/// An index of Emmett's that costs every append a second index entry.
const SECOND_STREAM_INDEX: &str =
    "SELECT to_regclass(format('%I.idx_streams_unique', $1)) IS NOT NULL";

const APPLIED: &str =
    "SELECT version, name, checksum FROM {schema}.emt_migrations ORDER BY version";

const RECORD: &str = "
    INSERT INTO {schema}.emt_migrations (version, name, checksum) VALUES ($1, $2, $3)
    ON CONFLICT (version) DO UPDATE SET checksum = EXCLUDED.checksum";

/// What a database has of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaState {
    /// Nothing.
    Missing,
    /// That of an Emmett of 0.42 or newer. Migrating adopts it: every message is kept, and Emmett's clients can go on using
    /// it, with their own migrations switched off.
    Emmett,
    /// An older version.
    Old {
        /// The version that it has.
        found: u32,
        /// The version that this library needs.
        needed: u32,
    },
    /// All of it.
    Current {
        /// The version.
        version: u32,
    },
}

impl fmt::Display for SchemaState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("the schema is missing: run `emmett migrate run`"),
            Self::Emmett => formatter.write_str(
                "the schema is Emmett's: `emmett migrate run` adopts it and keeps every message",
            ),
            Self::Old { found, needed } => write!(
                formatter,
                "the schema has version {found}, this library needs {needed}: run `emmett migrate run`"
            ),
            Self::Current { version } => {
                write!(formatter, "the schema is up to date (version {version})")
            }
        }
    }
}

/// What a migration did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The migrations that were applied now, by name.
    pub applied: Vec<String>,
    /// Those that had been applied before.
    pub skipped: Vec<String>,
    /// What is not as it could be.
    pub remarks: Vec<String>,
}

impl MigrationReport {
    pub(crate) fn add(&mut self, item: String, is_new: bool) {
        if is_new {
            self.applied.push(item);
        } else {
            self.skipped.push(item);
        }
    }
}

/// What a program declares beside the schema itself: its collections and their indexes.
pub(crate) trait Declared: Send + Sync {
    fn sql(&self, schema: &str) -> String;

    /// Says what [`create`](Declared::create) and [`create_outside`](Declared::create_outside) would do.
    fn look(&self, sql: &mut dyn Sql, schema: &str) -> Result<MigrationReport>;

    /// Creates what belongs into the transaction of the migration.
    fn create(&self, sql: &mut dyn Sql, schema: &str, report: &mut MigrationReport) -> Result<()>;

    /// Creates after that transaction what can be in none.
    fn create_outside(
        &self,
        connections: &Connections,
        schema: &str,
        report: &mut MigrationReport,
    ) -> Result<()>;
}

/// The schema of one store: its SQL, its state, and its migration.
///
/// ```no_run
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// use emmett_postgresql::{AutoMigration, EventStore};
/// let store = EventStore::builder("postgresql://localhost/shop")
///     .auto_migration(AutoMigration::None)
///     .open_unchecked()?;
/// println!("{}", store.schema().dry_run()?.applied.join(", "));
/// store.schema().migrate()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schema {
    connections: Connections,
    name: Arc<str>,
    part: SchemaPart,
    declared: Arc<dyn Declared>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Schema")
            .field("name", &self.name)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

impl Schema {
    pub(crate) fn new(
        connections: Connections,
        name: Arc<str>,
        part: SchemaPart,
        declared: Arc<dyn Declared>,
    ) -> Self {
        Self {
            connections,
            name,
            part,
            declared,
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The SQL of the schema and of the declared collections, as a file that `psql -1 -f` applies.
    pub fn sql(&self) -> String {
        sql(&self.name, self.part) + &self.declared.sql(&self.name)
    }

    /// Which part of the schema the database has.
    ///
    /// # Errors
    /// [`Error::Schema`] when the schema is newer than this library, was changed, or belongs to somebody else.
    pub fn state(&self) -> Result<SchemaState> {
        self.connections
            .run(true, |sql| state(sql, &self.name, self.part))
    }

    /// Creates what is missing, in one transaction. Any number of processes may do so at once.
    ///
    /// # Errors
    /// Like [`state`](Schema::state), and whatever the database refuses.
    pub fn migrate(&self) -> Result<MigrationReport> {
        let mut transaction = PooledTransaction::begin(&self.connections)?;
        let mut report = apply(transaction.sql(), &self.name, self.part)?;
        self.declared
            .create(transaction.sql(), &self.name, &mut report)?;
        transaction.commit()?;
        self.declared
            .create_outside(&self.connections, &self.name, &mut report)?;
        Ok(report)
    }

    /// Does what [`migrate`](Schema::migrate) does, and rolls it back: nothing is changed. Declared collections and indexes are
    /// looked for, and not created.
    ///
    /// # Errors
    /// Like [`migrate`](Schema::migrate).
    pub fn dry_run(&self) -> Result<MigrationReport> {
        let mut transaction = PooledTransaction::begin(&self.connections)?;
        let mut report = apply(transaction.sql(), &self.name, self.part)?;
        let declared = self.declared.look(transaction.sql(), &self.name)?;
        report.applied.extend(declared.applied);
        report.skipped.extend(declared.skipped);
        transaction.rollback()?;
        Ok(report)
    }

    pub(crate) fn prepare(&self, auto_migration: AutoMigration) -> Result<()> {
        let state = self.state()?;
        match (auto_migration, state) {
            (AutoMigration::None, SchemaState::Current { .. }) => {
                match self.missing()?.as_slice() {
                    [] => Ok(()),
                    missing => Err(Error::Schema(format!(
                        "{} missing: run the migration of the program that declares them",
                        missing.join(", ")
                    ))),
                }
            }
            (AutoMigration::CreateOrUpdate, SchemaState::Current { .. })
                if self.missing()?.is_empty() =>
            {
                Ok(())
            }
            (AutoMigration::CreateOrUpdate, _) => self.migrate().map(|_| ()),
            (AutoMigration::None, state) => Err(Error::Schema(state.to_string())),
        }
    }

    /// The declared collections and indexes that a database with the schema does not have.
    pub(crate) fn missing(&self) -> Result<Vec<String>> {
        let report = self
            .connections
            .run(true, |sql| self.declared.look(sql, &self.name))?;
        Ok(report.applied)
    }
}

/// The SQL of a part of the schema, in the PostgreSQL schema of that name.
pub(crate) fn sql(schema: &str, part: SchemaPart) -> String {
    let documents = files::DOCUMENTS.joined("");
    let text = match part {
        SchemaPart::Documents => documents,
        SchemaPart::EventStore => files::EVENT_STORE.joined(&documents),
    };
    render(&text, schema)
}

/// The schema's name stands in string literals and function bodies, too, so it may have no character that ends them.
pub(crate) fn check_name(schema: &str) -> Result<()> {
    identifier::check("the schema name", schema)?;
    match schema
        .chars()
        .find(|character| matches!(character, '\'' | '$' | '\\' | '"' | '%'))
    {
        Some(character) => Err(Error::invalid(
            format!("the schema name {schema:?}"),
            format!("must not contain {character}"),
        )),
        None => Ok(()),
    }
}

fn render(sql: &str, schema: &str) -> String {
    if schema == SCHEMA_WORD {
        sql.to_owned()
    } else {
        sql.replace(SCHEMA_WORD, &identifier::quote(schema))
    }
}

/// The version of the schema that the event store needs.
#[cfg(feature = "cli")]
pub(crate) fn needed() -> u32 {
    u32::try_from(SchemaPart::EventStore.latest()).unwrap_or(0)
}

fn checksum(migration: &Migration) -> String {
    TextDigest::from(migration.sql().as_str()).text()
}

fn database(source: postgres::Error) -> Error {
    Error::database("look at the schema", source)
}

struct Applied {
    version: i32,
    name: String,
    checksum: Option<String>,
}

fn applied(sql: &mut dyn Sql, schema: &str) -> Result<Vec<Applied>> {
    if !is_true(sql, HAS_MIGRATIONS, schema)? {
        return Ok(Vec::new());
    }
    let rows = sql
        .query(
            &APPLIED.replace("{schema}", &identifier::quote(schema)),
            &[],
        )
        .map_err(database)?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: get(row, 0)?,
                name: get(row, 1)?,
                checksum: get(row, 2)?,
            })
        })
        .collect()
}

fn is_true(sql: &mut dyn Sql, question: &str, schema: &str) -> Result<bool> {
    let rows = sql
        .query(question, &[param(&schema, Type::TEXT)])
        .map_err(database)?;
    let answer = rows
        .first()
        .map_or(Ok(None), |row| get::<Option<bool>>(row, 0))?;
    Ok(answer == Some(true))
}

fn has_event_store(applied: &[Applied]) -> bool {
    applied.iter().any(|found| {
        MIGRATIONS.iter().any(|migration| {
            migration.version == found.version && migration.part == SchemaPart::EventStore
        })
    })
}

/// Whether Emmett has created the tables. Somebody else's are refused.
fn is_emmetts(sql: &mut dyn Sql, schema: &str, applied: &[Applied]) -> Result<bool> {
    if has_event_store(applied) || !is_true(sql, HAS_FOREIGN_EVENTS, schema)? {
        return Ok(false);
    }
    if is_true(sql, EMMETT_LAYOUT, schema)? {
        return Ok(true);
    }
    Err(Error::Schema(format!(
        "schema \"{schema}\" has tables emt_streams or emt_messages that neither this library nor Emmett 0.42 or newer \
         created: upgrade them with Emmett first, or choose another schema name or database"
    )))
}

fn state(sql: &mut dyn Sql, schema: &str, part: SchemaPart) -> Result<SchemaState> {
    check_server(sql)?;
    let applied = applied(sql, schema)?;
    check_history(&applied)?;
    if part == SchemaPart::EventStore && is_emmetts(sql, schema, &applied)? {
        return Ok(SchemaState::Emmett);
    }
    let newest = part
        .migrations()
        .map(|migration| migration.version)
        .take_while(|version| applied.iter().any(|found| found.version == *version))
        .last();
    let unsigned = |version: i32| u32::try_from(version).unwrap_or(0);
    Ok(match newest {
        None => SchemaState::Missing,
        Some(found) if found < part.latest() => SchemaState::Old {
            found: unsigned(found),
            needed: unsigned(part.latest()),
        },
        Some(found) => SchemaState::Current {
            version: unsigned(found),
        },
    })
}

fn check_server(sql: &mut dyn Sql) -> Result<()> {
    let rows = sql.query(SERVER_VERSION, &[]).map_err(database)?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if get::<i32>(row, 0)? >= OLDEST_SERVER {
        return Ok(());
    }
    let version: &str = get(row, 1)?;
    Err(Error::Schema(format!(
        "the server runs PostgreSQL {version}, this library needs 13 or newer"
    )))
}

/// A newer schema, or one that was changed after it was applied, is not ours to touch.
fn check_history(applied: &[Applied]) -> Result<()> {
    for found in applied {
        let Some(known) = MIGRATIONS
            .iter()
            .find(|known| known.version == found.version)
        else {
            return Err(Error::Schema(format!(
                "the schema has version {}, newer than this library, which knows {}: update the library",
                found.version,
                SchemaPart::EventStore.latest()
            )));
        };
        let differs = found
            .checksum
            .as_ref()
            .is_some_and(|found| *found != checksum(known));
        if differs || found.name != known.name {
            return Err(Error::Schema(format!(
                "migration {} (\"{}\") was applied with other content than this library has: \
                 it was written by another build of the library",
                found.version, found.name
            )));
        }
    }
    Ok(())
}

fn apply(sql: &mut dyn Sql, schema: &str, part: SchemaPart) -> Result<MigrationReport> {
    let refused = |source| Error::database("migrate the schema", source);
    // Before the look at what is applied: whoever waits here sees what the one before has done.
    sql.query(LOCK, &[param(&schema, Type::TEXT)])
        .map_err(refused)?;
    check_server(sql)?;
    let applied = applied(sql, schema)?;
    check_history(&applied)?;
    let adopting = part == SchemaPart::EventStore && is_emmetts(sql, schema, &applied)?;
    let record = RECORD.replace("{schema}", &identifier::quote(schema));
    let mut report = MigrationReport::default();
    for migration in part.migrations() {
        let found = applied
            .iter()
            .find(|found| found.version == migration.version);
        if found.is_some() {
            report.skipped.push(migration.name.to_owned());
        } else {
            sql.batch(&render(&migration.sql(), schema))
                .map_err(refused)?;
            report.applied.push(migration.name.to_owned());
        }
        if found.is_none_or(|found| found.checksum.is_none()) {
            let (name, checksum) = (migration.name, checksum(migration));
            let row = [
                param(&migration.version, Type::INT4),
                param(&name, Type::TEXT),
                param(&checksum, Type::TEXT),
            ];
            sql.execute(&record, &row).map_err(refused)?;
        }
    }
    if adopting {
        sql.batch(&render(ADOPT_EMMETT, schema)).map_err(refused)?;
        report.applied.push("adopt_emmett".to_owned());
    }
    if is_true(sql, SECOND_STREAM_INDEX, schema)? {
        report.remarks.push(
            "the index idx_streams_unique, which Emmett has created, makes appends slower and serves nothing: drop it".into(),
        );
    }
    Ok(report)
}

/// Creates a collection's table where it is missing.
pub(crate) fn create_collection(sql: &mut dyn Sql, schema: &str, collection: &str) -> Result<()> {
    let text = format!(
        "SELECT {}.emt_create_collection($1)",
        identifier::quote(schema)
    );
    sql.query(&text, &[param(&collection, Type::TEXT)])
        .map_err(|source| function_error("create a collection", source))?;
    Ok(())
}

/// What it means that a call of one of the schema's functions failed: without the function, that there is no schema yet.
pub(crate) fn function_error(doing: &'static str, source: postgres::Error) -> Error {
    let missing = [SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME];
    if source.code().is_some_and(|code| missing.contains(code)) {
        return Error::Schema(SchemaState::Missing.to_string());
    }
    Error::database(doing, source)
}
