//! The body of a PutRecords request, written straight into one buffer.
//!
//! The SDK's own serializer makes a string of every blob first and then copies it; here base64 is written where it
//! will be sent from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_core::StreamName;
use forebay_pipeline::Record;

/// Bytes of framing per record, without data and keys: `{"Data":"","PartitionKey":""},` and some room to spare.
const FRAME_BYTES: usize = 48;
/// Digits of the largest hash key, with its member name.
const HASH_KEY_BYTES: usize = 64;

/// Bytes that the body of these records needs at most, when no key needs escaping.
pub(crate) fn body_bytes<'a>(stream: &StreamName, records: impl Iterator<Item = &'a Record>) -> usize {
    let records: usize = records
        .map(|record| {
            let explicit = if record.explicit { HASH_KEY_BYTES } else { 0 };
            record.data.len().div_ceil(3) * 4 + record.partition_key.len() + explicit + FRAME_BYTES
        })
        .sum();
    records + stream.len() + FRAME_BYTES
}

/// Writes the body of a PutRecords request with these records, in this order, into `body`, which is cleared first.
pub(crate) fn put_records<'a>(
    stream: &StreamName,
    records: impl Iterator<Item = &'a Record>,
    body: &mut Vec<u8>,
) {
    body.clear();
    body.extend_from_slice(b"{\"StreamName\":\"");
    // A stream name has no character that JSON escapes.
    body.extend_from_slice(stream.as_bytes());
    body.extend_from_slice(b"\",\"Records\":[");
    for (index, record) in records.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"Data\":\"");
        base64(&record.data, body);
        body.extend_from_slice(b"\",\"PartitionKey\":\"");
        json_text(&record.partition_key, body);
        if record.explicit {
            body.extend_from_slice(b"\",\"ExplicitHashKey\":\"");
            decimal(record.hash.value(), body);
        }
        body.extend_from_slice(b"\"}");
    }
    body.extend_from_slice(b"]}");
}

fn base64(data: &[u8], body: &mut Vec<u8>) {
    let start = body.len();
    body.resize(start + data.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(data, &mut body[start..]).expect("the room was just made");
    debug_assert_eq!(start + written, body.len());
}

/// Writes the inside of a JSON string.
fn json_text(text: &str, body: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        body.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => body.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let high = HEX[usize::from(byte >> 4)];
                body.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, HEX[usize::from(byte & 15)]]);
            }
            _ => body.push(byte),
        }
    }
}

fn decimal(mut value: u128, body: &mut Vec<u8>) {
    let mut digits = [0_u8; 39];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(value % 10).expect("one digit");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    body.extend_from_slice(&digits[start..]);
}
