//! The operator's view: instances and timers.

use super::names::workflow_prefix;
use super::timer::{LIMIT, Timer, TimerOptions};
use super::timers;
use crate::database::position::to_sql;
use crate::error::{Error, Result};
use crate::events::stream::{InstanceStream, instances};
use crate::store::EventStore;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// The state of a workflow's instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkflowState {
    /// It gets further inputs.
    Running,
    /// It has ended with [`Does::Complete`](super::Does::Complete).
    Complete,
}

impl fmt::Display for WorkflowState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Running => "running",
            Self::Complete => "complete",
        })
    }
}

/// An instance of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkflowInstance {
    /// Name of the workflow.
    pub workflow: String,
    /// Id of the instance.
    pub id: String,
    /// Whether it has ended.
    pub state: WorkflowState,
    /// Number of recorded inputs and outputs.
    pub messages: u64,
    /// Time since its first input, by the server's clock.
    pub age: Duration,
    /// Time since its last message, by the server's clock.
    pub idle: Duration,
    /// Number of its timers that have not fired.
    pub timers: u64,
}

/// Selection of instances for [`EventStore::workflow_instances`].
#[derive(Debug, Clone)]
#[must_use]
pub struct InstanceOptions {
    workflow: Option<String>,
    state: Option<WorkflowState>,
    limit: u64,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl InstanceOptions {
    /// The oldest 100 instances.
    pub fn new() -> Self {
        Self {
            workflow: None,
            state: None,
            limit: LIMIT,
        }
    }

    /// Name of the workflow. Defaults to all workflows.
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.workflow = Some(name.into());
        self
    }

    /// State of the instances. Defaults to all states.
    pub fn state(mut self, state: WorkflowState) -> Self {
        self.state = Some(state);
        self
    }

    /// Maximum number of instances. Defaults to 100.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }
}

impl EventStore {
    /// Returns instances of workflows, the oldest first.
    ///
    /// ```no_run
    /// use emmett_postgresql::workflow::{InstanceOptions, WorkflowState};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// let running = InstanceOptions::new().workflow("checkout").state(WorkflowState::Running);
    /// for instance in store.workflow_instances(&running)? {
    ///     println!("{} since {:?}, {} timers", instance.id, instance.age, instance.timers);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] for a limit of 0.
    /// - If the database cannot be queried.
    pub fn workflow_instances(&self, options: &InstanceOptions) -> Result<Vec<WorkflowInstance>> {
        check_limit(options.limit)?;
        let prefix = workflow_prefix(options.workflow.as_deref());
        let is_complete = options.state.map(|state| state == WorkflowState::Complete);
        let (partition, limit) = (self.partition(), to_sql(options.limit));
        self.connections().run(true, |sql| {
            let streams = instances(sql, partition, &prefix, is_complete, limit)?;
            let found: Vec<WorkflowInstance> = streams.into_iter().filter_map(instance).collect();
            let keys = found.iter().map(|one| (&*one.workflow, &*one.id)).collect();
            let counts: HashMap<(String, String), u64> = timers::count_of(sql, partition, keys)?
                .into_iter()
                .collect();
            let with_timers = |instance: WorkflowInstance| {
                let key = (instance.workflow.clone(), instance.id.clone());
                let timers = counts.get(&key).copied().unwrap_or_default();
                WorkflowInstance { timers, ..instance }
            };
            Ok(found.into_iter().map(with_timers).collect())
        })
    }

    /// Returns the timers of workflows that have not fired, the next one first.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] for a limit of 0.
    /// - If the database cannot be queried.
    pub fn timers(&self, options: &TimerOptions) -> Result<Vec<Timer>> {
        check_limit(options.limit)?;
        self.connections()
            .run(true, |sql| timers::list(sql, self.partition(), options))
    }
}

fn check_limit(limit: u64) -> Result<()> {
    if limit > 0 {
        return Ok(());
    }
    Err(Error::invalid("the limit of a list", "must be at least 1"))
}

/// `None` for a stream that only has such a name.
fn instance(stream: InstanceStream) -> Option<WorkflowInstance> {
    let (workflow, id) = stream
        .stream
        .strip_prefix(&*workflow_prefix(None))?
        .split_once(':')?;
    Some(WorkflowInstance {
        workflow: workflow.to_owned(),
        id: id.to_owned(),
        state: if stream.is_complete {
            WorkflowState::Complete
        } else {
            WorkflowState::Running
        },
        messages: stream.version,
        age: stream.age,
        idle: stream.idle,
        timers: 0,
    })
}
