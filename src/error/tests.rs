use super::{Error, ProcessorError, is_database_cause};
use crate::database::DatabaseError;
use crate::pongo;
use postgres::{Client, NoTls};
use std::time::Duration;

/// An error of a pool, whose cause is not an error of the driver.
fn exhausted() -> DatabaseError {
    let nowhere = "host=/nowhere user=anna".parse().expect("it is valid");
    let manager = r2d2_postgres::PostgresConnectionManager::new(nowhere, NoTls);
    let pool = r2d2::Pool::builder()
        .connection_timeout(Duration::from_millis(1))
        .build_unchecked(manager);
    DatabaseError::Pool {
        source: pool.get().err().expect("there is no server"),
    }
}

fn lost() -> postgres::Error {
    let connected = Client::connect("host=/nowhere user=anna", NoTls);
    connected.err().expect("there is no server")
}

#[test]
fn a_missing_database_is_no_fault_of_user_code_whatever_room_tells_of_it() {
    let causes: [anyhow::Error; 6] = [
        exhausted().into(),
        pongo::Error::from(exhausted()).into(),
        Error::from(exhausted()).into(),
        Error::from(pongo::Error::from(exhausted())).into(),
        DatabaseError::UnknownOutcome { source: lost() }.into(),
        lost().into(),
    ];
    for cause in causes {
        let text = format!("{cause:?}");
        assert!(is_database_cause(&cause), "{text}");
        assert!(is_database_cause(&cause.context("tried")), "{text}");
    }
}

#[test]
fn what_user_code_has_done_wrong_is_its_fault() {
    let causes: [anyhow::Error; 4] = [
        anyhow::anyhow!("changed my mind"),
        DatabaseError::AsyncContext.into(),
        pongo::Error::invalid("the document id", "must not be empty").into(),
        Error::invalid("the stream name", "must not be empty").into(),
    ];
    for cause in causes {
        assert!(!is_database_cause(&cause), "{cause:?}");
    }
}

#[test]
fn a_chain_of_causes_says_nothing_twice() {
    let failed = ProcessorError::Failed {
        processor: "carts".to_owned(),
        cause: Error::from(pongo::Error::from(DatabaseError::AsyncContext)).into(),
    };
    assert_eq!(
        format!("{:#}", anyhow::Error::from(Error::from(failed))),
        "processor \"carts\" failed: called from inside an async runtime: call it from a thread or from spawn_blocking"
    );
}
