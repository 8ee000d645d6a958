//! The key of a record, as the service counts it.

use std::fmt;
use std::ops::Deref;

use compact_str::CompactString;

use crate::limits::PARTITION_KEY_UNITS_MAX;

/// A partition key: 1 to 256 UTF-16 code units.
///
/// The API says "256 Unicode characters"; UTF-16 code units are the strictest reading of that, and one key that the
/// service refuses rejects a whole batch. Keys up to 24 bytes are stored inline, so that copying one costs no
/// allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(CompactString);

/// Why a text is no partition key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionKeyError {
    /// The text is empty.
    #[error("partition key is empty; it needs 1 to {PARTITION_KEY_UNITS_MAX} characters")]
    Empty,
    /// The text is too long.
    #[error("partition key too long: {units} > {PARTITION_KEY_UNITS_MAX} UTF-16 code units")]
    TooLong {
        /// Its length in UTF-16 code units.
        units: usize,
    },
}

impl PartitionKey {
    /// Checks `text`; it is never cut or replaced, because another key is another shard.
    ///
    /// # Errors
    /// When it is empty or longer than 256 UTF-16 code units.
    pub fn new(text: &str) -> Result<Self, PartitionKeyError> {
        if text.is_empty() {
            return Err(PartitionKeyError::Empty);
        }
        // A UTF-8 byte never stands for more than one UTF-16 unit, so short texts need no count.
        if text.len() > PARTITION_KEY_UNITS_MAX {
            let units = text.encode_utf16().count();
            if units > PARTITION_KEY_UNITS_MAX {
                return Err(PartitionKeyError::TooLong { units });
            }
        }
        Ok(Self(CompactString::from(text)))
    }

    /// A partition key made of random UUID bits: for an action that names none.
    pub fn from_uuid_bits(bits: u128) -> Self {
        let hex = format!("{bits:032x}");
        let (a, rest) = hex.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        Self(CompactString::from(format!("{a}-{b}-{c}-{d}-{e}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for PartitionKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_utf16_code_units() {
        assert_eq!(PartitionKey::new(""), Err(PartitionKeyError::Empty));
        assert!(PartitionKey::new(&"é".repeat(256)).is_ok());
        assert!(PartitionKey::new(&"😀".repeat(128)).is_ok());
        assert_eq!(
            PartitionKey::new(&"😀".repeat(129)),
            Err(PartitionKeyError::TooLong { units: 258 })
        );
    }

    #[test]
    fn uuid_keys_have_the_usual_form() {
        assert_eq!(
            &*PartitionKey::from_uuid_bits(1),
            "00000000-0000-0000-0000-000000000001"
        );
    }
}
