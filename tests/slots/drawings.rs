//! The state machine of a table is drawn in its SQL file and in the documentation of the room, identically.

const ROOM: &str = include_str!("../../src/slots/mod.rs");
const SLOTS: &str = include_str!("../../sql/consumers/processor_slots.sql");
const PARKED: &str = include_str!("../../sql/consumers/parked_messages.sql");

fn drawings() -> Vec<String> {
    let text: Vec<&str> = ROOM
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .collect();
    let text = text.join("\n");
    text.split("```text\n")
        .skip(1)
        .filter_map(|part| part.split(" ```").next())
        .map(|drawing| drawing.trim_end().to_owned())
        .collect()
}

fn comments(sql: &str) -> String {
    let lines: Vec<&str> = sql
        .lines()
        .filter_map(|line| line.strip_prefix("--"))
        .collect();
    lines.join("\n")
}

#[test]
fn the_documentation_draws_the_states_as_the_schema_does() {
    let drawings = drawings();
    assert_eq!(drawings.len(), 2);
    for (sql, drawing) in [SLOTS, PARKED].iter().zip(&drawings) {
        assert!(comments(sql).contains(drawing), "{drawing}");
    }
}
