//! The spool against a model of its contract, on a simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Entropy as _, FsErrorKind, HashKey, PartitionKey, SeededEntropy, Time};

use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{AppendError, Config, Event, Group, Read, Record, Spool, StreamKey};

const CAPACITY: usize = 64 << 20;

fn config(mutation: Mutation) -> Config {
    Config {
        segment_bytes: 32 << 10,
        first_bytes: 16 << 10,
        max_bytes: Some(8 * (32 << 10)),
        reserve_bytes: 0,
        mutation,
        ..Config::new("/spool")
    }
}

fn record(entropy: &mut SeededEntropy, publish: u64) -> Record {
    let len = match entropy.below(20) {
        0 => entropy.below(6000),
        _ => entropy.below(200),
    };
    let mut data = publish.to_le_bytes().to_vec();
    data.extend((0..len).map(|_| u8::try_from(entropy.below(256)).unwrap()));
    let key = format!("device-{}", entropy.below(9));
    Record {
        stream: Arc::new(StreamKey {
            name: format!("stream-{}", entropy.below(3)),
            ..StreamKey::default()
        }),
        rule: Arc::from("rule"),
        received_ms: 7,
        partition_key: PartitionKey::new(&key).unwrap(),
        hash: HashKey::of_partition_key(&key),
        explicit: false,
        data: data.into(),
        error: None,
    }
}

/// What the spool promised.
#[derive(Default)]
struct Model {
    /// Answered and never settled.
    owed: BTreeMap<u64, Record>,
    /// Settled; `true` once a frame with the delta is durable.
    settled: BTreeMap<u64, (Record, bool)>,
    /// Groups that were neither answered nor refused.
    unknown: Vec<Vec<Record>>,
    unknown_events: Vec<Event>,
    open: BTreeSet<(String, u16)>,
    max_seq: u64,
    /// Sequence numbers of which it is not known yet whether they are on disk.
    uncertain: std::ops::Range<u64>,
}

impl Model {
    fn answered(&mut self, first: u64, records: Vec<Record>, events: &[Event]) {
        if !records.is_empty() {
            assert!(first > self.max_seq, "sequence number {first} used again");
            self.max_seq = first + records.len() as u64 - 1;
        }
        self.owed.extend((first..).zip(records));
        for event in events {
            match event {
                Event::Open { client, id } => {
                    self.open.insert((client.clone(), *id));
                }
                Event::Release { client, id } => {
                    self.open.remove(&(client.clone(), *id));
                }
                Event::Forget { client } => self.open.retain(|(open, _)| open != client),
            }
        }
    }

    /// A frame that was built just now is durable, and with it the delta of all that was settled before.
    fn delta_written(&mut self) {
        for settled in self.settled.values_mut() {
            settled.1 = true;
        }
    }

    /// Compares what came back after a restart and takes it for the truth where both were allowed.
    fn recovered(
        &mut self,
        found: BTreeMap<u64, Record>,
        open: BTreeSet<(String, u16)>,
        uncertain: Option<std::ops::Range<u64>>,
        restarted: bool,
    ) {
        let sure = uncertain.is_none();
        self.uncertain = uncertain.unwrap_or_default();
        assert!(found.range(self.uncertain.clone()).next().is_none());
        let held = self.owed.iter();
        let held = held.filter(|(seq, _)| self.uncertain.contains(seq));
        let held: BTreeMap<u64, Record> =
            held.map(|(seq, record)| (*seq, record.clone())).collect();
        self.owed.retain(|seq, _| !held.contains_key(seq));
        for (seq, record) in &self.owed {
            let same = found.get(seq).is_some_and(|found| found == record);
            assert!(same, "answered record {seq} is lost");
        }
        let mut extra = Vec::new();
        for (seq, record) in &found {
            if self.owed.contains_key(seq) {
                continue;
            }
            match self.settled.get(seq) {
                Some((settled, durable)) => {
                    assert!(settled == record, "record {seq} is another");
                    assert!(!durable, "record {seq} was settled for good");
                }
                None => extra.push((*seq, record.clone())),
            }
        }
        let mut rest: &[(u64, Record)] = &extra;
        for group in &self.unknown {
            let len = group.len();
            let whole = rest
                .get(..len)
                .is_some_and(|head| head.iter().map(|(_, record)| record).eq(group.iter()));
            if whole {
                rest = &rest[len..];
            }
        }
        assert!(
            rest.is_empty(),
            "{} records were never appended",
            rest.len()
        );
        let touched: BTreeSet<&str> = self
            .unknown_events
            .iter()
            .map(|event| match event {
                Event::Open { client, .. }
                | Event::Release { client, .. }
                | Event::Forget { client } => client.as_str(),
            })
            .collect();
        let known = |ids: &BTreeSet<(String, u16)>| -> Vec<(String, u16)> {
            let ids = ids
                .iter()
                .filter(|(client, _)| !touched.contains(&**client));
            ids.cloned().collect()
        };
        self.max_seq = self.max_seq.max(found.keys().max().copied().unwrap_or(0));
        if sure {
            assert_eq!(known(&open), known(&self.open), "open ids");
            self.unknown.clear();
            self.unknown_events.clear();
            self.open = open;
        }
        if sure && restarted {
            self.settled.clear();
        } else {
            self.settled.retain(|seq, _| !found.contains_key(seq));
        }
        self.owed = found;
        self.owed.extend(held);
    }
}

struct Run {
    disk: SimDisk,
    entropy: SeededEntropy,
    mutation: Mutation,
    early_answer: bool,
    model: Model,
    now: Time,
    publishes: u64,
    commits: u64,
    restarts: u64,
    pending: Option<(Vec<Record>, Vec<Event>)>,
}

type TestSpool = Spool<SimDisk>;

impl Run {
    fn new(seed: u64, mutation: Mutation) -> Self {
        Self {
            disk: SimDisk::new(seed, CAPACITY),
            entropy: SeededEntropy::new(seed ^ 0xabcd),
            mutation,
            early_answer: false,
            model: Model::default(),
            now: Time::ZERO,
            publishes: 0,
            commits: 0,
            restarts: 0,
            pending: None,
        }
    }

    /// Opens the spool until it succeeds, with crashes on the way, and compares.
    fn open(&mut self) -> TestSpool {
        loop {
            self.restarts += 1;
            if self.entropy.below(3) == 0 {
                let at = self.disk.calls() + self.entropy.below(60);
                self.disk.crash_at(at);
            }
            let seeded = SeededEntropy::new(self.entropy.next_u64());
            let disk = Arc::new(self.disk.clone());
            match Spool::open(disk, config(self.mutation), seeded, self.now, 1) {
                Ok((spool, recovered)) if !self.disk.crashed() => {
                    self.disk.crash_at(u64::MAX);
                    assert_eq!(recovered.lost, 0, "false alarm: {recovered:?}");
                    self.disk.set_faults(Faults::default());
                    self.compare(&spool, true);
                    balance(&spool);
                    return spool;
                }
                Ok(_) => {}
                Err(error) => assert!(self.disk.crashed() || self.restarts < 1000, "{error}"),
            }
            self.cut();
        }
    }

    fn compare(&mut self, spool: &TestSpool, restarted: bool) {
        let open = spool.open_ids().iter();
        let open = open.map(|(client, id)| (client.to_owned(), id)).collect();
        let held = spool.held.as_ref();
        let uncertain = held.map(|_| spool.uncertain().unwrap_or_default());
        let found = read_all(spool);
        // The process may have died while it read.
        if !self.disk.crashed() {
            self.model.recovered(found, open, uncertain, restarted);
        }
    }

    fn cut(&mut self) {
        match self.entropy.below(3) {
            0 => self.disk.kill(),
            _ => self.disk.power_cut(),
        }
        self.disk.set_faults(Faults::default());
    }

    fn append(&mut self, spool: &mut TestSpool) {
        if !spool.is_writable() {
            let held = spool.held.is_some();
            let retried = spool.retry();
            if held && spool.is_writable() {
                self.compare(spool, false);
            }
            if let Ok(Some(commit)) = retried {
                let (records, events) = self.pending.take().unwrap_or_default();
                self.forget_unknown(&records);
                self.model.answered(commit.first_seq, records, &events);
                self.commits += 1;
            }
            return;
        }
        let mut group = Group::new();
        let mut records = Vec::new();
        let mut events = Vec::new();
        for _ in 0..=self.entropy.below(3) {
            self.publishes += 1;
            for _ in 0..=self.entropy.below(3) {
                let record = record(&mut self.entropy, self.publishes);
                group.push(&record);
                records.push(record);
            }
        }
        for _ in 0..self.entropy.below(3) {
            let client = format!("client-{}", self.entropy.below(4));
            let id = u16::try_from(self.entropy.below(9)).unwrap();
            events.push(match self.entropy.below(8) {
                0 => Event::Forget { client },
                1..=3 => Event::Release { client, id },
                _ => Event::Open { client, id },
            });
        }
        for event in &events {
            group.push_event(event.clone());
        }
        if self.early_answer {
            let next = spool.stat().next_seq;
            self.model.answered(next, records.clone(), &events);
        }
        match spool.append(&mut group, self.now) {
            Ok(_) if self.early_answer => self.commits += 1,
            Ok(commit) => {
                assert!(group.is_empty());
                self.model.answered(commit.first_seq, records, &events);
                self.model.delta_written();
                self.commits += 1;
            }
            Err(AppendError::Full) => assert!(!group.is_empty()),
            Err(AppendError::TooLarge { .. }) => panic!("the test's groups fit"),
            Err(AppendError::Unwritable(_)) => {
                self.model.unknown.push(records.clone());
                self.model.unknown_events.extend(events.clone());
                self.pending = Some((records, events));
            }
        }
    }

    fn forget_unknown(&mut self, records: &[Record]) {
        self.model.unknown.retain(|group| group != records);
        self.model.unknown_events.clear();
    }

    fn settle(&mut self, spool: &mut TestSpool) {
        let all = self.entropy.below(3) == 0;
        let entropy = &mut self.entropy;
        let owed = self.model.owed.keys().copied();
        let uncertain = self.model.uncertain.clone();
        let seqs: Vec<u64> = owed
            .filter(|seq| !uncertain.contains(seq) && (all || entropy.below(2) == 0))
            .collect();
        assert_eq!(
            spool.settle(seqs.iter().copied(), self.now),
            seqs.len() as u64
        );
        for seq in seqs {
            let record = self.model.owed.remove(&seq).unwrap();
            self.model.settled.insert(seq, (record, false));
        }
    }

    fn jobs(&mut self, spool: &mut TestSpool) {
        for _ in 0..self.entropy.below(6) {
            let Some(job) = spool.take_job(self.now) else {
                return;
            };
            // The log goes on while the work is done.
            if self.entropy.below(2) == 0 {
                self.append(spool);
            }
            let done = job.run(&self.disk);
            if self.entropy.below(2) == 0 {
                self.append(spool);
            }
            spool.finish(done, self.now);
        }
    }

    fn step(&mut self, spool: &mut TestSpool) {
        self.now += Duration::from_millis(self.entropy.below(150));
        match self.entropy.below(8) {
            0..=3 => self.append(spool),
            4 => self.settle(spool),
            5 => {
                let _unwritable = spool.poll(self.now);
            }
            6 if !self.disk.crashed() => {
                let read = read_all(spool);
                if spool.is_writable() && !self.disk.crashed() {
                    assert!(read == self.model.owed, "reads differ");
                }
            }
            _ => self.jobs(spool),
        }
    }

    fn life(&mut self) {
        self.pending = None;
        let mut spool = self.open();
        let faults = match self.entropy.below(3) {
            0 => Faults {
                write: self.entropy.below(300),
                short: self.entropy.below(300),
                interrupted: self.entropy.below(300),
                read: 0,
                sync: self.entropy.below(600),
                spoil: 0,
            },
            _ => Faults::default(),
        };
        self.disk.set_faults(faults);
        let at = self.disk.calls() + 1 + self.entropy.below(400);
        self.disk.crash_at(at);
        let steps = self.entropy.below(80);
        for _ in 0..steps {
            if self.disk.crashed() {
                break;
            }
            self.step(&mut spool);
        }
        drop(spool);
        self.cut();
    }

    /// Without faults everything drains and every segment comes back.
    fn drain(&mut self) {
        self.pending = None;
        let mut spool = self.open();
        self.disk.crash_at(u64::MAX);
        for _ in 0..200 {
            self.now += Duration::from_millis(1100);
            let seqs: Vec<u64> = spool.unsettled().iter().collect();
            spool.settle(seqs, self.now);
            self.model.owed.clear();
            let _pending = spool.retry();
            spool.poll(self.now).unwrap();
            while let Some(job) = spool.take_job(self.now) {
                let done = job.run(&self.disk);
                assert!(done.error().is_none(), "{:?}", done.error());
                spool.finish(done, self.now);
            }
        }
        let stat = spool.stat();
        assert!(stat.publishable_segments >= 2, "segments leak: {stat:?}");
        let before = self.commits;
        self.append(&mut spool);
        assert_eq!(self.commits, before + 1, "accepts again");
    }
}

fn read_all(spool: &TestSpool) -> BTreeMap<u64, Record> {
    let mut found = BTreeMap::new();
    let mut from = 0;
    loop {
        let mut plan = spool.plan_read(from, 2, Vec::new());
        loop {
            match plan.read() {
                Ok(Some(Read::Records(records))) => found.extend(records),
                Ok(Some(Read::Damage(damage))) => panic!("false alarm: {damage:?}"),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
        if plan.resume() <= from || plan.resume() >= spool.stat().next_seq {
            return found;
        }
        from = plan.resume();
    }
}

fn balance(spool: &TestSpool) {
    let stat = spool.stat();
    let totals = stat.totals;
    assert_eq!(
        totals.appended,
        totals.settled + stat.unsettled_records,
        "appended = settled + unsettled"
    );
}

fn simulate(seed: u64, mutation: Mutation, early_answer: bool) {
    let mut run = Run::new(seed, mutation);
    run.early_answer = early_answer;
    for _ in 0..8 {
        run.life();
    }
    run.drain();
}

/// The seeds to run: `FOREBAY_SPOOL_SEEDS` of them from `FOREBAY_SPOOL_FIRST` on.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name, default| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("FOREBAY_SPOOL_FIRST", 0);
    first..first + number("FOREBAY_SPOOL_SEEDS", default)
}

#[test]
fn what_was_answered_survives_every_crash_and_fault() {
    for seed in seeds(1000) {
        let run = std::panic::catch_unwind(|| simulate(seed, Mutation::None, false));
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// The simulation must find a spool that does this wrong.
fn dies(mutation: Mutation, early_answer: bool) {
    let found = (0..3000)
        .any(|seed| std::panic::catch_unwind(|| simulate(seed, mutation, early_answer)).is_err());
    assert!(found, "{mutation:?} was not found");
}

#[test]
fn the_simulation_finds_a_spool_without_the_flush() {
    dies(Mutation::NoFlush, false);
}

#[test]
fn the_simulation_finds_an_answer_before_the_commit() {
    dies(Mutation::None, true);
}

#[test]
fn the_simulation_finds_recycling_before_the_checkpoint_is_durable() {
    dies(Mutation::RecycleEarly, false);
}

#[test]
fn the_simulation_finds_sequence_numbers_used_again() {
    dies(Mutation::ReuseSequences, false);
}

#[test]
fn the_simulation_finds_a_last_frame_that_is_not_written_again() {
    dies(Mutation::NoRewrite, false);
}

#[test]
fn the_simulation_finds_a_flush_that_is_repeated_and_believed() {
    dies(Mutation::FlushAgain, false);
}

#[test]
fn the_simulation_finds_a_directory_that_is_not_flushed() {
    dies(Mutation::NoDirectorySync, false);
}

#[test]
fn the_simulation_finds_a_header_that_counts_before_its_frames() {
    dies(Mutation::HeaderFirst, false);
}

/// Runs all background work that is due, over the delays after failures.
fn work<F: forebay_core::Fs>(spool: &mut Spool<F>, fs: &F, now: &mut Time) {
    for _ in 0..20 {
        *now += Duration::from_millis(1100);
        spool.poll(*now).unwrap();
        while let Some(job) = spool.take_job(*now) {
            let done = job.run(fs);
            spool.finish(done, *now);
        }
    }
}

fn fill<F: forebay_core::Fs>(spool: &mut Spool<F>, now: &mut Time, fs: &F) -> Vec<u64> {
    let mut entropy = SeededEntropy::new(8);
    let mut seqs = Vec::new();
    for publish in 0..10_000 {
        let mut group = Group::new();
        group.push(&record(&mut entropy, publish));
        match spool.append(&mut group, *now) {
            Ok(commit) => seqs.push(commit.first_seq),
            Err(AppendError::Full) => {
                assert_eq!(group.records(), 1, "a refused group is as it was");
                return seqs;
            }
            Err(error) => panic!("{error}"),
        }
        if publish % 20 == 0 {
            work(spool, fs, now);
        }
    }
    panic!("never full")
}

#[test]
fn a_full_disk_refuses_drains_and_accepts_again_also_over_a_restart() {
    // Room for the checkpoint files and about six of the eight segments that the limit allows.
    let disk = SimDisk::new(4, 480 << 10);
    let mut now = Time::ZERO;
    let mut spool = open_image(&disk).expect("a new directory");
    work(&mut spool, &disk, &mut now);
    let seqs = fill(&mut spool, &mut now, &disk);
    assert_eq!(spool.stat().ready_segments, 2, "the reserve is kept");
    drop(spool);
    disk.power_cut();
    disk.set_capacity(0);
    let mut spool = open_image(&disk).expect("opens with nothing free");
    assert_eq!(spool.unsettled().len(), seqs.len() as u64);
    assert_eq!(spool.settle(seqs.iter().copied(), now), seqs.len() as u64);
    work(&mut spool, &disk, &mut now);
    let again = fill(&mut spool, &mut now, &disk);
    assert!(
        again.len() * 2 > seqs.len(),
        "{} after {}",
        again.len(),
        seqs.len()
    );
}

#[test]
fn a_directory_of_this_machine_is_kept_over_a_restart_and_used_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: dir.path().join("spool"),
        allow_volatile: true,
        ..config(Mutation::None)
    };
    let fs = Arc::new(crate::DiskFs);
    let open = || {
        let entropy = SeededEntropy::new(3);
        Spool::open(Arc::clone(&fs), config.clone(), entropy, Time::ZERO, 1)
    };
    let (mut spool, recovered) = open().unwrap();
    assert!(recovered.created);
    let mut now = Time::ZERO;
    work(&mut spool, &fs, &mut now);
    let mut seqs = fill(&mut spool, &mut now, &fs);
    assert!(matches!(open(), Err(crate::OpenError::Locked(_))));
    let settled: Vec<u64> = seqs.drain(..seqs.len() / 2).collect();
    spool.settle(settled, now);
    work(&mut spool, &fs, &mut now);
    drop(spool);
    let (spool, recovered) = open().unwrap();
    assert_eq!(recovered.records, seqs.len() as u64);
    assert!(spool.unsettled().iter().eq(seqs.iter().copied()));
    assert!(spool.stat().counters.recycled > 0, "{:?}", spool.stat());
}

/// A spool that was opened where nothing could be written, after a process whose last frame was `answered` or was cut
/// short by a kill before its flush. Returns the answered records and the last record.
fn open_unwritable(disk: &SimDisk, answered: bool) -> (TestSpool, Vec<u64>, u64) {
    let mut now = Time::ZERO;
    let mut entropy = SeededEntropy::new(8);
    let mut spool = open_image(disk).expect("a new directory");
    work(&mut spool, disk, &mut now);
    let mut owed = Vec::new();
    for publish in 0..4 {
        let mut group = Group::new();
        // Only the last two share a page.
        group.push(&Record {
            data: vec![7; 5000].into(),
            ..record(&mut entropy, publish)
        });
        group.push_event(Event::Open {
            client: "device".to_owned(),
            id: u16::try_from(publish).unwrap(),
        });
        if publish == 3 && !answered {
            disk.crash_at(disk.calls() + 2);
        }
        match spool.append(&mut group, now) {
            Ok(commit) => owed.push(commit.first_seq),
            Err(error) => assert!(disk.crashed(), "{error}"),
        }
    }
    drop(spool);
    disk.kill();
    disk.set_faults(Faults {
        write: 10_000,
        ..Faults::default()
    });
    let spool = open_image(disk).expect("opens for reading");
    disk.set_faults(Faults::default());
    let held = spool.uncertain().expect("the last frames");
    assert!(!spool.is_writable());
    assert_eq!(held.end - held.start, 2);
    let certain: Vec<u64> = owed
        .iter()
        .copied()
        .filter(|seq| *seq < held.start)
        .collect();
    assert_eq!(certain.len(), 2);
    assert!(spool.unsettled().iter().eq(certain.iter().copied()));
    assert!(read_all(&spool).keys().eq(&certain));
    assert!(spool.watermark() <= held.start);
    assert!(spool.open_ids().is_open("device", 1) && !spool.open_ids().is_open("device", 3));
    (spool, owed, held.end - 1)
}

/// Everything that is due in the background but the retry.
fn work_unwritable(spool: &mut TestSpool, disk: &SimDisk) {
    let mut now = Time::from_millis(60_000);
    for _ in 0..5 {
        now += Duration::from_millis(1100);
        while let Some(job) = spool.take_job(now) {
            let done = job.run(disk);
            spool.finish(done, now);
        }
    }
    assert!(spool.stat().counters.checkpoints >= 1);
}

#[test]
fn a_last_frame_that_a_power_cut_takes_after_a_checkpoint_is_no_loss() {
    let mut vanished = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed, CAPACITY);
        let (mut spool, owed, last) = open_unwritable(&disk, false);
        work_unwritable(&mut spool, &disk);
        drop(spool);
        disk.power_cut();
        let entropy = SeededEntropy::new(3);
        let fs = Arc::new(disk.clone());
        let opened = Spool::open(fs, config(Mutation::None), entropy, Time::ZERO, 1);
        let (spool, recovered) = opened.unwrap();
        assert_eq!((recovered.lost, recovered.damaged.len()), (0, 0));
        let found = read_all(&spool);
        assert!(owed.iter().all(|seq| found.contains_key(seq)));
        vanished += u32::from(!found.contains_key(&last));
        balance(&spool);
    }
    assert!(vanished > 0, "the power cut never took the frame");
}

#[test]
fn a_last_frame_that_was_answered_is_owed_again_after_a_checkpoint_without_it() {
    for power_cut in [false, true] {
        let disk = SimDisk::new(5, CAPACITY);
        let (mut spool, owed, last) = open_unwritable(&disk, true);
        assert_eq!(owed.last(), Some(&last));
        work_unwritable(&mut spool, &disk);
        let mut spool = match power_cut {
            false => spool,
            true => {
                drop(spool);
                disk.power_cut();
                open_image(&disk).expect("opens")
            }
        };
        assert_eq!(spool.retry(), Ok(None));
        assert_eq!(spool.uncertain(), None);
        assert!(spool.unsettled().iter().eq(owed.iter().copied()));
        assert!(read_all(&spool).keys().eq(&owed));
        assert!(spool.open_ids().is_open("device", 3));
        balance(&spool);
    }
}

/// A directory with frames of one to three records, and what they hold.
fn image() -> (SimDisk, BTreeMap<u64, Record>) {
    let disk = SimDisk::new(1, CAPACITY);
    let mut entropy = SeededEntropy::new(2);
    let mut records = BTreeMap::new();
    let mut spool = open_image(&disk).expect("a new directory");
    for publish in 0..12_u64 {
        let mut group = Group::new();
        let mut pushed = Vec::new();
        for _ in 0..=publish % 3 {
            let record = Record {
                data: publish.to_le_bytes().to_vec().into(),
                ..record(&mut entropy, publish)
            };
            group.push(&record);
            pushed.push(record);
        }
        let commit = spool.append(&mut group, Time::ZERO).unwrap();
        records.extend((commit.first_seq..).zip(pushed));
    }
    drop(spool);
    disk.power_cut();
    (disk, records)
}

fn open_image(disk: &SimDisk) -> Option<TestSpool> {
    let entropy = SeededEntropy::new(3);
    let disk = Arc::new(disk.clone());
    let opened = Spool::open(disk, config(Mutation::None), entropy, Time::ZERO, 1);
    opened.ok().map(|(spool, _)| spool)
}

/// Reads what it can and checks that nothing is made up.
fn check_damaged(disk: &SimDisk, records: &BTreeMap<u64, Record>, what: &str) -> usize {
    let spool = open_image(disk).unwrap_or_else(|| panic!("{what}: cannot be opened"));
    let mut plan = spool.plan_read(0, 100, Vec::new());
    let mut found = 0;
    while let Some(read) = plan.read().unwrap() {
        if let Read::Records(read) = read {
            for (seq, record) in read {
                assert_eq!(records.get(&seq), Some(&record), "{what}");
                found += 1;
            }
        }
    }
    found
}

#[test]
fn a_flipped_byte_costs_one_frame_at_most_and_never_yields_a_wrong_record() {
    let (disk, records) = image();
    let path = crate::job::path_of(std::path::Path::new("/spool"), 1);
    for offset in (0..4096 + 12 * 1024).step_by(3) {
        let copy = disk.fork(offset as u64);
        assert!(copy.flip(&path, offset, 1 << (offset % 8)));
        let found = check_damaged(&copy, &records, &format!("byte {offset}"));
        assert!(found + 3 >= records.len(), "byte {offset}: {found} left");
    }
}

#[test]
fn a_segment_that_is_cut_off_anywhere_yields_the_frames_before() {
    let (disk, records) = image();
    let path = crate::job::path_of(std::path::Path::new("/spool"), 1);
    let mut before = 0;
    for len in (4096..4096 + 12 * 1024).step_by(7) {
        let copy = disk.fork(len as u64);
        copy.truncate(&path, len);
        let found = check_damaged(&copy, &records, &format!("{len} bytes"));
        assert!(found >= before, "{len} bytes: {found} left");
        before = found;
    }
    assert_eq!(before, records.len());
}

#[test]
fn every_call_may_fail_once_and_the_spool_accepts_again_without_a_restart() {
    let script = |fail: Option<(u64, FsErrorKind)>| -> u64 {
        let mut run = Run::new(5, Mutation::None);
        let mut spool = run.open();
        run.disk.crash_at(u64::MAX);
        if let Some((at, kind)) = fail {
            run.disk.fail_at(at, kind);
        }
        for _ in 0..120 {
            run.step(&mut spool);
        }
        for _ in 0..50 {
            run.now += Duration::from_millis(1100);
            run.append(&mut spool);
            run.settle(&mut spool);
            let _unwritable = spool.poll(run.now);
            run.jobs(&mut spool);
        }
        let before = run.commits;
        for _ in 0..5 {
            run.append(&mut spool);
        }
        assert!(run.commits > before, "{fail:?}");
        drop(spool);
        run.disk.power_cut();
        run.pending = None;
        run.open();
        run.disk.calls()
    };
    let calls = script(None);
    for at in (1..calls).step_by(3) {
        for kind in [
            FsErrorKind::Io,
            FsErrorKind::NoSpace,
            FsErrorKind::Interrupted,
        ] {
            script(Some((at, kind)));
        }
    }
}
