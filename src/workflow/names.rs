//! The names of a workflow's streams.

use super::definition::Workflow;
use crate::database::check_key;
use crate::error::{Error, Result};

const WORKFLOWS: &str = "emt:workflow:";
const TIMERS: &str = "emt:timers:";

/// Returns the prefix of the streams of a workflow, or of all workflows.
pub(crate) fn workflow_prefix(workflow: Option<&str>) -> String {
    workflow.map_or_else(
        || WORKFLOWS.to_owned(),
        |workflow| format!("{WORKFLOWS}{workflow}:"),
    )
}

/// Returns the category of a workflow's streams, in which its events are published.
///
/// ```
/// use emmett_postgresql::workflow::{category_of, id_of, stream_of};
/// # use emmett_postgresql::{RawEvent, Reactor, Recorded};
/// # use emmett_postgresql::workflow::{Does, Step, Workflow};
/// # #[derive(Default)]
/// # struct Checkout;
/// # impl Workflow for Checkout {
/// #     type Input = RawEvent;
/// #     type Output = RawEvent;
/// #     const NAME: &'static str = "checkout";
/// #     fn id(_: &Recorded<RawEvent>) -> Option<String> { None }
/// #     fn evolve(&mut self, _: Step<&RawEvent, &RawEvent>) {}
/// #     fn decide(&self, _: &RawEvent) -> Vec<Does<RawEvent, RawEvent>> { Vec::new() }
/// # }
/// assert_eq!(category_of::<Checkout>(), "emt:workflow:checkout");
/// assert_eq!(id_of::<Checkout>(&stream_of::<Checkout>("order-1")), Some("order-1"));
/// let shown = Reactor::new("shown")
///     .each(|done: &Recorded<RawEvent>, _| Ok(println!("{}", done.message_type)))
///     .categories(&[&category_of::<Checkout>()]);
/// # let _ = shown;
/// ```
pub fn category_of<W: Workflow>() -> String {
    WorkflowNames::new(W::NAME).category().to_owned()
}

/// Returns the stream of an instance: `emt:workflow:{NAME}:{id}`. [`category_of`] has an example.
pub fn stream_of<W: Workflow>(id: &str) -> String {
    WorkflowNames::new(W::NAME).stream(id)
}

/// Returns the id of the instance whose stream this is; `None` for the stream of another workflow, or of none. [`category_of`] has
/// an example.
pub fn id_of<W: Workflow>(stream: &str) -> Option<&str> {
    let names = WorkflowNames::new(W::NAME);
    let id = stream.strip_prefix(names.instances.as_str());
    id.filter(|id| !id.is_empty())
}

/// Names of a workflow, its streams and its messages.
#[derive(Debug, Clone)]
pub(crate) struct WorkflowNames {
    pub(crate) workflow: &'static str,
    /// Prefix of the streams of its instances.
    instances: String,
    /// Prefix of the streams of its fired timers.
    timers: String,
    /// Prefix of the types of recorded inputs.
    inputs: String,
}

impl WorkflowNames {
    pub(crate) fn new(workflow: &'static str) -> Self {
        Self {
            workflow,
            instances: workflow_prefix(Some(workflow)),
            timers: format!("{TIMERS}{workflow}:"),
            inputs: format!("{workflow}:"),
        }
    }

    /// Fails if the streams of two workflows could be confused.
    pub(crate) fn check(&self) -> Result<()> {
        let what = || format!("workflow \"{}\"", self.workflow);
        if self.workflow.is_empty() || self.workflow.contains(':') {
            let reason = "must have a name without \":\"";
            return Err(Error::invalid(what(), reason));
        }
        Ok(check_key("the name of a workflow", self.workflow)?)
    }

    /// Returns the category of the streams of instances.
    fn category(&self) -> &str {
        self.instances.trim_end_matches(':')
    }

    /// Returns the stream of an instance.
    pub(crate) fn stream(&self, id: &str) -> String {
        format!("{}{id}", self.instances)
    }

    /// Returns the stream of an instance's fired timers.
    pub(crate) fn timer_stream(&self, id: &str) -> String {
        format!("{}{id}", self.timers)
    }

    /// Returns the category of the streams of fired timers.
    pub(crate) fn timer_category(&self) -> &str {
        self.timers.trim_end_matches(':')
    }

    /// Returns the type under which an input is recorded.
    pub(crate) fn input_type(&self, message_type: &str) -> String {
        format!("{}{message_type}", self.inputs)
    }

    /// Returns the type of a recorded input.
    pub(crate) fn type_of_input<'t>(&self, recorded_type: &'t str) -> Option<&'t str> {
        recorded_type.strip_prefix(&self.inputs)
    }

    pub(crate) fn origin<'s>(&self, stream: &'s str, message_type: &str) -> Origin<'s> {
        if let Some(id) = stream.strip_prefix(&self.timers) {
            return Origin::Timer(id);
        }
        let is_record =
            stream.starts_with(&self.instances) && message_type.starts_with(&self.inputs);
        if is_record || stream.starts_with(TIMERS) {
            return Origin::Record;
        }
        Origin::Elsewhere
    }
}

/// The source of a message in the feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin<'s> {
    /// A fired timer of this instance.
    Timer(&'s str),
    /// The record of an input, or another workflow's timer. It is no input.
    Record,
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::{Origin, WorkflowNames};

    #[test]
    fn records_and_timers_are_told_from_other_messages() {
        let names = WorkflowNames::new("checkout");
        for (stream, message_type, origin) in [
            ("emt:timers:checkout:1:a", "TimedOut", Origin::Timer("1:a")),
            ("emt:timers:other:1", "TimedOut", Origin::Record),
            ("emt:workflow:checkout:1", "checkout:Placed", Origin::Record),
            ("emt:workflow:checkout:1", "Cancelled", Origin::Elsewhere),
            ("emt:workflow:other:1", "other:Placed", Origin::Elsewhere),
            ("Order-1", "Placed", Origin::Elsewhere),
        ] {
            assert_eq!(names.origin(stream, message_type), origin, "{stream}");
        }
    }

    #[test]
    fn a_name_with_a_colon_is_refused() {
        assert!(WorkflowNames::new("check-out").check().is_ok());
        for name in ["", "a:b", "a\0"] {
            assert!(WorkflowNames::new(name).check().is_err(), "{name:?}");
        }
    }
}
