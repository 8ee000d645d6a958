//! What the log says about settled records that it may not know to be settled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{SeededEntropy, Time};

use super::{config, fill, image, open_image, record, work};
use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{Group, Recovered, Spool};

const NAMES: [&str; 2] = crate::checkpoint::NAMES;

fn open(disk: &SimDisk) -> (Spool<SimDisk>, Recovered) {
    let entropy = SeededEntropy::new(5);
    let fs = Arc::new(disk.clone());
    Spool::open(fs, config(Mutation::None), entropy, Time::ZERO, 0).expect("opens")
}

fn ruin(disk: &SimDisk, name: &str) {
    assert!(disk.flip(&Path::new("/spool").join(name), 100, 1));
}

/// A directory whose first segments were used again.
fn recycled() -> SimDisk {
    let disk = SimDisk::new(4, 64 << 20);
    let (mut spool, _) = open(&disk);
    let mut now = Time::ZERO;
    let seqs = fill(&mut spool, &mut now, &disk);
    // The last stay owed.
    spool.settle(seqs[..seqs.len() - 3].iter().copied(), now);
    work(&mut spool, &disk, &mut now);
    assert!(spool.stat().counters.recycled > 0);
    drop(spool);
    disk.kill();
    disk
}

#[test]
fn a_kill_or_a_torn_checkpoint_hides_nothing() {
    // Killed before the first checkpoint.
    let (disk, records) = image();
    let (spool, found) = open(&disk);
    assert_eq!(
        (found.records, found.checkpoints_unusable),
        (records.len() as u64, 2)
    );
    assert!(!spool.may_hide_settled());
    for name in NAMES {
        let disk = recycled();
        ruin(&disk, name);
        let (spool, found) = open(&disk);
        assert_eq!((found.records, found.checkpoints_unusable), (3, 1));
        assert!(!spool.may_hide_settled(), "{name}");
    }
}

#[test]
fn a_damaged_frame_may_hide_what_its_delta_said() {
    let (disk, _) = image();
    assert!(disk.flip(&crate::job::path_of(Path::new("/spool"), 1), 4096 + 600, 1));
    let spool = open_image(&disk).expect("opens");
    assert!(spool.may_hide_settled());
    assert!(spool.stat().unsettled_records > 0);
}

#[test]
fn without_a_checkpoint_frames_that_are_gone_may_hide_what_they_said() {
    let disk = recycled();
    NAMES.iter().for_each(|name| ruin(&disk, name));
    let (spool, found) = open(&disk);
    assert_eq!(found.checkpoints_unusable, 2);
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    assert!(spool.may_hide_settled());
}

#[test]
fn what_is_settled_is_kept_again_once_the_disk_takes_it() {
    let disk = SimDisk::new(6, 64 << 20);
    let (mut spool, _) = open(&disk);
    let mut now = Time::ZERO;
    work(&mut spool, &disk, &mut now);
    let mut group = Group::new();
    let record = record(&mut SeededEntropy::new(7), 1);
    group.push(&record);
    let commit = spool.append(&mut group, now).unwrap();
    assert!(spool.keeps_settled());
    disk.set_faults(Faults {
        write: 10_000,
        ..Faults::default()
    });
    group.push(&record);
    spool.append(&mut group, now).unwrap_err();
    spool.settle([commit.first_seq], now);
    assert!(!spool.keeps_settled());
    disk.set_faults(Faults::default());
    work_until_written(&mut spool, &disk, &mut now);
    assert!(spool.keeps_settled());
    assert_eq!(
        open_after_kill(spool, &disk),
        1,
        "the second record is owed"
    );
}

#[test]
fn what_the_newest_checkpoint_alone_says_survives_a_start_on_a_failing_disk() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed, 64 << 20);
        let (mut spool, _) = open(&disk);
        let mut now = Time::ZERO;
        let mut entropy = SeededEntropy::new(7);
        let mut group = Group::new();
        (0..20).for_each(|publish| group.push(&record(&mut entropy, publish)));
        let first = spool.append(&mut group, now).unwrap().first_seq;
        work(&mut spool, &disk, &mut now);
        // A clean end: no frame says that the record is settled.
        spool.settle([first], now);
        checkpoint(&mut spool, &disk, &mut now);
        drop(spool);
        disk.power_cut();
        disk.set_faults(Faults {
            write: 10_000,
            ..Faults::default()
        });
        let (mut spool, found) = open(&disk);
        assert_eq!(found.records, 19);
        for seq in first + 1..first + 20 {
            spool.settle([seq], now);
            checkpoint(&mut spool, &disk, &mut now);
        }
        drop(spool);
        disk.power_cut();
        disk.set_faults(Faults::default());
        let (mut spool, found) = open(&disk);
        let found = (found.records, found.checkpoints_unusable);
        assert_eq!(found, (19, 0), "seed {seed}");
        // The next ones are taken as ever.
        spool.settle(first..first + 20, now);
        checkpoint(&mut spool, &disk, &mut now);
        assert_eq!(open_after_kill(spool, &disk), 0);
    }
}

/// Runs the job of a checkpoint.
fn checkpoint(spool: &mut Spool<SimDisk>, disk: &SimDisk, now: &mut Time) {
    *now += Duration::from_millis(1100);
    spool.want_checkpoint();
    let job = spool.take_job(*now).expect("a checkpoint is wanted");
    spool.finish(job.run(disk), *now);
}

fn work_until_written(spool: &mut Spool<SimDisk>, disk: &SimDisk, now: &mut Time) {
    for _ in 0..10 {
        work(spool, disk, now);
        if spool.retry().is_ok() {
            // The delta of what was settled meanwhile.
            work(spool, disk, now);
            return;
        }
    }
    panic!("the disk takes everything again");
}

fn open_after_kill(spool: Spool<SimDisk>, disk: &SimDisk) -> u64 {
    drop(spool);
    disk.kill();
    open(disk).1.records
}
