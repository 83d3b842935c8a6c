//! The functions of the schema follow its naming rules.

use crate::support::store;

/// Parameters in and out of a call; the columns of a returned table are for callers to read.
const PARAMETERS: &str = "
    SELECT proname::TEXT, argument.name
      FROM pg_proc,
           LATERAL unnest(proargnames, proargmodes) AS argument (name, mode)
     WHERE pronamespace = 'public'::REGNAMESPACE AND argument.name IS NOT NULL
       AND coalesce(argument.mode, 'i') <> 't'
     ORDER BY 1, 2";

const NAMES: &str = "
    SELECT DISTINCT proname::TEXT FROM pg_proc WHERE pronamespace = 'public'::REGNAMESPACE ORDER BY 1";

const EMMETTS: &[&str] = &[
    "emt_activate_projection",
    "emt_add_partition",
    "emt_add_table_partition",
    "emt_append_to_stream",
    "emt_deactivate_projection",
    "emt_register_projection",
    "emt_release_processor_lock",
    "emt_sanitize_name",
    "emt_try_acquire_processor_lock",
    "emt_try_acquire_projection_lock",
    "store_processor_checkpoint",
];

/// What functions work on.
const NOUNS: &[&str] = &[
    "append",
    "array",
    "caller",
    "collection",
    "command",
    "document",
    "error",
    "feed",
    "fence",
    "grant",
    "horizon",
    "index",
    "json",
    "missed",
    "neighbour",
    "number",
    "parked",
    "partition",
    "position",
    "processor",
    "projection",
    "rebuild",
    "relation",
    "slot",
    "store",
    "stream",
    "table",
    "timer",
    "update",
];

#[test]
fn parameters_begin_with_an_underscore_so_that_a_bare_name_is_a_column() -> anyhow::Result<()> {
    let (database, _) = store()?;

    let rows = database.client()?.query(PARAMETERS, &[])?;
    let parameters = rows
        .iter()
        .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    let (own, emmetts): (Vec<_>, Vec<_>) =
        parameters.partition(|(function, _)| !EMMETTS.contains(&function.as_str()));

    let bare: Vec<_> = own
        .iter()
        .filter(|(_, name)| !name.starts_with('_'))
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
    assert!(own.len() > 100 && emmetts.len() == 56, "{}", own.len());
    Ok(())
}

#[test]
fn names_begin_with_what_a_function_works_on() -> anyhow::Result<()> {
    let (database, _) = store()?;

    let rows = database.client()?.query(NAMES, &[])?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();

    let others: Vec<_> = names
        .iter()
        .filter(|name| !EMMETTS.contains(&name.as_str()))
        .filter(|name| {
            name.split('_')
                .nth(1)
                .is_none_or(|noun| !NOUNS.contains(&noun))
        })
        .collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}
