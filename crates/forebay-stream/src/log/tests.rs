//! The log against a plain list.

use std::path::Path;

use forebay_core::{Entropy, SeededEntropy};

use super::*;

const LIMITS: SegmentLimits = SegmentLimits {
    bytes: 20_000,
    age_ms: 500,
};
const SHARDS: u32 = 40;

/// A record as the model knows it: counter, arrival, shard, key, data.
type Known = (u64, u64, u32, String, Vec<u8>);

struct Model {
    log: Log,
    known: Vec<Known>,
    entropy: SeededEntropy,
    now_ms: u64,
}

impl Model {
    fn new(dir: Option<&Path>, seed: u64) -> Self {
        let (log, torn) = Log::open(dir.map(Path::to_owned), SHARDS, 1 << 40, LIMITS).unwrap();
        assert_eq!(torn, 0);
        Self {
            log,
            known: Vec::new(),
            entropy: SeededEntropy::new(seed),
            now_ms: 1000,
        }
    }

    /// Stores a request of some entries, of which some are refused.
    fn append(&mut self) {
        let most = if self.entropy.below(3) == 0 { 60 } else { 3 };
        let entries = 1 + self.entropy.below(most);
        let spread = 1 + self.entropy.below(u64::from(SHARDS));
        let mut records = Vec::new();
        for index in 0..u16::try_from(entries).unwrap() {
            let shard = u32::try_from(self.entropy.below(spread)).unwrap();
            let key = format!("key-{}", self.entropy.below(1000));
            let len = usize::try_from(self.entropy.below(200)).unwrap();
            let data = vec![index.to_le_bytes()[0]; len];
            if index == 0 || self.entropy.below(10) > 0 {
                records.push((index, shard, key, data));
            }
        }
        let mut views: Vec<_> = records
            .iter()
            .map(|(index, shard, key, data)| NewRecord {
                index: *index,
                shard: *shard,
                key,
                data,
            })
            .collect();
        let mut batch = Batch::new(&mut views, usize::try_from(entries).unwrap());
        // The wall clock steps back now and then; the log's time must not.
        let step = self.entropy.below(40);
        self.now_ms = self.now_ms + step - self.entropy.below(5).min(step);
        let wall_ms = self.now_ms - self.entropy.below(10);
        let appended = self.log.append(&mut batch, wall_ms).unwrap();
        let arrival_ms = wall_ms.max(self.known.last().map_or(0, |known| known.1));
        for (index, shard, key, data) in records {
            self.known.push((
                appended.first + u64::from(index),
                arrival_ms,
                shard,
                key,
                data,
            ));
        }
    }

    /// Reads a shard page by page from `from` on and compares.
    fn check(&mut self, from: u64, not_before_ms: u64) {
        for shard in 0..SHARDS {
            let page = 1 + usize::try_from(self.entropy.below(30)).unwrap();
            let mut found: Vec<Known> = Vec::new();
            let mut next = from;
            loop {
                let mut collector = Collector::new(next, not_before_ms, page, 4000);
                self.log.collect(shard, &mut collector).unwrap();
                found.extend(collector.records().map(|r| {
                    (
                        r.counter,
                        r.arrival_ms,
                        shard,
                        r.key.to_owned(),
                        r.data.to_vec(),
                    )
                }));
                next = collector.next();
                if !collector.has_more() {
                    break;
                }
            }
            let expected: Vec<_> = self
                .known
                .iter()
                .filter(|known| known.0 >= from && known.1 >= not_before_ms && known.2 == shard)
                .cloned()
                .collect();
            assert_eq!(found, expected, "shard {shard} from {from}");
        }
    }

    fn check_somewhere(&mut self) {
        let some = |entropy: &mut SeededEntropy, known: &[Known]| {
            let at = entropy.below(known.len() as u64);
            known[usize::try_from(at).unwrap()].clone()
        };
        let counter = some(&mut self.entropy, &self.known).0;
        let arrival_ms = some(&mut self.entropy, &self.known).1;
        self.check(0, 0);
        self.check(counter, 0);
        self.check(0, arrival_ms);
    }

    /// Drops the oldest segment and forgets what was in it.
    fn drop_oldest(&mut self) {
        if self.log.segments() < 2 {
            return;
        }
        let second = self.log.segments[1].first();
        assert!(self.log.drop_oldest().unwrap() > 0);
        self.known.retain(|known| known.0 >= second);
    }
}

#[test]
fn pages_give_what_was_stored_in_order_whatever_was_stored_and_dropped() {
    for seed in 0..20 {
        let mut model = Model::new(None, seed);
        for step in 0..120 {
            model.append();
            if step % 40 == 39 {
                model.check_somewhere();
                model.drop_oldest();
            }
        }
        assert!(model.log.segments() > 1);
    }
}

#[test]
fn a_reopened_log_gives_the_same_and_goes_on() {
    for seed in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new(Some(dir.path()), seed);
        for run in 2..5_u64 {
            for _ in 0..60 {
                model.append();
            }
            model.drop_oldest();
            let path = Some(dir.path().to_owned());
            let (log, torn) = Log::open(path, SHARDS, run << 40, LIMITS).unwrap();
            assert_eq!((torn, log.bytes()), (0, model.log.bytes()));
            model.log = log;
            model.check_somewhere();
        }
    }
}

#[test]
fn a_closed_log_takes_nothing_and_has_nothing() {
    let mut model = Model::new(None, 1);
    model.append();
    assert!(model.log.close() > 0);
    let mut records = [NewRecord {
        index: 0,
        shard: 0,
        key: "k",
        data: b"",
    }];
    let mut batch = Batch::new(&mut records, 1);
    assert_eq!(
        model.log.append(&mut batch, 0).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!((model.log.bytes(), model.log.oldest_ms()), (0, None));
}

#[test]
fn the_index_stays_small_beside_the_data() {
    let mut model = Model::new(None, 3);
    let mut batches = 0;
    while model.log.segments() < 2 {
        let mut records = [NewRecord {
            index: 0,
            shard: 0,
            key: "k",
            data: b"x",
        }];
        model
            .log
            .append(&mut Batch::new(&mut records, 1), 0)
            .unwrap();
        batches += 1;
    }
    let entries = model.log.segments[0].index_entries();
    assert!(
        entries <= 20_000 / 4096 + 1,
        "{entries} entries for {batches} batches"
    );
}

#[test]
fn a_failed_write_leaves_a_log_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new(Some(dir.path()), 4);
    model.append();
    let before = model.log.bytes();
    model.log.segments[0].reopen_read_only();
    let mut records = [NewRecord {
        index: 0,
        shard: 0,
        key: "k",
        data: b"",
    }];
    assert!(
        model
            .log
            .append(&mut Batch::new(&mut records, 1), 0)
            .is_err()
    );
    assert_eq!(model.log.bytes(), before);
    model.check(0, 0);
    // The next batch goes to a new file: the end of the old one is not to be trusted.
    model.append();
    assert_eq!(model.log.segments(), 2);
    model.check(0, 0);
}
