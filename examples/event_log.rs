//! Imports an event log and keeps two read models of it: one document per stream, one per responsible person.
//!
//! `cargo run --example event_log FILE`: FILE has one JSON object a line, `{"streamName", "type", "data", "metadata"}`, with
//! a field `responsible` in `data`. Without FILE it makes a small log of its own. Runs on a throwaway PostgreSQL, or on the
//! server that `EMMETT_TEST_DATABASE_URL` names, in a database of its own either way.

use anyhow::Context;
use emmett_postgresql::{
    DocumentProjection, EventStore, RawEvent, Recorded, operations::ImportOptions, testing::Server,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::time::Instant;

/// One document per stream.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Case {
    #[serde(rename = "_id")]
    id: String,
    events: u32,
    last_type: String,
    responsible: Option<String>,
}

fn cases() -> DocumentProjection<Case> {
    DocumentProjection::single_stream(
        "cases",
        |case: Option<Case>, recorded: &Recorded<RawEvent>| {
            let mut case = case.unwrap_or_default();
            case.events += 1;
            case.last_type.clone_from(&recorded.message_type);
            case.responsible = responsible(recorded).or(case.responsible);
            Some(case)
        },
    )
}

/// One document per responsible person, from the events of many streams.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Workload {
    #[serde(rename = "_id")]
    id: String,
    events: u32,
    streams: BTreeSet<String>,
}

fn workloads() -> DocumentProjection<Workload> {
    DocumentProjection::multi_stream(
        "workloads",
        responsible,
        |workload: Option<Workload>, recorded: &Recorded<RawEvent>| {
            let mut workload = workload.unwrap_or_default();
            workload.events += 1;
            workload.streams.insert(recorded.stream_name.to_string());
            Some(workload)
        },
    )
}

fn responsible(recorded: &Recorded<RawEvent>) -> Option<String> {
    Some(recorded.event.data.get("responsible")?.as_str()?.to_owned())
}

fn main() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let store = EventStore::builder(database.url())
        .inline_projection(cases())
        .inline_projection(workloads())
        .open()?;

    let log: Box<dyn BufRead> = match std::env::args_os().nth(1) {
        Some(file) => {
            let opened =
                File::open(&file).with_context(|| format!("opening {}", file.display()))?;
            Box::new(BufReader::new(opened))
        }
        None => Box::new(Cursor::new(small_log())),
    };
    let started = Instant::now();
    let report = store.import(log, ImportOptions::new())?;
    println!(
        "imported {} events with two read models in {:.1?}\n",
        report.imported,
        started.elapsed()
    );

    print_cases(&store)?;
    print_workloads(&store)
}

fn print_cases(store: &EventStore) -> anyhow::Result<()> {
    let cases = store.collection::<Case>("cases");
    println!(
        "{:<16} {:>6}  {:<12} last event",
        "case", "events", "responsible"
    );
    for case in cases
        .find(json!({}))
        .sort(json!([{"events": -1}, {"_id": 1}]))
        .limit(8)
        .to_vec()?
    {
        let responsible = case.responsible.as_deref().unwrap_or("-");
        println!(
            "{:<16} {:>6}  {responsible:<12} {}",
            case.id, case.events, case.last_type
        );
    }
    println!("{:<16} {:>6}\n", "cases", cases.count_documents(json!({}))?);
    Ok(())
}

fn print_workloads(store: &EventStore) -> anyhow::Result<()> {
    let workloads = store.collection::<Workload>("workloads");
    println!("{:<16} {:>6} {:>6}", "responsible", "events", "cases");
    for workload in workloads
        .find(json!({}))
        .sort(json!([{"events": -1}, {"_id": 1}]))
        .limit(8)
        .to_vec()?
    {
        println!(
            "{:<16} {:>6} {:>6}",
            workload.id,
            workload.events,
            workload.streams.len()
        );
    }
    println!(
        "{:<16} {:>6}",
        "people",
        workloads.count_documents(json!({}))?
    );
    Ok(())
}

fn small_log() -> String {
    let events = [
        ("Permit-1", "Received", "Anna"),
        ("Permit-2", "Received", "Ben"),
        ("Permit-1", "Checked", "Anna"),
        ("Permit-3", "Received", "Anna"),
        ("Permit-2", "Rejected", "Carla"),
        ("Permit-1", "Granted", "Ben"),
    ];
    let lines = events.map(|(stream, kind, who)| {
        json!({ "streamName": stream, "type": kind, "data": { "responsible": who } }).to_string()
    });
    lines.join("\n")
}
