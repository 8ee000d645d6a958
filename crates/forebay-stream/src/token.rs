//! Opaque tokens: shard iterators and the tokens that go on with a list.
//!
//! They carry their whole state, so the server remembers nothing for them, and a checksum that tells a damaged one.
//! They are not secret and not signed: nothing here is.

use base64::Engine as _;

use crate::json::base64_engine;

/// What a token is for; one is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    ShardIterator = 1,
    ListShards = 2,
    ListStreams = 3,
}

/// The content of a token. Not every kind uses every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// When it was given, in milliseconds since the epoch.
    pub(crate) issued_ms: u64,
    /// Creation time of the stream, to tell it from a later one of the same name.
    pub(crate) created_ms: u64,
    pub(crate) shard: u32,
    /// Iterator: the counter from which records are wanted.
    pub(crate) counter: u64,
    /// Iterator: records that arrived before are not wanted.
    pub(crate) not_before_ms: u64,
    /// Name of the stream.
    pub(crate) name: String,
}

const FIXED: usize = 1 + 4 * 8 + 4;
const CHECK: usize = 4;

impl Token {
    /// The text form, at most 512 characters.
    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(FIXED + self.name.len() + CHECK);
        bytes.push(self.kind as u8);
        for number in [
            self.issued_ms,
            self.created_ms,
            self.counter,
            self.not_before_ms,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.shard.to_be_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        let check = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        base64_engine().encode(bytes)
    }

    /// Reads a token of this kind; `None` for what is none.
    pub(crate) fn parse(kind: Kind, text: &str) -> Option<Self> {
        let bytes = base64_engine().decode(text).ok()?;
        let (content, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
        if crc32fast::hash(content).to_be_bytes() != check || content.first() != Some(&(kind as u8))
        {
            return None;
        }
        let number = |at: usize| {
            let bytes = content.get(at..at + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            kind,
            issued_ms: number(1)?,
            created_ms: number(9)?,
            counter: number(17)?,
            not_before_ms: number(25)?,
            shard: u32::from_be_bytes(content.get(33..FIXED)?.try_into().ok()?),
            name: String::from_utf8(content.get(FIXED..)?.to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            kind: Kind::ShardIterator,
            issued_ms: 1_764_063_254_123,
            created_ms: u64::MAX,
            shard: 77,
            counter: 1 << 41,
            not_before_ms: 5,
            name: "n".repeat(128),
        }
    }

    #[test]
    fn a_token_is_read_back_and_fits_the_api() {
        let text = token().text();
        assert!(text.len() <= 512);
        assert_eq!(Token::parse(Kind::ShardIterator, &text), Some(token()));
    }

    #[test]
    fn what_is_no_token_of_the_kind_is_refused() {
        let text = token().text();
        assert_eq!(Token::parse(Kind::ListShards, &text), None);
        for bad in [
            "",
            "AAAA",
            "not base64!",
            text.split_at(4).1,
            &text.replacen("ubm", "ubn", 1),
        ] {
            assert_eq!(Token::parse(Kind::ShardIterator, bad), None, "{bad}");
        }
        let mut damaged = text.into_bytes();
        damaged[10] = if damaged[10] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert_eq!(Token::parse(Kind::ShardIterator, &damaged), None);
    }
}
