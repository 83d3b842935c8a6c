//! `emmett keys`.

use super::arguments::KeysArguments;
use super::output::Output;
use crate::error::counted;
use crate::store::EventStore;
use serde_json::json;

pub(super) fn run(
    arguments: &KeysArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let age = arguments.older_than.unwrap_or_default();
    if arguments.delete {
        let deleted = store.delete_command_keys(age)?;
        return output.result(
            &format!("deleted {}", counted(deleted, "command key")),
            &json!({ "deleted": deleted }),
        );
    }
    let count = store.command_keys(age)?;
    output.result(&counted(count, "command key"), &json!({ "count": count }))
}
