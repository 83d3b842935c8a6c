//! `emmett adopt`.

use super::process::{run_on, succeed};
use emmett_postgresql::testing::{Database, Server};

const EMMETT: &str = include_str!("../fixtures/emmett-0.42.sql");

const NEIGHBOUR: &str = "
    INSERT INTO emt_projections (type, name, kind, status, definition) VALUES
        ('a', 'carts', 'pongo', 'active', '{\"canHandle\": []}'), ('a', 'totals', 'sql', 'active', '{}');
    INSERT INTO emt_processors (processor_id, last_processed_transaction_id, last_processed_checkpoint, status,
                                processor_instance_id) VALUES
        ('emt:processor:projector:carts', '0', '0000000000000000002', 'running', 'node-1'),
        ('mails', '0', '0000000000000000003', 'stopped', 'emt:unknown')";

fn emmetts_database() -> anyhow::Result<Database> {
    let database = Server::shared()?.create_database()?;
    database.client()?.batch_execute(EMMETT)?;
    database.client()?.batch_execute(NEIGHBOUR)?;
    Ok(database)
}

#[test]
fn a_plan_says_what_a_rust_program_has_to_call_everything() -> anyhow::Result<()> {
    let database = emmetts_database()?;

    let plan = succeed(&database, &["adopt", "--plan"])?;

    for line in [
        "projection carts  version 1",
        "resumes after 0000000000000000002, in turns with the Node service; \"node-1\" holds it now",
        "projection totals  version 1",
        "if the Node service updates it in its appends, use inline_projection",
        "processor mails  version 1",
        "Reactor::new(\"mails\"), or Projector::new(..).name(\"mails\")",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    assert!(
        !plan.contains("processor emt:processor:projector:carts"),
        "{plan}"
    );
    assert_eq!(run_on(&database, &["migrate", "status"])?.code, 3);

    let adopted = succeed(&database, &["adopt"])?;
    assert!(adopted.contains("applied adopt_emmett"), "{adopted}");
    assert_eq!(succeed(&database, &["adopt", "--plan"])?, plan);
    let object = succeed(&database, &["--json", "adopt", "--plan"])?;
    assert!(object.contains("\"processor\":\"mails\""), "{object}");
    let doctor = succeed(&database, &["doctor"])?;
    assert!(doctor.contains("emmett adopt --plan"), "{doctor}");
    Ok(())
}

#[test]
fn a_database_without_a_store_has_no_plan() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;

    let run = run_on(&database, &["adopt", "--plan"])?;

    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no event store here"), "{}", run.stderr);
    assert_eq!(run_on(&database, &["migrate", "status"])?.code, 3);
    Ok(())
}
