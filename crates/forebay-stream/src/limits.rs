//! The service's rate limits: what a shard takes and gives per second, and how often a call may be made.
//!
//! Token buckets that hold one second's worth. A record larger than a second's worth of bytes, which only streams with
//! a raised record size have, passes when the bucket is full and leaves a debt, so that the average holds.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use forebay_core::Time;
use forebay_core::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};

/// GetRecords calls and GetShardIterator calls per second and shard.
const READS_PER_SECOND: f64 = 5.0;
/// Bytes that can be read from a shard per second.
const READ_BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;

/// The switch and the write rates, changed while the server runs.
#[derive(Debug)]
pub(crate) struct LimitSettings {
    enabled: AtomicBool,
    records_per_second: AtomicU32,
    bytes_per_second: AtomicU32,
}

/// The write rates in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteRates {
    pub(crate) records: f64,
    pub(crate) bytes: f64,
}

impl LimitSettings {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled: AtomicBool::new(enabled),
            records_per_second: AtomicU32::new(SHARD_RECORDS_PER_SECOND),
            bytes_per_second: AtomicU32::new(SHARD_BYTES_PER_SECOND),
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// The write rates, or `None` when there are no limits.
    pub(crate) fn write_rates(&self) -> Option<WriteRates> {
        self.enabled().then(|| WriteRates {
            records: self.records_per_second.load(Ordering::Relaxed).into(),
            bytes: self.bytes_per_second.load(Ordering::Relaxed).into(),
        })
    }

    /// Switches the limits; a rate that is not given is the service's.
    pub(crate) fn set(&self, enabled: bool, records: Option<u32>, bytes: Option<u32>) {
        let records = records.unwrap_or(SHARD_RECORDS_PER_SECOND);
        self.records_per_second.store(records, Ordering::Relaxed);
        self.bytes_per_second
            .store(bytes.unwrap_or(SHARD_BYTES_PER_SECOND), Ordering::Relaxed);
        self.enabled.store(enabled, Ordering::Relaxed);
    }
}

/// A token bucket. It starts full.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// Tokens missing to a full bucket.
    missing: f64,
    at: Time,
}

impl Bucket {
    fn refill(&mut self, now: Time, rate: f64) {
        self.missing = (self.missing - (now - self.at).as_secs_f64() * rate).max(0.0);
        self.at = now;
    }

    /// Whether `cost` tokens are there, or the bucket is full, when it holds `capacity`.
    fn has(&self, cost: f64, capacity: f64) -> bool {
        // Sums of thousandths are never exact; a millionth of a token is no token.
        self.missing + cost.min(capacity) <= capacity + 1e-6
    }

    fn take(&mut self, cost: f64) {
        self.missing += cost;
    }

    /// Takes one token from a bucket that gains and holds `rate`.
    pub(crate) fn admit(&mut self, now: Time, rate: f64) -> bool {
        self.refill(now, rate);
        let admitted = self.has(1.0, rate);
        if admitted {
            self.take(1.0);
        }
        admitted
    }
}

/// The buckets of the shards of one stream.
#[derive(Debug)]
pub(crate) struct ShardLimits {
    shards: Vec<ShardBuckets>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ShardBuckets {
    records: Bucket,
    bytes: Bucket,
    reads: Bucket,
    read_bytes: Bucket,
    iterators: Bucket,
}

impl ShardLimits {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            shards: vec![ShardBuckets::default(); shards as usize],
        }
    }

    /// Takes one record of `bytes` into `shard` if its limits allow it.
    pub(crate) fn admit_record(
        &mut self,
        shard: u32,
        bytes: usize,
        now: Time,
        rates: WriteRates,
    ) -> bool {
        let buckets = &mut self.shards[shard as usize];
        buckets.records.refill(now, rates.records);
        buckets.bytes.refill(now, rates.bytes);
        let bytes = as_tokens(bytes);
        let admitted =
            buckets.records.has(1.0, rates.records) && buckets.bytes.has(bytes, rates.bytes);
        if admitted {
            buckets.records.take(1.0);
            buckets.bytes.take(bytes);
        }
        admitted
    }

    /// Charges what rounding up to whole KiB adds to the bytes that one request stored in `shard`.
    pub(crate) fn round_up(&mut self, shard: u32, bytes: usize) {
        let rest = bytes.next_multiple_of(1024) - bytes;
        self.shards[shard as usize].bytes.take(as_tokens(rest));
    }

    /// Whether `shard` may be read now. What was read is charged afterwards, with [`charge_read`](Self::charge_read).
    pub(crate) fn admit_read(&mut self, shard: u32, now: Time) -> bool {
        let buckets = &mut self.shards[shard as usize];
        buckets.read_bytes.refill(now, READ_BYTES_PER_SECOND);
        buckets.read_bytes.has(1.0, READ_BYTES_PER_SECOND)
            && buckets.reads.admit(now, READS_PER_SECOND)
    }

    pub(crate) fn charge_read(&mut self, shard: u32, bytes: usize) {
        self.shards[shard as usize]
            .read_bytes
            .take(as_tokens(bytes));
    }

    /// Whether an iterator of `shard` may be had now.
    pub(crate) fn admit_iterator(&mut self, shard: u32, now: Time) -> bool {
        self.shards[shard as usize]
            .iterators
            .admit(now, READS_PER_SECOND)
    }
}

fn as_tokens(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rates() -> WriteRates {
        LimitSettings::new(true).write_rates().unwrap()
    }

    fn admitted(limits: &mut ShardLimits, bytes: usize, offered: usize, now: Time) -> usize {
        (0..offered)
            .filter(|_| limits.admit_record(0, bytes, now, rates()))
            .count()
    }

    #[test]
    fn a_shard_takes_a_thousand_records_per_second() {
        let mut limits = ShardLimits::new(1);
        let start = Time::from_millis(10);
        assert_eq!(admitted(&mut limits, 100, 1500, start), 1000);
        assert_eq!(admitted(&mut limits, 100, 10, start), 0);
        assert_eq!(
            admitted(&mut limits, 100, 100, start + Duration::from_millis(50)),
            50
        );
        assert_eq!(
            admitted(&mut limits, 100, 5000, start + Duration::from_secs(60)),
            1000
        );
    }

    #[test]
    fn a_shard_takes_a_mebibyte_per_second_and_rounds_up() {
        let mut limits = ShardLimits::new(1);
        let now = Time::from_millis(10);
        assert_eq!(admitted(&mut limits, 64 * 1024, 20, now), 16);
        let later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut limits, 1, 1, later), 1);
        limits.round_up(0, 1);
        assert_eq!(admitted(&mut limits, 1024 * 1024 - 1024, 1, later), 1);
        assert_eq!(admitted(&mut limits, 1, 1, later), 0);
    }

    #[test]
    fn a_record_larger_than_a_seconds_worth_leaves_a_debt() {
        let mut limits = ShardLimits::new(1);
        let now = Time::from_millis(10);
        assert_eq!(admitted(&mut limits, 10 * 1024 * 1024, 1, now), 1);
        assert_eq!(
            admitted(&mut limits, 1, 1, now + Duration::from_millis(8900)),
            0
        );
        assert_eq!(
            admitted(&mut limits, 1, 1, now + Duration::from_millis(9100)),
            1
        );
    }

    #[test]
    fn reads_are_limited_by_calls_and_by_bytes() {
        let mut limits = ShardLimits::new(2);
        let now = Time::from_millis(10);
        let reads = |limits: &mut ShardLimits, shard, now| {
            (0..10).filter(|_| limits.admit_read(shard, now)).count()
        };
        assert_eq!(reads(&mut limits, 0, now), 5);
        assert!(limits.admit_read(1, now));
        limits.charge_read(1, 10 * 1024 * 1024);
        assert!(!limits.admit_read(1, now + Duration::from_millis(3900)));
        assert!(limits.admit_read(1, now + Duration::from_millis(5100)));
    }
}
