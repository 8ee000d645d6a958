//! Percent-encoding of URI paths and queries.

/// A text that is not percent-encoded UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not percent-encoded UTF-8")]
pub(crate) struct BadEncoding;

/// Decodes once. A plus is a plus.
///
/// # Errors
/// For a `%` without two hexadecimal digits and for bytes that are no UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, BadEncoding> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(BadEncoding);
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| BadEncoding)
}

/// As [`decode`] for forms, in which a plus is a blank.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_form(text: &str) -> Result<String, BadEncoding> {
    decode(&text.replace('+', " "))
}

/// Appends `text` with every byte encoded that is neither unreserved (RFC 3986, 2.3) nor in `also`.
pub(crate) fn encode_into(text: &str, also: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || also.contains(&byte) {
            out.push(byte as char);
        } else {
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)] as char);
            out.push(DIGITS[usize::from(byte & 15)] as char);
        }
    }
}

/// Name and value of each pair of a query, decoded.
///
/// # Errors
/// As [`decode`].
pub(crate) fn query_pairs(query: &str) -> Result<Vec<(String, String)>, BadEncoding> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_happens_once_and_refuses_what_is_broken() {
        assert_eq!(decode("a%2Fb%252F+%C3%A9").unwrap(), "a/b%2F+é");
        assert_eq!(decode_form("a+b%2B").unwrap(), "a b+");
        for broken in ["%", "%2", "%zz", "%C3", "%+1"] {
            assert_eq!(decode(broken), Err(BadEncoding), "{broken}");
        }
        assert_eq!(
            query_pairs("a=1&&b&c=x%3Dy=z").unwrap(),
            [("a", "1"), ("b", ""), ("c", "x=y=z")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn encoding_keeps_what_is_unreserved() {
        let mut out = String::new();
        encode_into("/a%2Fb c~é+", b"/", &mut out);
        assert_eq!(out, "/a%252Fb%20c~%C3%A9%2B");
    }
}
