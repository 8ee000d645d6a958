//! The 128-bit key that decides the shard of a record.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

/// A hash key: the position of a record in the hash key space 0 to 2^128 - 1 of its stream.
///
/// Without an explicit one it is the MD5 of the partition key's UTF-8 bytes, read big-endian (Kinesis API reference,
/// PutRecord). MD5 places records here; it secures nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(u128);

impl HashKey {
    /// The hash key with this value.
    pub const fn new(value: u128) -> Self {
        Self(value)
    }

    /// The hash key that Kinesis computes for a partition key. The text is taken as it is: not trimmed, not normalised.
    pub fn of_partition_key(partition_key: &str) -> Self {
        Self(u128::from_be_bytes(
            Md5::digest(partition_key.as_bytes()).into(),
        ))
    }

    /// The position in the hash key space.
    pub const fn value(self) -> u128 {
        self.0
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a text is no explicit hash key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "explicit hash key is not a decimal number from 0 to 2^128 - 1 without leading zeros: {text:?}"
)]
pub struct HashKeyError {
    text: String,
}

impl FromStr for HashKey {
    type Err = HashKeyError;

    /// Reads the decimal form that the Kinesis API accepts: `0`, or digits without a leading zero, below 2^128.
    fn from_str(text: &str) -> Result<Self, HashKeyError> {
        let refused = || HashKeyError {
            text: text.chars().take(64).collect(),
        };
        let canonical = text == "0"
            || (!text.starts_with('0')
                && !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_digit()));
        if !canonical {
            return Err(refused());
        }
        text.parse().map(Self).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_is_read_big_endian() {
        assert_eq!(
            HashKey::of_partition_key("a").to_string(),
            "16955237001963240173058271559858726497"
        );
    }

    #[test]
    fn only_the_canonical_decimal_form_is_read() {
        assert_eq!("0".parse(), Ok(HashKey::new(0)));
        assert_eq!(
            "340282366920938463463374607431768211455".parse(),
            Ok(HashKey::new(u128::MAX))
        );
        for text in [
            "",
            "01",
            "+1",
            "-1",
            "1e3",
            " 1",
            "0x1",
            "340282366920938463463374607431768211456",
        ] {
            assert!(text.parse::<HashKey>().is_err(), "{text:?} was accepted");
        }
    }
}
