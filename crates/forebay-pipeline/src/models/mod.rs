//! The hand-overs between threads that rest on our own atomics, tried by loom over the code that runs.
//!
//! Each model is a few threads with a few records or bytes. Loom runs it in every order of their steps with at most
//! three involuntary switches, and with every value that a load may see by the rules of memory; [`sync`](crate::sync)
//! says what stands for the queues. A thread that sleeps does so until it is woken, so a lost wake-up is a deadlock,
//! which loom reports.
//!
//! | hand-over | module | what holds |
//! | --- | --- | --- |
//! | a lane: ring, overflow flag, ready flag, both wakes | `lanes` | no batch is lost or reordered, nobody sleeps on one |
//! | room: budgets, shares, parked messages, room flags | `room` | none is lost or given twice, none is left to sleepers |
//! | a mailbox whose owner sets its wake later | `wakes` | what was put in is found |
//! | the names of streams: opened, announced, let go | `streams` | announced before its records, held or closed |
//! | the counts of the conservation law | `counts` | no record is counted twice at any moment |
//!
//! What is not here: the queues themselves and the parked threads are crossbeam's and tokio's; figures that only
//! metrics read, each a single atomic; the flags that end a thread, set before it is woken; the rules in force and the
//! status of the log, which are published whole and wake nobody. The acknowledgement ring and the budget of the lanes
//! belong to one thread each.
//!
//! Every model has mistakes that it must see, each planted in the code by its name: see [`Fault`].

mod counts;
mod lanes;
mod room;
mod streams;
mod wakes;

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::Wake;

/// A mistake in a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sequencer says that it holds a batch and does not look at the ring again.
    NoSecondLook,
    /// The sink looks into its lanes and only then says that it has.
    ReadyAfterLook,
    /// Nothing orders what is put into a mailbox and the look for somebody to wake.
    NoFenceBeforeWake,
    /// Room is looked at and then taken, in two steps.
    LookThenTake,
    /// A budget is found unused and then closed, in two steps.
    LookThenClose,
    /// A message that finds no room in one stream takes what it needs of another for a moment, and tells nobody when it
    /// gives that back.
    TakeForAMoment,
    /// A message is parked after the last look for room.
    NoLookAfterParking,
    /// A stream can be found before it was announced.
    AnnounceLate,
    /// A record is counted as stored while the sink still counts it as held.
    HeldAfterStored,
}

thread_local! {
    // All threads of a model run on the thread of its test.
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

pub(crate) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// How often the running thread of a model may be interrupted against its will.
const PREEMPTIONS: usize = 3;

/// Tries the model in every order.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_with(None, model);
}

/// The same with a mistake.
fn explore_with(fault: impl Into<Option<Fault>>, model: impl Fn() + Send + Sync + 'static) {
    // A test that panicked leaves its mistake behind, and its thread may be the next one's.
    PLANTED.set(fault.into());
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A thread's sleep. A wake that comes early is remembered, as with the product's threads.
#[derive(Debug, Clone)]
struct Sleeper(Arc<(Mutex<bool>, Condvar)>);

impl Sleeper {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn wake(&self) -> Arc<dyn Wake> {
        Arc::new(self.clone())
    }

    fn sleep(&self) {
        let (woken, changed) = &*self.0;
        let mut woken = woken.lock().expect("loom's locks are not poisoned");
        while !std::mem::take(&mut *woken) {
            woken = changed.wait(woken).expect("loom's locks are not poisoned");
        }
    }
}

impl Wake for Sleeper {
    fn wake(&self) {
        let (woken, changed) = &*self.0;
        *woken.lock().expect("loom's locks are not poisoned") = true;
        changed.notify_one();
    }
}
