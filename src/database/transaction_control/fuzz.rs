//! SQL that was not refused, compared with PostgreSQL's own reading of it.

use super::refuse_transaction_control;
use crate::fuzz::Fuzz;
use crate::testing::Server;
use postgres::Client;
use postgres::error::SqlState;

/// Whether SQL ends the transaction in which it runs.
fn ends_its_transaction(client: &mut Client, sql: &str) -> Result<bool, postgres::Error> {
    client.batch_execute(
        "ROLLBACK; TRUNCATE marks; BEGIN; INSERT INTO marks VALUES (1); SAVEPOINT first",
    )?;
    let ended = match client.batch_execute(sql) {
        Ok(()) => client
            .batch_execute("ROLLBACK TO first")
            .is_err_and(|error| error.code() != Some(&SqlState::S_E_INVALID_SPECIFICATION)),
        // An error that does not stand in a transaction leaves none that has failed.
        Err(_) => client.batch_execute("SELECT 1").is_ok(),
    };
    client.batch_execute("ROLLBACK")?;
    let marks = client.query_one("SELECT count(*) FROM marks", &[])?;
    Ok(ended || marks.get::<_, i64>(0) > 0)
}

fn no_input_ends_its_transaction(setting: &str) -> Result<(), Box<dyn std::error::Error>> {
    let database = Server::shared()?.create_database()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE marks (mark INT)")?;
    client.batch_execute(setting)?;
    Fuzz::parser("transaction_control")
        .inputs(4_000)
        .run(move |input| {
            let sql = String::from_utf8_lossy(input);
            // The driver refuses NUL.
            if sql.contains('\0') || refuse_transaction_control(&sql).is_err() {
                return Ok(());
            }
            match ends_its_transaction(&mut client, &sql) {
                Ok(false) => Ok(()),
                Ok(true) => Err("it ends its transaction and is not refused".to_owned()),
                Err(error) => Err(format!("{error:?}")),
            }
        });
    drop(database);
    Ok(())
}

#[test]
fn sql_that_is_not_refused_does_not_end_its_transaction() -> Result<(), Box<dyn std::error::Error>>
{
    no_input_ends_its_transaction("SET standard_conforming_strings = on")
}

#[test]
fn nor_where_backslashes_escape_in_all_strings() -> Result<(), Box<dyn std::error::Error>> {
    no_input_ends_its_transaction(
        "SET standard_conforming_strings = off; SET escape_string_warning = off",
    )
}
