//! Starting again: full disks, locks, and last frames that may not be on disk.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{SeededEntropy, Time};

use super::{CAPACITY, TestSpool, balance, config, fill, open_image, read_all, record, work};
use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{Config, Event, Group, Record, Spool};

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
    assert!(spool.may_open("device", 1) && spool.may_open("device", 3));
    assert!(!spool.may_open("device", 9) && !spool.may_open("other", 1));
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
