//! Random lives of a spool with crashes and faults, each decided by a seed.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Entropy as _, SeededEntropy, Time};

use super::model::Model;
use super::{CAPACITY, TestSpool, balance, config, read_all, record};
use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{AppendError, Event, Group, Record, Settled, Spool, StreamId};

pub(super) struct Run {
    pub(super) disk: SimDisk,
    entropy: SeededEntropy,
    mutation: Mutation,
    early_answer: bool,
    model: Model,
    pub(super) now: Time,
    publishes: u64,
    pub(super) commits: u64,
    restarts: u64,
    pub(super) pending: Option<(Vec<Record>, Vec<Event>)>,
}

impl Run {
    pub(super) fn new(seed: u64, mutation: Mutation) -> Self {
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
    pub(super) fn open(&mut self) -> TestSpool {
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
                    assert!(!spool.may_hide_settled(), "false alarm: {recovered:?}");
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

    pub(super) fn append(&mut self, spool: &mut TestSpool) {
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

    pub(super) fn settle(&mut self, spool: &mut TestSpool) {
        let all = self.entropy.below(3) == 0;
        let entropy = &mut self.entropy;
        let owed = self.model.owed.keys().copied();
        let uncertain = self.model.uncertain.clone();
        let seqs: Vec<u64> = owed
            .filter(|seq| !uncertain.contains(seq) && (all || entropy.below(2) == 0))
            .collect();
        let settled = match self.entropy.below(8) {
            0 => spool.settle(seqs.iter().copied(), self.now),
            _ => {
                let settled = seqs.iter().map(|seq| {
                    let record = &self.model.owed[seq];
                    Settled {
                        seq: *seq,
                        stream: StreamId::of(&record.stream),
                        bytes: record.payload_bytes(),
                    }
                });
                spool.settle_records(settled, self.now)
            }
        };
        assert_eq!(settled, seqs.len() as u64);
        for seq in seqs {
            let record = self.model.owed.remove(&seq).unwrap();
            self.model.settled.insert(seq, (record, false));
        }
    }

    pub(super) fn jobs(&mut self, spool: &mut TestSpool) {
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

    pub(super) fn step(&mut self, spool: &mut TestSpool) {
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
        assert_eq!(spool.backlog(), [], "nothing is owed");
        let stat = spool.stat();
        assert!(stat.publishable_segments >= 2, "segments leak: {stat:?}");
        let before = self.commits;
        self.append(&mut spool);
        assert_eq!(self.commits, before + 1, "accepts again");
    }
}

pub(super) fn simulate(seed: u64, mutation: Mutation, early_answer: bool) {
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
