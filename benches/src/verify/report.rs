//! What a check found.

use std::fmt;

use serde::Serialize;

use crate::latency::Percentiles;

/// A stream compared with what was acknowledged. Serialises to the JSON that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// Name of the stream.
    pub stream: String,
    /// Records read.
    pub records: u64,
    /// Those that carry no message of this run.
    pub foreign: u64,
    /// Messages published.
    pub published: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Different messages found in the stream.
    pub stored: u64,
    /// Those of them that were not acknowledged: allowed, because their acknowledgement may still come or was cut off.
    pub stored_unacknowledged: u64,
    /// Messages that were acknowledged and not found.
    pub lost: u64,
    /// The first few of them.
    pub lost_examples: Vec<Missing>,
    /// Records beyond the first of their message.
    pub duplicated: u64,
    /// Messages whose first record comes behind the first record of a later message of their device and partition key.
    pub reordered: u64,
    /// Records in another shard than the MD5 of their partition key selects; absent once the stream was resharded.
    /// Explicit hash keys put records there on purpose.
    pub misplaced: Option<u64>,
    /// Records of this run per shard, duplicates included.
    pub shards: Vec<ShardShare>,
    /// From the time in the payload to the stream's arrival time, one millisecond of resolution and both clocks taken
    /// as one.
    pub publish_to_stored: Option<Percentiles>,
}

/// A message that was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its device.
    pub device: String,
    /// Its number.
    pub seq: u64,
}

/// Records in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardShare {
    /// The shard's id.
    pub shard: String,
    /// Its records.
    pub records: u64,
}

impl StreamReport {
    /// Nothing lost and nothing reordered. Duplicates are allowed: delivery is at least once.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.reordered == 0
    }

    /// Smallest, mean and greatest number of records in a shard.
    pub fn spread(&self) -> (u64, f64, u64) {
        let counts = || self.shards.iter().map(|shard| shard.records);
        let mean = counts().sum::<u64>() as f64 / self.shards.len().max(1) as f64;
        (
            counts().min().unwrap_or(0),
            mean,
            counts().max().unwrap_or(0),
        )
    }
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  stream       {}: {} stored, {} lost, {} duplicated, {} reordered ({} records read, {} foreign, {} stored without acknowledgement)",
            self.stream,
            self.stored,
            self.lost,
            self.duplicated,
            self.reordered,
            self.records,
            self.foreign,
            self.stored_unacknowledged
        )?;
        let (min, mean, max) = self.spread();
        write!(
            f,
            "  shards       {}, records per shard {min} to {max}, mean {mean:.0}",
            self.shards.len()
        )?;
        if let Some(misplaced) = self.misplaced.filter(|count| *count > 0) {
            write!(f, ", {misplaced} outside the shard of their partition key")?;
        }
        if let Some(latency) = &self.publish_to_stored {
            write!(f, "\n  to stored    {latency}")?;
        }
        for Missing { device, seq } in &self.lost_examples {
            write!(f, "\n               lost: {device} number {seq}")?;
        }
        Ok(())
    }
}
