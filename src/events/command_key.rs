//! The key under which a command is carried out once.

use crate::database::{TextDigest, check_key};
use crate::error::{Error, Result};
use crate::json::{JsonError, from_stored, to_json};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The key of a command, and the digest of its content.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct CommandKey {
    pub(crate) key: String,
    /// Empty where the caller named no content.
    pub(crate) digest: String,
}

impl CommandKey {
    pub(crate) fn new(key: String) -> Self {
        Self {
            key,
            digest: String::new(),
        }
    }

    pub(crate) fn with_content(mut self, content: &impl Serialize) -> Result<Self> {
        let json = to_json(content).map_err(|source| self.json_error("content", source))?;
        let mut digest = TextDigest::default();
        digest.add(&json);
        self.digest = digest.text();
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<()> {
        Ok(check_key("the command key", &self.key)?)
    }

    pub(crate) fn write_reply(&self, reply: &impl Serialize) -> Result<Vec<u8>> {
        to_json(reply).map_err(|source| self.json_error("reply", source))
    }

    pub(crate) fn read_reply<R: DeserializeOwned>(&self, reply: &[u8]) -> Result<R> {
        from_stored(reply).map_err(|source| self.json_error("reply", source))
    }

    /// Where the key was found with a digest.
    pub(super) fn check_digest(&self, stored: &str) -> Result<()> {
        if stored == self.digest {
            return Ok(());
        }
        Err(self.reused())
    }

    pub(super) fn reused(&self) -> Error {
        Error::CommandKeyReused {
            key: self.key.clone(),
        }
    }

    fn json_error(&self, part: &'static str, source: JsonError) -> Error {
        Error::CommandJson {
            key: self.key.clone(),
            part,
            source,
        }
    }
}
