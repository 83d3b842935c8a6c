//! Tables of text.

use std::time::{Duration, SystemTime};

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Width};
use terminal_size::terminal_size_of;

/// Maximum width of a column.
const WIDEST: u16 = 60;

const GAP: u16 = 2;

/// A table whose columns are as wide as their widest text; the last column is not padded. On a terminal, the widest
/// columns are cut off until each row fits on a line. Other output is not cut off.
pub(super) struct Table(comfy_table::Table);

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_truncation_indicator("…")
            .set_header(titles);
        for column in table.column_iter_mut() {
            column
                .set_padding((0, GAP))
                // No text contains this delimiter, so lines break where they are full, and not after a word.
                .set_delimiter('\0')
                .set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(WIDEST + GAP)));
        }
        let mut table = Self(table);
        if let Some((width, _)) = terminal_size_of(std::io::stdout()) {
            table.fit(width.0);
        }
        table
    }

    fn fit(&mut self, width: u16) {
        self.0
            .set_content_arrangement(ContentArrangement::Dynamic)
            // The gap after the last column is invisible.
            .set_width(width.saturating_add(GAP));
    }

    pub(super) fn add(&mut self, row: Vec<String>) {
        let mut row = Row::from(row.iter().map(|text| plain(text)));
        row.max_height(1);
        self.0.add_row(row);
    }

    /// Returns the lines, without a line break at the end.
    pub(super) fn render(&self) -> String {
        self.0.trim_fmt()
    }
}

/// Returns a text on one line, without control characters for the terminal.
pub(super) fn plain(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    plain.trim_end().to_owned()
}

/// Formats a duration: `4.2 s`, `3 min`, `5 h`, `2 d`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats a point in time; `-` if it is outside the calendar.
pub(super) fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Table, duration};
    use std::time::Duration;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(&["NAME", "N", "LAST"]);
        table.add(vec!["größer".into(), "1".into(), "a\nb\u{1b}[31m".into()]);
        table.add(vec!["x".into(), "1000".into(), String::new()]);
        assert_eq!(
            table.render(),
            "NAME    N     LAST\ngrößer  1     a b [31m\nx       1000"
        );
    }

    #[test]
    fn wide_characters_do_not_shift_the_columns() {
        let mut table = Table::new(&["NAME", "LAST"]);
        table.add(vec!["漢字".into(), "1".into()]);
        table.add(vec!["e\u{301}te\u{301}".into(), "2".into()]);
        assert_eq!(table.render(), "NAME  LAST\n漢字  1\ne\u{301}te\u{301}   2");
    }

    #[test]
    fn long_texts_are_cut_off_where_the_column_ends() {
        let mut table = Table::new(&["TEXT", "LAST"]);
        table.add(vec!["漢字 ".repeat(20), "1".into()]);
        table.add(vec!["a b".repeat(20), "2".into()]);
        table.add(vec!["a b".repeat(21), "3".into()]);
        let lines: Vec<String> = table.render().lines().map(str::to_owned).collect();
        assert_eq!(lines[1], format!("{}漢字…  1", "漢字 ".repeat(11)));
        assert_eq!(lines[2], format!("{}  2", "a b".repeat(20)));
        assert_eq!(lines[3], format!("{}a …  3", "a b".repeat(19)));
    }

    #[test]
    fn on_a_terminal_the_widest_columns_are_cut_until_a_row_fits() {
        let mut table = Table::new(&["PROCESSOR", "POSITION", "LAST ERROR"]);
        table.add(vec![
            "carts".into(),
            "12".into(),
            "no connection to the database".into(),
        ]);
        let whole = table.render();
        table.fit(80);
        assert_eq!(table.render(), whole, "what fits is not cut");
        table.fit(40);
        assert_eq!(
            table.render(),
            "PROCESSOR  POSITION  LAST ERROR\ncarts      12        no connection to t…"
        );
        for width in [1, 10, 25] {
            table.fit(width);
            table.render();
        }
    }

    #[test]
    fn durations_are_short() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(duration(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(
            [of(60), of(7_199), of(7_200), of(200_000)],
            ["1 min", "119 min", "2 h", "2 d"]
        );
    }
}
