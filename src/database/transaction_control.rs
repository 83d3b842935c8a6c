//! Statements that would end the transaction of user code.

use super::error::{DatabaseError, Result};

#[cfg(test)]
mod fuzz;

/// The meaning of a backslash in a string without the prefix `E`. `standard_conforming_strings` decides, and the session may
/// change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Character,
    Escape,
}

/// Refuses SQL with a statement that begins, ends or replaces the transaction, for both meanings of a backslash. Savepoints are
/// allowed.
pub(crate) fn refuse_transaction_control(sql: &str) -> Result<()> {
    refuse_with(sql, Backslash::Character)?;
    if sql.contains('\\') {
        refuse_with(sql, Backslash::Escape)?;
    }
    Ok(())
}

fn refuse_with(sql: &str, backslash: Backslash) -> Result<()> {
    let mut rest = sql;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Ok(());
        }
        if let Some(statement) = control_statement(rest) {
            return Err(DatabaseError::TransactionControl { statement });
        }
        rest = skip_statement(rest, backslash);
    }
}

fn control_statement(sql: &str) -> Option<String> {
    let mut words = Words(sql);
    let first = words.next()?;
    let ends = match first.as_str() {
        "COMMIT" | "END" | "ABORT" | "BEGIN" => true,
        "START" | "PREPARE" => words.next().as_deref() == Some("TRANSACTION"),
        "ROLLBACK" => {
            words.find(|word| word != "WORK" && word != "TRANSACTION") != Some("TO".to_owned())
        }
        _ => false,
    };
    ends.then_some(first)
}

/// The words at the start of a statement, in upper case, up to the first text that is no word.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let rest = skip_space(self.0);
        let (word, rest) = rest.split_at(
            rest.find(|next| !is_in_identifier(next))
                .unwrap_or(rest.len()),
        );
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_ascii_uppercase())
    }
}

/// Skips white space, comments and empty statements.
fn skip_blanks(sql: &str) -> &str {
    let mut rest = skip_space(sql);
    while let Some(after) = rest.strip_prefix(';') {
        rest = skip_space(after);
    }
    rest
}

/// Skips white space and comments.
fn skip_space(sql: &str) -> &str {
    let mut rest = sql.trim_start_matches(is_space);
    loop {
        let after = if rest.starts_with("--") {
            skip_line_comment(rest)
        } else if rest.starts_with("/*") {
            skip_block_comment(rest)
        } else {
            return rest;
        };
        rest = after.trim_start_matches(is_space);
    }
}

/// A carriage return also ends a line.
fn skip_line_comment(sql: &str) -> &str {
    sql.find(['\n', '\r']).map_or("", |end| &sql[end..])
}

/// PostgreSQL's block comments nest.
fn skip_block_comment(sql: &str) -> &str {
    let mut depth = 0_usize;
    let mut rest = sql;
    loop {
        if let Some(inner) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inner;
        } else if let Some(outer) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = outer;
            if depth == 0 {
                return rest;
            }
        } else {
            let Some(next) = rest.chars().next() else {
                return "";
            };
            rest = &rest[next.len_utf8()..];
        }
    }
}

/// Skips the first statement and its semicolon. A quoted semicolon does not end it.
fn skip_statement(sql: &str, backslash: Backslash) -> &str {
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            ';' => return &rest[1..],
            '\'' => skip_string(rest, backslash),
            '"' => skip_quoted_identifier(rest),
            '$' => skip_dollar_quoted(rest),
            '-' if rest.starts_with("--") => skip_line_comment(rest),
            '/' if rest.starts_with("/*") => skip_block_comment(rest),
            'E' | 'e' if rest[1..].starts_with('\'') => skip_string(&rest[1..], Backslash::Escape),
            _ => skip_identifier(rest, next),
        };
    }
    ""
}

/// As in PostgreSQL's lexer, all characters beyond ASCII are letters, even spaces and signs.
fn begins_identifier(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || !character.is_ascii()
}

fn is_in_identifier(character: char) -> bool {
    begins_identifier(character) || character.is_ascii_digit() || character == '$'
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Skips a whole identifier, so that the `e` of `name'…'` and the `$$` of `name$$` are not mistaken for the beginning of a string.
fn skip_identifier(sql: &str, first: char) -> &str {
    if !begins_identifier(first) {
        return &sql[first.len_utf8()..];
    }
    sql.trim_start_matches(is_in_identifier)
}

fn skip_quoted_identifier(sql: &str) -> &str {
    sql[1..].find('"').map_or("", |end| &sql[end + 2..])
}

fn skip_string(sql: &str, backslash: Backslash) -> &str {
    let mut rest = sql;
    while let Some(part) = rest.strip_prefix('\'') {
        rest = continuation(skip_string_part(part, backslash));
    }
    rest
}

/// Skips to after the quote.
fn skip_string_part(part: &str, backslash: Backslash) -> &str {
    let mut escaped = false;
    for (index, character) in part.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = backslash == Backslash::Escape,
            '\'' => return &part[index + 1..],
            _ => {}
        }
    }
    ""
}

/// A string goes on with the same meaning of backslashes after a doubled quote, and after a quote on a later line.
fn continuation(after_quote: &str) -> &str {
    let mut rest = after_quote;
    loop {
        let next = rest.trim_start_matches(is_space);
        if !next.starts_with("--") {
            let between = &after_quote[..after_quote.len() - next.len()];
            let goes_on =
                next.starts_with('\'') && (between.is_empty() || between.contains(['\n', '\r']));
            return if goes_on { next } else { after_quote };
        }
        rest = skip_line_comment(next);
    }
}

fn skip_dollar_quoted(sql: &str) -> &str {
    let tag = sql[1..].find('$').map(|end| &sql[..end + 2]);
    match tag {
        Some(tag) if is_tag(&tag[1..tag.len() - 1]) => sql[tag.len()..]
            .find(tag)
            .map_or("", |end| &sql[tag.len() + end + tag.len()..]),
        _ => &sql[1..],
    }
}

fn is_tag(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(is_in_identifier)
}

#[cfg(test)]
mod tests {
    use super::refuse_transaction_control;

    #[test]
    fn statements_that_end_the_transaction_are_refused_wherever_they_hide() {
        for sql in [
            "COMMIT",
            "commit;",
            " /* a /* b */ */ Commit",
            "-- note\nEND",
            "ROLLBACK",
            "rollback work",
            "abort",
            "BEGIN",
            "START TRANSACTION",
            "PREPARE TRANSACTION 'x'",
            "UPDATE t SET a = 'x;y'; COMMIT",
            "SELECT $$;$$; COMMIT",
            "SELECT $tag$ ; $$ ; $tag$; END",
            "SELECT E'\\';'; COMMIT",
            "SELECT name'x'; COMMIT",
            "SELECT 1 -- ;\n; COMMIT",
            ";;COMMIT",
            "-- note\rCOMMIT",
            "SELECT 1 -- note\r; COMMIT",
            "ROLLBACK; SET search_path TO x",
            "ROLLBACK -- TO x",
            "ROLLBACK /* TO x */",
            "ROLLBACK AND CHAIN",
            "ROLLBACK PREPARED 'x'",
            "PREPARE /* x */ TRANSACTION 'x'",
            "START -- x\n TRANSACTION",
            "SELECT 1 AS _$$; COMMIT; --$$",
            "SELECT 1 AS €$$; COMMIT; --$$",
            "SELECT $€$ ' $€$; COMMIT; --'",
            "SELECT E'a''\\''; COMMIT; --'",
            "SELECT E'a'\n'\\''; COMMIT; --'",
            "SELECT E'a' -- note\n '\\''; COMMIT; --'",
            "SELECT '\\''; COMMIT; --'",
        ] {
            assert!(refuse_transaction_control(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn other_statements_pass() {
        for sql in [
            "",
            "SELECT 'COMMIT; COMMIT'",
            "INSERT INTO commits VALUES ($1)",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "ROLLBACK TO SAVEPOINT a",
            "ROLLBACK /* half */ WORK TO a",
            "rollback transaction to savepoint a",
            "RELEASE a",
            "PREPARE x AS SELECT 1",
            "SELECT \"; COMMIT\"",
            "SELECT $$; COMMIT$$",
            "SELECT E'\\'; COMMIT'",
            "DO $do$ BEGIN PERFORM 1; END $do$",
            "SELECT '\\'",
            "SELECT E'a'\n'\\'; COMMIT'",
            "SELECT $€$; COMMIT$€$",
        ] {
            assert!(refuse_transaction_control(sql).is_ok(), "{sql}");
        }
    }
}
