//! Frames that were written whole and that this program cannot decode.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use forebay_core::{Fs as _, SeededEntropy, Time};

use super::{CAPACITY, TestSpool, balance, config, open_image, read_all, record, work};
use crate::mutation::Mutation;
use crate::testing::SimDisk;
use crate::{Config, FramePlace, Group, OpenPhase, Progress, Read, Record, Recovered, Spool};

const TRAP: &[u8] = b"bytes that nobody can decode";

/// Opens it with a decoder that panics at the trap and must not touch the frames at `contained`.
fn open(
    disk: &SimDisk,
    contained: &[FramePlace],
) -> (Arc<Progress>, Option<(TestSpool, Recovered)>) {
    let progress = Progress::new(contained.iter().copied()).with_trap(TRAP.to_vec());
    let progress = Arc::new(progress);
    let config = Config {
        progress: Arc::clone(&progress),
        ..config(Mutation::None)
    };
    let fs = Arc::new(disk.clone());
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Spool::open(fs, config, SeededEntropy::new(3), Time::ZERO, 1).expect("a sound disk")
    }));
    (progress, opened.ok())
}

/// Frames of one record each, the one with number `trap` is the trap. Returns what they hold.
fn write(disk: &SimDisk, frames: u64, bytes: usize, trap: u64) -> BTreeMap<u64, Record> {
    let (_, opened) = open(disk, &[]);
    let (mut spool, _) = opened.expect("a new directory");
    work(&mut spool, disk, &mut Time::from_millis(1));
    let mut entropy = SeededEntropy::new(2);
    let mut records = BTreeMap::new();
    for frame in 0..frames {
        let mut data = vec![u8::try_from(frame).unwrap(); bytes];
        if frame == trap {
            data.extend_from_slice(TRAP);
        }
        let record = Record {
            data: data.into(),
            ..record(&mut entropy, frame)
        };
        let mut group = Group::new();
        group.push(&record);
        let commit = spool.append(&mut group, Time::ZERO).unwrap();
        records.insert(commit.first_seq, record);
    }
    records
}

/// Fails to open it because of the trap, and returns where that lies.
fn fail_at_trap(disk: &SimDisk) -> FramePlace {
    let (progress, opened) = open(disk, &[]);
    assert!(opened.is_none(), "the trap was not sprung");
    assert_eq!(progress.phase(), OpenPhase::Segments);
    progress.decoding().expect("a place")
}

fn quarantined(disk: &SimDisk) -> BTreeSet<String> {
    let names = disk.list(Path::new("/spool")).unwrap().into_iter();
    names
        .filter(|name| name.starts_with("quarantine-"))
        .collect()
}

#[test]
fn each_frame_of_a_log_can_be_contained_and_costs_its_own_records() {
    for trap in 0..7 {
        let disk = SimDisk::new(trap, CAPACITY);
        let mut records = write(&disk, 7, 300, trap);
        let lost = *records.keys().nth(usize::try_from(trap).unwrap()).unwrap();
        disk.kill();
        let place = fail_at_trap(&disk);
        assert_eq!(fail_at_trap(&disk), place, "nothing was written");

        let (_, opened) = open(&disk, &[place]);
        let (spool, recovered) = opened.expect("opens over the trap");
        assert_eq!((recovered.lost, recovered.damaged.len()), (1, 1));
        let name = format!(
            "quarantine-{:08}-{}-{}",
            place.slot, place.epoch, place.offset
        );
        assert!(quarantined(&disk).contains(&name), "{name}");
        records.remove(&lost);
        assert_eq!(read_all(&spool), records, "frame {trap}");
        balance(&spool);

        // It was written again without what cannot be decoded: no later start meets it, whatever that one remembers.
        drop(spool);
        disk.power_cut();
        let (_, opened) = open(&disk, &[]);
        let (spool, recovered) = opened.expect("opens without knowing");
        assert_eq!((recovered.lost, recovered.damaged.len()), (0, 0));
        assert_eq!(read_all(&spool), records, "frame {trap}");
        balance(&spool);
    }
}

#[test]
fn a_frame_that_stays_where_it_is_is_named_until_its_segment_is_sealed() {
    let disk = SimDisk::new(5, CAPACITY);
    let mut records = write(&disk, 5, 4500, 0);
    let lost = *records.keys().next().unwrap();
    disk.kill();
    let place = fail_at_trap(&disk);
    let (_, opened) = open(&disk, &[place]);
    let (mut spool, recovered) = opened.expect("opens over the trap");
    assert_eq!((recovered.lost, recovered.contained), (1, vec![place]));
    drop(spool);
    disk.power_cut();
    assert_eq!(fail_at_trap(&disk), place);

    let (_, opened) = open(&disk, &[place]);
    (spool, _) = opened.expect("opens over the trap");
    records.remove(&lost);
    assert_eq!(read_all(&spool), records);
    work(&mut spool, &disk, &mut Time::from_millis(1));
    balance(&spool);
    drop(spool);
    disk.power_cut();
    let (_, opened) = open(&disk, &[]);
    let (spool, recovered) = opened.expect("a sealed segment is not decoded");
    assert_eq!(recovered.lost, 0);
    assert_eq!(read_all(&spool), records);
}

#[test]
fn a_frame_that_only_readers_meet_is_damage_to_them_once_it_is_contained() {
    let disk = SimDisk::new(6, CAPACITY);
    let records = write(&disk, 4, 4500, 1);
    disk.kill();
    let place = fail_at_trap(&disk);
    // Sealed by processes that could decode it: the first has cut it short.
    for _ in 0..2 {
        let mut spool = open_image(&disk).expect("nothing is wrong with it");
        work(&mut spool, &disk, &mut Time::from_millis(1));
    }

    let (progress, opened) = open(&disk, &[]);
    let (spool, _) = opened.expect("nothing to decode");
    let read = catch_unwind(AssertUnwindSafe(|| read_all(&spool)));
    assert!(read.is_err());
    let met = progress.decoding().expect("a place");
    assert_eq!((met.slot, met.offset), (place.slot, place.offset));

    drop(spool);
    let (_, opened) = open(&disk, &[met]);
    let (mut spool, recovered) = opened.expect("nothing to decode");
    assert_eq!((recovered.lost, recovered.contained), (0, vec![met]));
    let mut plan = spool.plan_read(0, 9, Vec::new());
    let mut lost = 0;
    let mut found = 0;
    while let Some(read) = plan.read().unwrap() {
        match read {
            Read::Records(records) => found += records.len(),
            Read::Damage(damage) => lost += spool.report_damage(&damage, Time::ZERO),
        }
    }
    assert_eq!((lost, found), (1, records.len() - 1));
    drop(plan);
    work(&mut spool, &disk, &mut Time::from_millis(1));
    assert_eq!(quarantined(&disk).len(), 1);
    balance(&spool);
}
