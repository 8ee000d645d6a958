//! Random runs against a model of the service: conservation, order, bounds, every record settled exactly once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{AckMode, Entropy, HashKey, Ordering, SeededEntropy, ShardMap, Time};
use forebay_pipeline::Record;

use super::stand::{Log, Rings, Sent};
use crate::aggregator::{Aggregator, Permits, RequestId};
use crate::api::{EntryAnswer, PutRecordsAnswer};
use crate::classify::{CallError, CallFailure};
use crate::config::{BatchSettings, RateLimit};
use crate::testing::{map, record};

/// What is going wrong, in percent.
#[derive(Debug, Clone, Copy)]
struct Weather {
    record_throttled: u64,
    record_failure: u64,
    lost_before: u64,
    lost_after: u64,
    not_sent: u64,
    whole_throttled: u64,
    configuration: u64,
    map_change: u64,
}

const FAIR: Weather = Weather {
    record_throttled: 0,
    record_failure: 0,
    lost_before: 0,
    lost_after: 0,
    not_sent: 0,
    whole_throttled: 0,
    configuration: 0,
    map_change: 0,
};

const FOUL: Weather = Weather {
    record_throttled: 10,
    record_failure: 3,
    lost_before: 3,
    lost_after: 3,
    not_sent: 3,
    whole_throttled: 3,
    configuration: 2,
    map_change: 2,
};

struct World {
    aggregator: Aggregator,
    rings: Arc<Rings>,
    map: Arc<ShardMap>,
    weather: Weather,
    ordering: Ordering,
    inflight_per_lane: usize,
    entropy: SeededEntropy,
    now: Time,
    log: Log,
    /// Answers on their way, by arrival.
    answers: BTreeMap<(Time, RequestId), Result<PutRecordsAnswer, CallError>>,
    /// What the service holds per key, in the order in which it stored it.
    stored: BTreeMap<String, Vec<u64>>,
    keys: HashMap<u64, String>,
    next_seq: u64,
    epoch: u64,
    /// Inversions inside requests whose answer was lost: nobody can count those.
    unseen: usize,
    seen: usize,
    trace: DefaultHasher,
}

impl World {
    fn new(seed: u64, ordering: Ordering, inflight: Option<u32>, weather: Weather) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let rate_limit = if entropy.below(2) == 0 {
            RateLimit::Off
        } else {
            RateLimit::Percent(1000)
        };
        let settings = BatchSettings {
            rate_limit,
            inflight_per_lane: inflight,
            records_per_request: 20,
            lane_bytes: 20_000,
            ..BatchSettings::default()
        };
        let map = map(1 + u32::try_from(entropy.below(4)).unwrap());
        let rings = Arc::new(Rings::new(map.len()));
        let now = Time::from_millis(10_000);
        let mut aggregator = Aggregator::new(settings, ordering);
        aggregator.install(1, Arc::clone(&map), Arc::clone(&rings) as _, now, false);
        let default = if ordering == Ordering::None { 2 } else { 1 };
        Self {
            aggregator,
            rings,
            map,
            weather,
            ordering,
            inflight_per_lane: inflight.map_or(default, |count| count as usize),
            entropy,
            now,
            log: Log::default(),
            answers: BTreeMap::new(),
            stored: BTreeMap::new(),
            keys: HashMap::new(),
            next_seq: 1,
            epoch: 1,
            unseen: 0,
            seen: 0,
            trace: DefaultHasher::new(),
        }
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.entropy.below(100) < percent
    }

    fn run(mut self, records: u64) -> (Log, u64) {
        while self.next_seq <= records || !self.aggregator.is_idle() {
            if self.next_seq <= records && self.entropy.below(3) > 0 {
                self.feed();
            }
            self.poll();
            self.check_requests();
            if self.weather.map_change > 0 && self.entropy.below(1_000) < self.weather.map_change {
                self.aggregator.change_map();
            }
            self.finish_map_change();
            self.advance(self.next_seq <= records);
        }
        self.check_end(records);
        (self.log, self.trace.finish())
    }

    fn feed(&mut self) {
        let mut batches: BTreeMap<usize, Vec<Record>> = BTreeMap::new();
        for _ in 0..=self.entropy.below(30) {
            // A hot key among many.
            let number = if self.percent(40) {
                0
            } else {
                self.entropy.below(30)
            };
            let key = format!("key-{number}");
            let mut record = record(self.next_seq, &key, &[7; 100], self.now);
            if self.percent(20) {
                record.explicit = true;
                record.hash = HashKey::new(u128::MAX / 30 * u128::from(number));
            }
            if self.percent(10) {
                record.ack = AckMode::Accept;
                record.deadline = self.now + Duration::from_secs(20);
            }
            let name = format!("{key}/{}", if record.explicit { "explicit" } else { "" });
            self.keys.insert(self.next_seq, name);
            self.next_seq += 1;
            batches
                .entry(self.map.lookup(record.hash))
                .or_default()
                .push(record);
        }
        for (lane, batch) in batches {
            self.rings.push(lane, batch);
        }
        self.aggregator.ready(self.now);
    }

    fn poll(&mut self) {
        let mut permits = Permits {
            requests: 8,
            bytes: 1 << 20,
        };
        self.aggregator.poll(self.now, &mut permits, &mut self.log);
        for index in self.seen..self.log.sent.len() {
            let sent = self.log.sent[index].clone();
            sent.seqs.hash(&mut self.trace);
            sent.at.hash(&mut self.trace);
            self.serve(&sent);
        }
        self.seen = self.log.sent.len();
    }

    /// The service takes a request: what it stores is stored now, the answer arrives later or never.
    fn serve(&mut self, sent: &Sent) {
        let delay = Duration::from_millis(1 + self.entropy.below(20));
        let timeout = Duration::from_secs(6);
        let error = |failure, code: &str| Err(CallError::local(failure, code, "scripted"));
        let (delay, answer) = if self.percent(self.weather.not_sent) {
            (delay, error(CallFailure::NotSent, "Connect"))
        } else if self.percent(self.weather.lost_before) {
            (timeout, error(CallFailure::Unclear, "Timeout"))
        } else if self.percent(self.weather.whole_throttled) {
            let code = if self.percent(50) {
                super::stand::THROTTLED
            } else {
                "ThrottlingException"
            };
            (delay, error(CallFailure::Service(400), code))
        } else if self.percent(self.weather.configuration) {
            (
                delay,
                error(CallFailure::Service(400), "AccessDeniedException"),
            )
        } else {
            let entries: Vec<_> = sent
                .seqs
                .iter()
                .map(|seq| self.serve_record(*seq))
                .collect();
            if self.percent(self.weather.lost_after) {
                self.unseen += self.overtaken(&sent.seqs, &entries);
                (timeout, error(CallFailure::Unclear, "Timeout"))
            } else {
                (delay, Ok(PutRecordsAnswer { entries }))
            }
        };
        self.answers.insert((self.now + delay, sent.id), answer);
    }

    /// Records that were not stored although a newer one of their key in the same request was.
    fn overtaken(&self, seqs: &[u64], entries: &[EntryAnswer]) -> usize {
        let stored = |index: usize| matches!(entries[index], EntryAnswer::Stored { .. });
        (0..seqs.len())
            .filter(|&index| !stored(index))
            .filter(|&index| {
                let same = |later: &usize| self.keys[&seqs[*later]] == self.keys[&seqs[index]];
                (index + 1..seqs.len()).filter(same).any(stored)
            })
            .count()
    }

    fn serve_record(&mut self, seq: u64) -> EntryAnswer {
        let refused = |code: &str| EntryAnswer::Refused {
            code: code.into(),
            message: "".into(),
        };
        if self.percent(self.weather.record_throttled) {
            return refused(super::stand::THROTTLED);
        }
        if self.percent(self.weather.record_failure) {
            return refused("InternalFailure");
        }
        self.stored
            .entry(self.keys[&seq].clone())
            .or_default()
            .push(seq);
        EntryAnswer::Stored {
            shard: "shardId-000000000000".into(),
        }
    }

    /// What must hold for everything in flight at any time.
    fn check_requests(&self) {
        let mut per_lane: HashMap<usize, usize> = HashMap::new();
        let mut seqs = BTreeSet::new();
        let mut keys: HashMap<&str, RequestId> = HashMap::new();
        for (_, id) in self.answers.keys() {
            let request = self
                .aggregator
                .request(*id)
                .expect("unanswered requests are in flight");
            assert!(request.entries().len() <= 20);
            for part in request.parts() {
                *per_lane.entry(part.lane).or_default() += 1;
            }
            let mut within = BTreeSet::new();
            for record in request.records() {
                assert!(
                    seqs.insert(record.seq),
                    "record {} is in flight twice",
                    record.seq
                );
                let key = self.keys[&record.seq].as_str();
                let first_of_key = within.insert(key);
                if self.ordering == Ordering::Strict {
                    assert!(first_of_key, "two records of {key} in a request");
                }
                if self.ordering != Ordering::None {
                    let other = keys.insert(key, *id);
                    assert!(
                        other.is_none_or(|other| other == *id),
                        "{key} is in two requests"
                    );
                }
            }
        }
        assert!(
            per_lane
                .values()
                .all(|count| *count <= self.inflight_per_lane),
            "{per_lane:?}"
        );
    }

    fn finish_map_change(&mut self) {
        if !self.aggregator.can_give_back() {
            return;
        }
        let mut records = self.aggregator.give_back();
        for lane in 0..self.map.len() {
            use crate::aggregator::Batches;
            while let Some(batch) = self.rings.pop(lane) {
                records.extend(batch);
            }
        }
        records.sort_by_key(|record| record.seq);
        self.map = map(1 + u32::try_from(self.entropy.below(4)).unwrap());
        self.rings = Arc::new(Rings::new(self.map.len()));
        for record in records {
            self.rings.push(self.map.lookup(record.hash), vec![record]);
        }
        self.epoch += 1;
        self.aggregator.install(
            self.epoch,
            Arc::clone(&self.map),
            Arc::clone(&self.rings) as _,
            self.now,
            false,
        );
    }

    /// Moves the clock to the next thing that happens and delivers answers that have arrived.
    fn advance(&mut self, feeding: bool) {
        let mut next = self.aggregator.due();
        if let Some(((arrival, _), _)) = self.answers.first_key_value() {
            next = next.min(*arrival);
        }
        if feeding {
            next = next.min(self.now + Duration::from_millis(1 + self.entropy.below(5)));
        }
        if self.aggregator.is_starved() {
            // Permits come back with answers, of which there is one.
            assert!(
                !self.answers.is_empty(),
                "starved without anything in flight"
            );
        }
        let idle = !feeding && self.aggregator.is_idle();
        assert!(
            next != Time::NEVER || idle,
            "nothing would ever happen: {:?}",
            self.aggregator
        );
        if next == Time::NEVER {
            return;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.answers.first_entry() {
            let (arrival, id) = *entry.key();
            if arrival > self.now {
                break;
            }
            let answer = entry.remove();
            self.aggregator
                .answer(id, answer, self.now, &mut self.entropy, &mut self.log);
        }
    }

    fn check_end(&mut self, records: u64) {
        let total = self.next_seq - 1;
        assert!(total >= records);
        let mut settled: Vec<u64> = self.log.stored.clone();
        settled.extend(self.log.failed.iter().map(|(seq, _)| *seq));
        settled.sort_unstable();
        assert_eq!(
            settled,
            (1..=total).collect::<Vec<_>>(),
            "every record is settled exactly once"
        );
        let held: BTreeSet<u64> = self.stored.values().flatten().copied().collect();
        assert!(
            self.log.stored.iter().all(|seq| held.contains(seq)),
            "stored means stored"
        );

        let mut inversions = 0;
        for stored in self.stored.values() {
            let mut first = BTreeSet::new();
            let mut highest = 0;
            for seq in stored {
                if first.insert(*seq) {
                    inversions += usize::from(*seq < highest);
                    highest = highest.max(*seq);
                }
            }
        }
        match self.ordering {
            Ordering::None => {}
            Ordering::Key => assert!(
                inversions <= self.log.inversions + self.unseen,
                "{inversions} inversions, {} counted, {} unseen",
                self.log.inversions,
                self.unseen
            ),
            Ordering::Strict => assert_eq!((inversions, self.log.inversions), (0, 0)),
        }
        let copies: usize = self.stored.values().map(Vec::len).sum();
        assert!(
            copies - held.len() <= self.log.duplicates,
            "more duplicates than were announced"
        );
    }
}

fn modes() -> Vec<(Ordering, Option<u32>)> {
    let inflight = [None, Some(3)];
    Ordering::ALL
        .into_iter()
        .flat_map(|ordering| inflight.map(|count| (ordering, count)))
        .collect()
}

#[test]
fn nothing_is_lost_or_settled_twice_in_foul_weather() {
    for (ordering, inflight) in modes() {
        for seed in 0..60 {
            World::new(seed, ordering, inflight, FOUL).run(400);
        }
    }
}

#[test]
fn in_fair_weather_every_record_is_sent_once_and_in_order() {
    for (ordering, inflight) in modes() {
        for seed in 0..20 {
            let (log, _) = World::new(seed, ordering, inflight, FAIR).run(300);
            assert_eq!(
                log.sent.iter().map(|sent| sent.seqs.len()).sum::<usize>(),
                log.stored.len()
            );
            assert_eq!(
                (log.duplicates, log.inversions, log.failed.len()),
                (0, 0, 0)
            );
        }
    }
}

#[test]
fn throttling_alone_makes_no_duplicates_and_strict_never_inverts() {
    let weather = Weather {
        record_throttled: 30,
        ..FAIR
    };
    for (ordering, inflight) in modes() {
        for seed in 0..20 {
            let (log, _) = World::new(seed, ordering, inflight, weather).run(200);
            assert_eq!(log.duplicates, 0, "{ordering} {inflight:?} {seed}");
        }
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for (ordering, inflight) in modes() {
        let (_, first) = World::new(7, ordering, inflight, FOUL).run(300);
        let (_, second) = World::new(7, ordering, inflight, FOUL).run(300);
        assert_eq!(first, second);
    }
}
