//! Writes answers into one buffer, and reads the parts of requests that are worth borrowing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::{GeneralPurposeConfig, Simd};
use serde::Deserialize;

/// Standard base64 with padding, as blobs are written in AWS JSON 1.1.
pub(crate) fn base64_engine() -> &'static Simd {
    static ENGINE: std::sync::LazyLock<Simd> =
        std::sync::LazyLock::new(|| Simd::standard(GeneralPurposeConfig::new()));
    &ENGINE
}

/// A string of a request that borrows from the body unless it contains escapes.
///
/// A type of its own because serde borrows a `Cow` only where it stands directly, not inside an `Option`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                done = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(escape);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Appends `number` in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a timestamp: seconds since the epoch with three decimals.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, millis: u64) {
    push_number(out, millis / 1000);
    let rest = millis % 1000;
    out.push(b'.');
    for digit in [rest / 100, rest / 10 % 10, rest % 10] {
        out.push(b"0123456789"[(digit % 10) as usize]);
    }
}

/// Appends `data` in base64 with quotes.
pub(crate) fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let written = base64_engine()
        .encode_slice(data, &mut out[start..])
        .expect("four output bytes for each three input bytes are enough");
    out.truncate(start + written);
    out.push(b'"');
}

/// Milliseconds of a timestamp given as seconds since the epoch, zero for what lies before it.
pub(crate) fn millis_of_seconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_so_that_a_json_reader_gets_them_back() {
        let text = "a\"b\\c\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}😀/";
        let mut out = Vec::new();
        push_string(&mut out, text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn timestamps_have_three_decimals() {
        let mut out = Vec::new();
        push_timestamp(&mut out, 1_700_000_000_042);
        assert_eq!(out, b"1700000000.042");
        assert_eq!(millis_of_seconds(1_700_000_000.042), 1_700_000_000_042);
        assert_eq!(millis_of_seconds(-1.0), 0);
    }

    #[test]
    fn texts_borrow_unless_escaped() {
        let texts: [Option<Text<'_>>; 2] = serde_json::from_str(r#"["plain", "a\/b"]"#).unwrap();
        let [Some(plain), Some(escaped)] = texts else {
            panic!("two strings")
        };
        assert!(matches!(plain.0, Cow::Borrowed("plain")));
        assert_eq!(escaped.0, "a/b");
    }
}
