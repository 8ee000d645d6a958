//! Calls that fail, each in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::{FsErrorKind, SeededEntropy, Time};

use super::simulation::Run;
use super::{CAPACITY, TestSpool, open_image, read_all, record, work};
use crate::mutation::Mutation;
use crate::testing::{Faults, SimDisk};
use crate::{AppendError, Event, Group, Record};

#[test]
fn every_call_may_fail_once_and_the_spool_accepts_again_without_a_restart() {
    let script = |fail: Option<(u64, FsErrorKind)>| -> u64 {
        let mut run = Run::new(5, Mutation::None);
        let mut spool = run.open();
        run.disk.crash_at(u64::MAX);
        if let Some((at, kind)) = fail {
            run.disk.fail_at(at, kind);
        }
        for _ in 0..120 {
            run.step(&mut spool);
        }
        for _ in 0..50 {
            run.now += Duration::from_millis(1100);
            run.append(&mut spool);
            run.settle(&mut spool);
            let _unwritable = spool.poll(run.now);
            run.jobs(&mut spool);
        }
        let before = run.commits;
        for _ in 0..5 {
            run.append(&mut spool);
        }
        assert!(run.commits > before, "{fail:?}");
        drop(spool);
        run.disk.power_cut();
        run.pending = None;
        run.open();
        run.disk.calls()
    };
    let calls = script(None);
    for at in 1..calls {
        for kind in [
            FsErrorKind::Io,
            FsErrorKind::NoSpace,
            FsErrorKind::Interrupted,
        ] {
            script(Some((at, kind)));
        }
    }
}

#[test]
fn a_flush_that_spoils_its_page_costs_nothing_while_another_segment_can_be_written() {
    let mut spoiled = 0;
    for round in 0..40 {
        let disk = SimDisk::new(round, CAPACITY);
        let mut now = Time::ZERO;
        let mut entropy = SeededEntropy::new(round);
        let mut spool = open_image(&disk).expect("a new directory");
        work(&mut spool, &disk, &mut now);
        disk.set_faults(Faults {
            spoil: 10_000,
            ..Faults::default()
        });
        let mut owed = BTreeMap::new();
        for publish in 0..8 {
            // Small, so that several frames share a page.
            let record = Record {
                data: vec![1; 40].into(),
                ..record(&mut entropy, publish)
            };
            let mut group = Group::new();
            group.push(&record);
            if publish == 2 + round % 5 {
                // A write, then the flush.
                disk.fail_at(disk.calls() + 2, FsErrorKind::Io);
            }
            let commit = spool.append(&mut group, now).unwrap();
            owed.insert(commit.first_seq, record);
        }
        spoiled += spool.stat().counters.flush_errors;
        drop(spool);
        disk.power_cut();
        disk.set_faults(Faults::default());
        let spool = open_image(&disk).expect("opens");
        assert_eq!(read_all(&spool), owed, "round {round}");
    }
    assert!(spoiled >= 40, "{spoiled} flushes failed");
}

#[test]
fn an_id_whose_opening_waits_for_the_disk_may_open_until_it_is_open_or_released() {
    let disk = SimDisk::new(4, CAPACITY);
    let mut now = Time::ZERO;
    let mut entropy = SeededEntropy::new(4);
    let mut spool = open_image(&disk).expect("a new directory");
    work(&mut spool, &disk, &mut now);
    let (client, id) = ("device".to_owned(), 7);
    disk.set_faults(Faults {
        write: 10_000,
        ..Faults::default()
    });
    let mut group = Group::new();
    group.push(&record(&mut entropy, 0));
    group.push_event(Event::Open {
        client: client.clone(),
        id,
    });
    let refused = spool.append(&mut group, now).unwrap_err();
    assert!(matches!(refused, AppendError::Unwritable(_)) && group.is_empty());
    // Not open yet, but the next try opens it: its release has to come after that.
    assert!(!spool.open_ids().is_open(&client, id) && spool.may_open(&client, id));
    assert!(!spool.may_open(&client, id + 1) && !spool.may_open("other", id));
    disk.set_faults(Faults::default());
    work_until_writable(&mut spool, &disk, &mut now);
    assert!(spool.open_ids().is_open(&client, id) && spool.may_open(&client, id));
    group.push_event(Event::Release {
        client: client.clone(),
        id,
    });
    spool.append(&mut group, now).unwrap();
    assert!(!spool.may_open(&client, id));
}

/// Background work and tries, once a second.
fn work_until_writable(spool: &mut TestSpool, disk: &SimDisk, now: &mut Time) {
    for _ in 0..20 {
        if spool.retry().is_ok() {
            break;
        }
        work(spool, disk, now);
    }
    assert!(spool.is_writable());
}
