//! Streams by name: opened by whoever needs one first, announced to the sequencer, let go when nobody uses them.

use std::sync::Arc;

use forebay_core::{AckMode, StreamName, Time};
use forebay_spool::DiskFs;
use loom::thread;

use super::{Fault, Sleeper, explore, explore_with};
use crate::budget::NoRoom;
use crate::shared::{Shared, Staged};
use crate::stream_cache::StreamCache;
use crate::testing::{self, open, record};
use crate::waiting::reserve;
use crate::{PipelineConfig, Sequencer};

fn name() -> StreamName {
    StreamName::new("s").expect("a legal name")
}

/// Opens the stream, which another worker may do at the same time, and hands a record over.
fn stage(shared: &Shared, worker: usize) {
    let mut streams = StreamCache::new(4);
    let opened = streams.open(shared, &name(), Time::ZERO);
    let id = opened.expect("few streams are in use").id();
    shared.staged.push(Staged {
        worker,
        records: vec![record(id, AckMode::Stored)],
        ids: Vec::new(),
    });
    shared.sequencer_wake.wake();
}

/// Two workers begin to use one stream. The sequencer panics on a record of a stream that it does not know.
fn opened_by_two() {
    let shared = testing::shared(PipelineConfig {
        workers: 2,
        ..PipelineConfig::default()
    });
    for port in &shared.workers {
        port.staged_records
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    let sleeper = Sleeper::new();
    shared.sequencer_wake.set(sleeper.wake());
    let workers = [0, 1].map(|worker| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || stage(&shared, worker))
    });
    let mut sequencer: Sequencer<DiskFs> = Sequencer::new(Arc::clone(&shared));
    while shared
        .counts
        .sequencer
        .load(std::sync::atomic::Ordering::SeqCst)
        < 2
    {
        if !sequencer.step(Time::ZERO) {
            sleeper.sleep();
        }
    }
    for worker in workers {
        worker.join().expect("loom reports panics itself");
    }
}

/// A stream that nobody used for long is let go while a worker that remembers it finds room in it.
fn let_go_and_used() {
    let shared = testing::shared(PipelineConfig::default());
    let mut streams = StreamCache::new(4);
    let opened = streams.open(&shared, &name(), Time::ZERO);
    let mut stream = Arc::clone(opened.expect("few streams are in use"));
    let idle = Arc::clone(&stream);
    let sequencer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            if shared.streams.close(&idle) {
                shared.streams.forget(idle.id());
            }
        })
    };
    loop {
        match reserve(&shared, &vec![(Arc::clone(&stream), 1)]) {
            Ok(()) => break,
            Err((NoRoom::Closed, _)) => {
                let again = streams.reopen(&shared, &stream, Time::ZERO);
                stream = Arc::clone(again.expect("few streams are in use"));
            }
            Err((NoRoom::Full, _)) => panic!("nobody else uses it"),
        }
    }
    sequencer.join().expect("loom reports panics itself");
    let known = open(&shared, "s");
    assert!(
        Arc::ptr_eq(&known, &stream),
        "room in a stream that was let go"
    );
    assert_eq!(stream.share.used(), 1);
    assert_eq!(shared.streams.in_use().len(), 1);
}

#[test]
fn a_stream_is_announced_before_its_records() {
    explore(opened_by_two);
}

#[test]
fn a_stream_is_held_or_let_go() {
    explore(let_go_and_used);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn an_announcement_that_comes_late_is_seen() {
    explore_with(Fault::AnnounceLate, opened_by_two);
}

#[test]
#[should_panic(expected = "room in a stream that was let go")]
fn a_stream_that_is_looked_at_and_then_closed_is_seen() {
    explore_with(Fault::LookThenClose, let_go_and_used);
}
