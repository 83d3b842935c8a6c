//! Executors of decisions: the store, or a session.

use crate::database::Sql;
use crate::error::Result;
use crate::events::{Appended, CommandKey, Partition, Snapshot, StreamAppend};
use crate::store::{AfterCommit, EventStore, Session};

/// A connection, and the tenant to read.
#[doc(hidden)]
pub struct Reading<'a> {
    pub(super) sql: &'a mut dyn Sql,
    pub(super) partition: &'a Partition,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reading")
            .field("partition", &self.partition.name)
            .finish_non_exhaustive()
    }
}

/// An executor of reads and appends.
pub trait Executor {
    #[doc(hidden)]
    fn read<T>(&mut self, read: &mut dyn FnMut(Reading<'_>) -> Result<T>) -> Result<T>;

    /// Adds the executor's own data to the messages of the appends.
    #[doc(hidden)]
    fn prepare(&self, appends: Vec<StreamAppend>) -> Result<Vec<StreamAppend>> {
        Ok(appends)
    }

    #[doc(hidden)]
    fn append(&mut self, appends: &[StreamAppend]) -> Result<Vec<Appended>>;

    /// Returns `None` if the key is taken.
    #[doc(hidden)]
    fn append_under_key(
        &mut self,
        appends: &[StreamAppend],
        key: &CommandKey,
        reply: &[u8],
    ) -> Result<Option<Vec<Appended>>>;

    /// Writes snapshots, once what they hold is committed.
    #[doc(hidden)]
    fn keep_snapshots(&mut self, snapshots: Vec<Snapshot>);
}

impl Executor for &EventStore {
    fn read<T>(&mut self, read: &mut dyn FnMut(Reading<'_>) -> Result<T>) -> Result<T> {
        let partition = self.partition();
        self.connections()
            .run(true, |sql| read(Reading { sql, partition }))
    }

    fn append(&mut self, appends: &[StreamAppend]) -> Result<Vec<Appended>> {
        self.append_prepared(appends)
    }

    fn append_under_key(
        &mut self,
        appends: &[StreamAppend],
        key: &CommandKey,
        reply: &[u8],
    ) -> Result<Option<Vec<Appended>>> {
        self.append_prepared_under_key(appends, key, reply)
    }

    fn keep_snapshots(&mut self, snapshots: Vec<Snapshot>) {
        self.committed(AfterCommit {
            snapshots,
            ..AfterCommit::default()
        });
    }
}

impl Executor for &mut Session<'_> {
    fn read<T>(&mut self, read: &mut dyn FnMut(Reading<'_>) -> Result<T>) -> Result<T> {
        let partition = self.shared_partition();
        read(Reading {
            sql: self.sql()?,
            partition: &partition,
        })
    }

    fn append(&mut self, appends: &[StreamAppend]) -> Result<Vec<Appended>> {
        self.append_all(appends)
    }

    fn prepare(&self, appends: Vec<StreamAppend>) -> Result<Vec<StreamAppend>> {
        self.with_causes(appends)
    }

    fn append_under_key(
        &mut self,
        appends: &[StreamAppend],
        key: &CommandKey,
        reply: &[u8],
    ) -> Result<Option<Vec<Appended>>> {
        self.append_all_under_key(appends, key, reply)
    }

    fn keep_snapshots(&mut self, snapshots: Vec<Snapshot>) {
        Session::keep_snapshots(self, snapshots);
    }
}
