//! What the server has done, counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A snapshot of the server's counters since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Stats {
    /// Requests by operation whose body was read, whatever became of them.
    pub requests: BTreeMap<String, u64>,
    /// Requests answered with an error, by code.
    pub request_errors: BTreeMap<String, u64>,
    /// Records stored, also those whose answer was lost on purpose.
    pub records_stored: u64,
    /// Data and partition key bytes of these records.
    pub bytes_stored: u64,
    /// Records refused inside an otherwise successful PutRecords, by code.
    pub records_refused: BTreeMap<String, u64>,
    /// Faults injected, by the name of the effect; effects on records count records.
    pub injected: BTreeMap<String, u64>,
    /// Bytes that the logs of all streams have now.
    pub retained_bytes: u64,
    /// Connections open now.
    pub connections: u64,
    /// The streams by name.
    pub streams: Vec<StreamStats>,
}

/// The counters of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct StreamStats {
    /// Its name.
    pub stream_name: String,
    /// Bytes of its log.
    pub retained_bytes: u64,
    /// Segments of its log.
    pub segments: usize,
    /// Its shards by index.
    pub shards: Vec<ShardStats>,
}

/// The counters of one shard since the server was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ShardStats {
    /// Its id.
    pub shard_id: String,
    /// Records stored.
    pub records_stored: u64,
    /// Data and partition key bytes of these records.
    pub bytes_stored: u64,
    /// Records refused, by its limits or by a fault.
    pub records_refused: u64,
}

/// Distinct codes that are counted by name; further ones are counted as `other`.
const CODES_MAX: usize = 64;

/// Counters by code.
#[derive(Debug, Default)]
pub(crate) struct CodeCounts(Mutex<BTreeMap<Cow<'static, str>, u64>>);

impl CodeCounts {
    pub(crate) fn add(&self, code: &str, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = counts.get_mut(code) {
            *slot += count;
        } else if counts.len() < CODES_MAX {
            counts.insert(Cow::Owned(code.to_owned()), count);
        } else {
            *counts.entry(Cow::Borrowed("other")).or_default() += count;
        }
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(code, count)| (code.to_string(), *count))
            .collect()
    }
}

/// The counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: CodeCounts,
    pub(crate) request_errors: CodeCounts,
    pub(crate) records_refused: CodeCounts,
    pub(crate) injected: CodeCounts,
    pub(crate) records_stored: AtomicU64,
    pub(crate) bytes_stored: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardCounters {
    stored: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
}

impl ShardCounters {
    pub(crate) fn add_stored(&self, records: usize, bytes: usize) {
        self.stored.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, shard_id: String) -> ShardStats {
        ShardStats {
            shard_id,
            records_stored: self.stored.load(Ordering::Relaxed),
            bytes_stored: self.bytes.load(Ordering::Relaxed),
            records_refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
