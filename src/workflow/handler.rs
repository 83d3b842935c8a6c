//! Handles the inputs of a workflow, and fires its timers.

use super::definition::Workflow;
use super::instance::{Input, Instance, timer_metadata};
use super::names::{Origin, WorkflowNames};
use super::outcome::{Outcome, append};
use super::timers::{self, FiredTimer};
use crate::database::{ExpectedVersion, check_key};
use crate::error::{Error, Result, caught};
use crate::events::stream::{self, Receiver};
use crate::events::{HandledEvents, MessageRow, OutgoingMessage, Recorded, RecordedMessage};
use crate::json::JsonError;
use crate::store::Session;
use std::borrow::Cow;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// A workflow of any type.
pub(crate) trait WorkflowHandler: Send + Sync {
    fn names(&self) -> &WorkflowNames;

    /// Returns the stream of the instance that gets a message; `None` if none does.
    fn instance_of(&self, message: &RecordedMessage) -> Result<Option<String>>;

    /// Decides messages in the session. Fails with a conflict if another transaction has changed an instance meanwhile.
    fn handle(&self, session: &mut Session<'_>, messages: &[&RecordedMessage]) -> Result<()>;
}

/// Returns the handler of a workflow.
pub(crate) fn handler_of<W: Workflow>() -> impl WorkflowHandler + 'static {
    Handler::<W> {
        names: WorkflowNames::new(W::NAME),
        workflow: PhantomData,
    }
}

/// Adds the events of a workflow's timers.
pub(crate) fn with_timers<W: Workflow>(mut handled: HandledEvents) -> HandledEvents {
    handled.add::<W::Input>();
    handled.only_categories(&[WorkflowNames::new(W::NAME).timer_category()]);
    handled
}

struct Handler<W> {
    names: WorkflowNames,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> Handler<W> {
    fn input<'m>(&self, message: &'m RecordedMessage) -> Result<Option<Input<'m, W::Input>>> {
        let origin = self
            .names
            .origin(message.stream_name(), message.message_type());
        let input = match origin {
            Origin::Record => return Ok(None),
            Origin::Timer(id) => {
                let events = message.decode_any_category(None)?.collect();
                Input::of_timer(id.to_owned(), events, message)
            }
            Origin::Elsewhere => {
                let events: Vec<Recorded<W::Input>> = message.decode()?.collect();
                let Some(id) = one_id::<W>(&events, message)? else {
                    return Ok(None);
                };
                Input::new(id, events, message)
            }
        };
        let Some(input) = input else {
            return Ok(None);
        };
        check_key("the stream of a workflow", &self.names.stream(&input.id))?;
        Ok(Some(input))
    }

    /// Reads the instances of the inputs, and returns for each input the index of its instance.
    fn read(
        &self,
        session: &mut Session<'_>,
        inputs: &[Input<'_, W::Input>],
    ) -> Result<(Vec<Instance<W>>, Vec<usize>)> {
        let (mut known, mut indices) = (HashMap::new(), Vec::with_capacity(inputs.len()));
        let mut streams: Vec<Arc<str>> = Vec::new();
        for input in inputs {
            let next = streams.len();
            let index = *known.entry(input.id.as_str()).or_insert(next);
            if index == next {
                streams.push(self.names.stream(&input.id).into());
            }
            indices.push(index);
        }
        let mut instances: Vec<Instance<W>> = streams.iter().cloned().map(Instance::new).collect();
        if streams.is_empty() {
            return Ok((instances, indices));
        }
        let partition = session.shared_partition();
        let boundary = stream::Boundary {
            streams: &streams,
            formats: &vec![None; streams.len()],
            key: None,
        };
        let mut folding = Folding {
            names: &self.names,
            instances: &mut instances,
        };
        let read = stream::read_together(session.sql()?, &partition, &boundary, &mut folding)?;
        let stream::Outcome::Read(read) = read else {
            return Err(Error::schema("a workflow was read from a snapshot"));
        };
        for (instance, stream) in instances.iter_mut().zip(read.streams) {
            instance.version = stream.version;
        }
        Ok((instances, indices))
    }
}

/// Returns the id of the instance that gets the events of a message. An upcast hook may make several events of it.
fn one_id<W: Workflow>(
    events: &[Recorded<W::Input>],
    message: &RecordedMessage,
) -> Result<Option<String>> {
    let mut ids: Vec<String> = events.iter().filter_map(W::id).collect();
    ids.dedup();
    if ids.len() > 1 {
        return Err(Error::invalid(
            message.place(),
            format!("has events for the instances {ids:?}: an input is for one instance"),
        ));
    }
    Ok(ids.pop())
}

/// Applies the recorded messages of instances.
struct Folding<'a, W> {
    names: &'a WorkflowNames,
    instances: &'a mut [Instance<W>],
}

impl<W: Workflow> Receiver for Folding<'_, W> {
    /// Workflows have no snapshots.
    fn restore(&mut self, _: usize, _: &[u8]) -> Result<(), JsonError> {
        Ok(())
    }

    fn message(&mut self, number: usize, row: &MessageRow<'_>) -> Result<()> {
        self.instances[number].fold(self.names, &row.recorded()?)
    }
}

impl<W: Workflow> WorkflowHandler for Handler<W> {
    fn names(&self) -> &WorkflowNames {
        &self.names
    }

    fn instance_of(&self, message: &RecordedMessage) -> Result<Option<String>> {
        let input =
            caught("the id of a workflow", || self.input(message)).map_err(Error::of_closure)??;
        Ok(input.map(|input| self.names.stream(&input.id)))
    }

    fn handle(&self, session: &mut Session<'_>, messages: &[&RecordedMessage]) -> Result<()> {
        let mut inputs = Vec::with_capacity(messages.len());
        for message in messages {
            inputs.extend(self.input(message)?);
        }
        let (mut instances, indices) = self.read(session, &inputs)?;
        let mut outcome = Outcome::default();
        for (input, index) in inputs.iter().zip(indices) {
            instances[index].take(&self.names, input, &mut outcome)?;
        }
        let records = instances.into_iter().filter_map(Instance::into_records);
        outcome.store(
            self.names.workflow,
            records.collect::<Result<_>>()?,
            session,
        )
    }
}

/// Takes timers that are due, up to a number.
pub(crate) fn take_due(
    names: &WorkflowNames,
    session: &mut Session<'_>,
    limit: i64,
) -> Result<Vec<FiredTimer>> {
    let partition = session.shared_partition();
    timers::take(session.sql()?, &partition, names.workflow, limit)
}

/// Appends the inputs of taken timers.
pub(crate) fn append_inputs(
    names: &WorkflowNames,
    session: &mut Session<'_>,
    fired: Vec<FiredTimer>,
) -> Result<()> {
    let (mut streams, mut indices) = (Vec::new(), HashMap::new());
    for timer in fired {
        let stream = names.timer_stream(&timer.id);
        let (input_type, version) = (Cow::Owned(timer.input_type), timer.schema_version);
        let mut message = OutgoingMessage::from_stored(input_type, version, timer.input)?;
        message.metadata = timer_metadata(&stream, &timer.metadata)?;
        let next = streams.len();
        let index = *indices.entry(timer.id).or_insert(next);
        if index == next {
            streams.push((stream, Vec::new()));
        }
        streams[index].1.push(message);
    }
    let appends = streams
        .into_iter()
        .map(|(stream, messages)| append(&stream, ExpectedVersion::Any, messages))
        .collect::<Result<Vec<_>>>()?;
    session.append_all(&appends)?;
    Ok(())
}
