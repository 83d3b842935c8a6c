//! The import of an event log, compared with `COPY` of prepared rows.

use crate::harness::Harness;
use crate::import_log::{DATA, EVENTS, stream};
use crate::plain_copier::PlainCopier;
use anyhow::Result;
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, EventStore, operations::ImportOptions};

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let name = "import 5000 lines";
    if !harness.wants(name) {
        return Ok(());
    }
    let database = crate::database(server)?;
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    let log: String = (0..EVENTS).map(line).collect();
    let mut copier = PlainCopier::new(database.client()?);
    let mut imports = 0;
    harness.compare(
        name,
        |turn| {
            turn.repeat(|| {
                imports += 1;
                let options = ImportOptions::new().name(format!("log {imports}"));
                Ok(store.import(log.as_bytes(), options)?.imported)
            })
        },
        |turn| turn.repeat(|| copier.copy()),
    )
}

fn line(number: usize) -> String {
    let stream = stream(number);
    format!("{{\"streamName\":\"{stream}\",\"type\":\"ProductItemAdded\",\"data\":{DATA}}}\n")
}
