//! The claim on the rebuild of a projection, which one program holds at a time.
//!
//! The claim is an otherwise empty transaction with an advisory lock. It ends with its program, even if that is
//! killed, and it works behind `PgBouncer`. If the program hangs, the server ends the transaction. The transaction has
//! no id and no snapshot, so it holds back neither the feed nor vacuum.

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

/// The server ends the claim of a program that sends no heartbeat. From `PostgreSQL` 17 on, the total time of a
/// transaction may be limited. The limit is lifted here, because the claim lasts as long as the rebuild.
const TIMEOUTS: &str = "
    SET LOCAL idle_in_transaction_session_timeout = '60s';
    SELECT pg_catalog.set_config('transaction_timeout', '0', TRUE)
     WHERE pg_catalog.current_setting('transaction_timeout', TRUE) IS NOT NULL";

/// Interval between heartbeats.
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

    /// Fails if the claim is lost, because the server has ended it or has crashed. The tables of the rebuild may be
    /// empty then.
    pub(super) fn check(&self) -> Result<()> {
        self.transaction
            .lock()
            .sql()
            .batch("SELECT 1")
            .map_err(|source| Error::database("hold the claim to a rebuild", source))
    }

    /// Keeps the claim alive while a closure runs.
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
            // The next user of the claim detects its loss.
            let _ = self.check();
        }
    }
}
