//! SHA-256 as text: the checksums of migrations and of imported logs.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The digest of all bytes added so far.
#[derive(Clone, Default)]
pub(crate) struct TextDigest(Sha256);

impl TextDigest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest as 64 hexadecimal characters.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0.clone().finalize() {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl From<&str> for TextDigest {
    fn from(text: &str) -> Self {
        let mut digest = Self::default();
        digest.add(text.as_bytes());
        digest
    }
}
