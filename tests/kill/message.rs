//! What the devices publish: messages that say who they are, and whose bytes anybody can work out again.

use anyhow::{Context as _, Result, ensure};
use forebay_tests::kinesis::Record;
use forebay_tests::oracle::Numbered;

/// One message in so many is large, so that the log goes through segments.
const LARGE_EVERY: u64 = 24;
/// All messages of a key that begins so are.
const LARGE: &str = "large";
pub(crate) const LARGE_BYTES: u64 = 16_000;

/// The payload of a message. `tests/foreign/paho_publisher.py` writes the same.
pub(crate) fn payload(key: &str, number: u64) -> String {
    let large = key.starts_with(LARGE) || number % LARGE_EVERY == LARGE_EVERY - 1;
    let padding = if large {
        LARGE_BYTES
    } else {
        number * 37 % 200
    };
    let padding = "x".repeat(padding as usize);
    format!(r#"{{"key":"{key}","number":{number},"padding":"{padding}"}}"#)
}

/// Key and number of a record, which must have the partition key and every byte of its message.
pub(crate) fn identify(record: &Record) -> Result<Numbered> {
    let message = record.json().with_context(|| format!("{record:?}"))?;
    let key = message["key"].as_str().context("a record without key")?;
    let number = message["number"].as_u64().context("no number")?;
    ensure!(record.partition_key == key, "{record:?}");
    ensure!(record.data == payload(key, number).as_bytes(), "{record:?}");
    Ok((key.to_owned(), number))
}
