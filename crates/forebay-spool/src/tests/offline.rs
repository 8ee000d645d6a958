//! Checks of directories that no process uses, and of segments beside the log.

use std::path::Path;
use std::sync::Arc;

use forebay_core::{Clock, FsErrorKind, ManualClock, SeededEntropy, SystemClock, Time};

use super::{CAPACITY, config, fill, image, open_image, work};
use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{
    Checked, CheckpointState, Config, DiskFs, OpenError, ReadOnlyDisk, Spool, inspect, verify,
};

const DIR: &str = "/spool";

#[test]
fn verify_and_inspect_read_everything_and_change_nothing() {
    let (disk, records) = image();
    let mut now = Time::ZERO;
    let mut spool = open_image(&disk).expect("opens");
    let settled: Vec<u64> = records.keys().copied().take(5).collect();
    spool.settle(settled, now);
    work(&mut spool, &disk, &mut now);
    drop(spool);
    let before = disk.files();
    let verified = verify(&disk, Path::new(DIR)).unwrap();
    let inspected = inspect(&disk, Path::new(DIR)).unwrap();
    assert_eq!(before, disk.files());
    assert!(verified.is_sound(), "{verified:?}");
    let owed = records.len() as u64 - 5;
    assert_eq!(verified.unsettled_records, owed);
    assert_eq!(verified.lost_records, 0);
    assert!(verified.records >= owed && verified.frames > 0 && verified.bytes > 0);
    assert!(
        verified
            .checkpoints
            .iter()
            .any(|one| matches!(one, CheckpointState::Whole(_)))
    );
    assert_eq!(inspected.unsettled_records, owed);
    assert_eq!(inspected.live_segments, verified.segments);
    assert_eq!(inspected.totals.appended, records.len() as u64);
    assert_eq!(inspected.watermark, *records.keys().nth(5).unwrap());
}

#[test]
fn verify_finds_every_kind_of_damage() {
    let (disk, records) = image();
    let path = crate::job::path_of(Path::new(DIR), 1);
    let copy = disk.fork(1);
    // The payload of the first frame.
    assert!(copy.flip(&path, 4096 + 100, 1));
    let verified = verify(&copy, Path::new(DIR)).unwrap();
    assert_eq!(verified.damaged.len(), 1);
    assert_eq!(
        (verified.damaged[0].first_seq, verified.lost_records),
        (1, 1)
    );
    assert_eq!(verified.unsettled_records, records.len() as u64 - 1);
    assert!(!verified.is_sound());
    // Both checkpoints, once they were written.
    let mut now = Time::ZERO;
    let mut spool = open_image(&disk).expect("opens");
    work(&mut spool, &disk, &mut now);
    drop(spool);
    for name in ["checkpoint.a", "checkpoint.b"] {
        disk.flip(&Path::new(DIR).join(name), 30, 1);
    }
    let verified = verify(&disk, Path::new(DIR)).unwrap();
    assert!(
        verified.checkpoints.contains(&CheckpointState::Damaged),
        "{verified:?}"
    );
    assert_eq!(verified.unsettled_records, records.len() as u64);
}

#[test]
fn a_directory_that_is_missing_in_use_or_something_else_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    assert!(matches!(
        verify(&ReadOnlyDisk, &missing),
        Err(OpenError::Missing(_))
    ));
    assert!(matches!(
        inspect(&ReadOnlyDisk, &missing),
        Err(OpenError::Missing(_))
    ));
    assert!(!missing.exists());
    assert!(matches!(
        verify(&ReadOnlyDisk, dir.path()),
        Err(OpenError::NotASpool(_))
    ));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let config = Config {
        dir: dir.path().join("spool"),
        allow_volatile: true,
        ..config(Mutation::None)
    };
    let own = config.dir.clone();
    let fs = Arc::new(DiskFs);
    let entropy = SeededEntropy::new(3);
    let (mut spool, _) = Spool::open(Arc::clone(&fs), config, entropy, Time::ZERO, 1).unwrap();
    let mut now = Time::ZERO;
    work(&mut spool, &fs, &mut now);
    let seqs = fill(&mut spool, &mut now, &fs);
    assert!(matches!(
        verify(&ReadOnlyDisk, &own),
        Err(OpenError::Locked(_))
    ));
    assert!(matches!(
        inspect(&ReadOnlyDisk, &own),
        Err(OpenError::Locked(_))
    ));
    drop(spool);
    let verified = verify(&ReadOnlyDisk, &own).unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(verified.unsettled_records, seqs.len() as u64);
    assert!(inspect(&ReadOnlyDisk, &own).is_ok());
}

#[test]
fn a_check_beside_the_log_finds_damage_once_also_where_nothing_is_owed() {
    let (disk, records) = image();
    let mut spool = open_image(&disk).expect("opens");
    let mut now = Time::ZERO;
    work(&mut spool, &disk, &mut now);
    let check = |spool: &mut Spool<SimDisk>| -> (u64, u64) {
        let (mut read, mut lost, mut after) = (0, 0, 0);
        while let Some(mut plan) = spool.plan_check(after) {
            after = plan.epoch();
            loop {
                match plan.step(1000).unwrap() {
                    Checked::Right => {}
                    Checked::Damage(damage) => lost += spool.report_damage(&damage, Time::ZERO),
                    Checked::End => break,
                }
            }
            read += plan.records();
        }
        (read, lost)
    };
    assert_eq!(check(&mut spool), (records.len() as u64, 0));
    spool.settle(records.keys().copied().take(1), Time::ZERO);
    let slot = spool.live.values().next().unwrap().header.slot;
    let path = crate::job::path_of(Path::new(DIR), slot);
    assert!(disk.flip(&path, 4096 + 100, 1));
    assert_eq!(
        check(&mut spool),
        (records.len() as u64 - 1, 0),
        "it was settled"
    );
    assert_eq!(spool.stat().counters.frames_damaged, 1);
    check(&mut spool);
    assert_eq!(spool.stat().counters.frames_damaged, 1, "counted once");
}

#[test]
fn flushes_are_timed_when_asked_for_and_too_fast_ones_are_told() {
    let disk = SimDisk::new(1, CAPACITY);
    let mut spool = open_image(&disk).expect("a new directory");
    let mut now = Time::ZERO;
    work(&mut spool, &disk, &mut now);
    assert_eq!(spool.flush_timing(), None);
    spool.measure_flushes();
    let files = disk.files().len();
    let job = spool.take_job(now).expect("the measurement");
    // This clock stands still: no device is that fast.
    let done = job.run_timed(&disk, &ManualClock::new(0));
    spool.finish(done, now);
    let timing = spool.flush_timing().expect("measured");
    assert_eq!(timing.durations().len(), 50);
    let stat = spool.stat();
    assert!(stat.flush_implausible && stat.flush_median.is_some());
    assert_eq!(disk.files().len(), files, "the file is gone again");
    let clock: &dyn Clock = &SystemClock::new();
    spool.measure_flushes();
    let job = spool.take_job(now).expect("the measurement");
    disk.fail_at(disk.calls() + 3, FsErrorKind::Io);
    let done = job.run_timed(&disk, clock);
    assert!(done.error().is_some());
    spool.finish(done, now);
    assert_eq!(spool.flush_timing(), None);
}

#[test]
fn a_read_that_fails_at_the_start_is_tried_again_and_then_refuses_the_open() {
    let (disk, records) = image();
    let calls = disk.calls();
    let spool = open_image(&disk.fork(1)).expect("opens");
    drop(spool);
    let mut refused = 0;
    for at in 1..200 {
        let copy = disk.fork(at);
        copy.fail_at(at, FsErrorKind::Io);
        let entropy = SeededEntropy::new(3);
        let fs = Arc::new(copy.clone());
        match Spool::open(fs, config(Mutation::None), entropy, Time::ZERO, 1) {
            Ok((_, recovered)) => assert_eq!(recovered.lost, 0, "call {at}"),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "of {calls} calls");
    disk.set_faults(Faults {
        read: 10_000,
        ..Faults::default()
    });
    let entropy = SeededEntropy::new(3);
    let fs = Arc::new(disk.clone());
    let error = Spool::open(fs, config(Mutation::None), entropy, Time::ZERO, 1).unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().starts_with("read "),
        "{error}"
    );
    disk.set_faults(Faults::default());
    let spool = open_image(&disk).expect("nothing was changed");
    assert_eq!(spool.unsettled().len(), records.len() as u64);
}

#[test]
fn a_segment_of_a_later_version_is_refused() {
    let (disk, _) = image();
    let header = crate::segment::SegmentHeader {
        kind: crate::segment::Kind::Compact,
        slot: 2,
        epoch: 900,
        salt: 5,
        base_frame: 3,
        base_seq: 3,
        initial_frames: 1,
        align: 512,
        size: 32 << 10,
        created_ms: 1,
        replaces: vec![crate::segment::Replaced { slot: 1, salt: 77 }],
    };
    assert_eq!(
        crate::segment::SegmentHeader::decode(&header.encode()),
        Some(header.clone())
    );
    let path = crate::job::path_of(Path::new(DIR), 2);
    let file = forebay_core::Fs::open(&disk, &path, forebay_core::OpenMode::CreateMissing).unwrap();
    crate::wire::write_all(&file, &header.encode(), 0).unwrap();
    let entropy = SeededEntropy::new(3);
    let opened = Spool::open(
        Arc::new(disk),
        config(Mutation::None),
        entropy,
        Time::ZERO,
        1,
    );
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::Compacted { slot: 2, .. }));
    assert!(!error.is_retryable());
}
