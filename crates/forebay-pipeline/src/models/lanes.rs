//! Lanes: the sequencer deals while the sink takes.
//!
//! The ring of a lane holds two batches here, one of them for records outside the log, so that both find it full.

use std::sync::Arc;

use forebay_core::{AckMode, ShardMap, Time};
use loom::thread;

use super::{Fault, Sleeper, explore, explore_with, is_planted};
use crate::dealer::Dealer;
use crate::shared::Shared;
use crate::testing::{self, open, record};
use crate::{LaneTable, PipelineConfig, Record, SinkEvent, SinkPort, Stream};

/// A dealer with one stream of one lane.
fn begin() -> (Arc<Shared>, Dealer, Arc<Stream>, Arc<LaneTable>) {
    let shared = testing::shared(PipelineConfig::default());
    let stream = open(&shared, "s");
    let mut dealer = Dealer::new(Arc::clone(&shared));
    dealer.opened(Arc::clone(&stream));
    let map = Arc::new(ShardMap::even(1).expect("a legal number of shards"));
    dealer.install(&stream, map, Vec::new());
    let mut table = None;
    while let Some(event) = shared.events.pop() {
        if let SinkEvent::Lanes { table: new, .. } = event {
            table = Some(new);
        }
    }
    (shared, dealer, stream, table.expect("it has lanes"))
}

/// Deals these records one by one, in the log or not, and stays until the lane has taken all.
fn deal(shared: &Shared, dealer: &mut Dealer, stream: &Stream, logged: &[bool], sleeper: &Sleeper) {
    for (log, logged) in (1..).zip(logged) {
        match logged {
            true => dealer.deal_durable(testing::logged(stream.id(), log), Time::ZERO),
            false => dealer.deal(record(stream.id(), AckMode::Stored), Time::ZERO),
        }
        turn(shared, dealer);
    }
    while dealer.held() > 0 {
        sleeper.sleep();
        turn(shared, dealer);
    }
}

fn turn(shared: &Shared, dealer: &mut Dealer) {
    if dealer.push_tails() {
        shared.sink_wake.wake();
    }
}

/// Takes so many records.
fn take(port: &SinkPort, table: &LaneTable, count: usize, sleeper: &Sleeper) -> Vec<Record> {
    let mut taken = Vec::new();
    loop {
        while let Some(event) = port.next_event() {
            let SinkEvent::Ready(stream) = event else {
                continue;
            };
            while let Some(batch) = table.lanes[0].pop() {
                taken.extend(batch);
            }
            if is_planted(Fault::ReadyAfterLook) {
                stream
                    .ready
                    .store(false, std::sync::atomic::Ordering::SeqCst);
            }
        }
        if taken.len() == count {
            return taken;
        }
        sleeper.sleep();
    }
}

/// Both threads, until everything was taken: in order, each way by itself, and what is in the log never first.
fn run(logged: &'static [bool]) {
    let (shared, mut dealer, stream, table) = begin();
    let (sequencer, sink) = (Sleeper::new(), Sleeper::new());
    shared.sequencer_wake.set(sequencer.wake());
    shared.sink_wake.set(sink.wake());
    let port = SinkPort::new(Arc::clone(&shared));
    let lane = Arc::clone(&table.lanes[0]);
    let consumer = thread::spawn(move || {
        let taken = take(&port, &table, logged.len(), &sink);
        let way = |in_log: bool| {
            let of_way = taken.iter().filter(move |record| record.in_log == in_log);
            of_way.map(|record| record.seq).collect::<Vec<_>>()
        };
        assert!(way(true).is_sorted() && way(false).is_sorted());
        for (at, record) in taken
            .iter()
            .enumerate()
            .filter(|(_, record)| !record.in_log)
        {
            assert!(taken[..at].iter().all(|before| before.seq < record.seq));
        }
    });
    deal(&shared, &mut dealer, &stream, logged, &sequencer);
    consumer.join().expect("loom reports panics itself");
    assert!(lane.is_empty() && lane.pop().is_none());
}

fn three_batches() {
    run(&[false, false, false]);
}

fn both_ways() {
    run(&[true, true, false]);
}

#[test]
fn batches_are_neither_lost_nor_reordered_and_nobody_sleeps_on_one() {
    explore(three_batches);
}

#[test]
fn batches_of_the_log_and_others_share_a_ring() {
    explore(both_ways);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sequencer_that_looks_once_is_seen() {
    explore_with(Fault::NoSecondLook, three_batches);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sequencer_that_looks_once_for_room_for_the_log_is_seen() {
    explore_with(Fault::NoSecondLook, both_ways);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sink_that_says_late_that_it_has_looked_is_seen() {
    explore_with(Fault::ReadyAfterLook, three_batches);
}
