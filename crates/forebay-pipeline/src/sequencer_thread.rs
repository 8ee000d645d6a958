//! The thread that drives the sequencer, and with a log the two threads beside it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::sync::{Parker, Unparker};
use forebay_core::{Clock, Fs};

use crate::{LogResult, LogTask, Sequencer, Wake};

/// Longest sleep, so that idle streams are let go although nothing wakes the thread.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Longest rest of the thread that prepares the log, after a piece of work.
const REST_MAX: Duration = Duration::from_millis(20);

struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

/// A running sequencer. Dropping it stops the thread; with a log it first writes down what is settled.
#[derive(Debug)]
pub struct SequencerThread {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    unparker: Unparker,
}

/// A thread that works for the log.
#[derive(Debug)]
struct Helper<F: Fs> {
    tasks: Sender<LogTask<F::File>>,
    thread: JoinHandle<()>,
}

/// Both of them: reading must not wait for a segment that is being filled with zeroes.
#[derive(Debug)]
struct Helpers<F: Fs> {
    fs: Arc<F>,
    jobs: Helper<F>,
    reads: Helper<F>,
    results: Receiver<LogResult<F::File>>,
}

impl<F: Fs> Helpers<F> {
    fn start(fs: Arc<F>, wake: &Unparker, clock: &Arc<dyn Clock>) -> io::Result<Self> {
        let (done, results) = bounded(3);
        let helper = |name: &str| {
            // One task of each kind is out at a time, two of which read, so nobody ever waits for a channel.
            let (tasks, inbox) = bounded::<LogTask<F::File>>(2);
            let (fs, done, wake) = (Arc::clone(&fs), done.clone(), wake.clone());
            let clock = Arc::clone(clock);
            let thread = std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    for task in inbox {
                        let paced = !task.reads();
                        let began = clock.now();
                        // Whoever is gone needs no result.
                        drop(done.send(task.run(&*fs, &*clock)));
                        wake.unpark();
                        if paced {
                            // Filling segments at full speed would make the flushes that publishers wait for queue up
                            // behind it in the device: at most half of the time is spent on it.
                            let took = clock.now().since(began);
                            std::thread::park_timeout(took.min(REST_MAX));
                        }
                    }
                })?;
            io::Result::Ok(Helper { tasks, thread })
        };
        Ok(Self {
            jobs: helper("spool-jobs")?,
            reads: helper("spool-reader")?,
            results,
            fs,
        })
    }

    /// Passes results and tasks on. True when a result came.
    fn turn(&self, sequencer: &mut Sequencer<F>, clock: &dyn Clock) -> bool {
        let mut worked = false;
        for result in self.results.try_iter() {
            sequencer.finish_task(result, clock.now());
            worked = true;
        }
        while let Some(task) = sequencer.take_task(clock.now()) {
            let helper = match task.reads() {
                true => &self.reads,
                false => &self.jobs,
            };
            // A helper that is gone has panicked, which ends the process.
            drop(helper.tasks.send(task));
        }
        worked
    }

    /// Waits for what is under way, then does here what is left to do.
    fn finish(self, sequencer: &mut Sequencer<F>, clock: &dyn Clock) {
        let Self {
            fs,
            jobs,
            reads,
            results,
        } = self;
        for helper in [jobs, reads] {
            drop(helper.tasks);
            // A panic was reported by the hook when it happened.
            drop(helper.thread.join());
        }
        for result in results.try_iter() {
            sequencer.finish_task(result, clock.now());
        }
        if let Some(task) = sequencer.finish(clock.now()) {
            sequencer.finish_task(task.run(&*fs, clock), clock.now());
        }
        sequencer.show();
    }
}

impl SequencerThread {
    /// Starts the thread, and with a log the threads that work for it. `tick` is called on every turn, at least once a
    /// second: a heartbeat.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    ///
    /// # Panics
    /// A panic of the sequencer ends its thread; whoever starts it must make that end the process, because nothing
    /// that is acknowledged later could be kept.
    pub fn start<F: Fs>(
        mut sequencer: Sequencer<F>,
        clock: Arc<dyn Clock>,
        tick: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        sequencer.set_wake(Arc::new(Unpark(unparker.clone())));
        sequencer.measure_flushes();
        let helpers = match sequencer.fs() {
            Some(fs) => Some(Helpers::start(fs, &unparker, &clock)?),
            None => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || {
                while !stopped.load(Ordering::SeqCst) {
                    tick();
                    let now = clock.now();
                    let mut worked = sequencer.step(now);
                    if let Some(helpers) = &helpers {
                        worked |= helpers.turn(&mut sequencer, &*clock);
                    }
                    if !worked {
                        let deadline = sequencer.next_deadline(now);
                        parker.park_timeout(deadline.since(clock.now()).min(SLEEP_MAX));
                    }
                }
                if let Some(helpers) = helpers {
                    helpers.finish(&mut sequencer, &*clock);
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
