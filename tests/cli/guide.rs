//! The commands and the SQL on the guide's pages for operators.

use super::process::{command, finish, succeed};
use crate::operations::processors::Rows;
use crate::support::{added, store};
use emmett_postgresql::testing::Database;

const MONITORING: &str = include_str!("../../docs/operate/monitoring.md");
const DEPLOYMENTS: &str = include_str!("../../docs/operate/rolling-deployments.md");
const BESIDE_NODE: &str = include_str!("../../docs/operate/emmett-for-node.md");
const ERASURE: &str = include_str!("../../docs/recipes/erasure.md");

/// All code blocks of a page in this language.
fn blocks<'p>(page: &'p str, language: &str) -> impl Iterator<Item = &'p str> {
    let begin = format!("```{language}\n");
    let blocks: Vec<&str> = page.split(&begin).skip(1).collect();
    blocks
        .into_iter()
        .filter_map(|block| Some(block.split_once("```")?.0))
}

/// The commands of a page, each as its arguments.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let lines = blocks(page, "sh").flat_map(str::lines);
    let commands = lines.filter_map(|line| line.split('#').next()?.strip_prefix("emmett "));
    commands
        .map(|command| command.split_whitespace().collect())
        .collect()
}

/// Gives a new role the grants of a reader, and returns the role's connection string.
fn reader(database: &Database) -> anyhow::Result<String> {
    let role = format!("reader_of_{}", database.name());
    database.client()?.batch_execute(&format!(
        "CREATE ROLE \"{role}\" LOGIN; SELECT emt_grant('{role}', 'reader')"
    ))?;
    Ok(format!("{}&user={role}", database.url()))
}

#[test]
fn each_command_of_the_pages_for_operators_succeeds_on_a_healthy_store() -> anyhow::Result<()> {
    for (page, number) in [(DEPLOYMENTS, 5), (BESIDE_NODE, 3)] {
        let (database, store) = store()?;
        store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        let commands = commands(page);

        assert_eq!(commands.len(), number);
        for arguments in commands {
            succeed(&database, &arguments)?;
        }
    }
    Ok(())
}

#[test]
fn a_reader_may_run_all_that_monitoring_asks_for() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    Rows::of(&database)?.register("mails", 1, 0)?;
    let reader = reader(&database)?;
    let commands = commands(MONITORING);
    assert_eq!(commands.len(), 7);

    for arguments in commands {
        let run = finish(command(&arguments).args(["--connection-string", &reader]))?;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    let mut client = postgres::Client::connect(&reader, postgres::NoTls)?;
    for sql in blocks(MONITORING, "sql").flat_map(|block| block.split_inclusive(";\n")) {
        if sql.trim().is_empty() {
            continue;
        }
        let rows = client.query(sql, &[])?;
        if sql.contains("emt_feed_lag") {
            assert_eq!(rows[0].get::<_, i64>("messages"), 1);
        }
    }
    Ok(())
}

#[test]
fn the_sql_of_the_page_on_erasure_leaves_no_name_in_errors_and_finds_it_in_events()
-> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("Schmidt", 1)])?;
    let mut rows = Rows::of(&database)?;
    rows.register("mails", 1, 0)?;
    rows.park("mails", 1, Some("no mail for Schmidt"))?;
    rows.change(
        "mails",
        "last_error = 'Schmidt', survived_error = 'Schmidt'",
    )?;
    let mut client = database.client()?;

    let sql: Vec<&str> = blocks(ERASURE, "sql").collect();
    let [steps, search] = sql[..] else {
        panic!("{sql:?}")
    };
    client.batch_execute(steps)?;

    let found = client.query(search, &[])?;
    assert_eq!(found.len(), 1, "the event is found, to be changed");
    assert_eq!(found[0].get::<_, &str>("message_type"), "ProductItemAdded");
    let errors =
        "SELECT error FROM emt_parked_messages UNION ALL SELECT last_error FROM emt_processor_slots
        UNION ALL SELECT survived_error FROM emt_processor_slots";
    let errors = client.query(errors, &[])?;
    let errors = errors.iter().map(|row| row.get::<_, Option<&str>>(0));
    assert_eq!(errors.collect::<Vec<_>>(), [Some("erased"); 3]);
    Ok(())
}
