//! Text in columns, for people.

use std::time::{Duration, SystemTime};

/// Longer texts are cut off in a column.
const WIDEST: usize = 60;

/// Rows of texts, each column as wide as its widest text; the last one is not filled up.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        let titles = titles.iter().map(|&title| title.to_owned()).collect();
        Self { rows: vec![titles] }
    }

    pub(super) fn add(&mut self, row: Vec<String>) {
        self.rows
            .push(row.iter().map(|text| cut(text, WIDEST)).collect());
    }

    /// The lines, without a line break at the end.
    pub(super) fn render(&self) -> String {
        let lines: Vec<String> = self.rows.iter().map(|row| self.line(row)).collect();
        lines.join("\n")
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (column, text) in row.iter().enumerate() {
            line.push_str(text);
            let fill = self.width(column) - text.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', fill));
        }
        line.trim_end().to_owned()
    }

    fn width(&self, column: usize) -> usize {
        let texts = self.rows.iter().filter_map(|row| row.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    }
}

/// A text on one line, without what would drive a terminal.
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

fn cut(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// `4.2 s`, `3 min`, `5 h`, `2 d`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A point in time; `-` for one that no calendar has.
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
    fn durations_are_short() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(duration(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(
            [of(60), of(7_199), of(7_200), of(200_000)],
            ["1 min", "119 min", "2 h", "2 d"]
        );
    }
}
