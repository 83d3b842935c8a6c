//! Statements that would end the transaction of user code.

use super::error::{DatabaseError, Result};

/// Refuses SQL with a statement that begins, ends or replaces the transaction. Savepoints are allowed.
pub(crate) fn refuse_transaction_control(sql: &str) -> Result<()> {
    let mut rest = sql;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Ok(());
        }
        if let Some(statement) = control_statement(rest) {
            return Err(DatabaseError::TransactionControl { statement });
        }
        rest = skip_statement(rest);
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
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let (word, rest) = rest.split_at(rest.find(|next| !is_word(next)).unwrap_or(rest.len()));
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
    let mut rest = sql.trim_start();
    loop {
        let after = if rest.starts_with("--") {
            skip_line_comment(rest)
        } else if rest.starts_with("/*") {
            skip_block_comment(rest)
        } else {
            return rest;
        };
        rest = after.trim_start();
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
fn skip_statement(sql: &str) -> &str {
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            ';' => return &rest[1..],
            '\'' | '"' => skip_quoted(rest, next),
            '$' => skip_dollar_quoted(rest),
            '-' if rest.starts_with("--") => skip_line_comment(rest),
            '/' if rest.starts_with("/*") => skip_block_comment(rest),
            'E' | 'e' if rest[1..].starts_with('\'') => skip_escaped(&rest[1..]),
            _ => skip_word(rest, next),
        };
    }
    ""
}

/// Skips a whole word, so that the `e` of `name'…'` is not mistaken for the prefix of an escaped string.
fn skip_word(sql: &str, first: char) -> &str {
    if !first.is_alphanumeric() {
        return &sql[first.len_utf8()..];
    }
    sql.trim_start_matches(|character: char| {
        character.is_alphanumeric() || character == '_' || character == '$'
    })
}

fn skip_quoted(sql: &str, quote: char) -> &str {
    sql[1..].find(quote).map_or("", |end| &sql[end + 2..])
}

fn skip_escaped(sql: &str) -> &str {
    let mut escaped = false;
    for (index, character) in sql.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return &sql[index + 1..],
            _ => {}
        }
    }
    ""
}

fn skip_dollar_quoted(sql: &str) -> &str {
    let tag = sql[1..].find('$').map(|end| &sql[..end + 2]);
    match tag {
        Some(tag)
            if tag[1..tag.len() - 1]
                .chars()
                .all(|character| character.is_alphanumeric() || character == '_') =>
        {
            sql[tag.len()..]
                .find(tag)
                .map_or("", |end| &sql[tag.len() + end + tag.len()..])
        }
        _ => &sql[1..],
    }
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
        ] {
            assert!(refuse_transaction_control(sql).is_ok(), "{sql}");
        }
    }
}
