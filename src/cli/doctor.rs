//! `emmett doctor`.

use super::arguments::DoctorArguments;
use super::exit_code::SERIOUS;
use super::output::Output;
use super::table::plain;
use crate::error::counted;
use crate::operations::{DoctorReport, FeedProof, FeedState, FenceHolder, HolderKind};
use crate::progress::Progress;
use crate::store::EventStore;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn run(
    arguments: &DoctorArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    if let Some(&[from, to]) = arguments.prove.as_deref() {
        return prove(store, from, to, output);
    }
    if let Some(processor) = &arguments.prove_processor {
        let end = store.processors().drawn_position(processor)?;
        return prove(store, 1, end, output);
    }
    let report = store.doctor()?;
    output.object(&report_object(&report))?;
    output.text(&report_text(&report))?;
    Ok(exit_code(report.is_serious()))
}

fn exit_code(is_serious: bool) -> ExitCode {
    if is_serious {
        ExitCode::from(SERIOUS)
    } else {
        ExitCode::SUCCESS
    }
}

fn report_text(report: &DoctorReport) -> String {
    let mut lines = Vec::new();
    if let Some(feed) = &report.feed {
        lines.push(match feed.held_back {
            0 => format!(
                "the feed can be read up to its head, position {}",
                feed.head
            ),
            held_back => format!(
                "the feed can be read up to position {}; an open append holds back {} up to {}",
                feed.horizon,
                counted(held_back, "position"),
                feed.head
            ),
        });
    }
    if report.findings.is_empty() {
        lines.push("no problems found".to_owned());
    }
    for finding in &report.findings {
        lines.push(format!("{}: {}", finding.severity, plain(&finding.problem)));
        lines.push(format!("    {}", plain(&finding.advice)));
    }
    lines.join("\n")
}

fn report_object(report: &DoctorReport) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "kind": finding.kind.name(),
                "severity": finding.severity.to_string(),
                "problem": finding.problem,
                "advice": finding.advice,
            })
        })
        .collect();
    json!({
        "serious": report.is_serious(),
        "feed": report.feed.as_ref().map(feed_object),
        "findings": findings,
    })
}

fn feed_object(feed: &FeedState) -> Value {
    json!({
        "head": feed.head,
        "horizon": feed.horizon,
        "heldBack": feed.held_back,
        "holders": feed.holders.iter().map(holder_object).collect::<Vec<_>>(),
    })
}

fn holder_object(holder: &FenceHolder) -> Value {
    let (kind, prepared) = match &holder.kind {
        HolderKind::Transaction => ("transaction", None),
        HolderKind::Prepared(name) => ("prepared", Some(name)),
        HolderKind::Session => ("session", None),
        HolderKind::Exclusive => ("exclusive", None),
    };
    json!({
        "kind": kind,
        "prepared": prepared,
        "pid": holder.pid,
        "user": holder.user,
        "application": holder.application,
        "state": holder.state,
        "query": holder.query,
        "ageSeconds": holder.age.map(|age| age.as_secs_f64()),
        "allTenants": holder.all_tenants,
        "position": holder.position,
        "heldBack": holder.held_back,
    })
}

fn prove(store: &EventStore, from: u64, to: u64, output: &mut Output) -> anyhow::Result<ExitCode> {
    let mut display = Progress::on_stderr();
    let proof = store.prove_feed_watched(from, to, &mut |proof, position| {
        let words = format!(
            "{} of {} proved",
            counted(proof.messages, "message"),
            counted(proof.streams, "stream")
        );
        display.show(position, Some(proof.to), &words);
    });
    display.clear();
    tell(&proof?, output)
}

fn tell(proof: &FeedProof, output: &mut Output) -> anyhow::Result<ExitCode> {
    output.object(&json!({
        "holds": proof.holds(),
        "from": proof.from,
        "to": proof.to,
        "askedTo": proof.asked_to,
        "messages": proof.messages,
        "streams": proof.streams,
        "violationCount": proof.violation_count,
        "violations": proof.violations,
    }))?;
    let mut lines: Vec<String> = proof.violations.iter().map(|text| plain(text)).collect();
    let verdict = match proof.violation_count {
        0 => "no holes, all streams in order".to_owned(),
        count => counted(count, "violation"),
    };
    lines.push(format!(
        "positions {} to {}: {} of {}; {verdict}",
        proof.from,
        proof.to,
        counted(proof.messages, "message"),
        counted(proof.streams, "stream")
    ));
    if proof.asked_to > proof.to {
        lines.push(format!(
            "position {} is beyond the head, so the proof ends there",
            proof.asked_to
        ));
    }
    output.text(&lines.join("\n"))?;
    Ok(exit_code(!proof.holds()))
}
