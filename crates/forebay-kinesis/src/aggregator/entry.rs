//! A record while the aggregator holds it, and the requests that carry records.

use std::ops::Range;

use forebay_core::Time;
use forebay_pipeline::Record;

/// A record with the history of its attempts.
#[derive(Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Requests that have carried it.
    pub attempts: u32,
    /// An attempt ended without a known outcome: the record may be stored already.
    pub ambiguous: bool,
}

impl Entry {
    pub(super) fn new(record: Record) -> Self {
        Self {
            attempts: record.attempts.requests,
            ambiguous: record.attempts.ambiguous,
            record,
        }
    }

    /// Counted bytes.
    pub(super) fn len(&self) -> usize {
        self.record.kinesis_len()
    }
}

/// What order is kept by: the same number for the records of one key, where a key is the partition key together with
/// the explicit hash key. Two keys with the same number would merely wait for each other.
pub(super) fn key_of(record: &Record) -> u128 {
    let hash = record.hash.value();
    if !record.explicit {
        // The MD5 of the partition key already is a fingerprint of it.
        return hash;
    }
    let mixed = foldhash::quality::FixedState::default();
    let name = std::hash::BuildHasher::hash_one(&mixed, record.partition_key.as_str());
    hash ^ (u128::from(name) | (u128::from(name.rotate_left(32)) << 64))
}

/// Names a request of one stream while it is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// The records of one lane in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index of the lane.
    pub lane: usize,
    /// Where its records are in the request.
    pub entries: Range<usize>,
    /// Counted bytes of its records.
    pub bytes: usize,
    /// Records of it that had been sent before.
    pub retries: usize,
}

/// Why a request was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It, or a lane, reached its limit of bytes.
    Size,
    /// It, or a lane, reached its limit of records.
    Count,
    /// A record had waited long enough, or nothing was in flight.
    Linger,
    /// Everything is being flushed.
    Flush,
}

impl Closed {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Closed; 4] = [Self::Size, Self::Count, Self::Linger, Self::Flush];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Count => "count",
            Self::Linger => "linger",
            Self::Flush => "flush",
        }
    }
}

/// One PutRecords request in flight: at most one part per lane.
#[derive(Debug)]
pub struct Request {
    pub(super) id: RequestId,
    pub(super) entries: Vec<Entry>,
    pub(super) parts: Vec<Part>,
    pub(super) bytes: usize,
    pub(super) sent: Time,
    pub(super) probe: bool,
    pub(super) closed: Closed,
}

impl Request {
    pub(super) fn new(id: RequestId, now: Time) -> Self {
        Self {
            id,
            entries: Vec::new(),
            parts: Vec::new(),
            bytes: 0,
            sent: now,
            probe: false,
            closed: Closed::Linger,
        }
    }

    /// Its name, for the answer.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Its records, in the order in which they are sent.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// Its records with their history.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Its parts, by lane.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Counted bytes: data and partition keys.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When it was put together.
    pub fn sent(&self) -> Time {
        self.sent
    }

    /// True when it only probes whether a held stream works again.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Why it was closed.
    pub fn closed(&self) -> Closed {
        self.closed
    }
}
