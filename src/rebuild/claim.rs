//! The claim to rebuild a projection: one program at a time.
//!
//! It is a transaction that holds an advisory lock and does nothing else, so it ends with its program, also when that is
//! killed, and works behind `PgBouncer`. Where the program stands still, the server ends it. It has no id and no snapshot,
//! so it keeps neither the feed nor vacuum from their work.

use crate::database::{PooledTransaction, param, scalar};
use crate::error::{Error, ProjectionError, Result};
use crate::events::PartitionSql;
use crate::store::EventStore;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use postgres::types::Type;
use std::time::Duration;

const TRY: PartitionSql = PartitionSql::new(
    "SELECT pg_catalog.pg_try_advisory_xact_lock({schema}.emt_rebuild_lock_key($1, $2))",
);

/// The server ends the claim of a program that does not say for so long that it is alive. A transaction as a whole may have a
/// limit, from `PostgreSQL` 17 on; the claim takes as long as the rebuild.
const TIMEOUTS: &str = "
    SET LOCAL idle_in_transaction_session_timeout = '60s';
    SELECT pg_catalog.set_config('transaction_timeout', '0', TRUE)
     WHERE pg_catalog.current_setting('transaction_timeout', TRUE) IS NOT NULL";

/// How often the program says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) struct Claim {
    transaction: Mutex<PooledTransaction>,
}

impl Claim {
    pub(super) fn take(store: &EventStore, projection: &str) -> Result<Self> {
        let partition = store.partition();
        let mut transaction = PooledTransaction::begin(store.connections())?;
        let sql = transaction.sql();
        sql.batch(TIMEOUTS)
            .map_err(|source| Error::database("claim a rebuild", source))?;
        let parameters = [
            param(&partition.name, Type::TEXT),
            param(&projection, Type::TEXT),
        ];
        let rows = sql
            .query(&partition.sql(TRY), &parameters)
            .map_err(|source| Error::in_partition("claim a rebuild", &partition.name, source))?;
        if scalar(&rows)?.unwrap_or_default() {
            return Ok(Self {
                transaction: Mutex::new(transaction),
            });
        }
        Err(Error::Projection(ProjectionError::RebuildRunning {
            projection: projection.to_owned(),
        }))
    }

    /// Fails when the claim is lost: the server has ended it, or has crashed. The tables of the rebuild may be empty then.
    pub(super) fn check(&self) -> Result<()> {
        self.transaction
            .lock()
            .sql()
            .batch("SELECT 1")
            .map_err(|source| Error::database("hold the claim to a rebuild", source))
    }

    /// Keeps the claim while something runs.
    pub(super) fn keep_while<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        std::thread::scope(|scope| {
            let (running, ended) = bounded::<()>(0);
            std::thread::Builder::new()
                .name("emt:rebuild-claim".into())
                .spawn_scoped(scope, move || self.beat_until(&ended))
                .map_err(|source| Error::Thread { source })?;
            let outcome = run();
            drop(running);
            outcome
        })
    }

    fn beat_until(&self, ended: &Receiver<()>) {
        while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
            // A claim that is lost is found out by whoever relies on it.
            let _ = self.check();
        }
    }
}
