//! Which parser a payload takes.

use super::{scan, source};

/// The parser that a payload takes when a statement or template reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonReader {
    /// simd-json's tape.
    Tape,
    /// The exact parser: the payload is not longer than 128 KiB, or has long numbers, exponents or surrogates that the tape might not
    /// carry.
    Exact,
    /// None: the payload does not begin as a JSON object or array.
    None,
}

impl JsonReader {
    /// The parser for a payload.
    pub fn of(payload: &[u8]) -> Self {
        let first = payload.get(source::skip_space(payload, 0));
        if !matches!(first, Some(b'{' | b'[')) {
            Self::None
        } else if is_exact(payload) {
            Self::Exact
        } else {
            Self::Tape
        }
    }
}

/// Up to so many bytes, which is the longest payload that AWS IoT takes, the exact parser takes less time than the copy,
/// the glance and the tape, whether the payload is telemetry, numbers or prose: `cargo bench -p forebay-rules -- sizes`.
const SMALL_BYTES: usize = 128 * 1024;

/// True for a payload that the exact parser takes.
pub(super) fn is_exact(payload: &[u8]) -> bool {
    payload.len() <= SMALL_BYTES || scan::needs_exact(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_decides() {
        let large = |element: &str| format!("[{}{element}]", " ".repeat(SMALL_BYTES));
        assert_eq!(JsonReader::of(b" {\"a\":1}"), JsonReader::Exact);
        assert_eq!(JsonReader::of(large("1").as_bytes()), JsonReader::Tape);
        assert_eq!(JsonReader::of(large("1e5").as_bytes()), JsonReader::Exact);
        assert_eq!(JsonReader::of(b"80"), JsonReader::None);
        assert_eq!(JsonReader::of(b""), JsonReader::None);
    }
}
