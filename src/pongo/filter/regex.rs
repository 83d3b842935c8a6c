//! Converts MongoDB's regular expressions to PostgreSQL's.
//!
//! PostgreSQL's syntax is close to Perl's. Some constructs have a different meaning in PostgreSQL, without an error: `\b`,
//! `\B`, `\z`, and the options. These are rewritten. PostgreSQL refuses constructs that only Perl has.

use std::fmt;

/// A regular expression of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regex {
    path: String,
    pattern: String,
    /// MongoDB's option letters.
    options: String,
}

impl Regex {
    /// Returns the first invalid option letter as the error.
    pub(super) fn new(path: &str, pattern: &str, options: &str) -> Result<Self, char> {
        match options.chars().find(|letter| !is_option(*letter)) {
            Some(letter) => Err(letter),
            None => Ok(Self {
                path: path.to_owned(),
                pattern: pattern.to_owned(),
                options: options.to_owned(),
            }),
        }
    }

    /// Returns the expression in PostgreSQL's syntax, including its options.
    ///
    /// PostgreSQL accepts options once, at the very beginning. The pattern's own options are therefore merged with the others.
    pub(super) fn to_sql(&self) -> String {
        let (mut options, mut pattern) = (self.options.clone(), self.pattern.as_str());
        while let Some((inline, rest)) = inline_options(pattern) {
            options.push_str(inline);
            pattern = rest;
        }
        let has = |letter| options.contains(letter);
        let lines = match (has('m'), has('s')) {
            (false, false) => "p",
            (true, false) => "n",
            (false, true) => "s",
            (true, true) => "w",
        };
        let case = if has('i') { "i" } else { "" };
        let extended = if has('x') { "x" } else { "" };
        let pattern = rewritten(pattern, has('x'));
        format!("(?{lines}{case}{extended}){pattern}")
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` of `{}`", self.pattern, self.path)
    }
}

/// An option of a regular expression, for [`Field::matches_with`](crate::pongo::Field::matches_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegexOption {
    /// `i`: ignores case, for the letters that the database's collation knows.
    IgnoreCase,
    /// `m`: `^` and `$` also match at the beginning and the end of a line.
    MultiLine,
    /// `s`: `.` also matches a newline.
    DotMatchesNewline,
    /// `x`: ignores white space in the pattern, and comments from `#` to the end of a line.
    Extended,
}

impl RegexOption {
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [
        Self::IgnoreCase,
        Self::MultiLine,
        Self::DotMatchesNewline,
        Self::Extended,
    ];

    pub(super) fn letter(self) -> char {
        match self {
            Self::IgnoreCase => 'i',
            Self::MultiLine => 'm',
            Self::DotMatchesNewline => 's',
            Self::Extended => 'x',
        }
    }
}

fn is_option(letter: char) -> bool {
    matches!(letter, 'i' | 'm' | 's' | 'x')
}

/// Splits a pattern into its leading options, such as `(?i)`, and the rest.
fn inline_options(pattern: &str) -> Option<(&str, &str)> {
    let (letters, rest) = pattern.strip_prefix("(?")?.split_once(')')?;
    (!letters.is_empty() && letters.chars().all(is_option)).then_some((letters, rest))
}

/// Rewrites constructs that PostgreSQL would interpret differently.
fn rewritten(pattern: &str, extended: bool) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' => escape_length(rest),
            '[' => bracket_length(rest),
            '#' if extended => rest.find('\n').unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        written.push_str(match token {
            r"\b" => r"\y",
            r"\B" => r"\Y",
            r"\z" => r"\Z",
            token => token,
        });
        rest = behind;
    }
    written
}

fn escape_length(text: &str) -> usize {
    text.chars().take(2).map(char::len_utf8).sum()
}

/// Returns the length of the leading bracket expression, or of the whole text if it is not closed.
fn bracket_length(text: &str) -> usize {
    let negated = text.starts_with("[^");
    let mut at = if negated { 2 } else { 1 };
    if text[at..].starts_with(']') {
        at += 1;
    }
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match first {
            ']' => return at + 1,
            '\\' => escape_length(rest),
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            _ => first.len_utf8(),
        };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(pattern: &str, options: &str) -> String {
        Regex::new("name", pattern, options).unwrap().to_sql()
    }

    #[test]
    fn options_are_written_as_postgresql_names_them() {
        for (options, letters) in [
            ("", "p"),
            ("m", "n"),
            ("s", "s"),
            ("ms", "w"),
            ("i", "pi"),
            ("xi", "pix"),
            ("smxi", "wix"),
            ("ii", "pi"),
        ] {
            assert_eq!(sql("a", options), format!("(?{letters})a"));
        }
        assert_eq!(Regex::new("name", "a", "ig"), Err('g'));
    }

    #[test]
    fn options_at_the_beginning_of_a_pattern_join_the_others() {
        assert_eq!(sql("(?i)a", "m"), "(?ni)a");
        assert_eq!(sql("(?i)(?s)a", ""), "(?si)a");
        assert_eq!(sql("(?:a)", ""), "(?p)(?:a)");
        assert_eq!(sql("(?=a)", ""), "(?p)(?=a)");
        assert_eq!(sql("(?)a", ""), "(?p)(?)a");
        assert_eq!(sql("a(?i)b", ""), "(?p)a(?i)b");
        assert_eq!(sql("***=a", ""), "(?p)***=a");
    }

    #[test]
    fn escapes_that_mean_something_else_are_rewritten() {
        assert_eq!(sql(r"\ba\B\z", ""), r"(?p)\ya\Y\Z");
        assert_eq!(sql(r"\\b\d\.", ""), r"(?p)\\b\d\.");
        assert_eq!(sql(r"[\b]\b", ""), r"(?p)[\b]\y");
        assert_eq!(sql(r"[]\b]\b", ""), r"(?p)[]\b]\y");
        assert_eq!(sql(r"[^]\b]\b", ""), r"(?p)[^]\b]\y");
        assert_eq!(sql(r"[[:alpha:]\b]\b", ""), r"(?p)[[:alpha:]\b]\y");
        assert_eq!(sql(r"[\]\b]\b", ""), r"(?p)[\]\b]\y");
        assert_eq!(sql("a # [\n\\b", "x"), "(?px)a # [\n\\y");
        assert_eq!(sql("# [\\b]", ""), "(?p)# [\\b]");
        assert_eq!(sql(r"é\😀[é\b", ""), r"(?p)é\😀[é\b");
        assert_eq!(sql(r"a\", ""), r"(?p)a\");
    }
}
