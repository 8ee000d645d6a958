//! One data stream: what it is, its log, its limits and its counters.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use forebay_core::{HashKey, ShardMap};
use serde::{Deserialize, Serialize};

use crate::error::ServerError;
use crate::limits::ShardLimits;
use crate::log::{Collector, Log, SegmentLimits};
use crate::sequence::{self, SequenceNumber};
use crate::stats::{ShardCounters, StreamStats};

/// Name of the file that describes a stream in its directory.
const META_FILE: &str = "stream.json";

/// What is known of a stream, as it lies in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamMeta {
    /// Version of this file's form.
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    pub(crate) shards: u32,
    pub(crate) on_demand: bool,
    /// Largest record, data and partition key together.
    pub(crate) max_record_kib: u32,
    /// How often the stream was opened, with its creation.
    pub(crate) run: u64,
}

impl StreamMeta {
    pub(crate) const VERSION: u32 = 1;

    /// Writes the file so that a crash leaves either the old or the new one.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), ServerError> {
        let path = dir.join(META_FILE);
        let temporary = dir.join("stream.json.new");
        let text = serde_json::to_vec_pretty(self).expect("plain fields always become JSON");
        let save = || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            std::fs::File::open(dir)?.sync_all()
        };
        save().map_err(|source| ServerError::storage(&path, source))
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, ServerError> {
        let path = dir.join(META_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ServerError::storage(&path, error)),
        };
        let damaged = |reason: String| ServerError::Damaged {
            path: path.clone(),
            reason,
        };
        let meta: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if meta.version != Self::VERSION {
            return Err(damaged(format!(
                "version {} is not {}",
                meta.version,
                Self::VERSION
            )));
        }
        Ok(Some(meta))
    }
}

/// A stream that is served.
#[derive(Debug)]
pub(crate) struct Stream {
    meta: StreamMeta,
    map: ShardMap,
    log: Mutex<Log>,
    limits: Mutex<ShardLimits>,
    counters: Box<[ShardCounters]>,
}

/// One record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// Its sequence number.
    pub sequence_number: String,
    /// The id of its shard.
    pub shard_id: String,
    /// Its partition key.
    pub partition_key: String,
    /// Its data.
    pub data: Vec<u8>,
    /// When it arrived, in milliseconds since the epoch.
    pub arrival_ms: u64,
}

impl Stream {
    /// Opens the stream that `meta` describes, with its log in `dir` or in memory. The second value is the number of
    /// bytes that were cut off the end of the log because they were damaged.
    pub(crate) fn open(
        meta: StreamMeta,
        dir: Option<PathBuf>,
        segments: SegmentLimits,
    ) -> io::Result<(Self, u64)> {
        let map = ShardMap::even(meta.shards)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a stream needs a shard"))?;
        let counter = sequence::first_counter(meta.run);
        let (log, torn) = Log::open(dir, meta.shards, counter, segments)?;
        let stream = Self {
            map,
            log: Mutex::new(log),
            limits: Mutex::new(ShardLimits::new(meta.shards)),
            counters: (0..meta.shards).map(|_| ShardCounters::default()).collect(),
            meta,
        };
        Ok((stream, torn))
    }

    pub(crate) fn name(&self) -> &str {
        &self.meta.name
    }

    pub(crate) fn meta(&self) -> &StreamMeta {
        &self.meta
    }

    pub(crate) fn map(&self) -> &ShardMap {
        &self.map
    }

    /// The index of the shard that owns `hash`.
    pub(crate) fn shard_of(&self, hash: HashKey) -> u32 {
        u32::try_from(self.map.lookup(hash)).expect("a stream has fewer than 2^32 shards")
    }

    /// The index in a shard id of this stream.
    pub(crate) fn shard_index(&self, id: &str) -> Option<u32> {
        sequence::shard_index(id).filter(|index| *index < self.meta.shards)
    }

    pub(crate) fn max_record_bytes(&self) -> usize {
        self.meta.max_record_kib as usize * 1024
    }

    pub(crate) fn sequence_number(&self, counter: u64, shard: u32) -> SequenceNumber {
        SequenceNumber {
            created_ms: self.meta.created_ms,
            counter,
            shard,
        }
    }

    /// The log. A panic while it was held cannot leave it half changed in a way that matters: its length, index and
    /// counters are changed after the write.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, ShardLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self, shard: u32) -> &ShardCounters {
        &self.counters[shard as usize]
    }

    pub(crate) fn stats(&self) -> StreamStats {
        let shards = (0..).map(sequence::shard_id).zip(&self.counters);
        let shards = shards.map(|(id, counters)| counters.snapshot(id)).collect();
        let log = self.log();
        StreamStats {
            stream_name: self.meta.name.clone(),
            retained_bytes: log.bytes(),
            segments: log.segments(),
            shards,
        }
    }

    /// The collected records of `shard` as values of their own.
    pub(crate) fn stored(&self, shard: u32, collected: &Collector) -> Vec<StoredRecord> {
        let shard_id = sequence::shard_id(shard);
        collected
            .records()
            .map(|record| StoredRecord {
                sequence_number: self.sequence_number(record.counter, shard).text(),
                shard_id: shard_id.clone(),
                partition_key: record.key.to_owned(),
                data: record.data.to_vec(),
                arrival_ms: record.arrival_ms,
            })
            .collect()
    }
}
