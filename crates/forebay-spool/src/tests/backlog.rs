//! What is owed per stream, against the records themselves.

use std::collections::BTreeMap;

use forebay_core::{Entropy as _, SeededEntropy, Time};

use super::{CAPACITY, TestSpool, open_image, record, work};
use crate::testing::SimDisk;
use crate::{AppendError, Backlog, Group, Record, Settled, StreamId};

fn expected(owed: &BTreeMap<u64, Record>) -> Vec<Backlog> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for record in owed.values() {
        let sum = sums.entry(record.stream.clone()).or_default();
        sum.0 += 1;
        sum.1 += record.payload_bytes();
    }
    let sums = sums.into_iter();
    sums.map(|(stream, (records, bytes))| Backlog {
        stream: Some(stream),
        records,
        bytes,
        oldest_ms: 7,
    })
    .collect()
}

fn append(spool: &mut TestSpool, owed: &mut BTreeMap<u64, Record>, entropy: &mut SeededEntropy) {
    let mut group = Group::new();
    let mut records = Vec::new();
    for publish in 0..=entropy.below(5) {
        let record = record(entropy, publish);
        group.push(&record);
        records.push(record);
    }
    let commit = match spool.append(&mut group, Time::ZERO) {
        Ok(commit) => commit,
        Err(AppendError::Full) => return,
        Err(error) => panic!("{error}"),
    };
    owed.extend((commit.first_seq..).zip(records));
}

fn settle(spool: &mut TestSpool, owed: &mut BTreeMap<u64, Record>, entropy: &mut SeededEntropy) {
    let half: Vec<u64> = owed
        .keys()
        .copied()
        .filter(|_| entropy.below(2) == 0)
        .collect();
    let settled: Vec<Settled> = half
        .iter()
        .map(|seq| {
            let record = owed.remove(seq).unwrap();
            Settled {
                seq: *seq,
                stream: StreamId::of(&record.stream),
                bytes: record.payload_bytes(),
            }
        })
        .collect();
    let count = settled.len() as u64;
    assert_eq!(spool.settle_records(settled.clone(), Time::ZERO), count);
    assert_eq!(spool.settle_records(settled, Time::ZERO), 0, "only once");
}

#[test]
fn a_backlog_is_what_is_owed_over_segments_restarts_and_checkpoints() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed, CAPACITY);
        let mut entropy = SeededEntropy::new(seed);
        let mut now = Time::ZERO;
        let mut owed = BTreeMap::new();
        let mut spool = open_image(&disk).expect("a new directory");
        for round in 0..60 {
            append(&mut spool, &mut owed, &mut entropy);
            assert_eq!(spool.backlog(), expected(&owed));
            if round % 3 == 0 {
                work(&mut spool, &disk, &mut now);
                settle(&mut spool, &mut owed, &mut entropy);
                assert_eq!(spool.backlog(), expected(&owed));
                // With the delta in a frame, with and without a checkpoint after it.
                append(&mut spool, &mut owed, &mut entropy);
            }
            if round % 4 == 0 {
                work(&mut spool, &disk, &mut now);
            }
            if round % 7 == 0 {
                drop(spool);
                disk.power_cut();
                spool = open_image(&disk).expect("opens");
                assert_eq!(
                    spool.backlog(),
                    expected(&owed),
                    "seed {seed} round {round}"
                );
            }
        }
    }
}

#[test]
fn a_backlog_survives_a_segment_that_fails() {
    let disk = SimDisk::new(3, CAPACITY);
    let mut entropy = SeededEntropy::new(3);
    let mut now = Time::ZERO;
    let mut owed = BTreeMap::new();
    let mut spool = open_image(&disk).expect("a new directory");
    work(&mut spool, &disk, &mut now);
    for round in 0..20 {
        if round % 5 == 4 {
            disk.fail_at(disk.calls() + 2, forebay_core::FsErrorKind::Io);
        }
        append(&mut spool, &mut owed, &mut entropy);
        assert_eq!(spool.backlog(), expected(&owed), "round {round}");
        work(&mut spool, &disk, &mut now);
    }
    assert!(spool.stat().counters.flush_errors >= 4);
}

#[test]
fn streams_beyond_the_limit_are_counted_together() {
    let disk = SimDisk::new(3, CAPACITY);
    let mut entropy = SeededEntropy::new(3);
    let mut spool = open_image(&disk).expect("a new directory");
    let mut group = Group::new();
    let mut records = Vec::new();
    for publish in 0..40_u64 {
        let mut record = record(&mut entropy, publish);
        record.data = vec![0; 10].into();
        record.stream = std::sync::Arc::new(crate::StreamKey {
            name: format!("stream-{publish}"),
            ..crate::StreamKey::default()
        });
        group.push(&record);
        records.push(record);
    }
    let commit = spool.append(&mut group, Time::ZERO).unwrap();
    let backlog = spool.backlog();
    assert_eq!(backlog.len(), 17);
    assert_eq!(backlog[0].stream, None);
    assert_eq!(backlog.iter().map(|sum| sum.records).sum::<u64>(), 40);
    let settled = (commit.first_seq..)
        .zip(&records)
        .map(|(seq, record)| Settled {
            seq,
            stream: StreamId::of(&record.stream),
            bytes: record.payload_bytes(),
        });
    assert_eq!(spool.settle_records(settled, Time::ZERO), 40);
    assert_eq!(spool.backlog(), []);
}
