//! Whatever a program was doing when it was killed, each of its writes is whole or not there, and what it was told is kept.

use crate::support;
use emmett_postgresql::pongo::{Collection, PongoClient, Replacement};
use emmett_postgresql::testing::Database;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const URL: &str = "EMT_TEST_WRITER_URL";
/// What the writer says it is about to do, or has done; it is killed right after each of these, several times.
const STEPS: [&str; 5] = ["inserting", "handling", "replacing", "updating", "finished"];
const KILLS: usize = 25;
const WRITER: &str = "killed_writer";
const BATCH: usize = 10;
const TOKENS: u64 = 100;

/// This test binary, started again: it writes until it is killed, and says each step and the number of its round.
struct Writer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn start(url: &str) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", "pongo::killed::is_a_writer", "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Ok(Self { process, output })
    }

    /// Waits until it says this step in a later round than its first. Returns the last round that it has finished.
    fn finished_before(&mut self, step: &str) -> anyhow::Result<u64> {
        let (mut line, mut finished) = (String::new(), None);
        loop {
            line.clear();
            anyhow::ensure!(
                self.output.read_line(&mut line)? > 0,
                "the writer ended by itself"
            );
            // The test harness has begun the first line.
            let mut words = line.split_whitespace().rev();
            let (Some(round), Some(said)) = (words.next(), words.next()) else {
                continue;
            };
            if said == "finished" {
                finished = Some(round.parse()?);
            }
            if let Some(finished) = finished.filter(|_| said == step) {
                return Ok(finished);
            }
        }
    }

    /// By SIGKILL.
    fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does nothing unless it is started by [`Writer`].
#[test]
fn is_a_writer() -> anyhow::Result<()> {
    let Ok(url) = std::env::var(URL) else {
        return Ok(());
    };
    let client = PongoClient::connect(&url)?;
    let documents = client.collection::<Value>("documents");
    let first = documents.count_documents(json!({"kind": "round"}))?;
    for round in first.. {
        write_round(&documents, round)?;
        println!("finished {round}");
    }
    Ok(())
}

fn tokens(round: u64) -> impl Iterator<Item = String> {
    (0..TOKENS).map(move |number| format!("token-{round}-{number}"))
}

fn holder(round: u64) -> Value {
    json!({"kind": "holder", "round": round})
}

fn write_round(documents: &Collection<'_, Value>, round: u64) -> anyhow::Result<()> {
    let batch: Vec<Value> = (0..BATCH)
        .map(|_| json!({"kind": "batch", "round": round}))
        .collect();
    println!("inserting {round}");
    documents.insert_many(&batch)?;

    // New tokens, a new holder of them and no old tokens, together.
    let ids: Vec<String> = [round + 1, round].into_iter().flat_map(tokens).collect();
    let new: HashSet<String> = tokens(round + 1).collect();
    println!("handling {round}");
    documents.handle_many(ids.iter().map(String::as_str).chain(["holder"]), |id, _| {
        Ok(match id {
            "holder" => Some(holder(round + 1)),
            _ => new.contains(id).then(|| json!({"kind": "token"})),
        })
    })?;

    let stamped = json!({"kind": "twin", "round": round});
    let twins = ["twin-1", "twin-2"].map(|id| Replacement::new(id, &stamped));
    println!("replacing {round}");
    documents.replace_many(twins)?;
    println!("updating {round}");
    documents.update_many(json!({"kind": "group"}), json!({"$inc": {"n": 1}}))?;
    documents.insert_one(&json!({"kind": "round", "round": round}))?;
    Ok(())
}

/// A database with the documents that the writer begins with.
struct Ground {
    database: Database,
    documents: Collection<'static, Value>,
    server: postgres::Client,
}

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let database = support::database();
        let documents = PongoClient::connect(database.url())?.collection("documents");
        let group = (0..20).map(|_| json!({"kind": "group", "n": 0}));
        let twins = ["twin-1", "twin-2"].map(|id| json!({"_id": id, "kind": "twin"}));
        let first = tokens(0).map(|id| json!({"_id": id, "kind": "token"}));
        let all: Vec<Value> = group.chain(twins).chain(first).collect();
        documents.insert_many(&all)?;
        documents.handle("holder", |_| Ok(Some(holder(0))))?;
        let server = database.client()?;
        Ok(Self {
            database,
            documents,
            server,
        })
    }

    fn start_writer(&self) -> anyhow::Result<Writer> {
        let url = self.database.url();
        let begin = if url.contains('?') { '&' } else { '?' };
        Writer::start(&format!("{url}{begin}application_name={WRITER}"))
    }

    /// Waits until the server is done with what a killed writer had sent.
    fn wait_for_the_end(&mut self) {
        support::wait_until("the writer's session has ended", || self.sessions("") == 0);
    }

    /// How many sessions the writer has, of those that match the condition.
    fn sessions(&mut self, condition: &str) -> usize {
        let text = format!("SELECT FROM pg_stat_activity WHERE application_name = $1 {condition}");
        self.server
            .query(&text, &[&WRITER])
            .map_or(usize::MAX, |sessions| sessions.len())
    }
}

#[test]
fn a_writer_that_is_killed_leaves_whole_writes_only() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    for kill in 0..KILLS {
        let mut writer = ground.start_writer()?;
        let finished = writer.finished_before(STEPS[kill % STEPS.len()])?;
        writer.kill()?;
        ground.wait_for_the_end();
        assert_whole(&ground.documents, Some(finished))?;
    }
    Ok(())
}

#[test]
fn documents_that_are_handled_together_are_not_half_there() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut keeper = ground.database.client()?;
    let mut keeping = keeper.transaction()?;
    keeping.execute("SELECT FROM documents WHERE _id = 'holder' FOR UPDATE", &[])?;
    let writer = ground.start_writer()?;
    // It has inserted the new tokens, cannot replace their holder, and has not deleted the old ones.
    support::wait_until("the writer waits for the holder", || {
        ground.sessions("AND wait_event_type = 'Lock'") == 1
    });
    writer.kill()?;
    keeping.rollback()?;
    ground.wait_for_the_end();
    assert_whole(&ground.documents, None)
}

/// Every write is whole, and the rounds are there up to the last one that it has finished.
fn assert_whole(documents: &Collection<'_, Value>, finished: Option<u64>) -> anyhow::Result<()> {
    // One statement sees one state.
    let all = documents.find(json!({})).to_vec()?;
    let of = |kind: &str| -> Vec<&Value> {
        all.iter()
            .filter(|document| document["kind"] == kind)
            .collect()
    };

    let rounds = of("round").len() as u64;
    let told = finished.map_or(0, |last| last + 1);
    assert!(
        rounds >= told,
        "{rounds} rounds, of which it was told {told}"
    );
    let batches = of("batch");
    for round in 0..told {
        let written = batches
            .iter()
            .filter(|document| document["round"] == round)
            .count();
        assert!(
            written >= BATCH && written % BATCH == 0,
            "round {round}: {written}"
        );
    }
    assert_eq!(batches.len() % BATCH, 0, "a batch is whole");

    let round = of("holder")[0]["round"].as_u64().unwrap_or(0);
    let found: HashSet<&str> = of("token")
        .iter()
        .filter_map(|token| token["_id"].as_str())
        .collect();
    let expected: Vec<String> = tokens(round).collect();
    assert_eq!(
        found,
        expected.iter().map(String::as_str).collect(),
        "made, replaced and removed together"
    );

    let twins = of("twin");
    assert_eq!(twins[0]["round"], twins[1]["round"], "replaced together");
    let group = of("group");
    assert_eq!(group.len(), 20);
    assert!(
        group.iter().all(|member| member["n"] == group[0]["n"]),
        "{group:?}"
    );
    Ok(())
}
