//! `emmett tenants`.

use super::Output;
use super::arguments::TenantsCommand;
use crate::error::counted;
use crate::store::EventStore;
use anyhow::bail;
use jiff::Timestamp;
use serde_json::json;

pub(super) fn run(
    command: Option<TenantsCommand>,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    match command.unwrap_or(TenantsCommand::List) {
        TenantsCommand::List => list(store, output),
        TenantsCommand::Add { name } => add(&name, store, output),
        TenantsCommand::Remove {
            name,
            with_all_data,
        } => remove(&name, with_all_data, store, output),
    }
}

fn list(store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let tenants = store.tenants().list()?;
    if tenants.is_empty() {
        output.text("no tenants")?;
    }
    for tenant in tenants {
        let since = Timestamp::try_from(tenant.created_at)?;
        output.result(
            &format!("{}  since {since}", tenant.name),
            &json!({ "name": tenant.name, "createdAt": since.to_string() }),
        )?;
    }
    Ok(())
}

fn add(name: &str, store: &EventStore, output: &mut Output) -> anyhow::Result<()> {
    let added = store.tenants().add(name)?;
    let text = if added {
        format!("added tenant \"{name}\"")
    } else {
        format!("tenant \"{name}\" exists already")
    };
    output.result(&text, &json!({ "name": name, "added": added }))
}

fn remove(
    name: &str,
    with_all_data: bool,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let removal = store.tenants().remove(name)?;
    let (streams, messages) = (removal.streams, removal.messages);
    output.object(&json!({ "name": name, "streams": streams, "messages": messages, "removed": with_all_data }))?;
    let data = format!(
        "{} with {}",
        counted(streams, "stream"),
        counted(messages, "message")
    );
    if !with_all_data {
        bail!(
            "tenant \"{name}\" has {data}: repeat the command with --with-all-data to delete them"
        );
    }
    removal.with_all_data()?;
    output.text(&format!("removed tenant \"{name}\" with {data}"))
}
