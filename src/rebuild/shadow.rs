//! The tables that a rebuild writes beside the live ones. Owns the statements on `emt_rebuilds`.

use super::failure::failed;
use crate::database::position::to_sql;
use crate::database::{PooledTransaction, Sql, param, scalar};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use crate::pongo::collections_among;
use crate::projection::{Projection, ProjectionContext, ShadowTables, registry};
use crate::store::EventStore;
use postgres::types::Type;

const BEGIN: PartitionSql = PartitionSql::new("SELECT {schema}.emt_rebuild_begin($1, $2, $3, $4)");

const END: PartitionSql = PartitionSql::new("SELECT {schema}.emt_rebuild_end($1)");

const RECORD: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_rebuilds SET position = $2, updated_at = clock_timestamp() WHERE id = $1",
);

const REPLACE_DOCUMENTS: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_document_replace_all($1, $2, $3, $4)");

const COPY_ROWS: PartitionSql = PartitionSql::new("SELECT {schema}.emt_table_copy_rows($1, $2)");

const CREATE_OLD: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_collection_create_old($1, $2)");

const DROP_OLD: PartitionSql = PartitionSql::new("SELECT {schema}.emt_collection_drop_old($1, $2)");

/// Finds a table outside the rebuild that the transaction has written. Writes, and `TRUNCATE`, hold their table locks
/// until the transaction ends. Temporary tables belong to the handler and do not count.
const WRITTEN: &str = "
    SELECT relation.relname::TEXT
      FROM pg_locks AS lock
      JOIN pg_class AS relation ON relation.oid = lock.relation
     WHERE lock.pid = pg_backend_pid() AND lock.locktype = 'relation'
       AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND lock.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       AND relation.relkind IN ('r', 'p', 'f', 'v') AND relation.relpersistence <> 't'
       AND relation.relname <> ALL($1) AND relation.relnamespace <> 'pg_catalog'::REGNAMESPACE::OID
     LIMIT 1";

pub(super) struct Shadow {
    id: i64,
    pub(super) tables: ShadowTables,
    /// Whether each table is a collection of documents, in order.
    is_collection: Vec<bool>,
}

impl Shadow {
    /// Creates the empty tables.
    pub(super) fn begin(
        store: &EventStore,
        projection: &dyn Projection,
        version: i32,
    ) -> Result<Self> {
        let partition = store.partition();
        let live = projection.tables().to_vec();
        let collections = store.connections().run(true, |sql| {
            collections_among(sql, partition.schema(), &live)
        })?;
        let mut transaction = PooledTransaction::begin(store.connections())?;
        let id = begin(
            transaction.sql(),
            partition,
            projection.name(),
            version,
            &live,
        )?;
        transaction.commit()?;
        Ok(Self {
            id,
            is_collection: live
                .iter()
                .map(|table| collections.contains(table))
                .collect(),
            tables: ShadowTables {
                shadows: (1..=live.len())
                    .map(|number| format!("emt_shadow_{id}_{number}"))
                    .collect(),
                live,
            },
        })
    }

    /// Empties the tables as the projection does, so that they have the same initial rows.
    pub(super) fn truncate(&self, store: &EventStore, projection: &dyn Projection) -> Result<()> {
        if self.has_only_collections() {
            return Ok(());
        }
        let mut transaction = PooledTransaction::begin(store.connections())?;
        let mut context = ProjectionContext::new(transaction.sql(), store.partition());
        context = context.with_shadow(&self.tables);
        projection
            .truncate(&mut context)
            .map_err(|source| failed(projection, source))?;
        self.refuse_other_tables(transaction.sql(), projection)?;
        Ok(transaction.commit()?)
    }

    pub(super) fn has_only_collections(&self) -> bool {
        self.is_collection
            .iter()
            .all(|is_collection| *is_collection)
    }

    /// Fails if a projection has written into tables outside the rebuild, above all into the live ones.
    pub(super) fn refuse_other_tables(
        &self,
        sql: &mut dyn Sql,
        projection: &dyn Projection,
    ) -> Result<()> {
        let rows = sql
            .query(WRITTEN, &[param(&self.tables.shadows, Type::TEXT_ARRAY)])
            .map_err(|source| {
                Error::database("find the tables that a projection has written", source)
            })?;
        let Some(table) = scalar::<String>(&rows)? else {
            return Ok(());
        };
        Err(failed(
            projection,
            anyhow::anyhow!(
                "it writes into the table \"{table}\" during a rebuild: declare it in SqlProjection::tables, and take \
                 its name from ProjectionContext::table"
            ),
        ))
    }

    /// Records the progress of the rebuild. Returns false if another rebuild has taken over.
    pub(super) fn record(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        position: u64,
    ) -> Result<bool> {
        let position = to_sql(position);
        let parameters = [param(&self.id, Type::INT8), param(&position, Type::INT8)];
        sql.execute(&partition.sql(RECORD), &parameters)
            .map(|rows| rows > 0)
            .map_err(|source| Error::database("note the progress of a rebuild", source))
    }

    /// Replaces the live read model by the new one, in this partition only.
    pub(super) fn replace(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        projection: &dyn Projection,
    ) -> Result<()> {
        if !self.has_only_collections() {
            projection
                .truncate(&mut ProjectionContext::new(sql, partition))
                .map_err(|source| failed(projection, source))?;
        }
        for (index, is_collection) in self.is_collection.iter().enumerate() {
            let (live, shadow) = (&self.tables.live[index], &self.tables.shadows[index]);
            if *is_collection {
                replace_documents(sql, partition, shadow, live, false)?;
            } else {
                let parameters = [param(shadow, Type::TEXT), param(live, Type::TEXT)];
                sql.query(&partition.sql(COPY_ROWS), &parameters)
                    .map_err(|source| Error::database("replace a read model", source))?;
            }
        }
        Ok(())
    }

    /// Creates the collections that keep the live documents. Returns pairs of live and kept collection.
    pub(super) fn create_old(
        &self,
        store: &EventStore,
        projection: &dyn Projection,
    ) -> Result<Vec<(String, String)>> {
        if !self.has_only_collections() {
            return Err(Error::invalid(
                format!("projection \"{}\"", projection.name()),
                "only documents can be kept; give the tables of the new version other names",
            ));
        }
        let partition = store.partition();
        let mut transaction = PooledTransaction::begin(store.connections())?;
        let version = registry::live_version(transaction.sql(), partition, projection.name())?;
        let mut kept = Vec::new();
        for live in &self.tables.live {
            let old = format!("{live}_v{version}");
            transaction
                .sql()
                .query(
                    &partition.sql(CREATE_OLD),
                    &[param(live, Type::TEXT), param(&old, Type::TEXT)],
                )
                .map_err(|source| Error::database("keep the old read model", source))?;
            kept.push((live.clone(), old));
        }
        transaction.commit()?;
        Ok(kept)
    }

    /// Drops the tables. Returns false if another rebuild has dropped them.
    pub(super) fn end(&self, sql: &mut dyn Sql, partition: &Partition) -> Result<bool> {
        let rows = sql
            .query(&partition.sql(END), &[param(&self.id, Type::INT8)])
            .map_err(|source| Error::in_partition("end a rebuild", &partition.name, source))?;
        Ok(scalar(&rows)?.unwrap_or_default())
    }

    /// Returns the owner that the slots show while the rebuild holds them.
    pub(super) fn owner(&self) -> String {
        format!("rebuild {}", self.id)
    }
}

fn begin(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
    tables: &[String],
) -> Result<i64> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&tables, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query(&partition.sql(BEGIN), &parameters)
        .map_err(|source| Error::in_partition("begin a rebuild", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Replaces the documents of one table by those of another.
pub(super) fn replace_documents(
    sql: &mut dyn Sql,
    partition: &Partition,
    source: &str,
    target: &str,
    is_copy: bool,
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&source, Type::TEXT),
        param(&target, Type::TEXT),
        param(&is_copy, Type::BOOL),
    ];
    sql.query(&partition.sql(REPLACE_DOCUMENTS), &parameters)
        .map_err(|source| Error::database("replace documents", source))?;
    Ok(())
}

/// Deletes the old read models that rebuilds of a collection have kept.
pub(super) fn drop_old(sql: &mut dyn Sql, partition: &Partition, collection: &str) -> Result<bool> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&collection, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(DROP_OLD), &parameters)
        .map_err(|source| Error::in_partition("drop an old read model", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}
