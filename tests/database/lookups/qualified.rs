//! The rule, checked on the text: a function of the schema sets its own search path, or looks nothing up.

use crate::support::{database, schema_files};
use std::collections::BTreeSet;
use std::path::Path;

/// Functions without a search path of their own, as setting one has a price: PostgreSQL no longer puts their expression in
/// the place of the call, and each call costs most of a microsecond. Appends, pages, filters, updates and index
/// expressions call these for each row or message. In the last line are those whose statements fire the user's triggers
/// and evaluate the defaults of the user's tables, which need the user's path.
const WITHOUT_PATH: &str = "
    emt_append_in_emt_default emt_append emt_append_several_in_emt_default emt_append_to_streams
    emt_append_keyed_in_emt_default emt_append_under_key
    emt_command_key_take emt_stream_require emt_append_refusal emt_append_find_repeated emt_append_look
    emt_append_id_hash emt_append_note_ids
    emt_feed_in_emt_default emt_horizon
    emt_append_to_stream emt_sanitize_name emt_add_partition emt_missed_note emt_missed_note_inserted emt_partition_check
    emt_fence emt_fence_class emt_fence_lock emt_fence_once emt_fence_position emt_position_unused emt_position_head emt_position_next
    emt_partition_suffix emt_stream_category
    emt_projection_handles emt_projection_lock_key emt_projection_share emt_projection_require_active
    emt_json_type_name emt_json_is_position emt_json_child emt_json_value_at emt_json_put_at emt_json_remove_at
    emt_json_rename_at emt_json_crosses_array emt_json_precedes emt_index_key
    emt_array_update emt_array_push emt_array_slice emt_array_sort emt_array_add_to_set emt_array_pull emt_array_extend
    emt_update_refuse emt_update_value emt_document_update emt_document_select emt_document_put_columns
    emt_number_calculate emt_number_readable emt_number_nearest_float
    emt_document_tenant_key emt_document_require_tenant emt_document_hold_tenant
    emt_stream_move emt_document_replace_all emt_table_copy_rows";

const PATH: &str = "search_path=pg_catalog, pg_temp";

#[test]
fn every_function_sets_its_search_path_or_is_known_to_look_nothing_up() -> anyhow::Result<()> {
    let database = database();
    let without = format!(
        "SELECT proname::TEXT FROM pg_proc
          WHERE pronamespace = 'public'::REGNAMESPACE AND NOT coalesce('{PATH}' = ANY (proconfig), FALSE)"
    );

    let rows = database.client()?.query(&without, &[])?;

    let found: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let known: BTreeSet<String> = WITHOUT_PATH.split_whitespace().map(str::to_owned).collect();
    assert_eq!(found, known);
    Ok(())
}

/// A call of one of PostgreSQL's functions by its bare name fits a function of somebody else's better, wherever an argument
/// is not exactly of the declared type.
#[test]
fn statements_call_functions_by_their_schema() -> anyhow::Result<()> {
    let database = database();
    let mut client = database.client()?;
    let names = "SELECT DISTINCT proname::TEXT FROM pg_proc WHERE pronamespace = 'pg_catalog'::REGNAMESPACE";
    let rows = client.query(names, &[])?;
    let names: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let without_path = WITHOUT_PATH.split_whitespace().collect::<Vec<_>>();
    let bodies = client.query(
        "SELECT proname::TEXT, prosrc FROM pg_proc
          WHERE pronamespace = 'public'::REGNAMESPACE AND proname::TEXT = ANY ($1)",
        &[&without_path],
    )?;

    let mut bare: Vec<String> = Vec::new();
    for body in &bodies {
        let (function, text): (String, String) = (body.get(0), body.get(1));
        let calls = bare_calls(&text, &names);
        bare.extend(calls.map(|call| format!("{function}: {call}")));
    }
    for file in sources(&schema_files::path("src"))? {
        let text = std::fs::read_to_string(&file)?;
        let (code, _) = text
            .split_once("#[cfg(test)]\nmod tests")
            .unwrap_or((&text, ""));
        for statement in constants(code) {
            let calls = bare_calls(statement, &names);
            bare.extend(calls.map(|call| format!("{}: {call}", file.display())));
        }
    }

    assert_eq!(bare, Vec::<String>::new());
    Ok(())
}

/// The grammar's own, which have the syntax of functions and are never looked up; and unnest of several arrays.
const GRAMMAR: &[&str] = &[
    "coalesce",
    "extract",
    "position",
    "substring",
    "trim",
    "overlay",
    "unnest",
    "text",
    "value",
    "name",
];

/// Calls with arguments: a call without any fits no function but PostgreSQL's own. Comments and texts count, so that
/// statements that are made by `format` do.
fn bare_calls<'a>(sql: &'a str, names: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    sql.match_indices('(').filter_map(move |(at, _)| {
        let before = &sql[..at];
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let start = before
            .rfind(|character| !is_part(character))
            .map_or(0, |end| end + 1);
        let name = &before[start..];
        let is_qualified = before[..start].ends_with(['.', '"']);
        let has_arguments = !sql[at + 1..].starts_with([')', '*']);
        let is_declared = before[..start].trim_end().ends_with(" AS");
        let is_function = names.contains(name) && !GRAMMAR.contains(&name);
        (is_function && has_arguments && !is_qualified && !is_declared).then_some(name)
    })
}

/// The Rust files that are no tests.
fn sources(folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
            && !path.ends_with("fuzz.rs")
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// The texts in quotes of a Rust file that look like SQL.
fn constants(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let here = &rest[at..];
        rest = match here.strip_prefix('"') {
            Some(text) => {
                let (text, after) = text.split_at(end_of_text(text, rest[..at].ends_with("r#")));
                found.push(text);
                after.strip_prefix('"').unwrap_or(after)
            }
            None => &here[no_text(here)..],
        };
    }
    found.retain(|text| is_sql(text));
    found
}

/// How long a comment is, or a quote that stands for itself.
fn no_text(here: &str) -> usize {
    if here.starts_with("//") {
        return here.find('\n').unwrap_or(here.len());
    }
    let quotes = ["'\\\"'", "'\\''", "'\"'"];
    let quote = quotes.iter().find(|quote| here.starts_with(**quote));
    quote.map_or(1, |quote| quote.len())
}

fn end_of_text(text: &str, is_raw: bool) -> usize {
    let mut from = 0;
    while let Some(quote) = text[from..].find('"') {
        let at = from + quote;
        let is_escaped = text[..at]
            .bytes()
            .rev()
            .take_while(|&byte| byte == b'\\')
            .count()
            % 2
            == 1;
        if if is_raw {
            text[at + 1..].starts_with('#')
        } else {
            !is_escaped
        } {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

fn is_sql(text: &str) -> bool {
    [
        "SELECT ", "SET ", "FROM ", "WHERE ", "VALUES ", "CASE ", "jsonb", "data ", "pg_",
    ]
    .iter()
    .any(|word| text.contains(word))
}
