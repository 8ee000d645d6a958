//! The pipeline with a log, on a simulated disk, against a model of what was promised.
//!
//! Publishers, a sink that takes its time, a disk that fails, power cuts and changing shard maps, all from one seed. What
//! was answered must arrive, what arrives of a key first must be in the order of its publishes, and a publish arrives
//! whole or not at all; what arrives twice is counted by its cause. The last tests make deliberate mistakes and expect the
//! simulation to see them.

mod damage;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{
    AckMode, Clock, Entropy as _, HashKey, ManualClock, Message, OnSpoolFailure, Origin, QoS,
    SeededEntropy, ShardMap, Ticket, Time,
};
use forebay_metrics::Registry;
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
use forebay_spool::testing::{Faults, SimDisk};
use forebay_spool::{Config, Spool};

use crate::mutation::Mutation;
use crate::{
    Admission, Drained, LaneTable, LogResult, LogTask, Pipeline, PipelineConfig, Publish, Record,
    Released, Settlement, SinkEvent, Stream,
};

const STREAMS: u64 = 3;
const KEYS: u64 = 5;
const STEPS: usize = 1200;
type File = forebay_spool::testing::SimFile;

/// Two rules: every publish to `a/#` has two records, in different streams.
fn rules() -> Arc<RuleSet> {
    let rule = |name: &str, filter: &str, stream: &str| {
        let json = serde_json::json!({
            "sql": format!("SELECT * FROM '{filter}'"),
            "awsIotSqlVersion": "2016-03-23",
            "actions": [{"kinesis": {"streamName": stream, "partitionKey": "${topic(3)}", "roleArn": "r"}}],
        });
        let document = RuleDocument::from_json(json.to_string().as_bytes(), Some(name));
        (document.expect("a rule"), RuleSettings::default())
    };
    let documents = vec![
        rule("one", "+/+/+", "s${topic(2)}"),
        rule("two", "a/+/+", "t${topic(2)}"),
    ];
    Arc::new(RuleSet::build(documents, RuleLimits::default()).expect("valid rules"))
}

/// One publish.
#[derive(Debug, Default, Clone)]
struct Published {
    records: u32,
    finished: u32,
    answered: bool,
    /// Streams that have stored its record.
    stored: BTreeSet<String>,
    /// One of these came out of the log.
    logged: bool,
}

/// One stream at the sink.
struct Sunk {
    stream: Arc<Stream>,
    table: Option<Arc<LaneTable>>,
    /// Taken and not settled, by lane, in order.
    taken: Vec<VecDeque<Record>>,
    /// Lanes that settle nothing at the moment.
    blocked: Vec<bool>,
    /// No map until this step.
    silent_until: usize,
}

struct World {
    disk: SimDisk,
    entropy: SeededEntropy,
    rules: Arc<RuleSet>,
    config: PipelineConfig,
    clock: Arc<ManualClock>,
    pipeline: Pipeline<SimDisk>,
    settlement: Settlement,
    sunk: BTreeMap<u32, Sunk>,
    tasks: Vec<LogTask<File>>,
    results: Vec<LogResult<File>>,
    published: Vec<Published>,
    /// Publishes whose answer is waited for, by slot.
    open: BTreeMap<u32, usize>,
    slot: u32,
    /// Highest publish that was stored first, by stream, key and whether it is in the log.
    newest: BTreeMap<(String, String, bool), u64>,
    /// QoS 2 packet ids, their publishes, and whether PUBREL was sent.
    releases: Vec<(u16, usize, bool)>,
    next_id: u16,
    step: usize,
    mutation: Mutation,
    stalled: bool,
    /// Places that the last start took for damaged: a power cut may leave such places in frames that were not answered.
    damaged_at_start: u64,
}

fn spool_config() -> Config {
    Config {
        segment_bytes: 32 << 10,
        first_bytes: 16 << 10,
        max_bytes: Some(10 * (32 << 10)),
        reserve_bytes: Some(0),
        ..Config::new("/spool")
    }
}

impl World {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let disk = SimDisk::new(entropy.next_u64(), 64 << 20);
        let rules = rules();
        let config = PipelineConfig {
            ingest_bytes: 48 << 10,
            lanes_bytes: 4 << (10 + entropy.below(4)),
            refill_bytes: 8 << 10,
            per_stream_share: 0.5,
            commit_max_delay: Duration::ZERO,
            // Hours pass in some worlds.
            stream_idle: Duration::from_secs(1_000_000),
            on_spool_failure: match entropy.below(2) {
                0 => OnSpoolFailure::Stored,
                _ => OnSpoolFailure::Stall,
            },
            spool_qos0: entropy.below(4) == 0,
            ..PipelineConfig::default()
        };
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let (pipeline, settlement) = start(&disk, &config, &rules, &clock, &mut entropy, mutation);
        Self {
            disk,
            entropy,
            rules,
            config,
            clock,
            pipeline,
            settlement,
            sunk: BTreeMap::new(),
            tasks: Vec::new(),
            results: Vec::new(),
            published: Vec::new(),
            open: BTreeMap::new(),
            slot: 0,
            newest: BTreeMap::new(),
            releases: Vec::new(),
            next_id: 1,
            step: 0,
            mutation,
            stalled: false,
            damaged_at_start: 0,
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn run(&mut self) {
        while self.step < STEPS {
            self.step += 1;
            let number = self.entropy.below(100);
            self.act(number);
        }
        self.settle_everything();
        self.check_end();
    }

    fn act(&mut self, number: u64) {
        match number {
            0..=27 => self.publish(),
            28..=29 => {
                let topic = self.topic();
                self.publish_to(&topic, QoS::AtLeastOnce, AckMode::Stored);
            }
            30..=39 => self.pipeline.intakes[0].flush(),
            40..=64 => self.turn(),
            65..=72 => self.work(),
            73..=88 => self.sink(),
            89..=91 => {
                let millis = 1 + self.entropy.below(400);
                self.clock.advance(Duration::from_millis(millis));
            }
            92 => self.block(),
            93 => self.change_map(),
            94 => self.release(),
            95 if self.entropy.below(6) == 0 => self.crash(),
            96 if self.entropy.below(3) == 0 => self.change_disk(),
            97 if self.entropy.below(3) == 0 => {
                self.pipeline.control.check_log();
            }
            98 if self.entropy.below(2) == 0 => self.look_for_reserve(),
            _ => self.collect(),
        }
    }

    fn topic(&mut self) -> String {
        let kind = if self.entropy.below(3) == 0 { "a" } else { "b" };
        let stream = self.entropy.below(STREAMS);
        format!("{kind}/{stream}/k{}", self.entropy.below(KEYS))
    }

    fn publish(&mut self) {
        let topic = self.topic();
        let qos = match self.entropy.below(10) {
            0 => QoS::AtMostOnce,
            1..=3 => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        };
        self.publish_to(&topic, qos, AckMode::Spool);
    }

    fn publish_to(&mut self, topic: &str, qos: QoS, ack: AckMode) {
        if self.stalled {
            return;
        }
        let id = self.published.len() as u64;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + self.entropy.below(600) as usize, 7);
        let payload = Bytes::from(payload);
        self.slot += 1;
        let ticket = Ticket {
            worker: 0,
            connection: 1,
            generation: 1,
            slot: self.slot,
        };
        let message = Message {
            topic,
            payload: &payload,
            client_id: Some("c"),
            timestamp_ms: 1_700_000_000_000,
            origin: &Origin::UNKNOWN,
        };
        let publish = Publish {
            qos,
            ticket,
            listener_ack: ack,
            may_reject: false,
            packet_id: self.next_id,
        };
        let now = self.now();
        let admission = self.pipeline.intakes[0].publish(&message, publish, now);
        self.published.push(Published {
            records: if topic.starts_with('a') { 2 } else { 1 },
            ..Published::default()
        });
        if qos == QoS::AtMostOnce {
            // Nothing is owed for it, and it may be dropped.
            self.stalled = admission == Admission::Parked;
            return;
        }
        match admission {
            Admission::Pending {
                records,
                ack: waits_for,
            } => {
                assert_eq!(records, self.published[id as usize].records);
                assert_eq!(waits_for, ack);
            }
            Admission::Parked => self.stalled = true,
            other => panic!("{other:?}"),
        }
        self.open.insert(self.slot, id as usize);
        if qos == QoS::ExactlyOnce {
            self.releases.push((self.next_id, id as usize, false));
            self.next_id += 1;
        }
    }

    fn release(&mut self) {
        let published = &self.published;
        let ready = |release: &&mut (u16, usize, bool)| !release.2 && published[release.1].answered;
        let Some(release) = self.releases.iter_mut().find(ready) else {
            return;
        };
        release.2 = true;
        let released = Released {
            connection: 1,
            generation: 1,
            packet_id: release.0,
        };
        self.pipeline.intakes[0].release("c", released);
    }

    /// What the worker does in its turn.
    fn collect(&mut self) {
        let mut drained = Drained::default();
        let now = self.now();
        self.pipeline.intakes[0].drain(&mut drained, now);
        for finished in drained.finished {
            if let Some(id) = self.open.get(&finished.slot).copied() {
                let published = &mut self.published[id];
                published.finished += 1;
                assert!(published.finished <= published.records, "answered twice");
                if published.finished == published.records {
                    published.answered = true;
                    self.open.remove(&finished.slot);
                }
            }
        }
        self.stalled &= drained.resumed.is_empty();
        for released in drained.released {
            self.releases.retain(|(id, ..)| *id != released.packet_id);
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        for result in std::mem::take(&mut self.results) {
            self.pipeline.sequencer.finish_task(result, now);
        }
        self.pipeline.sequencer.step(now);
        while let Some(task) = self.pipeline.sequencer.take_task(now) {
            self.tasks.push(task);
        }
        self.events();
    }

    fn work(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let at = self.entropy.below(self.tasks.len() as u64) as usize;
        let task = self.tasks.swap_remove(at);
        self.results.push(task.run(&self.disk, &*self.clock));
    }

    fn events(&mut self) {
        while let Some(event) = self.pipeline.sink.next_event() {
            match event {
                SinkEvent::Opened(stream) => {
                    let silent_until = self.step + self.entropy.below(40) as usize;
                    let sunk = Sunk {
                        stream: Arc::clone(&stream),
                        table: None,
                        taken: Vec::new(),
                        blocked: Vec::new(),
                        silent_until,
                    };
                    self.sunk.insert(stream.id().index() as u32, sunk);
                }
                SinkEvent::Lanes { stream, table } => {
                    let sunk = self.sunk.get_mut(&(stream.id().index() as u32));
                    let sunk = sunk.expect("it was opened");
                    sunk.taken = table.lanes.iter().map(|_| VecDeque::new()).collect();
                    sunk.blocked = vec![false; table.lanes.len()];
                    sunk.table = Some(table);
                }
                SinkEvent::Closed(id) => {
                    self.sunk.remove(&(id.index() as u32));
                }
                SinkEvent::Ready(_) | SinkEvent::Drain => {}
            }
        }
    }

    /// One lane of one stream takes a batch and settles some of what it has.
    fn sink(&mut self) {
        let step = self.step;
        if self.sunk.is_empty() {
            return;
        }
        let at = self.entropy.below(self.sunk.len() as u64) as usize;
        let sunk = self.sunk.values_mut().nth(at).expect("below the number");
        let Some(table) = sunk.table.clone() else {
            if sunk.silent_until != usize::MAX && step >= sunk.silent_until {
                let shards = 1 + self.entropy.below(4) as u32;
                let map = Arc::new(ShardMap::even(shards).expect("shards"));
                sunk.silent_until = usize::MAX;
                self.pipeline
                    .sink
                    .install_map(&sunk.stream, map, Vec::new());
            }
            return;
        };
        let lane = self.entropy.below(table.lanes.len() as u64) as usize;
        if sunk.blocked[lane] {
            return;
        }
        if let Some(batch) = table.lanes[lane].pop() {
            sunk.taken[lane].extend(batch);
            let in_order = [true, false].into_iter().all(|logged| {
                let taken = sunk.taken[lane].iter();
                let of_way = taken.filter(|record| (record.ack == AckMode::Spool) == logged);
                of_way.is_sorted_by_key(|record| record.seq)
            });
            assert!(
                in_order,
                "the sender orders what it sends again by these numbers"
            );
        }
        let count = self.entropy.below(1 + sunk.taken[lane].len() as u64) as usize;
        let stream = Arc::clone(&sunk.stream);
        for record in sunk.taken[lane].drain(..count).collect::<Vec<_>>() {
            self.store(&stream, record);
        }
        self.settlement.flush();
        self.count_held();
    }

    /// Publishes a record that waits for nothing in the log: however much of the log waits for its lane, it is in there
    /// at once, or enough others are.
    fn look_for_reserve(&mut self) {
        let at = self.entropy.below(STREAMS);
        let key = format!("k{}", self.entropy.below(KEYS));
        let topic = format!("b/{at}/{key}");
        let id = self.published.len() as u64;
        self.publish_to(&topic, QoS::AtLeastOnce, AckMode::Stored);
        self.pipeline.intakes[0].flush();
        self.turn();
        let name = format!("s{at}");
        let stream = |sunk: &&mut Sunk| sunk.stream.name().as_str() == name;
        let Some(sunk) = self.sunk.values_mut().find(stream) else {
            return;
        };
        let (Some(table), false) = (&sunk.table, self.stalled) else {
            return;
        };
        let lane = table.map.lookup(HashKey::of_partition_key(&key));
        let (mut found, mut others) = (false, 0);
        while let Some(batch) = table.lanes[lane].pop() {
            others += usize::from(batch.iter().all(|record| record.ack != AckMode::Spool));
            found |= batch
                .iter()
                .any(|record| record.data[..8] == id.to_le_bytes());
            sunk.taken[lane].extend(batch);
        }
        assert!(found || others >= 4, "the log has all of a lane");
        self.count_held();
    }

    fn count_held(&self) {
        let held = self.sunk.values().flat_map(|sunk| &sunk.taken);
        self.pipeline.sink.set_held(held.map(VecDeque::len).sum());
    }

    fn store(&mut self, stream: &Arc<Stream>, record: Record) {
        let id = u64::from_le_bytes(record.data[..8].try_into().expect("eight bytes"));
        let name = stream.name().as_str().to_owned();
        let published = &mut self.published[id as usize];
        published.logged |= record.in_log;
        let is_first = published.stored.insert(name.clone());
        let inherited = self.pipeline.sink.inherited();
        let below = inherited.map_or(0, |inherited| inherited.below);
        assert!(
            is_first || (record.in_log && record.log < below),
            "publish {id} was stored twice, and nothing counts that"
        );
        if is_first && (record.in_log || record.ack == AckMode::Stored) {
            let key = record.partition_key.as_str().to_owned();
            let key = (name, key, record.in_log);
            let newest = self.newest.entry(key.clone()).or_default();
            assert!(
                *newest <= id,
                "{key:?}: {id} was stored for the first time after {newest}"
            );
            *newest = id;
        }
        self.settlement.stored(stream, record);
    }

    fn block(&mut self) {
        for sunk in self.sunk.values_mut() {
            for blocked in &mut sunk.blocked {
                *blocked = self.entropy.below(3) == 0;
            }
        }
    }

    /// Gives one stream other shards: what its lanes hold goes back.
    fn change_map(&mut self) {
        let now_changing = self.sunk.values_mut().find(|sunk| sunk.table.is_some());
        let Some(sunk) = now_changing else {
            return;
        };
        let returned: Vec<Record> = sunk.taken.iter_mut().flat_map(std::mem::take).collect();
        sunk.table = None;
        let shards = 1 + self.entropy.below(5) as u32;
        let map = Arc::new(ShardMap::even(shards).expect("shards"));
        let stream = Arc::clone(&sunk.stream);
        self.count_held();
        self.pipeline.sink.install_map(&stream, map, returned);
    }

    fn change_disk(&mut self) {
        let faults = match self.entropy.below(3) {
            0 => Faults {
                write: self.entropy.below(300),
                short: self.entropy.below(300),
                sync: self.entropy.below(600),
                read: self.entropy.below(60),
                ..Faults::default()
            },
            1 => Faults {
                write: 10_000,
                ..Faults::default()
            },
            _ => Faults::default(),
        };
        self.disk.set_faults(faults);
    }

    /// The process dies, and half of the time the power goes too.
    fn crash(&mut self) {
        // Tasks that are out are lost with the process.
        self.tasks.clear();
        self.results.clear();
        self.sunk.clear();
        self.disk.kill();
        if self.entropy.below(2) == 0 {
            self.disk.power_cut();
        }
        self.disk.set_faults(Faults::default());
        let (pipeline, settlement) = start(
            &self.disk,
            &self.config,
            &self.rules,
            &self.clock,
            &mut self.entropy,
            self.mutation,
        );
        self.pipeline = pipeline;
        self.settlement = settlement;
        self.open.clear();
        self.releases.clear();
        self.stalled = false;
        let log = self.pipeline.control.log().expect("there is a log");
        self.damaged_at_start = log.stat.counters.frames_damaged;
        self.pipeline.intakes[0].forget("c");
    }

    /// Faults stop: everything that is owed must arrive, and nothing may be left anywhere.
    fn settle_everything(&mut self) {
        self.disk.set_faults(Faults::default());
        for round in 0..20_000 {
            for sunk in self.sunk.values_mut() {
                sunk.blocked.fill(false);
            }
            self.step += 1;
            self.pipeline.intakes[0].flush();
            self.turn();
            self.work();
            self.collect();
            self.clock.advance(Duration::from_millis(20));
            for _ in 0..8 {
                self.sink();
            }
            self.release();
            let conservation = self.pipeline.control.conservation();
            let rest = conservation.pending == 0 && self.pipeline.control.is_empty();
            if round > 200 && rest && self.releases.is_empty() {
                return;
            }
        }
        panic!(
            "something is left: {:?} {:?} {:?} {:?}",
            self.releases,
            self.pipeline.control.ingest_bytes(),
            self.pipeline.control.conservation(),
            self.pipeline.control.log()
        );
    }

    fn check_end(&mut self) {
        self.pipeline.sequencer.show();
        let log = self.pipeline.control.log().expect("there is a log");
        assert_eq!(log.stat.open_ids, 0, "packet ids are left in the log");
        let found = log.stat.counters.frames_damaged;
        assert_eq!(found, self.damaged_at_start, "a false alarm");
        assert_eq!(log.stat.counters.records_lost, 0, "nothing was damaged");
        assert_eq!(self.pipeline.control.conservation().difference(), 0);
        for (id, published) in self.published.iter().enumerate() {
            let stored = published.stored.len() as u32;
            if published.answered {
                assert_eq!(
                    stored, published.records,
                    "answered publish {id} is missing"
                );
            }
            // What never was in the log is not answered before all of it is stored, and may come in part.
            let whole = !published.logged || stored == published.records;
            assert!(whole, "half of publish {id} was kept");
        }
    }
}

fn start(
    disk: &SimDisk,
    config: &PipelineConfig,
    rules: &Arc<RuleSet>,
    clock: &Arc<ManualClock>,
    entropy: &mut SeededEntropy,
    mutation: Mutation,
) -> (Pipeline<SimDisk>, Settlement) {
    let fs = Arc::new(disk.clone());
    let spool_entropy = SeededEntropy::new(entropy.next_u64());
    let (spool, _) = Spool::open(fs, spool_config(), spool_entropy, clock.now(), 0)
        .expect("a disk without faults can be opened");
    let registry = Registry::new();
    let mut pipeline = Pipeline::with_log(
        config.clone(),
        rules,
        &registry,
        entropy,
        spool,
        Arc::clone(clock) as Arc<dyn Clock>,
    );
    pipeline.sequencer.mutate(mutation);
    let settlement = pipeline.sink.settlement();
    (pipeline, settlement)
}

/// Seeds from `FOREBAY_SIM_SEEDS` on: how many worlds are tried.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let first = number("FOREBAY_SIM_FIRST", 0);
    first..first + number("FOREBAY_SIM_SEEDS", 1000)
}

#[test]
fn what_was_answered_arrives_whole_and_in_order() {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Mutation::None).run());
        if let Err(panic) = outcome {
            eprintln!("seed {seed}: FOREBAY_SIM_FIRST={seed} FOREBAY_SIM_SEEDS=1 shows it again");
            std::panic::resume_unwind(panic);
        }
    }
}

/// How many seeds a mistake survives at most before the simulation has to see it.
const MUTANT_SEEDS: u64 = 1000;

fn is_seen(mutation: Mutation) -> bool {
    (0..MUTANT_SEEDS)
        .any(|seed| std::panic::catch_unwind(|| World::new(seed, mutation).run()).is_err())
}

#[test]
fn a_publish_in_two_frames_is_seen() {
    assert!(is_seen(Mutation::SplitPublish));
}

#[test]
fn an_answer_before_the_commit_is_seen() {
    assert!(is_seen(Mutation::AnswerBeforeCommit));
}

#[test]
fn a_lane_that_keeps_nothing_for_records_outside_the_log_is_seen() {
    assert!(is_seen(Mutation::NoReserve));
}

#[test]
fn a_lane_that_is_live_too_early_is_seen() {
    assert!(is_seen(Mutation::LiveTooEarly));
}
