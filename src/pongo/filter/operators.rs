//! The operators of fields and elements as methods.

use serde::Serialize;
use serde_json::Value;

use super::error::FilterError;
use crate::json::JsonError;
use crate::pongo::operand::operand;

macro_rules! operators {
    ($output:ident) => {
        /// `$eq`: equal to the value. Null also equals a missing field. Numbers compare by value, so 1 equals 1.0.
        pub fn eq(self, value: impl Serialize) -> $output {
            self.compare("$eq", value)
        }

        /// `$ne`: not equal to the value, or missing.
        pub fn ne(self, value: impl Serialize) -> $output {
            self.compare("$ne", value)
        }

        /// `$gt`: of the value's type and greater. The value is a string, a number or a boolean.
        pub fn gt(self, value: impl Serialize) -> $output {
            self.compare("$gt", value)
        }

        /// `$gte`: of the value's type and greater or equal. The value is a string, a number, a boolean or null.
        pub fn gte(self, value: impl Serialize) -> $output {
            self.compare("$gte", value)
        }

        /// `$lt`: of the value's type and less. The value is a string, a number or a boolean.
        pub fn lt(self, value: impl Serialize) -> $output {
            self.compare("$lt", value)
        }

        /// `$lte`: of the value's type and less or equal. The value is a string, a number, a boolean or null.
        pub fn lte(self, value: impl Serialize) -> $output {
            self.compare("$lte", value)
        }

        /// `$in`: equal to one of the values. An empty list matches nothing.
        pub fn is_in(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare("$in", Vec::from_iter(values))
        }

        /// `$nin`: not equal to any of the values, or missing.
        pub fn not_in(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare("$nin", Vec::from_iter(values))
        }

        /// `$type`: of this type.
        pub fn has_type(self, json_type: JsonType) -> $output {
            self.compare("$type", json_type.alias())
        }

        /// `$all`: equal to each of the values; an array matches by its elements. An empty list matches nothing.
        pub fn all(self, values: impl IntoIterator<Item = impl Serialize>) -> $output {
            self.compare("$all", Vec::from_iter(values))
        }

        /// `$elemMatch`: an array with at least one element that matches everything.
        ///
        /// ```
        /// use emmett_postgresql::pongo::{element, field};
        ///
        /// let of_fields = field("lines").elem_match(field("sku").eq("x").and(field("quantity").gt(3)));
        /// let of_elements = field("scores").elem_match(element().gte(80).lt(85));
        /// ```
        pub fn elem_match(self, filter: impl Into<ElementFilter>) -> $output {
            self.has_element(filter.into())
        }

        /// `$size`: an array with this number of elements.
        pub fn size(self, elements: u32) -> $output {
            self.compare("$size", elements)
        }

        /// `$regex`: a string in which the regular expression matches. The syntax is PostgreSQL's, which is close to Perl's.
        ///
        /// ```
        /// use emmett_postgresql::pongo::field;
        ///
        /// let filter = field("email").matches(r"@example\.(com|org)$");
        /// ```
        pub fn matches(self, pattern: impl Into<String>) -> $output {
            self.matches_with(pattern, [])
        }

        /// `$regex`, like [`matches`](Self::matches), with `$options`.
        ///
        /// ```
        /// use emmett_postgresql::pongo::{RegexOption, field};
        ///
        /// let filter = field("name").matches_with("^mar", [RegexOption::IgnoreCase]);
        /// ```
        pub fn matches_with(
            self,
            pattern: impl Into<String>,
            options: impl IntoIterator<Item = RegexOption>,
        ) -> $output {
            let letters: String = options.into_iter().map(RegexOption::letter).collect();
            let mut pattern = pattern.into();
            if !letters.is_empty() {
                pattern.insert_str(0, &format!("(?{letters})"));
            }
            self.compare("$regex", pattern)
        }
    };
}

pub(super) use operators;

/// Returns the operand of an operator. `path` names the field in messages.
pub(super) fn operand_of(path: &str, value: impl Serialize) -> Result<Value, FilterError> {
    operand(value).map_err(|error| FilterError::InvalidValue {
        path: path.to_owned(),
        reason: match error {
            JsonError::Serde(source) => source.to_string(),
            error => error.to_string(),
        },
    })
}
