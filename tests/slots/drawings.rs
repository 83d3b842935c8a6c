//! The state machine of a table is drawn in its SQL file, in the documentation of the room and on the page about slots, identically.

const ROOM: &str = include_str!("../../src/slots/mod.rs");
const PAGE: &str = include_str!("../../docs/design/slots.md");
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

/// The arrows of the page's drawings, as the names of tests mention them: `from_free_to_held`.
fn arrows(page: &str) -> Vec<String> {
    let mut labels = vec![("[*]", "no_row".to_owned())];
    let mut arrows = Vec::new();
    for line in page.lines().map(str::trim) {
        if let Some((label, state)) = line
            .strip_prefix("state \"")
            .and_then(|line| line.split_once("\" as "))
        {
            labels.push((state, label.replace(' ', "_")));
        }
        let Some((arrow, _)) = line.split_once(": ") else {
            continue;
        };
        if let Some((from, to)) = arrow.split_once(" --> ") {
            arrows.push((from, to));
        }
    }
    let label = |state: &str| {
        let known = labels.iter().find(|(known, _)| *known == state);
        known.map_or_else(|| state.to_owned(), |(_, label)| label.clone())
    };
    let name = |(from, to): &(&str, &str)| format!("from_{}_to_{}", label(from), label(to));
    arrows.iter().map(name).collect()
}

/// An arrow from any state stands for one from each state.
fn draws(arrow: &str, name: &str) -> bool {
    let to = arrow.strip_prefix("from_any_state");
    name.contains(to.unwrap_or(arrow))
}

#[test]
fn the_page_draws_each_transition_that_is_tested() {
    let arrows = arrows(PAGE);
    let mut tested = 0;
    for tests in [
        include_str!("slot_transitions.rs"),
        include_str!("parked_transitions.rs"),
    ] {
        for name in tests.lines().filter_map(|line| line.strip_prefix("fn ")) {
            if !name.contains("_from_") || !name.contains("_to_") {
                continue;
            }
            tested += 1;
            assert!(
                arrows.iter().any(|arrow| draws(arrow, name)),
                "docs/design/slots.md does not draw {name}; it draws {arrows:#?}"
            );
        }
    }
    assert!(tested > 25, "{tested} names of tests mention a transition");
}
