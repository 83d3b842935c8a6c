//! An instance of a workflow: its state, and what it records.

use super::definition::{Does, Step, Workflow};
use super::names::WorkflowNames;
use super::outcome::{Outcome, append};
use super::timers::{Due, NewTimer};
use crate::database::{ExpectedVersion, check_key};
use crate::error::{DecodeError, Error, Result};
use crate::events::{
    CAUSATION_ID, CORRELATION_ID, Encoded, Event, MessageKind, OutgoingMessage, Recorded,
    RecordedMessage, StreamAppend, check_category,
};
use crate::json::to_json;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Metadata of a recorded message, as Emmett has it.
const ORIGINAL_MESSAGE_ID: &str = "originalMessageId";
const IS_INPUT: &str = "input";
const ACTION: &str = "action";
/// Our own: the name of the timer whose input it is.
const TIMER: &str = "timer";
/// Our own: the last message of an instance.
pub(super) const IS_COMPLETE: &str = "complete";

/// An input for an instance.
pub(super) struct Input<'m, I> {
    pub(super) id: String,
    /// The events of the message: one, unless an upcast hook makes more of it.
    events: Vec<I>,
    message: &'m RecordedMessage,
    causes: Map<String, Value>,
    timer: Option<Value>,
}

impl<'m, I: Event> Input<'m, I> {
    /// Creates an input. `None` if an upcast hook has left no events.
    pub(super) fn new(
        id: String,
        events: Vec<Recorded<I>>,
        message: &'m RecordedMessage,
    ) -> Option<Self> {
        let correlation = events.first()?.correlation_id.clone();
        let correlation = correlation.unwrap_or_else(|| message.message_id.clone());
        let mut causes = Map::new();
        causes.insert(CORRELATION_ID.to_owned(), correlation.into());
        causes.insert(CAUSATION_ID.to_owned(), message.message_id.clone().into());
        Some(Self {
            id,
            events: events.into_iter().map(|recorded| recorded.event).collect(),
            message,
            causes,
            timer: None,
        })
    }

    /// Creates an input of one of the instance's timers.
    pub(super) fn of_timer(
        id: String,
        events: Vec<Recorded<I>>,
        message: &'m RecordedMessage,
    ) -> Option<Self> {
        let timer = events.first()?.metadata.get(TIMER).cloned();
        Some(Self {
            timer,
            ..Self::new(id, events, message)?
        })
    }

    /// Returns the record of the input.
    fn record(&self, names: &WorkflowNames, is_first: bool) -> Result<OutgoingMessage> {
        let message = self.message;
        let mut record = OutgoingMessage::from_stored(
            Cow::Owned(names.input_type(&message.message_type)),
            message.schema_version,
            message.data.clone(),
        )?;
        record.kind = message.kind;
        record.metadata.clone_from(&self.causes);
        let action = if is_first { "InitiatedBy" } else { "Received" };
        let id = message.message_id.clone();
        record
            .metadata
            .insert(ORIGINAL_MESSAGE_ID.to_owned(), id.into());
        record.metadata.insert(IS_INPUT.to_owned(), true.into());
        record.metadata.insert(ACTION.to_owned(), action.into());
        if let Some(timer) = &self.timer {
            record.metadata.insert(TIMER.to_owned(), timer.clone());
        }
        Ok(record)
    }
}

/// An instance as its stream tells, and the messages that a batch adds.
pub(super) struct Instance<W> {
    pub(super) stream: Arc<str>,
    /// The stream's version when it was read.
    pub(super) version: u64,
    state: W,
    /// Ids of the inputs that it has got.
    seen: HashSet<String>,
    is_complete: bool,
    new: Vec<OutgoingMessage>,
}

impl<W: Workflow> Instance<W> {
    pub(super) fn new(stream: Arc<str>) -> Self {
        Self {
            stream,
            version: 0,
            state: W::default(),
            seen: HashSet::new(),
            is_complete: false,
            new: Vec::new(),
        }
    }

    /// Applies a recorded message.
    pub(super) fn fold(&mut self, names: &WorkflowNames, message: &RecordedMessage) -> Result<()> {
        message.refuse_damaged()?;
        let metadata = message.parse_metadata()?.own;
        let is_true = |name: &str| metadata.get(name) == Some(&Value::Bool(true));
        if is_true(IS_INPUT) {
            let recorded = names.type_of_input(&message.message_type);
            let recorded = recorded.unwrap_or(&message.message_type);
            for input in decode::<W::Input>(message, recorded)? {
                self.state.evolve(Step::Input(&input));
            }
            if let Some(Value::String(id)) = metadata.get(ORIGINAL_MESSAGE_ID) {
                self.seen.insert(id.clone());
            }
        } else {
            for output in decode::<W::Output>(message, &message.message_type)? {
                self.state.evolve(Step::Output(&output));
            }
        }
        self.is_complete |= is_true(IS_COMPLETE);
        Ok(())
    }

    /// Decides an input, unless the instance has it already or is complete.
    pub(super) fn take(
        &mut self,
        names: &WorkflowNames,
        input: &Input<'_, W::Input>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        if self.is_complete || !self.seen.insert(input.message.message_id.clone()) {
            return Ok(());
        }
        let mut does = Vec::new();
        // In the order of a later replay: all events of the input, and then the outputs.
        for event in &input.events {
            does.extend(self.state.decide(event));
            self.state.evolve(Step::Input(event));
        }
        let is_first = self.version == 0 && self.new.is_empty();
        self.new.push(input.record(names, is_first)?);
        for one in does {
            self.carry_out(one, input, outcome)?;
        }
        if self.is_complete {
            outcome.complete(&input.id);
            if let Some(last) = self.new.last_mut() {
                last.metadata.insert(IS_COMPLETE.to_owned(), true.into());
            }
        }
        Ok(())
    }

    /// Returns the new records, if there are any. They are refused if the stream has changed since it was read.
    pub(super) fn into_records(self) -> Option<Result<StreamAppend>> {
        let expected = ExpectedVersion::Exact(self.version);
        (!self.new.is_empty()).then(|| append(&self.stream, expected, self.new))
    }

    fn carry_out(
        &mut self,
        does: Does<W::Input, W::Output>,
        input: &Input<'_, W::Input>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        match does {
            Does::Publish(event) => {
                self.record_output(&event, MessageKind::Event, input)?;
            }
            Does::Send(stream, command) => {
                check_target::<W::Output>(&stream)?;
                let record = self.record_output(&command, MessageKind::Command, input)?;
                let mut sent = OutgoingMessage::from_stored(
                    record.message_type.clone(),
                    record.schema_version,
                    record.data.clone(),
                )?;
                sent.kind = MessageKind::Command;
                sent.metadata.clone_from(&input.causes);
                outcome.send(stream, sent);
            }
            Does::After(name, delay, next) => {
                let due = Due::after(&name, delay)?;
                outcome.set(&input.id, name.clone(), timer(name, due, &next, input)?);
            }
            Does::At(name, time, next) => {
                let due = Due::at(&name, time)?;
                outcome.set(&input.id, name.clone(), timer(name, due, &next, input)?);
            }
            Does::Cancel(name) => outcome.cancel(&input.id, name),
            Does::Complete => self.is_complete = true,
        }
        Ok(())
    }

    fn record_output(
        &mut self,
        output: &W::Output,
        kind: MessageKind,
        input: &Input<'_, W::Input>,
    ) -> Result<&OutgoingMessage> {
        let mut record = OutgoingMessage::of_any_category(&self.stream, output)?;
        record.kind = kind;
        record.metadata.clone_from(&input.causes);
        let action = match kind {
            MessageKind::Event => "Published",
            MessageKind::Command => "Sent",
        };
        record.metadata.insert(ACTION.to_owned(), action.into());
        self.state.evolve(Step::Output(output));
        let at = self.new.len();
        self.new.push(record);
        Ok(&self.new[at])
    }
}

/// Decodes a recorded message under the type that it had before it was recorded.
fn decode<E: Event>(
    message: &RecordedMessage,
    message_type: &str,
) -> Result<impl Iterator<Item = E> + use<E>> {
    let encoded = Encoded {
        stream: &message.stream_name,
        version: message.stream_position,
        message_type,
        schema_version: message.schema_version,
        data: &message.data,
    };
    encoded.decode(None)
}

fn check_target<O: Event>(stream: &str) -> Result<()> {
    if stream.starts_with("emt:workflow:") || stream.starts_with("emt:timers:") {
        return Err(Error::invalid(
            format!("stream \"{stream}\""),
            "belongs to a workflow: send the command to another stream",
        ));
    }
    check_category::<O>(stream)
}

fn timer<I: Event>(name: String, due: Due, next: &I, input: &Input<'_, I>) -> Result<NewTimer> {
    check_key("the name of a timer", &name)?;
    let stream = || format!("of the timer \"{name}\"");
    let message = OutgoingMessage::of_any_category(&stream(), next)?;
    let mut metadata = input.causes.clone();
    metadata.insert(TIMER.to_owned(), json!(name));
    let metadata = to_json(&metadata).map_err(|source| Error::Encode {
        stream: stream(),
        source: source.into(),
    })?;
    Ok(NewTimer {
        due,
        input_type: message.message_type.into_owned(),
        schema_version: message.schema_version,
        input: message.data,
        metadata,
    })
}

/// Parses the metadata of a timer's message.
pub(super) fn timer_metadata(stream: &str, json: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(json).map_err(|error| Error::Decode {
        stream: stream.to_owned(),
        version: 0,
        message_type: TIMER.to_owned(),
        source: DecodeError::Json(error),
    })
}
