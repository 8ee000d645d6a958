//! The conservation law, looked at while a record moves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::{AckMode, ShardMap, Time};
use forebay_spool::DiskFs;
use loom::thread;

use super::{Fault, explore, explore_with, is_planted};
use crate::control::PipelineControl;
use crate::shared::{Control, Shared, Staged};
use crate::testing::{self, open, record};
use crate::waiting::reserve;
use crate::{LaneTable, PipelineConfig, Sequencer, SinkEvent, SinkPort};

/// A record on its way from a worker to its end.
fn move_one(shared: &Shared, mut sequencer: Sequencer<DiskFs>, port: &SinkPort, table: &LaneTable) {
    while sequencer.step(Time::ZERO) {}
    let counts = &shared.counts;
    while let Some(event) = port.next_event() {
        assert!(matches!(event, SinkEvent::Ready(_)), "{event:?}");
        while let Some(batch) = table.lanes[0].pop() {
            port.set_held(batch.len());
            let stored = batch.len() as u64;
            if is_planted(Fault::HeldAfterStored) {
                counts.stored.fetch_add(stored, Ordering::SeqCst);
                port.set_held(0);
            } else {
                port.set_held(0);
                counts.stored.fetch_add(stored, Ordering::SeqCst);
            }
        }
    }
}

fn run() {
    let shared = testing::shared(PipelineConfig::default());
    let stream = open(&shared, "s");
    let mut sequencer: Sequencer<DiskFs> = Sequencer::new(Arc::clone(&shared));
    shared.control.push(Control::Opened(Arc::clone(&stream)));
    let map = Arc::new(ShardMap::even(1).expect("a legal number of shards"));
    let port = SinkPort::new(Arc::clone(&shared));
    port.install_map(&stream, map, Vec::new());
    sequencer.step(Time::ZERO);
    let table = std::iter::from_fn(|| port.next_event()).find_map(|event| match event {
        SinkEvent::Lanes { table, .. } => Some(table),
        _ => None,
    });
    let table = table.expect("it has lanes");
    let taken = reserve(&shared, &vec![(Arc::clone(&stream), 1)]);
    assert!(taken.is_ok(), "there is room");
    shared.counts.accepted.fetch_add(1, Ordering::SeqCst);
    shared.workers[0]
        .staged_records
        .fetch_add(1, Ordering::SeqCst);
    shared.staged.push(Staged {
        worker: 0,
        records: vec![record(stream.id(), AckMode::Stored)],
        ids: Vec::new(),
    });
    let control = PipelineControl::new(Arc::clone(&shared));
    let viewer = {
        let control = control.clone();
        thread::spawn(move || {
            let difference = control.conservation().difference();
            assert!((0..=1).contains(&difference), "off by {difference}");
        })
    };
    move_one(&shared, sequencer, &port, &table);
    viewer.join().expect("loom reports panics itself");
    assert_eq!(
        (control.conservation().difference(), control.pending()),
        (0, 0)
    );
}

#[test]
fn no_record_is_counted_twice() {
    explore(run);
}

#[test]
#[should_panic(expected = "off by -1")]
fn a_record_that_is_stored_before_it_is_let_go_is_seen() {
    explore_with(Fault::HeldAfterStored, run);
}
