//! After a restore: sequences that are behind their tables, and positions that are drawn for the second time.

use crate::database::position::{get_u64, stored_to_sql};
use crate::database::{PooledTransaction, get};
use crate::error::{Error, Result};
use crate::events::{PartitionSql, epoch, feed};
use crate::store::EventStore;

const REPAIR: PartitionSql = PartitionSql::new(
    "SELECT behind, head, epoch, kept, partitions FROM {schema}.emt_store_repair()",
);

/// What a repair of the sequences has found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SequenceRepair {
    /// Where the sequence of the positions was.
    pub found: u64,
    /// Where it is now.
    pub head: u64,
    /// The epoch of the store. Raised where the sequence of the positions was behind: readers elsewhere may have seen events
    /// that never came here.
    pub epoch: u64,
    /// The position up to which checkpoints hold: [`head`](SequenceRepair::head), or 0 where the sequence had drawn positions
    /// since it was set back.
    pub kept: u64,
    /// The partitions whose appends had forgotten that there are inline projections. Where positions had been drawn
    /// meanwhile, these projections are stale and have to be rebuilt.
    pub partitions: Vec<String>,
}

impl SequenceRepair {
    /// Whether anything was behind.
    pub fn has_repaired(&self) -> bool {
        self.head > self.found || !self.partitions.is_empty()
    }
}

impl EventStore {
    /// Sets the sequences of the store to where its tables are, of all tenants. Needs the owner of the schema.
    ///
    /// Logical replication copies no sequences, and a careless restore sets them back: positions would be drawn for the
    /// second time. A store is not opened then; open it with
    /// [`open_unchecked`](crate::EventStoreBuilder::open_unchecked) for this call, or run `emmett repair sequence`. End the
    /// replication and stop all writers first.
    ///
    /// Where the sequence of the positions was behind, a new [epoch](EventStore::epoch) begins, because readers outside of the
    /// database may have seen events that were not replicated. Checkpoints of processors hold, unless positions may have been
    /// drawn for the second time already.
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
    /// When the database refuses it.
    pub fn repair_sequence(&self) -> Result<SequenceRepair> {
        let mut transaction = PooledTransaction::begin(self.connections())?;
        let rows = transaction
            .sql()
            .query(&self.partition().sql(REPAIR), &[])
            .map_err(|source| Error::database("repair the sequences", source))?;
        let row = rows
            .first()
            .ok_or_else(|| Error::schema("the function emt_store_repair did not answer"))?;
        let repair = SequenceRepair {
            found: get_u64(row, "behind")?,
            head: get_u64(row, "head")?,
            epoch: get_u64(row, "epoch")?,
            kept: get_u64(row, "kept")?,
            partitions: get(row, "partitions")?,
        };
        transaction.commit()?;
        Ok(repair)
    }

    /// The epoch of the store: 0, and one more after each [`restored`](EventStore::restored) and each
    /// [`repair_sequence`](EventStore::repair_sequence) that had to set the positions. A reader that keeps its
    /// position outside of this database keeps the epoch beside it, and gives both to
    /// [`FeedOptions`](crate::FeedOptions::epoch).
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn epoch(&self) -> Result<u64> {
        self.connections()
            .run(true, |sql| epoch::current(sql, self.partition()))
    }

    /// Says that the database was restored to an earlier state, or has failed over with loss: positions after the last one
    /// are going to be drawn for the second time. Begins a new [epoch](EventStore::epoch), for all tenants, and returns it.
    /// Needs the owner of the schema. Call it before the first append.
    ///
    /// Checkpoints up to there hold, because they were restored with the events. Readers outside of this database notice the
    /// epoch. To say that positions were drawn again already, name the last one that was not:
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
    /// When the database refuses it.
    pub fn restored(&self) -> Result<u64> {
        self.begin_epoch(None)
    }

    /// The same, where positions after this one may have been drawn again already. Processors that are beyond it fail with
    /// [`ProcessorError::OldEpoch`](crate::error::ProcessorError::OldEpoch) until they are
    /// [reset](crate::operations::Processors::reset); 0 keeps no checkpoint.
    ///
    /// # Errors
    /// As there; [`Error::InvalidInput`] for a position that no append has drawn.
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
                format!("is beyond the last one, {head}"),
            ));
        }
        let epoch = epoch::begin(transaction.sql(), self.partition(), kept)?;
        transaction.commit()?;
        Ok(epoch)
    }
}
