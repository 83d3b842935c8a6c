//! `emmett projections`.

use super::Output;
use super::arguments::{ProjectionsCommand, RebuildArguments};
use super::interrupt::explain_interruption;
use crate::error::counted;
use crate::progress::Progress;
use crate::projection::ProjectionType;
use crate::store::EventStore;
use anyhow::bail;
use serde_json::json;
use std::time::Duration;

pub(super) fn run(
    command: Option<ProjectionsCommand>,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    match command.unwrap_or(ProjectionsCommand::List) {
        ProjectionsCommand::List => list(store, output),
        ProjectionsCommand::Rebuild(arguments) => rebuild(&arguments, store, output),
        ProjectionsCommand::Forget { name } => forget(&name, store, output),
        ProjectionsCommand::Old => old(store, output),
        ProjectionsCommand::DropOld { name } => drop_old(&name, store, output),
    }
}

fn list(store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let projections = store.registered_projections()?;
    if projections.is_empty() {
        output.text("no projections")?;
    }
    for projection in projections {
        let written = word(projection.projection_type);
        let rebuilding = projection.rebuilding.map_or_else(String::new, |position| {
            format!("  rebuilding, at position {position}")
        });
        let missed = projection.missed.map_or_else(String::new, |missed| {
            format!(
                "  misses {} from position {} on",
                counted(missed.count, "event"),
                missed.first_position
            )
        });
        let failure = projection
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| {
                format!(
                    "  fails at position {}: {}",
                    failure.global_position, failure.error
                )
            });
        output.result(
            &format!(
                "{}  version {}  {}  {written}  {}{missed}{failure}{rebuilding}",
                projection.name, projection.version, projection.kind, projection.status
            ),
            &json!({
                "name": projection.name,
                "version": projection.version,
                "kind": projection.kind,
                "type": written,
                "status": projection.status.to_string(),
                "missed": projection.missed.map(|missed| json!({
                    "count": missed.count,
                    "firstPosition": missed.first_position,
                    "secondsAgo": missed
                        .since
                        .and_then(|since| since.elapsed().ok())
                        .map(|age| age.as_secs()),
                })),
                "failure": projection.failure.as_ref().map(|failure| json!({
                    "globalPosition": failure.global_position,
                    "error": failure.error,
                })),
                "rebuilding": projection.rebuilding,
            }),
        )?;
    }
    Ok(())
}

fn word(projection_type: ProjectionType) -> &'static str {
    match projection_type {
        ProjectionType::Inline => "inline",
        ProjectionType::Asynchronous => "async",
    }
}

fn rebuild(
    arguments: &RebuildArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let name = &arguments.name;
    if store.projections().find(name).is_none() {
        return request(arguments, store, output);
    }
    explain_interruption("the live read model is unchanged; run the rebuild again")?;
    let mut display = Progress::on_stderr();
    let mut rebuild = store
        .rebuild(name)
        .workers(arguments.workers)
        .batch_size(arguments.batch_size.try_into()?)
        .on_progress(|progress| {
            let words = format!(
                "{}, {:.0}/s",
                counted(progress.handled, "event"),
                progress.per_second
            );
            display.show(progress.position, Some(progress.head), &words);
        });
    if arguments.keep_old {
        rebuild = rebuild.keep_old();
    }
    let outcome = rebuild.run();
    display.clear();
    let report = outcome?;
    let kept = match report.kept.as_slice() {
        [] => String::new(),
        kept => format!("; kept the replaced documents as {}", kept.join(", ")),
    };
    output.result(
        &format!(
            "rebuilt projection \"{name}\" from {} in {}, up to global position {}; appends waited {}{kept}",
            counted(report.handled, "event"),
            seconds(report.took),
            report.position,
            seconds(report.locked)
        ),
        &json!({
            "name": name,
            "handled": report.handled,
            "position": report.position,
            "tookSeconds": report.took.as_secs_f64(),
            "lockedSeconds": report.locked.as_secs_f64(),
            "kept": report.kept,
        }),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// Requests the rebuild from a program with the projection's code.
fn request(
    arguments: &RebuildArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let name = &arguments.name;
    let registered = store.registered_projections()?;
    let Some(projection) = registered
        .iter()
        .find(|projection| projection.name == *name)
    else {
        bail!("there is no projection \"{name}\"");
    };
    let mut rebuild = store
        .rebuild(name)
        .workers(arguments.workers)
        .batch_size(arguments.batch_size.try_into()?);
    if arguments.keep_old {
        rebuild = rebuild.keep_old();
    }
    let running = rebuild.request()?;
    let who = match (projection.projection_type, running) {
        (_, true) => "the consumer that updates it carries the rebuild out",
        (ProjectionType::Asynchronous, false) => {
            "no consumer is updating it now, so the next one that is started carries the rebuild out"
        }
        (ProjectionType::Inline, false) => {
            "a consumer of a program with the projection carries it out. Or run this command in such a program \
             (emmett_postgresql::cli::run)"
        }
    };
    output.result(
        &format!("requested the rebuild of projection \"{name}\": {who}"),
        &json!({ "name": name, "requested": true, "running": running }),
    )
}

fn forget(name: &str, store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    if !store.forget_projection(name)? {
        bail!("there is no projection \"{name}\"");
    }
    output.result(
        &format!("forgot projection \"{name}\"; its read model stays as it is"),
        &json!({ "name": name, "forgotten": true }),
    )
}

fn old(store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let models = store.old_models()?;
    if models.is_empty() {
        output.text("no old read models")?;
    }
    for model in models {
        output.result(
            &format!("{}  old model of \"{}\"", model.collection, model.old_of),
            &json!({ "collection": model.collection, "oldOf": model.old_of }),
        )?;
    }
    Ok(())
}

fn drop_old(name: &str, store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let dropped = store.drop_old_model(name)?;
    let text = if dropped {
        format!("dropped the old read model of \"{name}\"")
    } else {
        format!("there is no old read model of \"{name}\"")
    };
    output.result(&text, &json!({ "name": name, "dropped": dropped }))
}
