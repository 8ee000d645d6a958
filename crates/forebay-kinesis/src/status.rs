//! What people can see of the sink: one entry per stream.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use forebay_core::Time;

/// What can be seen of one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Open shards; 0 while they are not known.
    pub shards: usize,
    /// Shard maps so far.
    pub map_epoch: u64,
    /// Records at the sink: queued or in flight.
    pub pending: usize,
    /// Their counted bytes.
    pub pending_bytes: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Age of the oldest record at the sink.
    pub oldest_pending: Option<Duration>,
    /// The error code for which it is held, or for which its shards are not known.
    pub blocked: Option<String>,
    /// The last error of a request, a record or a look for the shards.
    pub last_error: Option<LastError>,
    /// Lanes that send at most one unresolved record per key because records were refused lately.
    pub cautious_lanes: usize,
    /// Smallest factor of the lanes' rate limits.
    pub limiter_factor: f64,
}

/// An error that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The service's error code, or a word of ours where it sent none.
    pub code: String,
    /// What the service or the transport said.
    pub message: String,
    /// When, on the sender's clock.
    pub at: Time,
}

impl LastError {
    pub(crate) fn new(code: &str, message: &str, at: Time) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
            at,
        }
    }
}

/// A status that is as old as its last publication, except for ages.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) status: StreamStatus,
    pub(crate) oldest: Option<Time>,
}

/// The latest status of every stream, by stream index.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<usize, Published>>);

impl Board {
    pub(crate) fn publish(&self, index: usize, published: Published) {
        self.0
            .lock()
            .expect("no panic while the board is locked")
            .insert(index, published);
    }

    pub(crate) fn remove(&self, index: usize) {
        self.0
            .lock()
            .expect("no panic while the board is locked")
            .remove(&index);
    }

    /// All streams, by name.
    pub(crate) fn read(&self, now: Time) -> Vec<StreamStatus> {
        let published = self
            .0
            .lock()
            .expect("no panic while the board is locked")
            .clone();
        let mut streams: Vec<StreamStatus> = published
            .into_values()
            .map(|Published { mut status, oldest }| {
                status.oldest_pending = oldest.map(|oldest| now.since(oldest));
                status
            })
            .collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams
    }
}
