//! The model of the service: shards, what is stored in which order, and everything that goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Entropy, HashKey, Ordering, SeededEntropy, Shard, ShardMap};
use forebay_kinesis::api::{EntryAnswer, PutRecordsAnswer};
use forebay_kinesis::classify::{CallError, CallFailure};

/// One record as it was sent: its key and its number among the publishes of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) hash: HashKey,
    /// Bytes of its data.
    pub(crate) bytes: usize,
    pub(crate) way: Way,
}

/// How a record came to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// It is in the log.
    Log,
    /// It should be, and the log did not take it.
    Fallback,
    /// It was never meant to be.
    Direct,
}

/// How one request ends.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// An answer for each record; what is stored was stored.
    Answer(PutRecordsAnswer),
    /// An error of the whole request; nothing was stored.
    Refused(CallError),
    /// No answer comes. The records are stored now, later, or never.
    Lost(Landing),
}

/// When the records of a request without an answer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    AtOnce,
    Late,
    Never,
}

/// Faults that a run has met.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Met {
    pub(crate) throttled: u64,
    pub(crate) internal: u64,
    pub(crate) whole: u64,
    pub(crate) lost: u64,
    pub(crate) unreachable: u64,
    pub(crate) late: u64,
    pub(crate) held: u64,
    pub(crate) reshards: u64,
    pub(crate) parked: u64,
    pub(crate) inversions: u64,
}

impl Met {
    pub(crate) fn add(&mut self, other: Met) {
        self.throttled += other.throttled;
        self.internal += other.internal;
        self.whole += other.whole;
        self.lost += other.lost;
        self.unreachable += other.unreachable;
        self.late += other.late;
        self.held += other.held;
        self.reshards += other.reshards;
        self.parked += other.parked;
        self.inversions += other.inversions;
    }

    pub(crate) fn all(self) -> bool {
        let Met {
            throttled,
            internal,
            whole,
            lost,
            late,
            held,
            reshards,
            parked,
            inversions,
            // Only the simulation with a log has outages.
            unreachable: _,
        } = self;
        [
            throttled, internal, whole, lost, late, held, reshards, parked, inversions,
        ]
        .into_iter()
        .all(|count| count > 0)
    }
}

/// Faults of one run, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Rates {
    record_throttled: u64,
    record_internal: u64,
    whole: u64,
    lost: u64,
    configuration: u64,
}

#[derive(Debug)]
pub(crate) struct Service {
    rates: Rates,
    ordering: Ordering,
    map: Arc<ShardMap>,
    next_shard: u32,
    /// Nobody gets through to it.
    pub(crate) unreachable: bool,
    /// Everything stored, in the order in which it was.
    pub(crate) stored: Vec<Sent>,
    /// Copies of each record that are stored.
    pub(crate) copies: BTreeMap<(String, u64), u64>,
    pub(crate) met: Met,
}

impl Service {
    pub(crate) fn new(ordering: Ordering, entropy: &mut SeededEntropy) -> Self {
        let shards = 1 + entropy.below(5) as u32;
        let rate = |entropy: &mut SeededEntropy, max| match entropy.below(3) {
            0 => 0,
            _ => entropy.below(max),
        };
        Self {
            rates: Rates {
                record_throttled: rate(entropy, 400),
                record_internal: rate(entropy, 50),
                whole: rate(entropy, 100),
                lost: rate(entropy, 100),
                configuration: rate(entropy, 20),
            },
            ordering,
            map: Arc::new(ShardMap::even(shards).unwrap()),
            next_shard: shards,
            unreachable: false,
            stored: Vec::new(),
            copies: BTreeMap::new(),
            met: Met::default(),
        }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        self.unreachable = false;
        self.rates = Rates {
            record_throttled: 0,
            record_internal: 0,
            whole: 0,
            lost: 0,
            configuration: 0,
        };
    }

    pub(crate) fn map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.map)
    }

    /// Splits one shard or merges two neighbours.
    pub(crate) fn reshard(&mut self, entropy: &mut SeededEntropy) {
        let mut shards: Vec<Shard> = self.map.shards().to_vec();
        let at = entropy.below(shards.len() as u64) as usize;
        let (start, end) = shards[at].range().into_inner();
        let merge = shards.len() > 1 && at + 1 < shards.len() && entropy.below(2) == 0;
        if merge {
            let end = *shards[at + 1].range().end();
            shards.drain(at..=at + 1);
            let id = self.new_id();
            shards.push(Shard::new(id, start, end));
        } else {
            let middle = start + (end - start) / 2;
            shards.remove(at);
            let ids = [self.new_id(), self.new_id()];
            shards.push(Shard::new(&ids[0], start, middle));
            shards.push(Shard::new(&ids[1], middle + 1, end));
        }
        self.map = Arc::new(ShardMap::new(shards).unwrap());
        self.met.reshards += 1;
    }

    fn new_id(&mut self) -> String {
        self.next_shard += 1;
        format!("shardId-{:012}", self.next_shard - 1)
    }

    pub(crate) fn store(&mut self, record: &Sent) {
        *self
            .copies
            .entry((record.key.clone(), record.number))
            .or_default() += 1;
        self.stored.push(record.clone());
    }

    /// Decides what happens to a request, and stores what is stored with the answer.
    pub(crate) fn put(&mut self, records: &[Sent], entropy: &mut SeededEntropy) -> Verdict {
        if self.unreachable {
            self.met.unreachable += 1;
            return match entropy.below(4) {
                0 => Verdict::Lost(Landing::Never),
                _ => Verdict::Refused(not_sent()),
            };
        }
        let mut chance = |rate: u64| entropy.below(1000) < rate;
        if chance(self.rates.configuration) {
            self.met.held += 1;
            let codes = [
                "AccessDeniedException",
                "ResourceNotFoundException",
                "ExpiredTokenException",
            ];
            return Verdict::Refused(refusal(400, codes[entropy.below(3) as usize]));
        }
        if chance(self.rates.whole) {
            self.met.whole += 1;
            let (status, code) = match entropy.below(3) {
                0 => (400, "ProvisionedThroughputExceededException"),
                1 => (400, "ThrottlingException"),
                _ => return Verdict::Refused(not_sent()),
            };
            return Verdict::Refused(refusal(status, code));
        }
        if chance(self.rates.lost) {
            self.met.lost += 1;
            return Verdict::Lost(match entropy.below(3) {
                0 => Landing::AtOnce,
                1 => {
                    self.met.late += 1;
                    Landing::Late
                }
                _ => Landing::Never,
            });
        }
        let entries = records
            .iter()
            .map(|record| self.put_one(record, entropy))
            .collect();
        Verdict::Answer(PutRecordsAnswer { entries })
    }

    fn put_one(&mut self, record: &Sent, entropy: &mut SeededEntropy) -> EntryAnswer {
        if entropy.below(1000) < self.rates.record_throttled {
            self.met.throttled += 1;
            return refused("ProvisionedThroughputExceededException");
        }
        if entropy.below(1000) < self.rates.record_internal {
            self.met.internal += 1;
            // A record that failed this way may be stored all the same. In `key` ordering it is not, here: the count
            // of inversions would rightly count what nobody can see.
            if self.ordering != Ordering::Key && entropy.below(2) == 0 {
                self.store(record);
            }
            return refused("InternalFailure");
        }
        self.store(record);
        let shard = self.map.shard(self.map.lookup(record.hash)).id().into();
        EntryAnswer::Stored { shard }
    }
}

fn refused(code: &str) -> EntryAnswer {
    EntryAnswer::Refused {
        code: code.into(),
        message: "made up".into(),
    }
}

fn not_sent() -> CallError {
    CallError::local(CallFailure::NotSent, "ConnectFailed", "no route")
}

fn refusal(status: u16, code: &str) -> CallError {
    CallError::local(CallFailure::Service(status), code, "made up")
}
