//! Commands with keys from several processes, and from processes that are killed.

use super::Cart;
use crate::support::child_process::ChildProcess;
use crate::support::{CartEvent, added, database, store, wait_until};
use emmett_postgresql::decide::{DecideError, Decision, stream};
use emmett_postgresql::{Error, EventStore};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::BufRead;
use std::sync::Barrier;
use std::thread;

const URL: &str = "EMMETT_TEST_DECIDE_URL";
const STOP_AT: &str = "EMMETT_TEST_DECIDE_STOP_AT";
const THREADS: usize = 8;
const KEY: &str = "add-1";

/// Adds an item that names its caller, who is the reply. Says which point it has reached.
fn add(
    store: &EventStore,
    key: &str,
    content: &str,
    caller: &str,
    reach: &dyn Fn(&str),
) -> Result<String, DecideError<Infallible>> {
    reach("before the read");
    let decide = store.decide(stream::<Cart>("Cart-1")).retries(100_000);
    let done = decide.key(key).content(&content)?.run(|_| {
        reach("after the read");
        let decision = Decision::new()
            .append("Cart-1", [added(caller, 1)])
            .reply(caller.to_owned());
        reach("after the decision");
        Ok(decision)
    })?;
    Ok(done.reply)
}

/// What the children run; alone it does nothing. For each line "key content", its threads carry out one command.
#[test]
fn is_a_process_with_commands() -> anyhow::Result<()> {
    let Ok(url) = std::env::var(URL) else {
        return Ok(());
    };
    let stop_at = std::env::var(STOP_AT).ok();
    let reach = |point: &str| {
        if stop_at.as_deref() == Some(point) {
            println!("reached");
            let _ = crossbeam_channel::never::<()>().recv();
        }
    };
    let threads = if stop_at.is_some() { 1 } else { THREADS };
    let store = EventStore::open(&url)?;
    println!("started");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (key, content) = line.split_once(' ').expect("a key and a content");
        let start = Barrier::new(threads);
        let call = |number: usize| {
            start.wait();
            let caller = format!("{}-{number}", std::process::id());
            match add(&store, key, content, &caller, &reach) {
                Ok(reply) => format!("replied {reply}"),
                Err(error) => format!("failed: {error}"),
            }
        };
        let outcomes: BTreeSet<String> = thread::scope(|scope| {
            let call = &call;
            let begin = |number| scope.spawn(move || call(number));
            let running: Vec<_> = (0..threads).map(begin).collect();
            let ended = running.into_iter();
            ended.map(|one| one.join().expect("no panic")).collect()
        });
        let outcomes: Vec<String> = outcomes.into_iter().collect();
        println!("{}", outcomes.join(" and "));
    }
    Ok(())
}

fn child(url: &str, stop_at: Option<&str>) -> anyhow::Result<ChildProcess> {
    let mut variables = vec![(URL, url)];
    variables.extend(stop_at.map(|point| (STOP_AT, point)));
    ChildProcess::start("decide::processes::is_a_process_with_commands", &variables)
}

/// Who has added items, in their order.
fn callers(store: &EventStore) -> Result<Vec<String>, Error> {
    let events = store.read_stream::<CartEvent>("Cart-1")?.events.into_iter();
    Ok(events
        .map(|recorded| match recorded.event {
            CartEvent::ProductItemAdded { product_id, .. } => product_id,
            other => format!("{other:?}"),
        })
        .collect())
}

fn add_again(store: &EventStore) -> Result<String, DecideError<Infallible>> {
    add(store, KEY, "a hat", "again", &|_| ())
}

/// The command was carried out once, and its caller is the reply, here and in another process.
#[track_caller]
fn assert_once(url: &str, store: &EventStore, reply: &str) -> anyhow::Result<()> {
    assert_eq!(callers(store)?, ["before", reply]);
    assert_eq!(add_again(store)?, reply);
    let mut other = child(url, None)?;
    other.say(&format!("{KEY} a hat"))?;
    assert_eq!(other.next_line()?, format!("replied {reply}"));
    assert_eq!(callers(store)?.len(), 2);
    Ok(())
}

/// How many statements wait for a lock.
fn waiting(observer: &mut postgres::Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    observer.query_one(sql, &[]).expect("an answer").get(0)
}

const BLOCK: &str = "SELECT FROM emt_streams WHERE stream_id = 'Cart-1' FOR UPDATE";

#[test]
fn of_four_processes_with_one_key_one_decides_and_all_get_its_reply() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut children = Vec::new();
    for _ in 0..4 {
        children.push(child(database.url(), None)?);
    }
    for round in 0..5 {
        let key = format!("add-{round}");
        for child in &mut children {
            child.say(&format!("{key} a hat"))?;
        }
        let reply = add(&store, &key, "a hat", "here", &|_| ())?;
        for child in &mut children {
            assert_eq!(child.next_line()?, format!("replied {reply}"));
        }
        let callers = callers(&store)?;
        assert_eq!((callers.len(), &callers[round]), (round + 1, &reply));
    }
    Ok(())
}

#[test]
fn a_process_that_is_killed_before_it_appends_has_done_nothing() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut expected = Vec::new();
    for point in ["before the read", "after the read", "after the decision"] {
        let key = format!("add-{}", expected.len());
        let mut killed = child(database.url(), Some(point))?;
        killed.say(&format!("{key} a hat"))?;
        killed.wait_for("reached")?;
        killed.kill()?;

        assert_eq!(callers(&store)?, expected, "{point}");
        expected.push(format!("again-{key}"));
        for caller in [&format!("again-{key}"), "later"] {
            let reply = add(&store, &key, "a hat", caller, &|_| ())?;
            assert_eq!(Some(&reply), expected.last(), "{point}");
        }
    }
    assert_eq!(callers(&store)?, expected);
    Ok(())
}

/// The server does not notice that the client of a waiting statement is gone.
#[test]
fn a_process_that_is_killed_while_its_append_runs_has_decided_once() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("before", 1)])?;
    let (mut client, mut observer) = (database.client()?, database.client()?);
    let mut block = client.transaction()?;
    block.query(BLOCK, &[])?;
    let mut killed = child(database.url(), Some("never"))?;
    killed.say(&format!("{KEY} a hat"))?;
    wait_until("the append waits", || waiting(&mut observer) == 1);
    killed.kill()?;

    let reply = thread::scope(|scope| {
        let repeated = scope.spawn(|| add_again(&store));
        wait_until("the repeated command waits for the key", || {
            waiting(&mut observer) == 2
        });
        block.commit()?;
        anyhow::Ok(repeated.join().expect("no panic")?)
    })?;

    assert_ne!(reply, "again", "the killed process's statement came first");
    assert_once(database.url(), &store, &reply)
}

#[test]
fn a_process_that_is_killed_before_it_gets_its_reply_has_decided() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("before", 1)])?;
    let (mut client, mut observer) = (database.client()?, database.client()?);
    let mut block = client.transaction()?;
    block.query(BLOCK, &[])?;
    let mut killed = child(database.url(), Some("never"))?;
    killed.say(&format!("{KEY} a hat"))?;
    wait_until("the append waits", || waiting(&mut observer) == 1);
    killed.signal("STOP")?;
    block.commit()?;
    let stored = "SELECT reply #>> '{}' FROM emt_command_keys WHERE command_key = $1";
    let mut reply = None;
    wait_until("the append is committed", || {
        let row = observer.query_opt(stored, &[&KEY]).expect("an answer");
        reply = row.map(|row| row.get::<_, String>(0));
        reply.is_some()
    });
    killed.kill()?;

    assert_once(database.url(), &store, &reply.expect("it is stored"))
}

#[test]
fn another_process_with_another_content_gets_an_error_that_names_the_key() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let reply = add_again(&store)?;
    let mut other = child(database.url(), None)?;
    other.say(&format!("{KEY} two hats"))?;
    let failed = "failed: command key \"add-1\" was used for a command with another content";
    assert_eq!(other.next_line()?, failed);
    other.say(&format!("{KEY} a hat"))?;
    assert_eq!(other.next_line()?, format!("replied {reply}"));
    assert_eq!(callers(&store)?, ["again"]);
    Ok(())
}
