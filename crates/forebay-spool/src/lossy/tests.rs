//! A dropped [`LossyFs`] is a killed process: nothing is stored on the way out.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{HashKey, PartitionKey, Time};
use tempfile::TempDir;

use super::*;
use crate::mutation::Mutation;
use crate::{AppendError, Commit, Config, Group, Read, Record, Spool, StreamKey};

const SEEDS: u64 = 40;

fn contents(path: &Path) -> Option<Vec<u8>> {
    let file = DiskFs.open(path, OpenMode::Existing).ok()?;
    let mut bytes = vec![0; narrow(file.len().unwrap())];
    read_full(&file, &mut bytes, 0).unwrap();
    Some(bytes)
}

/// Runs `life` on a new disk for each seed and counts how often `kept` holds after its end.
fn survives(life: impl Fn(&LossyFs, &Path), kept: impl Fn(&Path) -> bool) -> u64 {
    let seeds = (0..SEEDS).filter(|seed| {
        let dir = tempfile::tempdir().unwrap();
        life(&LossyFs::new(*seed), dir.path());
        kept(dir.path())
    });
    seeds.count() as u64
}

fn durable_file(fs: &LossyFs, path: &Path, bytes: &[u8]) -> LossyFile {
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    write_all(&file, bytes, 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(path.parent().unwrap()).unwrap();
    file
}

#[test]
fn what_was_flushed_survives_and_what_was_not_does_sometimes() {
    let flushed = survives(
        |fs, dir| drop(durable_file(fs, &dir.join("a"), &[7; 5000])),
        |dir| contents(&dir.join("a")) == Some(vec![7; 5000]),
    );
    assert_eq!(flushed, SEEDS);
    let unflushed = survives(
        |fs, dir| {
            let file = durable_file(fs, &dir.join("a"), &[7; 5000]);
            write_all(&file, &[8; 10], 600).unwrap();
        },
        |dir| contents(&dir.join("a")).unwrap()[600..610] == [8; 10],
    );
    assert!((1..SEEDS).contains(&unflushed), "{unflushed} of {SEEDS}");
}

#[test]
fn a_write_that_was_not_flushed_can_be_torn() {
    let torn = survives(
        |fs, dir| {
            let file = durable_file(fs, &dir.join("a"), &[0; 16384]);
            write_all(&file, &[1; 16384], 0).unwrap();
        },
        |dir| {
            let bytes = contents(&dir.join("a")).unwrap();
            bytes.contains(&0) && bytes.contains(&1)
        },
    );
    assert!(torn > 0);
}

#[test]
fn names_survive_with_their_directory() {
    // A new file without the flush of its directory.
    let created = survives(
        |fs, dir| {
            let file = fs.open(&dir.join("a"), OpenMode::CreateMissing).unwrap();
            write_all(&file, b"bytes", 0).unwrap();
            file.sync_data().unwrap();
        },
        |dir| dir.join("a").exists(),
    );
    assert!((1..SEEDS).contains(&created), "{created} of {SEEDS}");
    let removed = survives(
        |fs, dir| {
            drop(durable_file(fs, &dir.join("a"), b"bytes"));
            fs.remove(&dir.join("a")).unwrap();
        },
        |dir| dir.join("a").exists(),
    );
    assert!((1..SEEDS).contains(&removed), "{removed} of {SEEDS}");
    let renamed = survives(
        |fs, dir| {
            drop(durable_file(fs, &dir.join("old"), b"old"));
            let new = fs.open(&dir.join("new"), OpenMode::CreateNew).unwrap();
            write_all(&new, b"new", 0).unwrap();
            new.sync_data().unwrap();
            fs.rename(&dir.join("new"), &dir.join("old")).unwrap();
        },
        |dir| contents(&dir.join("old")) == Some(b"new".to_vec()),
    );
    assert!((1..SEEDS).contains(&renamed), "{renamed} of {SEEDS}");
}

#[test]
fn the_process_itself_sees_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let fs = LossyFs::new(1);
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let file = fs.open(&a, OpenMode::CreateNew).unwrap();
    assert_eq!(
        fs.open(&a, OpenMode::CreateNew).unwrap_err().kind,
        FsErrorKind::AlreadyExists
    );
    write_all(&file, &[5; 700], 300).unwrap();
    let again = fs.open(&a, OpenMode::Existing).unwrap();
    assert_eq!(again.len().unwrap(), 1000);
    let mut bytes = [9; 2000];
    assert_eq!(again.read_at(&mut bytes, 290).unwrap(), 710);
    assert_eq!(
        (&bytes[..10], &bytes[10..710]),
        (&[0; 10][..], &[5; 700][..])
    );
    fs.rename(&a, &b).unwrap();
    assert_eq!(fs.list(dir.path()).unwrap(), ["b"]);
    let missing = fs.open(&a, OpenMode::Existing).unwrap_err();
    assert_eq!(missing.kind, FsErrorKind::NotFound);
    fs.remove(&b).unwrap();
    assert!(fs.list(dir.path()).unwrap().is_empty());
    assert_eq!(fs.remove(&b).unwrap_err().kind, FsErrorKind::NotFound);
    // The same name may be used again before the disk knows.
    drop(durable_file(&fs, &b, b"second"));
    assert_eq!(contents(&b).unwrap(), b"second");
    fs.sync_dir(dir.path()).unwrap();
    assert_eq!(DiskFs.list(dir.path()).unwrap(), ["b"]);
}

#[test]
fn the_next_process_removes_files_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let leftover = dir.path().join(format!("{HIDDEN}1"));
    DiskFs.open(&leftover, OpenMode::CreateNew).unwrap();
    let fs = LossyFs::new(1);
    assert!(fs.list(dir.path()).unwrap().is_empty());
    drop(fs.lock(&dir.path().join("LOCK")).unwrap());
    assert_eq!(DiskFs.list(dir.path()).unwrap(), ["LOCK"]);
}

fn open(dir: &TempDir, seed: u64, mutation: Mutation) -> (Spool<LossyFs>, Arc<LossyFs>) {
    open_on(LossyFs::new(seed), dir, seed, mutation)
}

fn open_on(
    fs: LossyFs,
    dir: &TempDir,
    seed: u64,
    mutation: Mutation,
) -> (Spool<LossyFs>, Arc<LossyFs>) {
    let config = Config {
        segment_bytes: 64 << 10,
        first_bytes: 16 << 10,
        max_bytes: Some(1 << 20),
        reserve_bytes: Some(0),
        allow_volatile: true,
        mutation,
        ..Config::new(dir.path())
    };
    let fs = Arc::new(fs);
    let entropy = SeededEntropy::new(seed);
    let opened = Spool::open(Arc::clone(&fs), config, entropy, Time::ZERO, 0);
    (opened.unwrap().0, fs)
}

fn record(number: u64) -> Record {
    Record {
        stream: Arc::new(StreamKey {
            name: "telemetry".into(),
            ..StreamKey::default()
        }),
        rule: "all".into(),
        received_ms: 0,
        partition_key: PartitionKey::new("key").unwrap(),
        hash: HashKey::of_partition_key("key"),
        explicit: false,
        data: number.to_string().into_bytes().into(),
        error: None,
    }
}

/// Sequence numbers and what is written in their records.
type Numbered = Vec<(u64, u64)>;

/// Appends over many power cuts, settles nothing, and returns what was answered and what is found in the end.
fn over_cuts(mutation: Mutation) -> (Numbered, Numbered) {
    const CUTS: u64 = 30;
    let dir = tempfile::tempdir().unwrap();
    let mut owed = Vec::new();
    for cut in 0..CUTS {
        let (mut spool, fs) = open(&dir, cut, mutation);
        for number in cut * 100..cut * 100 + 20 {
            let mut group = Group::new();
            group.push(&record(number));
            if let Ok(commit) = spool.append(&mut group, Time::ZERO) {
                owed.push((commit.first_seq, number));
            }
            if let Some(job) = spool.take_job(Time::ZERO) {
                spool.finish(job.run(&*fs), Time::ZERO);
            }
        }
    }
    let (spool, _fs) = open(&dir, CUTS, mutation);
    (owed, found_in(&spool))
}

/// What is owed in a spool.
fn found_in(spool: &Spool<LossyFs>) -> Numbered {
    let mut found = Vec::new();
    let mut plan = spool.plan_read(1, 64, Vec::new());
    while let Some(read) = plan.read().unwrap() {
        let Read::Records(records) = read else {
            continue;
        };
        found.extend(records.into_iter().map(|(seq, record)| {
            let number = String::from_utf8(record.data.to_vec()).unwrap();
            (seq, number.parse().unwrap())
        }));
    }
    found
}

#[test]
fn a_spool_keeps_every_commit_over_many_cuts() {
    let (owed, found) = over_cuts(Mutation::None);
    assert!(owed.len() > 300, "{} commits", owed.len());
    assert_eq!(found, owed);
}

#[test]
fn a_spool_that_does_not_flush_is_found_out() {
    let (owed, found) = over_cuts(Mutation::NoFlush);
    let lost = owed.iter().filter(|commit| !found.contains(commit)).count();
    assert!(lost > 0, "{} commits, none lost", owed.len());
}

/// A spool on a disk that a file tells to fail, and what was answered.
struct Told {
    dir: TempDir,
    control: PathBuf,
    _beside: TempDir,
    spool: Spool<LossyFs>,
    fs: Arc<LossyFs>,
    now: Time,
    owed: Numbered,
}

impl Told {
    fn new(seed: u64) -> Self {
        let (dir, beside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let control = beside.path().join("control");
        let disk = LossyFs::failing_while(seed, control.clone());
        let (spool, fs) = open_on(disk, &dir, seed, Mutation::None);
        Self {
            dir,
            control,
            _beside: beside,
            spool,
            fs,
            now: Time::ZERO,
            owed: Vec::new(),
        }
    }

    fn append(&mut self, number: u64) -> Result<Commit, AppendError> {
        let mut group = Group::new();
        group.push(&record(number));
        let commit = self.spool.append(&mut group, self.now)?;
        self.owed.push((commit.first_seq, number));
        Ok(commit)
    }

    /// Runs what is due in the background over a few seconds.
    fn work(&mut self) {
        for _ in 0..8 {
            self.now += Duration::from_millis(1100);
            self.spool.poll(self.now).unwrap();
            while let Some(job) = self.spool.take_job(self.now) {
                self.spool.finish(job.run(&*self.fs), self.now);
            }
        }
    }

    /// Cuts the power and checks that everything that was answered is there.
    fn check(self, seed: u64) {
        drop((self.spool, self.fs));
        let (spool, _fs) = open(&self.dir, seed, Mutation::None);
        assert_eq!(found_in(&spool), self.owed);
    }
}

#[test]
fn a_flush_that_failed_is_not_made_good_by_the_next() {
    let mut stored = 0;
    for seed in 0..SEEDS {
        let (dir, beside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let control = beside.path().join("control");
        let fs = LossyFs::failing_while(seed, control.clone());
        let path = dir.path().join("a");
        let file = durable_file(&fs, &path, &[7; 5000]);
        write_all(&file, &[8; 5000], 0).unwrap();
        std::fs::write(&control, "EIO").unwrap();
        assert_eq!(file.sync_data().unwrap_err().kind, FsErrorKind::Io);
        assert!(file.write_at(&[9], 0).is_err() && fs.sync_dir(dir.path()).is_err());
        let other = fs.open(&dir.path().join("b"), OpenMode::CreateNew);
        assert_eq!(other.unwrap_err().kind, FsErrorKind::Io);
        std::fs::remove_file(&control).unwrap();
        file.sync_data().unwrap();
        let mut read = [0; 5000];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 5000);
        assert_eq!(read, [8; 5000], "the process does not notice");
        drop((file, fs));
        stored += u64::from(contents(&path) == Some(vec![8; 5000]));
    }
    assert!((1..SEEDS).contains(&stored), "{stored} of {SEEDS}");
}

#[test]
fn a_spool_goes_on_when_its_disk_is_well_again() {
    for seed in 0..10 {
        let mut told = Told::new(seed);
        told.work();
        for number in 0..5 {
            told.append(number).unwrap();
        }
        std::fs::write(&told.control, "EIO").unwrap();
        let mut group = Group::new();
        group.push(&record(5));
        let failed = told.spool.append(&mut group, told.now);
        assert!(matches!(failed, Err(AppendError::Unwritable(_))));
        assert!(told.spool.retry().is_err() && !told.spool.is_writable());
        assert_eq!(found_in(&told.spool).len(), 5, "what is there is read");
        std::fs::remove_file(&told.control).unwrap();
        // Segments that failed are not used again before others are ready.
        let commit = (0..100).find_map(|_| {
            told.now += Duration::from_millis(1100);
            while let Some(job) = told.spool.take_job(told.now) {
                told.spool.finish(job.run(&*told.fs), told.now);
            }
            told.spool.retry().ok()
        });
        let commit = commit
            .expect("a disk that is well")
            .expect("the group that was held");
        told.owed.push((commit.first_seq, 5));
        told.append(6).unwrap();
        told.check(seed);
    }
}

#[test]
fn a_disk_without_room_takes_what_fits_and_is_no_failure() {
    let mut told = Told::new(3);
    told.work();
    std::fs::write(&told.control, "ENOSPC").unwrap();
    assert_eq!(told.fs.free_bytes(told.dir.path()).unwrap(), 0);
    let refused = (0..).find_map(|number| {
        let failed = told.append(number).err();
        told.work();
        failed
    });
    assert_eq!(refused, Some(AppendError::Full));
    let full = told.owed.len();
    assert!(full > 50, "{full}");
    let settled: Vec<u64> = told.owed.drain(..full - 1).map(|(seq, _)| seq).collect();
    told.spool.settle(settled, told.now);
    told.work();
    told.append(10_000)
        .expect("settled segments are used again");
    told.check(3);
}
