//! Room: budgets that several workers take from, and messages that wait for it.

use std::sync::Arc;

use loom::thread;

use super::{Fault, Sleeper, explore, explore_with};
use crate::admission::Promise;
use crate::budget::Budget;
use crate::shared::Shared;
use crate::testing::{self, open};
use crate::waiting::{Needs, Parked, WaitingList, reserve};
use crate::{PipelineConfig, Stream};

/// What one stream may hold here.
const SHARE: u64 = 2;

/// A pipeline with two workers; a stream may have half of it.
fn begin() -> (Arc<Shared>, [Worker; 2]) {
    let shared = testing::shared(PipelineConfig {
        workers: 2,
        ingest_bytes: 2 * SHARE,
        per_stream_share: 0.5,
        ..PipelineConfig::default()
    });
    let workers = [0, 1].map(|index| Worker::new(&shared, index));
    (shared, workers)
}

/// What a worker does with messages that need room.
struct Worker {
    shared: Arc<Shared>,
    index: usize,
    waiting: WaitingList,
    sleeper: Sleeper,
}

impl Worker {
    fn new(shared: &Arc<Shared>, index: usize) -> Self {
        let sleeper = Sleeper::new();
        shared.workers[index].wake.set(sleeper.wake());
        Self {
            shared: Arc::clone(shared),
            index,
            waiting: WaitingList::default(),
            sleeper,
        }
    }

    /// Admits a message, or parks it. True when it was admitted.
    fn publish(&mut self, needs: Needs) -> bool {
        let Err((_, blocked)) = WaitingList::find_room(&self.shared, &needs) else {
            return true;
        };
        let parked = Parked {
            records: Vec::new(),
            needs,
            ticket: None,
            promise: Promise::NONE,
            blocked,
        };
        self.waiting.push(&self.shared, self.index, parked);
        false
    }

    /// Tries what is parked again. True when it was admitted.
    fn turn(&mut self) -> bool {
        let mut admitted = false;
        let shared = &self.shared;
        self.waiting.resume(shared, self.index, |parked| {
            reserve(shared, &parked.needs).map_err(|(_, blocked)| blocked)?;
            admitted = true;
            Ok(())
        });
        admitted
    }

    /// Waits until the message is admitted.
    fn publish_and_wait(&mut self, needs: Needs) {
        let mut admitted = self.publish(needs);
        while !admitted {
            self.sleeper.sleep();
            admitted = self.turn();
        }
    }
}

/// Gives room back, as a settlement does.
fn settle(shared: &Shared, stream: &Stream, bytes: u64) {
    stream.share.release(bytes);
    shared.ingest.release(bytes);
    shared.signal_room();
}

fn take(shared: &Shared, stream: &Arc<Stream>, bytes: u64) {
    let taken = reserve(shared, &vec![(Arc::clone(stream), bytes)]);
    assert!(taken.is_ok(), "nobody else has begun");
}

/// Two workers want the whole share of a stream, which somebody else has: all of them get it, one after the other.
fn one_after_the_other() {
    let (shared, [mut first, mut second]) = begin();
    let stream = open(&shared, "s");
    take(&shared, &stream, SHARE);
    let other = {
        let (shared, stream) = (Arc::clone(&shared), Arc::clone(&stream));
        thread::spawn(move || {
            second.publish_and_wait(vec![(Arc::clone(&stream), SHARE)]);
            assert!(stream.share.used() <= SHARE);
            settle(&shared, &stream, SHARE);
        })
    };
    let settler = {
        let (shared, stream) = (Arc::clone(&shared), Arc::clone(&stream));
        thread::spawn(move || settle(&shared, &stream, SHARE))
    };
    first.publish_and_wait(vec![(Arc::clone(&stream), SHARE)]);
    assert!(stream.share.used() <= SHARE);
    settle(&shared, &stream, SHARE);
    other.join().expect("loom reports panics itself");
    settler.join().expect("loom reports panics itself");
    assert_eq!((stream.share.used(), shared.ingest.used()), (0, 0));
    assert_eq!(
        shared
            .counts
            .parked
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

/// A message for two streams, one of which is stuck, must not keep others from the one that is free.
fn beside_a_stream_that_is_stuck() {
    let (shared, [mut first, mut second]) = begin();
    let (free, stuck) = (open(&shared, "free"), open(&shared, "stuck"));
    take(&shared, &stuck, SHARE);
    let needs = vec![(Arc::clone(&free), SHARE), (stuck, 1)];
    let other = thread::spawn(move || {
        assert!(!first.publish(needs));
        assert!(!first.turn());
    });
    second.publish_and_wait(vec![(free, SHARE)]);
    other.join().expect("loom reports panics itself");
}

/// The same while the other stream gets stuck at this moment.
fn while_a_stream_gets_stuck() {
    let (shared, [mut first, mut second]) = begin();
    let (free, stuck) = (open(&shared, "free"), open(&shared, "stuck"));
    let needs = vec![(Arc::clone(&free), SHARE), (Arc::clone(&stuck), SHARE)];
    let sticks = thread::spawn(move || stuck.share.reserve(SHARE).is_ok());
    let other = {
        let (shared, free) = (Arc::clone(&shared), Arc::clone(&free));
        thread::spawn(move || {
            if first.publish(needs) {
                settle(&shared, &free, SHARE);
            }
        })
    };
    second.publish_and_wait(vec![(free, SHARE)]);
    sticks.join().expect("loom reports panics itself");
    other.join().expect("loom reports panics itself");
}

/// Three want two bytes each of three.
fn never_above_the_limit() {
    let budget = Arc::new(Budget::new(3));
    let take = {
        let budget = Arc::clone(&budget);
        move || {
            if budget.reserve(2).is_ok() {
                assert!(budget.used() <= budget.limit(), "room was given twice");
                budget.release(2);
            }
        }
    };
    let others = [0, 1].map(|_| thread::spawn(take.clone()));
    take();
    for other in others {
        other.join().expect("loom reports panics itself");
    }
    assert_eq!(budget.used(), 0, "room was lost");
}

#[test]
fn whoever_waits_for_room_gets_it() {
    explore(one_after_the_other);
}

#[test]
fn a_stream_that_is_stuck_keeps_nobody_from_another() {
    explore(beside_a_stream_that_is_stuck);
}

#[test]
fn room_that_was_taken_for_a_moment_is_found() {
    explore(while_a_stream_gets_stuck);
}

#[test]
fn a_budget_is_never_exceeded() {
    explore(never_above_the_limit);
}

#[test]
#[should_panic(expected = "deadlock")]
fn parking_without_another_look_is_seen() {
    explore_with(Fault::NoLookAfterParking, one_after_the_other);
}

#[test]
#[should_panic(expected = "deadlock")]
fn room_that_is_given_back_silently_is_seen() {
    explore_with(Fault::TakeForAMoment, while_a_stream_gets_stuck);
}

#[test]
#[should_panic(expected = "deadlock")]
fn room_that_is_taken_without_a_look_is_seen() {
    explore_with(Fault::TakeForAMoment, beside_a_stream_that_is_stuck);
}

#[test]
#[should_panic(expected = "room was given twice")]
fn room_that_is_looked_at_and_then_taken_is_seen() {
    explore_with(Fault::LookThenTake, never_above_the_limit);
}
