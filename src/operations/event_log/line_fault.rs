//! What is wrong with a line that cannot be read, in words. Runs only for such lines, so it may look at them again.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Text,
    Kind,
    Any,
    Object,
    Boolean,
    Number { most: u64 },
}

/// A key of a line.
struct Key {
    name: &'static str,
    content: Content,
    /// Whether null stands for nothing.
    may_be_null: bool,
}

const fn required(name: &'static str, content: Content) -> Key {
    Key {
        name,
        content,
        may_be_null: false,
    }
}

const fn optional(name: &'static str, content: Content) -> Key {
    Key {
        name,
        content,
        may_be_null: true,
    }
}

const KEYS: [Key; 12] = [
    required("streamName", Content::Text),
    required("type", Content::Text),
    required("data", Content::Any),
    optional("metadata", Content::Object),
    optional("messageId", Content::Text),
    optional("streamPosition", Content::Number { most: u64::MAX }),
    required("kind", Content::Kind),
    optional(
        "schemaVersion",
        Content::Number {
            most: u32::MAX as u64,
        },
    ),
    optional("recordedAt", Content::Text),
    optional("globalPosition", Content::Number { most: u64::MAX }),
    optional("archived", Content::Boolean),
    optional("streamMetadata", Content::Object),
];

/// A value is shown up to here.
const SHOWN: usize = 60;

/// Says why a line cannot be read. `is_ended`: the line has its end.
pub(super) fn explain(line: &[u8], is_ended: bool, error: &serde_json::Error) -> String {
    let text = match str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => {
            return format!(
                "is not UTF-8 from byte {} on: convert the log first, for example with `iconv -t UTF-8`",
                error.valid_up_to() + 1
            );
        }
    };
    if let Some(reason) = beginning(text.trim_start()) {
        return reason;
    }
    match serde_json::from_str::<Pairs<'_>>(text) {
        Ok(pairs) => pairs.fault().unwrap_or_else(|| unknown(error)),
        Err(error) => syntax(text, is_ended, &error),
    }
}

/// A line that does not even begin like one.
fn beginning(text: &str) -> Option<String> {
    if text.starts_with('{') {
        return None;
    }
    if text.starts_with('[') {
        return Some(
            "is a JSON array, and an event log has one JSON object a line: convert it first, for example with `jq -c '.[]'`"
                .to_owned(),
        );
    }
    if text.starts_with('\u{feff}') {
        return Some(
            "begins with a byte order mark, which may stand at the beginning of the log only: remove its three bytes"
                .to_owned(),
        );
    }
    Some(format!(
        "must be one JSON object, {{\"streamName\": …, \"type\": …, \"data\": …}}, and begins with {}",
        shown(text)
    ))
}

/// A line that is no JSON.
fn syntax(text: &str, is_ended: bool, error: &serde_json::Error) -> String {
    let byte = error.column();
    if error.is_eof() && !is_ended {
        return format!(
            "the log ends in the middle of this line, after {} bytes of it: it was cut off, or is being written still. Import it \
             again when it is complete, and the import goes on here",
            text.len()
        );
    }
    if error.is_eof() {
        return "ends before its JSON object does: an object must stand in one line, for example with `jq -c .`".to_owned();
    }
    let reason = reason(error);
    if reason == "trailing characters" {
        return format!(
            "has something after its JSON object, at byte {byte}: write one object a line, for example with `jq -c .`"
        );
    }
    let before = text.get(..byte.saturating_sub(1)).unwrap_or_default();
    let around: String = before
        .chars()
        .rev()
        .take(20)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    format!("is not JSON from byte {byte} on, after {around:?}: {reason}")
}

/// For what no rule here knows.
fn unknown(error: &serde_json::Error) -> String {
    format!(
        "cannot be read as a line of an event log: {}",
        reason(error)
    )
}

/// What `serde_json` says, without the position, which it counts in its own line 1.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// The keys of an object with their values, in their order.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Pairs<'_> {
    fn fault(&self) -> Option<String> {
        let unknown = self.0.iter().find_map(|(name, _)| unknown_key(name));
        let of_values = || {
            self.0
                .iter()
                .find_map(|(name, value)| wrong_value(name, value))
        };
        unknown
            .or_else(|| self.twice())
            .or_else(of_values)
            .or_else(|| self.without_name())
    }

    fn twice(&self) -> Option<String> {
        let again = |(number, (name, _)): (usize, &(String, _))| {
            let is_there = self.0[..number].iter().any(|(earlier, _)| earlier == name);
            is_there.then(|| format!("has the key {name:?} twice: remove one of them"))
        };
        self.0.iter().enumerate().find_map(again)
    }

    fn without_name(&self) -> Option<String> {
        if self.0.iter().any(|(name, _)| name == "streamName") {
            return None;
        }
        Some("the key \"streamName\" is missing: each line names its stream".to_owned())
    }
}

fn unknown_key(name: &str) -> Option<String> {
    if KEYS.iter().any(|key| key.name == name) {
        return None;
    }
    let near = KEYS.iter().find(|key| plain(key.name) == plain(name));
    let advice = near.map_or_else(
        || {
            let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
            format!(
                "a line has {}; what else belongs to a message goes into \"metadata\"",
                names.join(", ")
            )
        },
        |key| format!("is it {:?}?", key.name),
    );
    Some(format!("has the unknown key {:?}: {advice}", cut(name)))
}

/// What two spellings of a key have in common.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

fn wrong_value(name: &str, value: &RawValue) -> Option<String> {
    let key = KEYS.iter().find(|key| key.name == name)?;
    let json = value.get();
    if key.may_be_null && json == "null" {
        return None;
    }
    let must_be = match key.content {
        Content::Any => return None,
        Content::Text if json.starts_with('"') => {
            let error = serde_json::from_str::<String>(json).err()?;
            return Some(format!(
                "the key {name:?} has a text that cannot be read: {}",
                reason(&error)
            ));
        }
        Content::Text => "a text".to_owned(),
        Content::Kind
            if ["event", "Event", "E", "command", "Command", "C"]
                .iter()
                .any(|kind| json == format!("{kind:?}")) =>
        {
            return None;
        }
        Content::Kind => "\"event\" or \"command\"".to_owned(),
        Content::Object if json.starts_with('{') => return None,
        Content::Object => "an object".to_owned(),
        Content::Boolean if json == "true" || json == "false" => return None,
        Content::Boolean => "true or false".to_owned(),
        Content::Number { most } if json.parse().is_ok_and(|number: u64| number <= most) => {
            return None;
        }
        Content::Number { most } => format!("a whole number from 0 to {most}"),
    };
    Some(format!(
        "the key {name:?} must be {must_be}, is {}",
        shown(json)
    ))
}

/// The beginning of a text on one line.
fn shown(text: &str) -> String {
    cut(text).escape_debug().to_string().replace("\\\"", "\"")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
