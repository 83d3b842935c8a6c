//! Texts of errors, which may contain anything, as texts that can be stored.

use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;

/// Maximum number of bytes that are kept of an error.
const LONGEST: usize = 64 * 1024;

/// The text of an error as the parameter of `emt_error_text`, which knows the encoding of the database. Every stored error
/// takes this way. An error that could not be recorded would be retried forever.
#[derive(Debug)]
pub(crate) struct ErrorText(String);

impl ErrorText {
    pub(crate) fn new(text: &str) -> Self {
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let kept = &text[..end];
        // PostgreSQL's text cannot contain U+0000.
        let storable = kept.replace('\0', "\\0");
        if kept.len() == text.len() {
            return Self(storable);
        }
        Self(format!(
            "{storable} [cut off here, of {} bytes]",
            text.len()
        ))
    }
}

impl ToSql for ErrorText {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::{ErrorText, LONGEST};

    #[test]
    fn an_error_is_kept_as_it_is() {
        assert_eq!(ErrorText::new("zu groß").0, "zu groß");
    }

    #[test]
    fn a_null_character_is_made_visible() {
        assert_eq!(ErrorText::new("bad \0").0, "bad \\0");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        let text = format!("x{}", "ü".repeat(LONGEST));
        let stored = ErrorText::new(&text).0;
        let kept = format!("x{}", "ü".repeat(LONGEST / 2 - 1));
        assert_eq!(
            stored,
            format!("{kept} [cut off here, of {} bytes]", text.len())
        );
    }
}
