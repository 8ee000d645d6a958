//! Any damage to a spool directory. The input says what a process does with a new directory, and what happens to the
//! files after it ended: bits flip, files are cut off and removed, ranges are overwritten, are as they were earlier or
//! lie in another file.
//!
//! Whatever it is, the directory is refused or it opens, and no record comes back that was not appended just so. What
//! is committed after the damage is there after a power cut. Without damage everything that is owed
//! comes back.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Fs as _, FsFile as _, HashKey, OpenMode, PartitionKey, SeededEntropy, Time};
use forebay_spool::testing::SimDisk;
use forebay_spool::{
    AppendError, Checked, Config, ErrorContext, Event, Group, Read, Record, Settled, Spool,
    StreamId, StreamKey, inspect, verify,
};
use libfuzzer_sys::fuzz_target;

const DIR: &str = "/spool";
const CAPACITY: usize = 4 << 20;
const STEPS_MAX: usize = 32;
const DAMAGES_MAX: usize = 16;
/// Far more than a directory of this size can need: whoever reaches it would go on for ever.
const TURNS_MAX: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut world = World::default();
    let disk = SimDisk::new(1, CAPACITY);
    let earlier = world.build(&disk, &mut input);
    let damaged = damage(&disk, &earlier, &mut input);

    let _ = inspect(&disk, Path::new(DIR));
    let verified = verify(&disk, Path::new(DIR));
    if !damaged {
        assert!(verified.expect("a whole directory").is_sound());
    }
    let Some(mut spool) = open(&disk, 2) else {
        assert!(damaged, "a whole directory opens");
        return;
    };
    let _ = spool.retry();
    let found = world.read(&mut spool, damaged);
    if !damaged {
        // What was settled last may come back: no frame followed that says so.
        world.require(&found, &spool);
    }
    let half = found.into_iter().filter(|settled| settled.seq % 2 == 0);
    spool.settle_records(half, world.now);
    world.owed.clear();
    for records in 1..4 {
        world.append(&mut spool, records, 100);
        world.work(&mut spool);
    }
    check(&mut spool, world.now);
    drop(spool);

    disk.power_cut();
    let mut spool = open(&disk, 3).expect("it opened before");
    let _ = spool.retry();
    let found = world.read(&mut spool, damaged);
    world.require(&found, &spool);
    let _ = verify(&disk.fork(4), Path::new(DIR));
});

/// The rest of the input; zeroes behind its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> usize {
        self.take(1).first().copied().unwrap_or_default().into()
    }

    fn word(&mut self) -> usize {
        self.byte() | self.byte() << 8
    }

    /// One of a few files.
    fn path(&mut self, files: &BTreeMap<PathBuf, Vec<u8>>) -> PathBuf {
        let at = self.byte() % files.len().max(1);
        files.keys().nth(at).cloned().unwrap_or_default()
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;
type SimSpool = Spool<SimDisk>;

fn open(disk: &SimDisk, seed: u64) -> Option<SimSpool> {
    let config = Config {
        segment_bytes: 16 << 10,
        first_bytes: 12 << 10,
        max_bytes: Some(6 * (16 << 10)),
        reserve_bytes: Some(0),
        ..Config::new(DIR)
    };
    let entropy = SeededEntropy::new(seed);
    let opened = Spool::open(Arc::new(disk.clone()), config, entropy, Time::ZERO, 1);
    opened.ok().map(|(spool, _)| spool)
}

/// What was done.
#[derive(Default)]
struct World {
    now: Time,
    /// All records that were ever in a group. The data of each begin with its position here.
    records: Vec<Record>,
    /// Sequence numbers that were committed and not settled.
    owed: BTreeSet<u64>,
}

impl World {
    /// Makes a directory and returns how its files were at one moment on the way.
    fn build(&mut self, disk: &SimDisk, input: &mut Input<'_>) -> Files {
        let mut earlier = Files::new();
        let mut spool = open(disk, 1).expect("a new directory");
        for _ in 0..input.byte() % STEPS_MAX {
            let step = input.byte();
            match step % 8 {
                0..=2 => self.append(&mut spool, 1 + step / 8 % 4, input.byte() * 6),
                3 => {
                    let count = self.owed.len() * (step / 8) / 32;
                    let settled: Vec<u64> = self.owed.iter().copied().take(count).collect();
                    self.owed.retain(|seq| !settled.contains(seq));
                    spool.settle(settled, self.now);
                }
                4 => {
                    let mut group = Group::new();
                    group.push_event(event(step / 8));
                    let _ = spool.append(&mut group, self.now);
                }
                5 => {
                    spool.want_checkpoint();
                    self.work(&mut spool);
                }
                6 => self.work(&mut spool),
                _ => earlier = disk.files(),
            }
        }
        earlier
    }

    fn append(&mut self, spool: &mut SimSpool, records: usize, len: usize) {
        let mut group = Group::new();
        for _ in 0..records {
            let record = record(self.records.len(), len);
            group.push(&record);
            self.records.push(record);
        }
        group.push_event(event(len));
        match spool.append(&mut group, self.now) {
            Ok(commit) => {
                let end = commit.first_seq + u64::from(commit.records);
                self.owed.extend(commit.first_seq..end);
            }
            Err(AppendError::Full | AppendError::Unwritable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs all background work that is due.
    fn work(&mut self, spool: &mut SimSpool) {
        self.now += Duration::from_millis(1100);
        let _ = spool.poll(self.now);
        let disk = Arc::clone(spool.fs());
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "work without end");
            let Some(job) = spool.take_job(self.now) else {
                break;
            };
            spool.finish(job.run(&*disk), self.now);
        }
    }

    /// Reads all that is owed.
    fn read(&self, spool: &mut SimSpool, damaged: bool) -> Vec<Settled> {
        let mut found = Vec::new();
        let (mut from, mut turns) = (0, 0);
        loop {
            let mut plan = spool.plan_read(from, 2, Vec::new());
            while let Some(read) = plan.read().expect("no read fails") {
                turns += 1;
                assert!(turns < TURNS_MAX, "reading without end");
                match read {
                    Read::Records(records) => {
                        found.extend(records.iter().map(|(seq, record)| self.judge(*seq, record)));
                    }
                    Read::Damage(damage) => {
                        assert!(damaged, "false alarm: {damage:?}");
                        spool.report_damage(&damage, self.now);
                    }
                }
            }
            if plan.resume() <= from || plan.resume() >= spool.next_seq() {
                return found;
            }
            from = plan.resume();
        }
    }

    /// Everything that is owed was found, or is held until there is a segment to make it certain.
    fn require(&self, found: &[Settled], spool: &SimSpool) {
        let mut missing = self.owed.clone();
        for settled in found {
            missing.remove(&settled.seq);
        }
        if let Some(held) = spool.uncertain() {
            missing.retain(|seq| !held.contains(seq));
        }
        assert!(missing.is_empty(), "committed and gone: {missing:?}");
    }

    fn judge(&self, seq: u64, record: &Record) -> Settled {
        let at = record.data.first_chunk().map(|at| u64::from_le_bytes(*at));
        let at = usize::try_from(at.expect("a position")).expect("64 bits");
        assert_eq!(Some(record), self.records.get(at), "not appended so");
        Settled {
            seq,
            stream: StreamId::of(&record.stream),
            bytes: record.payload_bytes(),
        }
    }
}

/// Reads everything that is there, owed or not.
fn check(spool: &mut SimSpool, now: Time) {
    let (mut epoch, mut turns) = (0, 0);
    while let Some(mut plan) = spool.plan_check(epoch) {
        epoch = plan.epoch();
        loop {
            turns += 1;
            assert!(turns < TURNS_MAX, "checking without end");
            match plan.step(4096).expect("no read fails") {
                Checked::Right => {}
                Checked::Damage(damage) => {
                    spool.report_damage(&damage, now);
                }
                Checked::End => break,
            }
        }
    }
}

fn event(number: usize) -> Event {
    let client = format!("client-{}", number % 3);
    let id = u16::try_from(number % 5).unwrap_or_default() + 1;
    match number % 4 {
        0 | 1 => Event::Open { client, id },
        2 => Event::Release { client, id },
        _ => Event::Forget { client },
    }
}

fn record(at: usize, len: usize) -> Record {
    let mut data = (at as u64).to_le_bytes().to_vec();
    data.resize(8 + len, u8::try_from(at % 251).unwrap_or_default());
    let key = format!("device-{}", at % 5);
    let error = (at % 4 == 1).then(|| {
        Box::new(ErrorContext {
            topic: "dt/7".to_owned(),
            client_id: key.clone(),
            trace_id: at as u128,
            source_ip: "127.0.0.1".to_owned(),
            fields: Bytes::from_static(b"{}"),
            payload: (at % 8 == 1).then(|| Bytes::from_static(b"21.5")),
        })
    });
    Record {
        stream: Arc::new(StreamKey {
            name: format!("stream-{}", at % 3),
            ..StreamKey::default()
        }),
        rule: Arc::from("rule"),
        received_ms: 7,
        partition_key: PartitionKey::new(&key).expect("a short key"),
        hash: HashKey::of_partition_key(&key),
        explicit: at % 2 == 0,
        data: data.into(),
        error,
    }
}

/// Does to the files what the rest of the input says. False when that is nothing.
fn damage(disk: &SimDisk, earlier: &Files, input: &mut Input<'_>) -> bool {
    let before = disk.files();
    for _ in 0..DAMAGES_MAX {
        let files = disk.files();
        if input.0.is_empty() || files.is_empty() {
            break;
        }
        let kind = input.byte();
        let path = input.path(&files);
        let at = input.word();
        match kind % 8 {
            0 => {
                disk.flip(&path, at, 1 << (kind / 8 % 8));
            }
            1 => disk.truncate(&path, at),
            2 => overwrite(disk, &path, at, input.take(1 + kind / 8)),
            3 => overwrite(disk, &path, at & !511, &vec![0; 512 * (1 + kind / 8)]),
            // What was written last is not there.
            4 => {
                let from = at & !511;
                let old = earlier.get(&path).and_then(|old| old.get(from..));
                let old = old.unwrap_or_default();
                let len = old.len().min(512 << (kind / 8 % 8));
                overwrite(disk, &path, from, &old[..len]);
            }
            // What was written last is somewhere else.
            5 => {
                let from = &files[&input.path(&files)];
                let from = from.get(at & !511..).unwrap_or_default();
                let to = input.word() & !511;
                overwrite(
                    disk,
                    &path,
                    to,
                    &from[..from.len().min(512 << (kind / 8 % 8))],
                );
            }
            // A whole file is as it was, or another.
            6 => {
                let other = input.path(&files);
                let bytes = match kind / 8 % 2 {
                    0 => earlier.get(&path),
                    _ => files.get(&other),
                };
                if let Some(bytes) = bytes {
                    disk.truncate(&path, 0);
                    overwrite(disk, &path, 0, bytes);
                }
            }
            _ => {
                let file = path.clone();
                let changed = match kind / 8 % 2 {
                    0 => disk.remove(&file),
                    _ => disk.rename(&file, &input.path(&files)),
                };
                changed.expect("no call fails");
            }
        }
    }
    disk.sync_dir(Path::new(DIR)).expect("no call fails");
    disk.files() != before
}

fn overwrite(disk: &SimDisk, path: &Path, at: usize, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Existing).expect("it exists");
    file.write_at(bytes, at as u64).expect("no call fails");
    file.sync_data().expect("no call fails");
}
