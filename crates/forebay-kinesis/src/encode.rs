//! The body of a PutRecords request, written straight into one buffer.
//!
//! The SDK's own serializer makes a string of every blob first and then copies it; here base64 is written where it
//! will be sent from, with the processor's vector instructions where it has them.

use forebay_core::StreamName;
use forebay_pipeline::Record;

/// Bytes of framing per record, without data and keys: `{"Data":"","PartitionKey":""},` and some room to spare.
const FRAME_BYTES: usize = 48;
/// Digits of the largest hash key, with its member name.
const HASH_KEY_BYTES: usize = 64;

/// Bytes that the body of these records needs at most, when no key needs escaping.
pub(crate) fn body_bytes<'a>(
    stream: &StreamName,
    records: impl Iterator<Item = &'a Record>,
) -> usize {
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
        base64_simd::STANDARD.encode_append(&record.data, body);
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

/// Writes the inside of a JSON string.
fn json_text(text: &str, body: &mut Vec<u8>) {
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        body.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => body.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let high = HEX[usize::from(byte >> 4)];
                body.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    high,
                    HEX[usize::from(byte & 15)],
                ]);
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

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use forebay_core::{HashKey, ShardMap, Time};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::record;

    fn stream() -> StreamName {
        StreamName::new("my_stream-1.x").unwrap()
    }

    fn encoded(records: &[Record]) -> Value {
        let mut body = b"left over".to_vec();
        put_records(&stream(), records.iter(), &mut body);
        serde_json::from_slice(&body).expect("a JSON body")
    }

    #[test]
    fn the_body_is_the_json_that_the_api_defines() {
        let mut explicit = record(2, "b", b"", Time::ZERO);
        explicit.explicit = true;
        explicit.hash = HashKey::new(u128::MAX);
        let records = [record(1, "a", b"hello", Time::ZERO), explicit];
        assert_eq!(
            encoded(&records),
            json!({"StreamName": "my_stream-1.x", "Records": [
                {"Data": "aGVsbG8=", "PartitionKey": "a"},
                {"Data": "", "PartitionKey": "b", "ExplicitHashKey": u128::MAX.to_string()},
            ]})
        );
    }

    #[test]
    fn any_key_and_any_payload_come_back_from_the_body() {
        let keys = [
            "\"",
            "\\",
            "\u{0}\u{1f}\n",
            "\u{2028}",
            "é😀",
            "a\"b\\c/d",
            "\u{7f}",
        ];
        for key in keys {
            for len in 0..70_u8 {
                let data: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(37)).collect();
                let body = encoded(&[record(1, key, &data, Time::ZERO)]);
                let entry = &body["Records"][0];
                assert_eq!(entry["PartitionKey"], key);
                assert_eq!(
                    STANDARD.decode(entry["Data"].as_str().unwrap()).unwrap(),
                    data
                );
            }
        }
    }

    #[test]
    fn the_estimate_covers_the_body() {
        let mut explicit = record(2, &"k".repeat(256), &[0; 1000], Time::ZERO);
        explicit.explicit = true;
        explicit.hash = HashKey::new(u128::MAX);
        let records = [record(1, "a", b"", Time::ZERO), explicit];
        let mut body = Vec::new();
        put_records(&stream(), records.iter(), &mut body);
        assert!(body_bytes(&stream(), records.iter()) >= body.len());
    }

    /// Lines of a file of vectors, which carry keys with control characters: only `\n` ends a line.
    fn vectors(name: &str) -> Vec<Value> {
        let path = format!(
            "{}/../../tests/conformance/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
        let lines = text.split('\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    fn check_shards(hash: HashKey, vector: &Value) {
        let shards = vector["shard"].as_object().expect("shard indices");
        assert!(!shards.is_empty());
        for (count, index) in shards {
            let map = ShardMap::even(count.parse().unwrap()).unwrap();
            assert_eq!(
                map.lookup(hash) as u64,
                index.as_u64().unwrap(),
                "{count} shards: {vector}"
            );
        }
    }

    #[test]
    fn explicit_hash_keys_are_sent_as_they_are_and_land_where_the_vectors_say() {
        let vectors = vectors("explicit_hash_keys.jsonl");
        assert_eq!(vectors.len(), 64);
        for vector in vectors {
            let text = vector["explicit_hash_key"].as_str().unwrap();
            let hash: HashKey = text.parse().unwrap();
            let mut record = record(1, "any", b"x", Time::ZERO);
            record.explicit = true;
            record.hash = hash;
            assert_eq!(encoded(&[record])["Records"][0]["ExplicitHashKey"], text);
            check_shards(hash, &vector);
        }
    }

    #[test]
    fn partition_keys_are_sent_as_they_are_and_land_where_the_vectors_say() {
        let vectors = vectors("partition_keys.jsonl");
        assert_eq!(vectors.len(), 200);
        for vector in vectors {
            let key = vector["partition_key"].as_str().unwrap();
            let record = record(1, key, b"x", Time::ZERO);
            assert_eq!(
                record.hash.to_string(),
                vector["hash_key"].as_str().unwrap()
            );
            check_shards(record.hash, &vector);
            assert_eq!(encoded(&[record])["Records"][0]["PartitionKey"], key);
        }
    }
}
