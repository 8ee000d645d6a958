//! The name of a data stream.

use std::fmt;
use std::ops::Deref;

use compact_str::CompactString;

use crate::limits::STREAM_NAME_BYTES_MAX;

/// A stream name: 1 to 128 of `a-z A-Z 0-9 _ . -` (Kinesis API reference, CreateStream).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(CompactString);

/// Why a text is no stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream name {text:?} is not 1 to {STREAM_NAME_BYTES_MAX} of the characters a-z A-Z 0-9 _ . -"
)]
pub struct StreamNameError {
    text: String,
}

impl StreamName {
    /// Checks `text`.
    ///
    /// # Errors
    /// When its length or a character is not allowed.
    pub fn new(text: &str) -> Result<Self, StreamNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > STREAM_NAME_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(StreamNameError {
                text: text.chars().take(160).collect(),
            });
        }
        Ok(Self(CompactString::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for StreamName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_no_stream_name() {
        assert!(StreamName::new("my_kinesis-stream.1").is_ok());
        for text in ["", "some/topic", "a b", "é", &"x".repeat(129)] {
            assert!(StreamName::new(text).is_err(), "{text:?} was accepted");
        }
    }
}
