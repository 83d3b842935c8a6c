//! `emmett workflows` and `emmett timers`.

use super::process::{run_on, succeed};
use crate::support::store;
use crate::workflow::fixtures::{checkout, close, pay, place, run};
use serde_json::Value;

#[test]
fn instances_and_timers_are_listed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    assert_eq!(succeed(&database, &["workflows"])?, "no instances\n");
    assert_eq!(succeed(&database, &["timers"])?, "no timers\n");
    for order in ["1", "2", "3"] {
        place(&store, order, 3_600_000)?;
    }
    pay(&store, "2")?;
    close(&store, "3")?;
    run(&store, checkout())?;

    let table = succeed(&database, &["workflows"])?;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let titles = [
        "WORKFLOW", "ID", "STATE", "AGE", "IDLE", "MESSAGES", "TIMERS",
    ];
    assert_eq!(lines[0], titles);
    let instance = |line: &[&str]| format!("{} {} {}", line[0], line[1], line[2]);
    let instances: Vec<String> = lines[1..].iter().map(|line| instance(line)).collect();
    assert_eq!(
        instances,
        [
            "checkout 1 running",
            "checkout 2 running",
            "checkout 3 complete"
        ]
    );
    let timers: Vec<&str> = lines[1..].iter().map(|line| line[line.len() - 1]).collect();
    assert_eq!(timers, ["1", "0", "0"]);

    let complete = ["workflows", "checkout", "--state", "complete", "--json"];
    let listed: Value = serde_json::from_str(&run_on(&database, &complete)?.stdout)?;
    assert_eq!(listed["id"], "3");
    assert_eq!(listed["messages"], 3);
    let other = succeed(&database, &["workflows", "check"])?;
    assert_eq!(other, "no instances\n");

    let table = succeed(&database, &["timers"])?;
    assert!(
        table.contains("payment") && table.contains("TimedOut"),
        "{table}"
    );
    let listed: Value = serde_json::from_str(&run_on(&database, &["timers", "--json"])?.stdout)?;
    assert_eq!(
        (&listed["workflow"], &listed["id"], &listed["timer"]),
        (&"checkout".into(), &"1".into(), &"payment".into())
    );
    let due_in = listed["dueInSeconds"].as_f64().expect("a number");
    assert!((3_000.0..=3_600.0).contains(&due_in), "{due_in}");
    let of_other = ["timers", "checkout", "--id", "2"];
    assert_eq!(succeed(&database, &of_other)?, "no timers\n");
    Ok(())
}
