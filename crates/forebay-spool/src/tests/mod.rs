//! The spool against a model of its contract, on a simulated disk.

mod backlog;
mod beside;
mod contained;
mod damage;
mod faults;
mod model;
mod mutants;
mod offline;
mod recovery;
mod simulation;
mod unkept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Entropy as _, HashKey, PartitionKey, SeededEntropy, Time};

use crate::mutation::Mutation;
use crate::testing::SimDisk;
use crate::{AppendError, Config, Group, Read, Record, Spool, StreamKey};

const CAPACITY: usize = 64 << 20;

fn config(mutation: Mutation) -> Config {
    Config {
        segment_bytes: 32 << 10,
        first_bytes: 16 << 10,
        max_bytes: Some(8 * (32 << 10)),
        reserve_bytes: Some(0),
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

type TestSpool = Spool<SimDisk>;

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
