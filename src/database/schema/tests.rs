use super::files::{DOCUMENTS, EVENT_STORE, Map};

/// The files that a map names, in this order.
fn named(map: &Map) -> Vec<&'static str> {
    map.sql
        .lines()
        .filter_map(|line| line.strip_prefix(r"\ir "))
        .collect()
}

fn embedded(map: &Map) -> Vec<&'static str> {
    map.files.iter().map(|file| file.path).collect()
}

#[test]
fn the_embedded_files_are_those_that_psql_reads_in_the_same_order() {
    assert_eq!(embedded(&DOCUMENTS), named(&DOCUMENTS));

    let event_store = [vec!["sql/documents.sql"], embedded(&EVENT_STORE)].concat();
    assert_eq!(event_store, named(&EVENT_STORE));
}

#[test]
fn the_documentation_shows_the_embedded_files_in_the_same_order() {
    let shown: Vec<_> = include_str!("../../lib.rs")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("#[doc = include_str!(\"../")?
                .strip_suffix("\")]")
                .filter(|path| path.split('.').next_back() == Some("sql"))
        })
        .map(str::to_owned)
        .collect();

    let documents = embedded(&DOCUMENTS)
        .into_iter()
        .map(|path| format!("sql/{path}"));
    let event_store = embedded(&EVENT_STORE).into_iter().map(str::to_owned);
    let expected: Vec<_> = ["sql/documents.sql".to_owned()]
        .into_iter()
        .chain(documents)
        .chain(["schema.sql".to_owned()])
        .chain(event_store)
        .collect();
    assert_eq!(shown, expected);
}
