//! `emmett adopt`.

use super::Output;
use crate::database::SchemaState;
use crate::operations::Neighbour;
use crate::projection::NeighbourProjection;
use crate::slots::NeighbourProcessor;
use crate::store::EventStore;
use anyhow::bail;
use serde_json::json;

pub(super) fn run(
    is_plan: bool,
    tenant: Option<&str>,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    if !is_plan {
        let applied = store.schema().migrate()?.applied;
        if applied.is_empty() {
            output.text("nothing to adopt: the schema is up to date")?;
        }
        for name in applied {
            output.text(&format!("applied {name}"))?;
        }
    } else if store.schema().state()? == SchemaState::Missing {
        bail!("no event store here: `emmett adopt` needs a database of Emmett for Node");
    }
    let neighbour = match tenant {
        Some(tenant) => store.tenant(tenant)?.neighbour()?,
        None => store.neighbour()?,
    };
    if neighbour.projections.is_empty() && neighbour.processors.is_empty() {
        output.text("no projections and no processors")?;
    }
    for projection in &neighbour.projections {
        print_projection(projection, &neighbour, output)?;
    }
    let listed: Vec<&NeighbourProcessor> = neighbour
        .projections
        .iter()
        .filter_map(|projection| neighbour.processor_of(projection))
        .collect();
    let others = neighbour.processors.iter();
    for processor in others.filter(|processor| !listed.contains(processor)) {
        print_processor(processor, output)?;
    }
    Ok(())
}

fn print_projection(
    projection: &NeighbourProjection,
    neighbour: &Neighbour,
    output: &mut Output,
) -> anyhow::Result<()> {
    let processor = neighbour.processor_of(projection);
    let (name, version) = (&projection.name, projection.version);
    let code = format!("DocumentProjection or SqlProjection \"{name}\", version {version}");
    let advice = match processor {
        Some(kept) => format!(
            "{code}, given to Projector::new: it resumes after {}, in turns with the Node service{}",
            kept.checkpoint,
            held(kept)
        ),
        None => format!(
            "{code}: if the Node service updates it in its appends, use inline_projection: it is rebuilt, and only the program \
             updates it from then on. If a processor below updates it, use Projector::new(..).name(ID)"
        ),
    };
    output.result(
        &format!(
            "projection {name}  version {version}  {}  {}  {}\n    {advice}",
            projection.partition, projection.kind, projection.status
        ),
        &json!({
            "projection": name,
            "version": version,
            "partition": projection.partition,
            "kind": projection.kind,
            "status": projection.status,
            "processor": processor.map(|kept| &kept.id),
            "checkpoint": processor.map(|kept| &kept.checkpoint),
            "inRust": advice,
        }),
    )
}

fn print_processor(processor: &NeighbourProcessor, output: &mut Output) -> anyhow::Result<()> {
    let NeighbourProcessor {
        id,
        version,
        checkpoint,
        ..
    } = processor;
    let advice = format!(
        "Reactor::new(\"{id}\"), or Projector::new(..).name(\"{id}\") for its projection: it resumes after \
         {checkpoint}{}",
        held(processor)
    );
    output.result(
        &format!(
            "processor {id}  version {version}  {}\n    {advice}",
            processor.partition
        ),
        &json!({
            "processor": id,
            "version": version,
            "partition": processor.partition,
            "checkpoint": checkpoint,
            "holder": processor.holder,
            "inRust": advice,
        }),
    )
}

fn held(processor: &NeighbourProcessor) -> String {
    let holder = processor.holder.as_ref();
    holder.map_or_else(String::new, |holder| format!("; \"{holder}\" holds it now"))
}
