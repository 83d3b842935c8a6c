//! After a kill at any moment, each write is complete or absent, and acknowledged writes are kept.

use crate::support;
use emmett_postgresql::pongo::{Collection, PongoClient, Replacement};
use emmett_postgresql::testing::Database;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const URL: &str = "EMT_TEST_WRITER_URL";
const WRITER: &str = "killed_writer";
const BATCH: usize = 10;
const TOKENS: u64 = 100;

/// This test binary, started again: it writes until it is killed, and says the number of each round that it has finished.
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

    /// Waits until it has finished its first round, and returns its number.
    fn finished(&mut self) -> anyhow::Result<u64> {
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(
                self.output.read_line(&mut line)? > 0,
                "the writer ended by itself"
            );
            // The test harness has begun the first line.
            if let Some((_, round)) = line.trim_end().split_once("finished ") {
                return Ok(round.parse()?);
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
    // A round that was killed behind its batch is done again.
    let ids: Vec<String> = (0..BATCH).map(|n| format!("batch-{round}-{n}")).collect();
    if !documents.exists(json!({"_id": ids[0]}))? {
        let batch: Vec<Value> = ids
            .iter()
            .map(|id| json!({"_id": id, "kind": "batch", "round": round}))
            .collect();
        documents.insert_many(&batch)?;
    }

    // New tokens, a new holder of them and no old tokens, together.
    let ids: Vec<String> = [round + 1, round].into_iter().flat_map(tokens).collect();
    let new: HashSet<String> = tokens(round + 1).collect();
    documents.handle_many(ids.iter().map(String::as_str).chain(["holder"]), |id, _| {
        Ok(match id {
            "holder" => Some(holder(round + 1)),
            _ => new.contains(id).then(|| json!({"kind": "token"})),
        })
    })?;

    let stamped = json!({"kind": "twin", "round": round});
    let twins = ["twin-1", "twin-2", "twin-3"].map(|id| Replacement::new(id, &stamped));
    documents.replace_many(twins)?;
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
        let group = (0..20).map(|n| json!({"_id": format!("group-{n}"), "kind": "group", "n": 0}));
        let twins = ["twin-1", "twin-2", "twin-3"].map(|id| json!({"_id": id, "kind": "twin"}));
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
fn a_write_in_whose_midst_a_program_is_killed_is_whole_or_not_there() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut keeper = ground.database.client()?;
    let mut told = 0;
    // One of several documents of insert_many, handle_many (which has inserted others then), replace_many and update_many.
    for kept in ["batch", "holder", "twin-2", "group-7"] {
        let mut writer = ground.start_writer()?;
        told = told.max(writer.finished()? + 1);
        writer.kill()?;
        ground.wait_for_the_end();
        let round = assert_whole(&ground.documents, told)?;

        let mut keeping = keeper.transaction()?;
        if kept == "batch" {
            let id = format!("batch-{round}-5");
            keeping.execute(
                "DELETE FROM documents WHERE _id LIKE $1",
                &[&format!("batch-{round}-%")],
            )?;
            keeping.commit()?;
            keeping = keeper.transaction()?;
            keeping.execute(
                "INSERT INTO documents (_id, data) VALUES ($1, '{}')",
                &[&id],
            )?;
        } else {
            keeping.execute("SELECT FROM documents WHERE _id = $1 FOR UPDATE", &[&kept])?;
        }
        let writer = ground.start_writer()?;
        support::wait_until("the writer waits for the document", || {
            ground.sessions("AND wait_event_type = 'Lock'") == 1
        });
        writer.kill()?;
        keeping.rollback()?;
        ground.wait_for_the_end();
        assert_whole(&ground.documents, told)?;
    }
    Ok(())
}

/// Every write is whole, and as many rounds are there as the writers have told. Returns how many there are.
fn assert_whole(documents: &Collection<'_, Value>, told: u64) -> anyhow::Result<u64> {
    // One statement sees one state.
    let all = documents.find(json!({})).to_vec()?;
    let of = |kind: &str| -> Vec<&Value> {
        all.iter()
            .filter(|document| document["kind"] == kind)
            .collect()
    };

    let rounds = of("round").len() as u64;
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
        assert_eq!(written, BATCH, "round {round}");
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
    assert_eq!(twins.len(), 3);
    assert!(
        twins.iter().all(|twin| twin["round"] == twins[0]["round"]),
        "replaced together: {twins:?}"
    );
    let group = of("group");
    assert_eq!(group.len(), 20);
    assert!(
        group.iter().all(|member| member["n"] == group[0]["n"]),
        "{group:?}"
    );
    Ok(rounds)
}
