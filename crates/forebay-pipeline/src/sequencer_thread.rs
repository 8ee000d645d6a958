//! The thread that drives the sequencer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::sync::{Parker, Unparker};
use forebay_core::Clock;

use crate::{Sequencer, Wake};

/// Longest sleep, so that idle streams are let go although nothing wakes the thread.
const SLEEP_MAX: Duration = Duration::from_secs(1);

struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

/// A running sequencer. Dropping it stops the thread.
#[derive(Debug)]
pub struct SequencerThread {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    unparker: Unparker,
}

impl SequencerThread {
    /// Starts the thread. `tick` is called on every turn, at least once a second: a heartbeat.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    ///
    /// # Panics
    /// A panic of the sequencer ends its thread; whoever starts it must make that end the process, because nothing
    /// that is acknowledged later could be kept.
    pub fn start(
        mut sequencer: Sequencer,
        clock: Arc<dyn Clock>,
        tick: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        sequencer.set_wake(Arc::new(Unpark(unparker.clone())));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || {
                while !stopped.load(Ordering::SeqCst) {
                    tick();
                    if !sequencer.step(clock.now()) {
                        parker.park_timeout(SLEEP_MAX);
                    }
                }
            })?;
        Ok(Self {
            thread: Some(thread),
            stop,
            unparker,
        })
    }

    /// True when the thread has ended although nobody stopped it.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for SequencerThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.unparker.unpark();
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the hook when it happened.
            drop(thread.join());
        }
    }
}
