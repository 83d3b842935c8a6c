//! `emmett consumers`.

use super::Output;
use super::arguments::{ConsumersCommand, ProcessorArguments, SelectionArguments};
use super::table::{Table, duration, plain, time};
use crate::error::counted;
use crate::operations::Processors;
use crate::slots::{
    ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection, ProcessorState, ProcessorStatus,
    RequestOutcome, SlotHolder, SlotStatus, SurvivedError,
};
use crate::store::EventStore;
use anyhow::bail;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn run(
    command: Option<ConsumersCommand>,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    match command.unwrap_or(ConsumersCommand::List) {
        ConsumersCommand::List => list(store, output),
        ConsumersCommand::Parked {
            processor,
            stream,
            after,
            limit,
        } => {
            let mut options = ParkedOptions::new().after(after).limit(limit);
            if let Some(stream) = stream {
                options = options.stream(stream);
            }
            parked(&processor, options, store, output)
        }
        ConsumersCommand::Show {
            processor,
            position,
        } => show(&processor, position, store, output),
        ConsumersCommand::Replay {
            processor,
            selection,
        } => request(&processor, selection, ParkedRequest::Replay, store, output),
        ConsumersCommand::Discard {
            processor,
            selection,
        } => request(&processor, selection, ParkedRequest::Discard, store, output),
        ConsumersCommand::Reset { processor, to } => reset(&processor, to, store, output),
        ConsumersCommand::Forget { processor } => forget(&processor, store, output),
    }
}

fn processors(arguments: &ProcessorArguments, store: &EventStore) -> Processors {
    match arguments.of_version {
        Some(version) => store.processors().version(version),
        None => store.processors(),
    }
}

fn list(store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let processors = store.processors().list()?;
    if processors.is_empty() {
        return output.text("no processors");
    }
    let mut table = Table::new(&[
        "PROCESSOR",
        "VERSION",
        "STATE",
        "POSITION",
        "HEAD",
        "LAG",
        "LAG TIME",
        "OWNER",
        "LEASE",
        "PARKED",
        "LAST ERROR",
    ]);
    for processor in &processors {
        output.object(&status_object(processor))?;
        table.add(status_row(processor));
    }
    output.text(&table.render())
}

fn status_row(processor: &ProcessorStatus) -> Vec<String> {
    let holders: Vec<&SlotHolder> = processor
        .slots
        .iter()
        .filter_map(|slot| slot.holder.as_ref())
        .collect();
    let owners: BTreeSet<&str> = holders.iter().map(|holder| &*holder.owner).collect();
    let owners: Vec<&str> = owners.into_iter().collect();
    // The lease that expires first.
    let lease = holders
        .iter()
        .map(|holder| holder.lease_left.unwrap_or(Duration::ZERO))
        .min();
    let parked = match (processor.parked, processor.waiting) {
        (parked, 0) => parked.to_string(),
        (parked, waiting) => format!("{parked} + {waiting} waiting"),
    };
    vec![
        processor.name.clone(),
        processor.version.to_string(),
        processor.state.to_string(),
        processor.position.to_string(),
        processor.head.to_string(),
        processor.lag.to_string(),
        dash(processor.lag_time.map(duration)),
        dash((!owners.is_empty()).then(|| owners.join(", "))),
        dash(lease.map(duration)),
        parked,
        dash(last_error(processor)),
    ]
}

fn last_error(processor: &ProcessorStatus) -> Option<String> {
    let survived = processor.survived.as_ref().map(|survived| {
        let (times, at) = (survived.times, time(survived.at));
        format!(
            "{}, last at {at}: {}",
            counted(times, "time"),
            survived.error
        )
    });
    processor.last_error.clone().or(survived)
}

fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn status_object(processor: &ProcessorStatus) -> Value {
    json!({
        "processor": processor.name,
        "version": processor.version,
        "state": state_name(processor.state),
        "position": processor.position,
        "head": processor.head,
        "epoch": processor.epoch,
        "storeEpoch": processor.store_epoch,
        "lag": processor.lag,
        "lagSeconds": processor.lag_time.map(|lag| lag.as_secs_f64()),
        "parked": processor.parked,
        "waiting": processor.waiting,
        "lastError": processor.last_error,
        "survived": processor.survived.as_ref().map(survived_object),
        "slots": processor.slots.iter().map(slot_object).collect::<Vec<_>>(),
    })
}

fn state_name(state: ProcessorState) -> &'static str {
    match state {
        ProcessorState::Running => "running",
        ProcessorState::Hanging => "hanging",
        ProcessorState::Repeating => "repeating",
        ProcessorState::StandingStill => "standingStill",
        ProcessorState::Stopped => "stopped",
        ProcessorState::LeaseExpired => "leaseExpired",
        ProcessorState::Ahead => "ahead",
        ProcessorState::Waiting => "waiting",
        ProcessorState::Failed => "failed",
    }
}

fn slot_object(slot: &SlotStatus) -> Value {
    let holder = slot.holder.as_ref();
    json!({
        "slot": slot.slot,
        "position": slot.position,
        "epoch": slot.epoch,
        "owner": holder.map(|holder| &holder.owner),
        "worker": holder.map(|holder| holder.worker),
        "heldSeconds": holder.map(|holder| holder.held_for.as_secs_f64()),
        "leaseSeconds": holder.map(|holder| holder.lease_left.unwrap_or(Duration::ZERO).as_secs_f64()),
        "crashes": slot.crashes,
        "attempts": slot.attempts,
        "failed": slot.failed,
        "lastError": slot.last_error,
        "survived": slot.survived.as_ref().map(survived_object),
        "busySeconds": slot.busy_for.map(|time| time.as_secs_f64()),
        "retryAt": slot.retry_at.map(time),
        "updatedAt": time(slot.updated_at),
    })
}

fn survived_object(survived: &SurvivedError) -> Value {
    json!({ "error": survived.error, "at": time(survived.at), "times": survived.times })
}

fn parked(
    processor: &ProcessorArguments,
    options: ParkedOptions,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let parked = processors(processor, store).parked(&processor.name, options)?;
    if parked.is_empty() {
        return output.text("no parked messages");
    }
    let mut table = Table::new(&[
        "POSITION", "STREAM", "VERSION", "TYPE", "ATTEMPTS", "SINCE", "REQUEST", "ERROR",
    ]);
    for message in &parked {
        output.object(&parked_object(message))?;
        table.add(vec![
            message.global_position.to_string(),
            message.stream_name.clone(),
            message.stream_position.to_string(),
            message.message_type.clone(),
            message.attempts.to_string(),
            time(message.parked_at),
            dash(message.request.map(|request| request.to_string())),
            reason(message),
        ]);
    }
    output.text(&table.render())
}

fn reason(message: &ParkedMessage) -> String {
    message
        .error
        .clone()
        .unwrap_or_else(|| "waits for an earlier message of its stream".to_owned())
}

fn parked_object(message: &ParkedMessage) -> Value {
    json!({
        "globalPosition": message.global_position,
        "streamName": message.stream_name,
        "streamPosition": message.stream_position,
        "type": message.message_type,
        "attempts": message.attempts,
        "error": message.error,
        "request": message.request.map(|request| request.to_string()),
        "parkedAt": time(message.parked_at),
        "processorVersion": message.version,
        "slot": message.slot,
    })
}

fn show(
    processor: &ProcessorArguments,
    position: u64,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let name = &processor.name;
    let Some(detail) = processors(processor, store).parked_message(name, position)? else {
        bail!("processor \"{name}\" has no parked message at position {position}");
    };
    let parked = &detail.parked;
    let mut object = parked_object(parked);
    object["message"] = detail
        .message
        .as_ref()
        .map_or(Value::Null, super::stream::object);
    output.object(&object)?;

    let mut lines = vec![
        format!("position  {}", parked.global_position),
        format!(
            "stream    {}, version {}",
            plain(&parked.stream_name),
            parked.stream_position
        ),
        format!("type      {}", plain(&parked.message_type)),
        format!("attempts  {}", parked.attempts),
        format!("since     {}", time(parked.parked_at)),
        format!("error     {}", plain(&reason(parked))),
    ];
    if let Some(request) = parked.request {
        lines.push(format!("request   {request}"));
    }
    match &detail.message {
        Some(message) => {
            lines.push(format!("data      {}", message.event.data));
            let metadata = Value::Object(message.metadata.clone());
            lines.push(format!("metadata  {metadata}"));
        }
        None => lines.push("the message was deleted".to_owned()),
    }
    output.text(&lines.join("\n"))
}

fn request(
    processor: &ProcessorArguments,
    selection: SelectionArguments,
    request: ParkedRequest,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let (name, selection) = (&processor.name, chosen(selection));
    let processors = processors(processor, store);
    let outcome = if request == ParkedRequest::Replay {
        processors.replay(name, &selection)?
    } else {
        processors.discard(name, &selection)?
    };
    match &selection {
        ParkedSelection::Position(position) if outcome.marked == 0 => {
            bail!("processor \"{name}\" has no parked message at position {position}")
        }
        ParkedSelection::Stream(stream) if outcome.marked == 0 => {
            bail!("processor \"{name}\" has no parked message of stream \"{stream}\"")
        }
        _ => {}
    }
    output.result(
        &outcome_text(request, outcome),
        &json!({
            "processor": name,
            "request": request.to_string(),
            "marked": outcome.marked,
            "following": outcome.following,
            "ownerRunning": outcome.owner_running,
        }),
    )
}

fn chosen(selection: SelectionArguments) -> ParkedSelection {
    match (selection.stream, selection.position) {
        (Some(stream), _) => ParkedSelection::Stream(stream),
        (None, Some(position)) => ParkedSelection::Position(position),
        (None, None) => ParkedSelection::All,
    }
}

fn outcome_text(request: ParkedRequest, outcome: RequestOutcome) -> String {
    if outcome.marked == 0 {
        return "no parked messages".to_owned();
    }
    let following = match outcome.following {
        0 => String::new(),
        following => format!("; {} released", counted(following, "later message")),
    };
    let owner = if outcome.owner_running {
        ""
    } else {
        "\nno owner is running: the request is carried out when the processor is started"
    };
    format!(
        "{request} requested for {}{following}{owner}",
        counted(outcome.marked, "message")
    )
}

fn reset(
    processor: &ProcessorArguments,
    position: u64,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let name = &processor.name;
    let reset = processors(processor, store).reset(name, position)?;
    let unparked = match reset.unparked {
        0 => String::new(),
        unparked => format!("; discarded {}", counted(unparked, "parked message")),
    };
    output.result(
        &format!("reset processor \"{name}\": it resumes after position {position}{unparked}"),
        &json!({
            "processor": name,
            "position": position,
            "slots": reset.slots,
            "unparked": reset.unparked,
            "ownerRunning": reset.owner_running,
        }),
    )
}

fn forget(
    processor: &ProcessorArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let name = &processor.name;
    processors(processor, store).forget(name)?;
    output.result(
        &format!("forgot processor \"{name}\""),
        &json!({ "processor": name, "forgotten": true }),
    )
}
