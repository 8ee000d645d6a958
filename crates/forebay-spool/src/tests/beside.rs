//! Looking at a directory beside the log that uses it, and what the next start would find.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_core::{HashKey, PartitionKey, SeededEntropy, Time};

use crate::wire::wide;
use crate::{
    CheckPlan, Checked, Config, Damage, DiskFile, DiskFs, Group, OpenError, Pages, ReadOnlyDisk,
    Record, Spool, StreamKey, stat, verify,
};

fn open(dir: &Path) -> Spool<DiskFs> {
    let config = Config {
        segment_bytes: 256 << 10,
        first_bytes: 256 << 10,
        max_bytes: Some(4 << 20),
        reserve_bytes: Some(0),
        allow_volatile: true,
        ..Config::new(dir)
    };
    let entropy = SeededEntropy::new(7);
    Spool::open(Arc::new(DiskFs), config, entropy, Time::ZERO, 0)
        .unwrap()
        .0
}

fn append(spool: &mut Spool<DiskFs>, numbers: std::ops::Range<u32>) {
    let stream = Arc::new(StreamKey {
        name: "a".into(),
        ..StreamKey::default()
    });
    for number in numbers {
        let mut group = Group::new();
        group.push(&Record {
            stream: Arc::clone(&stream),
            rule: "all".into(),
            received_ms: 5,
            partition_key: PartitionKey::new("device").unwrap(),
            hash: HashKey::of_partition_key("device"),
            explicit: false,
            data: format!("reading {number}").into(),
            error: None,
        });
        while spool.append(&mut group, Time::ZERO).is_err() {
            let job = spool.take_job(Time::ZERO).expect("a segment can be made");
            spool.finish(job.run(&DiskFs), Time::ZERO);
        }
    }
}

/// Names and contents of a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_look_finds_what_the_next_start_finds_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..700);
    assert_eq!(spool.settle(1..=300, Time::ZERO), 300);
    let in_use = stat(&ReadOnlyDisk, dir.path()).unwrap_err();
    assert!(matches!(in_use, OpenError::Locked(_)), "{in_use}");
    spool.poll(Time::from_millis(1000)).unwrap();
    // No checkpoint says any of this.
    drop(spool);

    let before = contents(dir.path());
    let seen = stat(&ReadOnlyDisk, dir.path()).unwrap();
    assert!(contents(dir.path()) == before);
    assert_eq!(seen.unsettled_records, 400);

    let spool = open(dir.path());
    let found = spool.stat();
    assert_eq!(found.unsettled_records, seen.unsettled_records);
    assert_eq!(found.watermark, seen.watermark);
    assert_eq!(found.totals, seen.totals);
    assert_eq!(spool.backlog(), seen.backlog);
}

/// What reading everything found.
#[derive(Debug, Default, PartialEq)]
struct Found {
    segments: u64,
    frames: u64,
    records: u64,
    bytes: u64,
    damage: Vec<Damage>,
    pages: Vec<Pages>,
}

impl Found {
    fn end_segment(&mut self, plan: &CheckPlan<DiskFile>) {
        self.segments += 1;
        self.frames += plan.frames();
        self.records += plan.records();
        self.bytes += plan.bytes();
        self.pages.push(plan.pages().unwrap());
    }
}

/// Reads everything in steps of so many bytes, and holds no segment between two of them.
fn check(spool: &Spool<DiskFs>, step: u64) -> Found {
    let mut found = Found::default();
    let (mut after, mut mark) = (0, None);
    loop {
        let plan = match &mark {
            Some(mark) => spool.resume_check(mark),
            None => spool.plan_check(after),
        };
        let Some(mut plan) = plan else {
            return found;
        };
        match plan.step(step).unwrap() {
            Checked::Right => mark = Some(plan.mark()),
            Checked::Damage(damage) => {
                found.damage.push(damage);
                mark = Some(plan.mark());
            }
            Checked::End => {
                found.end_segment(&plan);
                after = plan.epoch();
                mark = None;
            }
        }
    }
}

/// Changes one byte of the frame with this text and returns the path of its segment.
fn change(dir: &Path, text: &str) -> PathBuf {
    let text = text.as_bytes();
    let (path, bytes) = contents(dir)
        .into_iter()
        .find(|(_, bytes)| bytes.windows(text.len()).any(|it| it == text))
        .unwrap();
    let at = bytes.windows(text.len()).position(|it| it == text);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"R", wide(at.unwrap())).unwrap();
    path
}

#[test]
fn a_changed_byte_is_found_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..100);
    let sound = check(&spool, 1 << 20);
    assert_eq!((sound.segments, sound.records), (1, 100));
    assert!(sound.damage.is_empty());
    assert_eq!(sound.pages, [Pages::default()]);

    change(dir.path(), "reading 50");
    let found = check(&spool, 1 << 20);
    assert_eq!(found.damage.len(), 1);
    let damage = &found.damage[0];
    assert_eq!((damage.first_seq, damage.end_seq), (51, 52));
    assert_eq!(found.records, 99);
    assert_eq!(spool.report_damage(damage, Time::ZERO), 1);
    assert_eq!(spool.report_damage(damage, Time::ZERO), 0, "lost once");
    assert_eq!(spool.stat().counters.frames_damaged, 1);
    assert_eq!(spool.stat().counters.records_lost, 1);

    append(&mut spool, 100..110);
    let later = check(&spool, 1 << 20);
    assert_eq!(later.damage, found.damage);
    assert_eq!(later.records, 109);
    drop(spool);
    assert_eq!(
        verify(&ReadOnlyDisk, dir.path()).unwrap().damaged,
        found.damage
    );
}

#[test]
fn a_check_in_small_steps_finds_what_one_in_large_steps_finds() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..1500);
    change(dir.path(), "reading 7");
    change(dir.path(), "reading 1111");
    let whole = check(&spool, u64::MAX);
    assert!(whole.segments > 2, "{whole:?}");
    assert_eq!((whole.records, whole.damage.len()), (1498, 2));
    for step in [1, 700, 5000, 100_000] {
        assert_eq!(check(&spool, step), whole, "steps of {step} bytes");
    }
}

#[test]
fn a_check_between_two_steps_keeps_no_segment_from_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..1500);
    let mut plan = spool.plan_check(0).unwrap();
    assert_eq!(plan.step(1000).unwrap(), Checked::Right);
    let mark = plan.mark();
    let first = plan.epoch();

    let mut now = Time::ZERO;
    assert_eq!(spool.settle(1..=1500, now), 1500);
    let recycle = |spool: &mut Spool<DiskFs>, now: &mut Time| {
        for _ in 0..3 {
            super::work(spool, &DiskFs, now);
            spool.want_checkpoint();
        }
    };
    recycle(&mut spool, &mut now);
    let epochs = |spool: &Spool<DiskFs>| spool.live.keys().copied().collect::<Vec<u64>>();
    assert!(epochs(&spool).contains(&first), "it is being read");
    drop(plan);
    recycle(&mut spool, &mut now);
    assert!(!epochs(&spool).contains(&first), "{:?}", epochs(&spool));
    assert!(spool.resume_check(&mark).is_none());
    assert!(spool.plan_check(first).is_some(), "it goes on behind it");
}

#[test]
fn what_is_sealed_is_told_from_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    assert_eq!(spool.check_scope(0, true).segments, 0);
    append(&mut spool, 0..1500);
    let (all, sealed) = (spool.check_scope(0, true), spool.check_scope(0, false));
    assert_eq!(all.segments, spool.live.len());
    assert_eq!(sealed.segments + 1, all.segments);
    assert!(sealed.last < all.last && Some(all.last) == spool.active);
    assert_eq!(spool.check_scope(sealed.last, false).segments, 0);
}

#[test]
fn damaged_pages_beside_the_frames_are_told_and_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..1500);
    let mut now = Time::ZERO;
    super::work(&mut spool, &DiskFs, &mut now);
    let sealed = spool.plan_check(0).unwrap();
    let path = crate::job::path_of(dir.path(), sealed.slot());
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xFF; 4096], 0).unwrap();
    let found = check(&spool, 1 << 20);
    assert!(found.damage.is_empty());
    assert_eq!(found.records, 1500);
    let headers = found.pages.iter().filter(|pages| pages.header).count();
    assert_eq!(headers, 1);
    assert!(found.pages.iter().all(|pages| !pages.footer));
}

#[test]
fn a_damaged_place_is_copied_once_beside_the_thread_that_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..100);
    let mut now = Time::ZERO;
    super::work(&mut spool, &DiskFs, &mut now);
    change(dir.path(), "reading 50");
    let copies = || {
        let names = contents(dir.path()).into_iter();
        names
            .filter(|(path, _)| path.to_string_lossy().contains("quarantine-"))
            .map(|(_, bytes)| bytes)
            .collect::<Vec<_>>()
    };
    let damage = check(&spool, 1 << 20).damage.remove(0);
    for before in 0..2 {
        spool.report_damage(&damage, now);
        assert_eq!(copies().len(), before, "it is left to a job");
        super::work(&mut spool, &DiskFs, &mut now);
        let copies = copies();
        assert_eq!(copies.len(), 1);
        assert_eq!(wide(copies[0].len()), damage.len);
        // What was changed is the first letter.
        let text = b"Reading 50";
        assert!(copies[0].windows(text.len()).any(|it| it == text));
    }
}
