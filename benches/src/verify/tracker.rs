//! Which messages of a run were seen in a stream, how often and in which order.

use std::collections::HashMap;
use std::time::Duration;

use forebay_core::{HashKey, ShardMap};

use super::report::{Missing, ShardShare, StreamReport};
use crate::latency::Latencies;
use crate::ledger::{Ledger, SEQ_MAX, SeqSet};
use crate::run_id::RunId;
use crate::telemetry::Stamp;

/// Partition keys per device whose order is watched. A device normally has one; with a key that changes with every
/// message, order is judged among the last of them.
const WATCHED_KEYS: usize = 16;
/// Lost messages that a report names.
const EXAMPLES_MAX: usize = 5;

#[derive(Debug, Default)]
struct Device {
    seen: SeqSet,
    /// Per partition key, the greatest sequence number seen first under it. The most recent key comes last.
    highest: Vec<(Box<str>, u64)>,
}

/// The state of a check. Memory: one bit per message and a few hundred bytes per device.
#[derive(Debug)]
pub struct Tracker {
    run: RunId,
    map: Option<ShardMap>,
    devices: HashMap<Box<str>, Device>,
    shards: Vec<ShardShare>,
    shard_index: HashMap<String, usize>,
    records: u64,
    foreign: u64,
    unique: u64,
    duplicated: u64,
    reordered: u64,
    misplaced: u64,
    discard: u64,
    latencies: Latencies,
}

impl Tracker {
    /// Watches for the messages of `run`. With a map, records outside the shard of their partition key are counted.
    pub fn new(run: RunId, map: Option<ShardMap>) -> Self {
        let mut tracker = Self {
            shards: Vec::new(),
            shard_index: HashMap::new(),
            run,
            map: None,
            devices: HashMap::new(),
            records: 0,
            foreign: 0,
            unique: 0,
            duplicated: 0,
            reordered: 0,
            misplaced: 0,
            discard: 0,
            latencies: Latencies::new(),
        };
        for shard in map.iter().flat_map(ShardMap::shards) {
            tracker.shard(shard.id());
        }
        tracker.map = map;
        tracker
    }

    /// The share of a shard, 0 at first.
    fn shard(&mut self, id: &str) -> &mut ShardShare {
        let index = match self.shard_index.get(id) {
            Some(index) => *index,
            None => {
                self.shard_index.insert(id.to_owned(), self.shards.len());
                self.shards.push(ShardShare {
                    shard: id.to_owned(),
                    records: 0,
                });
                self.shards.len() - 1
            }
        };
        &mut self.shards[index]
    }

    /// Throws away the next `records` of the run unseen, as a stream would that lost them: the negative control of
    /// the check.
    pub fn discard(&mut self, records: u64) {
        self.discard = records;
    }

    /// Takes a record of `shard`. Records of one shard must come in their order.
    pub fn observe(
        &mut self,
        shard: &str,
        partition_key: &str,
        data: &[u8],
        arrival_millis: Option<i64>,
    ) {
        self.records += 1;
        let stamp = Stamp::read(data)
            .filter(|stamp| stamp.run == self.run.as_str() && (1..=SEQ_MAX).contains(&stamp.seq));
        let Some(stamp) = stamp else {
            self.foreign += 1;
            return;
        };
        if self.discard > 0 {
            self.discard -= 1;
            return;
        }
        self.count_place(shard, partition_key);
        if !self.devices.contains_key(&*stamp.device) {
            self.devices
                .insert(stamp.device.as_ref().into(), Device::default());
        }
        let device = self
            .devices
            .get_mut(&*stamp.device)
            .expect("it was inserted if it was not there");
        if !device.seen.insert(stamp.seq) {
            self.duplicated += 1;
            return;
        }
        self.unique += 1;
        if !device.in_order(partition_key, stamp.seq) {
            self.reordered += 1;
        }
        if let (Some(sent), Some(stored)) = (stamp.t, arrival_millis) {
            let millis = u64::try_from(stored - sent).unwrap_or(0);
            self.latencies.record(Duration::from_millis(millis), 1);
        }
    }

    fn count_place(&mut self, shard: &str, partition_key: &str) {
        self.shard(shard).records += 1;
        if let Some(map) = &self.map {
            let owner = map.lookup(HashKey::of_partition_key(partition_key));
            self.misplaced += u64::from(map.shard(owner).id() != shard);
        }
    }

    /// Stops counting misplaced records: after a reshard a record's place depends on when it came.
    pub fn forget_map(&mut self) {
        self.map = None;
    }

    /// Records of the run seen.
    pub fn observed(&self) -> u64 {
        self.unique + self.duplicated
    }

    /// Different messages of the run seen.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Records that carry a message which was seen before.
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Messages first seen behind a later one of their device and partition key.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Acknowledged messages of `ledger` that were not seen.
    pub fn missing(&self, ledger: &Ledger) -> u64 {
        let none = SeqSet::default();
        let missing = ledger.keys().map(|(name, key)| {
            let seen = self.devices.get(name).map_or(&none, |device| &device.seen);
            key.acknowledged.missing_in(seen)
        });
        missing.sum()
    }

    /// The check's result.
    pub fn report(&self, stream: &str, ledger: &Ledger) -> StreamReport {
        let mut examples = Vec::new();
        let mut unacknowledged = self.unique;
        for (name, key) in ledger.keys() {
            let seen = self.devices.get(name).map(|device| &device.seen);
            let is_seen = |seq: u64| seen.is_some_and(|seen| seen.contains(seq));
            let missing = key
                .acknowledged
                .missing_in(seen.unwrap_or(&SeqSet::default()));
            unacknowledged -= key.acknowledged.len() - missing;
            if missing > 0 {
                let lost = key.acknowledged.iter().filter(|seq| !is_seen(*seq));
                let room = EXAMPLES_MAX - examples.len();
                examples.extend(lost.take(room).map(|seq| Missing {
                    device: name.to_owned(),
                    seq,
                }));
            }
        }
        StreamReport {
            stream: stream.to_owned(),
            records: self.records,
            foreign: self.foreign,
            published: ledger.published(),
            acknowledged: ledger.acknowledged(),
            stored: self.unique,
            stored_unacknowledged: unacknowledged,
            lost: self.missing(ledger),
            lost_examples: examples,
            duplicated: self.duplicated,
            reordered: self.reordered,
            misplaced: self.map.as_ref().map(|_| self.misplaced),
            shards: self.shards.clone(),
            publish_to_stored: self.latencies.percentiles(),
        }
    }
}

impl Device {
    /// Notes the first sight of `seq` under a partition key. False when a later one was seen under it.
    fn in_order(&mut self, partition_key: &str, seq: u64) -> bool {
        let known = self
            .highest
            .iter_mut()
            .rev()
            .find(|(key, _)| **key == *partition_key);
        if let Some((_, highest)) = known {
            let in_order = seq > *highest;
            *highest = seq.max(*highest);
            return in_order;
        }
        if self.highest.len() == WATCHED_KEYS {
            self.highest.remove(0);
        }
        self.highest.push((partition_key.into(), seq));
        true
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;

    fn run_id() -> RunId {
        RunId::new(&mut SeededEntropy::new(1))
    }

    fn data(device: &str, seq: u64) -> Vec<u8> {
        let run = run_id();
        format!(r#"{{"run":"{run}","device":"{device}","seq":{seq},"t":1000}}"#).into_bytes()
    }

    fn ledger(messages: &[(&str, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (device, seq) in messages {
            let key = ledger.key(device);
            key.published = key.published.max(*seq);
            key.acknowledged.insert(*seq);
        }
        ledger
    }

    fn check(seen: &[(&str, &str, u64)], acknowledged: &[(&str, u64)]) -> StreamReport {
        let mut tracker = Tracker::new(run_id(), None);
        for (partition_key, device, seq) in seen {
            tracker.observe("s", partition_key, &data(device, *seq), Some(1002));
        }
        tracker.report("stream", &ledger(acknowledged))
    }

    #[test]
    fn what_was_acknowledged_and_not_seen_is_lost() {
        let report = check(
            &[("a", "a", 1), ("a", "a", 3)],
            &[("a", 1), ("a", 2), ("b", 1)],
        );
        assert_eq!(
            (report.lost, report.stored, report.stored_unacknowledged),
            (2, 2, 1)
        );
        let lost: Vec<_> = report
            .lost_examples
            .iter()
            .map(|it| (&*it.device, it.seq))
            .collect();
        assert_eq!(lost, [("a", 2), ("b", 1)]);
        assert!(!report.is_clean());
        assert_eq!(report.publish_to_stored.unwrap().count, 2);
    }

    #[test]
    fn duplicates_count_each_time_and_never_as_disorder() {
        let seen = [("a", "a", 1), ("a", "a", 2), ("a", "a", 1), ("a", "a", 2)];
        let report = check(&seen, &[("a", 1), ("a", 2)]);
        assert_eq!(
            (report.duplicated, report.reordered, report.lost),
            (2, 0, 0)
        );
        assert!(report.is_clean());
    }

    #[test]
    fn order_is_judged_on_first_sights_per_partition_key() {
        let seen = [
            ("a", "a", 1),
            ("a", "a", 3),
            ("a", "a", 2),
            ("a", "b", 1),
            ("a", "a", 4),
        ];
        let report = check(&seen, &[]);
        assert_eq!((report.reordered, report.is_clean()), (1, false));
        let apart = check(&[("p", "a", 2), ("q", "a", 1)], &[]);
        assert_eq!(apart.reordered, 0);
        let many: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        let mut tracker = Tracker::new(run_id(), None);
        for (index, key) in many.iter().enumerate() {
            tracker.observe("s", key, &data("a", 100 - index as u64), None);
        }
        assert_eq!(tracker.reordered(), 0);
    }

    #[test]
    fn other_runs_and_other_data_are_foreign() {
        let mut tracker = Tracker::new(run_id(), None);
        tracker.observe("s", "a", b"{}", None);
        tracker.observe(
            "s",
            "a",
            br#"{"run":"00000000","device":"a","seq":1,"t":1}"#,
            None,
        );
        tracker.observe("s", "a", &data("a", 0), None);
        let report = tracker.report("stream", &Ledger::default());
        assert_eq!((report.foreign, report.stored, report.records), (3, 0, 3));
    }

    #[test]
    fn a_record_outside_the_shard_of_its_key_is_misplaced() {
        let map = ShardMap::even(4).unwrap();
        let right = map
            .shard(map.lookup(HashKey::of_partition_key("a")))
            .id()
            .to_owned();
        let wrong = map
            .shards()
            .iter()
            .find(|shard| shard.id() != right)
            .unwrap()
            .id()
            .to_owned();
        let mut tracker = Tracker::new(run_id(), Some(map));
        tracker.observe(&right, "a", &data("a", 1), None);
        tracker.observe(&wrong, "a", &data("a", 2), None);
        let report = tracker.report("stream", &Ledger::default());
        assert_eq!(report.misplaced, Some(1));
        assert_eq!(
            report.shards.iter().map(|shard| shard.records).sum::<u64>(),
            2
        );
        assert_eq!(report.shards.len(), 4);
    }

    #[test]
    fn discarded_records_are_missed() {
        let mut tracker = Tracker::new(run_id(), None);
        tracker.discard(2);
        for seq in 1..=5 {
            tracker.observe("s", "a", &data("a", seq), None);
        }
        let acknowledged: Vec<(&str, u64)> = (1..=5).map(|seq| ("a", seq)).collect();
        assert_eq!(tracker.missing(&ledger(&acknowledged)), 2);
    }
}
