//! After a restore: sequences that were set back, and positions that are drawn twice.

use crate::database::position::{get_u64, stored_to_sql};
use crate::database::{PooledTransaction, get};
use crate::error::{Error, Result};
use crate::events::{PartitionSql, epoch, feed};
use crate::store::EventStore;

const REPAIR: PartitionSql = PartitionSql::new(
    "SELECT previous, head, epoch, kept, partitions FROM {schema}.emt_store_repair()",
);

/// Result of a repair of the sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SequenceRepair {
    /// Position of the sequence before the repair.
    pub found: u64,
    /// Position of the sequence after the repair.
    pub head: u64,
    /// Epoch of the store. It is raised if the sequence was set back, because readers elsewhere may have seen events
    /// that are missing here.
    pub epoch: u64,
    /// Position up to which checkpoints stay valid: [`head`](SequenceRepair::head), or 0 if the sequence has drawn
    /// positions after it was set back.
    pub kept: u64,
    /// Partitions whose appends did not look for inline projections any more. If positions were drawn meanwhile, these
    /// projections are stale and have to be rebuilt.
    pub partitions: Vec<String>,
}

impl SequenceRepair {
    /// Returns whether anything was repaired.
    pub fn has_repaired(&self) -> bool {
        self.head > self.found || !self.partitions.is_empty()
    }
}

impl EventStore {
    /// Sets the sequences of the store to the highest values in its tables, for all tenants. Only the owner of the
    /// schema may call it.
    ///
    /// Logical replication does not copy sequences, and an incomplete restore sets them back. Positions would then be
    /// drawn twice, so the store refuses to open. Open it with
    /// [`open_unchecked`](crate::EventStoreBuilder::open_unchecked) for this call, or run `emmett repair sequence`.
    /// End the replication and stop all writers first.
    ///
    /// If the sequence of the positions was set back, a new [epoch](EventStore::epoch) begins. Readers outside the
    /// database may have seen events that were not replicated. Checkpoints of processors stay valid, unless positions
    /// may have been drawn twice already.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # emmett_postgresql::EventStore::open(database.url())?;
    /// # let url = database.url();
    /// let store = emmett_postgresql::EventStore::builder(url).open_unchecked()?;
    /// let repair = store.repair_sequence()?;
    /// assert!(!repair.has_repaired());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the database refuses the repair.
    pub fn repair_sequence(&self) -> Result<SequenceRepair> {
        let mut transaction = PooledTransaction::begin(self.connections())?;
        let rows = transaction
            .sql()
            .query(&self.partition().sql(REPAIR), &[])
            .map_err(|source| Error::database("repair the sequences", source))?;
        let row = rows.first().ok_or_else(|| {
            Error::schema("the function emt_store_repair returned no row: run `emmett migrate run`")
        })?;
        let repair = SequenceRepair {
            found: get_u64(row, "previous")?,
            head: get_u64(row, "head")?,
            epoch: get_u64(row, "epoch")?,
            kept: get_u64(row, "kept")?,
            partitions: get(row, "partitions")?,
        };
        transaction.commit()?;
        Ok(repair)
    }

    /// Returns the epoch of the store. It begins with 0. Each [`restored`](EventStore::restored) raises it by one,
    /// and each [`repair_sequence`](EventStore::repair_sequence) that had to set the positions.
    ///
    /// A reader that keeps its position outside this database stores the epoch with it, and passes both to
    /// [`FeedOptions`](crate::FeedOptions::epoch).
    ///
    /// # Errors
    /// When the query fails.
    pub fn epoch(&self) -> Result<u64> {
        self.connections()
            .run(true, |sql| epoch::current(sql, self.partition()))
    }

    /// Declares that the database was restored to an earlier state, or has failed over with data loss. Positions
    /// after the last stored one are going to be drawn again.
    ///
    /// It begins a new [epoch](EventStore::epoch) for all tenants, and returns it. Only the owner of the schema may
    /// call it. Call it before the first append.
    ///
    /// Checkpoints up to the last position stay valid, because they were restored with the events. Readers outside this
    /// database detect the new epoch. If positions were drawn again already, pass the last position that was not to
    /// [`restored_to`](EventStore::restored_to).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let store = emmett_postgresql::EventStore::open(database.url())?;
    /// assert_eq!(store.restored()?, 1);
    /// assert_eq!(store.epoch()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the database refuses the change.
    pub fn restored(&self) -> Result<u64> {
        self.begin_epoch(None)
    }

    /// Like [`restored`](EventStore::restored), if positions after this one may have been drawn again already.
    /// Processors after this position fail with [`ProcessorError::OldEpoch`](crate::error::ProcessorError::OldEpoch)
    /// until they are [reset](crate::operations::Processors::reset). 0 keeps no checkpoint.
    ///
    /// # Errors
    /// The errors of [`restored`](EventStore::restored), and [`Error::InvalidInput`] for a position that no append
    /// has drawn.
    pub fn restored_to(&self, position: u64) -> Result<u64> {
        self.begin_epoch(Some(position))
    }

    fn begin_epoch(&self, kept: Option<u64>) -> Result<u64> {
        let mut transaction = PooledTransaction::begin(self.connections())?;
        transaction.verify(self.partition().verification())?;
        let head = feed::head(transaction.sql(), self.partition())?;
        let kept = kept.unwrap_or(head);
        stored_to_sql("the position", kept)?;
        if kept > head {
            return Err(Error::invalid(
                format!("position {kept}"),
                format!("is beyond the last drawn position, {head}"),
            ));
        }
        let epoch = epoch::begin(transaction.sql(), self.partition(), kept)?;
        transaction.commit()?;
        Ok(epoch)
    }
}
