//! Looking at a directory beside the log that uses it, and what the next start would find.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_core::{HashKey, PartitionKey, SeededEntropy, Time};

use crate::wire::wide;
use crate::{
    Config, DiskFs, Group, OpenError, ReadOnlyDisk, Record, Spool, StreamKey, stat, verify,
    verify_beside,
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

#[test]
fn a_changed_byte_is_found_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, 0..100);
    let beside = || verify_beside(&ReadOnlyDisk, dir.path(), &mut || {}).unwrap();
    assert!(beside().is_sound());
    assert_eq!(beside().records, 100);

    let (path, bytes) = contents(dir.path())
        .into_iter()
        .find(|(_, bytes)| bytes.windows(10).any(|it| it == b"reading 50"))
        .unwrap();
    let at = bytes.windows(10).position(|it| it == b"reading 50");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"R", wide(at.unwrap())).unwrap();
    let found = beside();
    assert_eq!(found.damaged.len(), 1);
    let damage = &found.damaged[0];
    assert_eq!((damage.first_seq, damage.end_seq), (51, 52));
    assert_eq!(found.records, 99);

    append(&mut spool, 100..110);
    let later = beside();
    assert_eq!(later.damaged, found.damaged);
    assert_eq!(later.records, 109);
    drop(spool);
    assert_eq!(
        verify(&ReadOnlyDisk, dir.path()).unwrap().damaged,
        found.damaged
    );
}
