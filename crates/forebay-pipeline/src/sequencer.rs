//! The sequencer: gives every record its place in the one order, makes durable what is promised to be, and deals.
//!
//! It is a state machine without a thread, a clock or a runtime; [`SequencerThread`](crate::SequencerThread) drives it
//! in production. It owns the log, the state of the lanes, and everything that decides between the two.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::{Clock, Fs, Time};
use forebay_metrics::Registry;
use forebay_spool::{DiskFs, Done, Job, Spool};

use crate::dealer::Dealer;
use crate::duplicates::Inherited;
use crate::log_check::{CheckResult, CheckTask, LogCheck};
use crate::log_damage::LogDamage;
use crate::log_writer::LogWriter;
use crate::refill::{ReadResult, ReadTask, Refill};
use crate::shared::{Control, Shared, Staged, Wake};

/// Staged vectors taken in one step, per worker: keeps busy workers from making a step endless.
const VECTORS_PER_STEP: usize = 64;
/// Time between two looks for streams that nobody uses.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two publications of the log's figures.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// Work for the log that is done beside the sequencer's thread.
#[derive(Debug)]
pub struct LogTask<T>(Task<T>);

#[derive(Debug)]
enum Task<T> {
    Job(Job<T>),
    Read(Box<ReadTask<T>>),
    Check(Box<CheckTask<T>>),
}

/// The result of a [`LogTask`], for [`Sequencer::finish_task`].
#[derive(Debug)]
pub struct LogResult<T>(TaskResult<T>);

#[derive(Debug)]
enum TaskResult<T> {
    Job(Done<T>),
    Read(Box<ReadResult<T>>),
    Check(Box<CheckResult<T>>),
}

impl<T: forebay_core::FsFile> LogTask<T> {
    /// True for reading, false for writing: the two may be done at the same time.
    pub fn reads(&self) -> bool {
        matches!(self.0, Task::Read(_) | Task::Check(_))
    }

    /// Does the work. It may take long and may be done on any thread. `clock` is what flushes and the reading that must
    /// be paced are timed with.
    pub fn run<F: Fs<File = T>>(self, fs: &F, clock: &dyn Clock) -> LogResult<T> {
        LogResult(match self.0 {
            Task::Job(job) => TaskResult::Job(job.run_timed(fs, clock)),
            Task::Read(task) => TaskResult::Read(Box::new(task.run())),
            Task::Check(task) => TaskResult::Check(Box::new(task.run(clock))),
        })
    }
}

/// The log and what refills lanes from it.
#[derive(Debug)]
struct LogSide<F: Fs> {
    writer: LogWriter<F>,
    refill: Refill<F>,
    check: LogCheck,
    damage: LogDamage,
    next_show: Time,
}

/// The sequencer's state. One step takes everything that is staged.
#[derive(Debug)]
pub struct Sequencer<F: Fs = DiskFs> {
    shared: Arc<Shared>,
    dealer: Dealer,
    log: Option<Box<LogSide<F>>>,
    taken: Vec<Staged>,
    control: Vec<Control>,
    next_idle_check: Time,
}

impl<F: Fs> Sequencer<F> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            dealer: Dealer::new(Arc::clone(&shared)),
            shared,
            log: None,
            taken: Vec::new(),
            control: Vec::new(),
            next_idle_check: Time::ZERO,
        }
    }

    pub(crate) fn with_log(
        shared: Arc<Shared>,
        spool: Spool<F>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        let mut sequencer = Self::new(Arc::clone(&shared));
        if let Some(inherited) = Inherited::of(&spool, shared.config.lanes_bytes) {
            let first = shared.inherited.set(inherited).is_ok();
            debug_assert!(first, "a pipeline has one log");
        }
        let owed = spool.unsettled();
        if !owed.is_empty() {
            sequencer.dealer.expect_from(spool.watermark());
            // What an earlier run admitted counts as admitted by this one, so that everything that ends was admitted.
            shared
                .counts
                .accepted
                .fetch_add(owed.len(), Ordering::SeqCst);
        }
        let refill = Refill::new(Arc::clone(&shared));
        let mut log = Box::new(LogSide {
            writer: LogWriter::new(spool, Arc::clone(&shared), clock, registry),
            refill,
            check: LogCheck::default(),
            damage: LogDamage::default(),
            next_show: Time::ZERO,
        });
        log.count(&shared, &sequencer.dealer);
        log.show(&shared, &sequencer.dealer);
        sequencer.log = Some(log);
        sequencer
    }

    /// Sets what is woken when there is something to do. Step once after it.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        self.shared.sequencer_wake.set(wake);
    }

    /// Takes what is staged, numbers it, makes durable what is to be, deals it, and tells the sink which streams have
    /// something new. With a log this may take as long as the disk does. True when it did anything: step again before
    /// sleeping.
    pub fn step(&mut self, now: Time) -> bool {
        // While records move on from here they are counted nowhere rather than twice.
        self.shared.counts.sequencer.store(0, Ordering::SeqCst);
        self.take_staged();
        // Control comes after the staged records are taken: a stream is announced before its first record is staged,
        // so every record taken above finds its stream here.
        while let Some(control) = self.shared.control.pop() {
            self.control.push(control);
        }
        let mut worked = !self.taken.is_empty() || !self.control.is_empty();
        // What was settled comes after control is taken: what the sink settled before it handed a map over is struck
        // off before the rest is read from the log again.
        if let Some(log) = &mut self.log {
            worked |= log.writer.take_settled(&mut self.dealer, now);
        }
        let mut news = self.apply_control();
        self.deal_taken(now);
        if let Some(log) = &mut self.log {
            worked |= log.step(&mut self.dealer, now);
            log.count(&self.shared, &self.dealer);
            if now >= log.next_show {
                log.next_show = now + SHOW_INTERVAL;
                let spool = &mut log.writer.spool;
                log.damage.step(spool, &mut self.dealer, now);
                log.count_lost(&self.shared, &self.dealer);
                log.show(&self.shared, &self.dealer);
            }
        }
        news |= self.dealer.push_tails();
        if now >= self.next_idle_check {
            self.next_idle_check = now + IDLE_INTERVAL;
            if self.dealer.unknown_from().is_none() {
                news |= self.dealer.close_idle(now);
            }
        }
        let waiting = self.log.as_ref().map_or(0, |log| log.writer.held());
        self.shared
            .counts
            .sequencer
            .store(self.dealer.held() + waiting, Ordering::SeqCst);
        if news {
            self.shared.sink_wake.wake();
        }
        worked
    }

    /// When [`step`](Self::step) has something to do although nothing wakes its owner; [`Time::NEVER`] for never.
    pub fn next_deadline(&self, now: Time) -> Time {
        self.log.as_ref().map_or(Time::NEVER, |log| {
            let refill = log.refill.next_deadline(&self.dealer, now);
            let check = match log.may_check(&self.shared) {
                true => log.check.next_deadline(),
                false => Time::NEVER,
            };
            log.writer.next_deadline().min(refill).min(check)
        })
    }

    /// Work for the log that is to be done beside this thread. At most one task that does not read and two that do are
    /// out at the same time: one for lanes, and a short step of a check that nothing for lanes was ready before.
    pub fn take_task(&mut self, now: Time) -> Option<LogTask<F::File>> {
        let log = self.log.as_mut()?;
        if let Some(read) = log.refill.take_task() {
            return Some(LogTask(Task::Read(Box::new(read))));
        }
        if log.may_check(&self.shared) {
            let request = self.shared.check_asked.load(Ordering::SeqCst);
            let spool = &log.writer.spool;
            let step = log.check.take_task(spool, &log.damage, request, now);
            if log.check.take_news() {
                log.show(&self.shared, &self.dealer);
            }
            if let Some(step) = step {
                return Some(LogTask(Task::Check(Box::new(step))));
            }
        }
        let job = log.writer.spool.take_job(now)?;
        Some(LogTask(Task::Job(job)))
    }

    /// Takes the result of a task. Step after it.
    pub fn finish_task(&mut self, result: LogResult<F::File>, now: Time) {
        let Some(log) = self.log.as_mut() else {
            return;
        };
        match result.0 {
            TaskResult::Job(done) => {
                log.writer.spool.finish(done, now);
                log.next_show = now;
            }
            TaskResult::Read(read) => {
                let spool = &mut log.writer.spool;
                let damage = &mut log.damage;
                log.refill.take(*read, spool, &mut self.dealer, damage, now);
                // What was read is counted as being in memory before the sink can see it.
                log.count_lost(&self.shared, &self.dealer);
            }
            TaskResult::Check(step) => {
                let spool = &mut log.writer.spool;
                let damage = &mut log.damage;
                log.check.take(*step, spool, &mut self.dealer, damage, now);
                log.count_lost(&self.shared, &self.dealer);
                if log.check.take_news() {
                    log.show(&self.shared, &self.dealer);
                }
            }
        }
    }

    /// Times the flushes of the disk, to find those that do not do what they say.
    pub fn measure_flushes(&mut self) {
        if let Some(log) = &mut self.log {
            log.writer.spool.measure_flushes();
        }
    }

    /// Publishes the figures of the log as they are now.
    pub fn show(&mut self) {
        if let Some(log) = &mut self.log {
            log.show(&self.shared, &self.dealer);
        }
    }

    /// The last step: returns the task that puts what is settled into the log for good. Give its result to
    /// [`finish_task`](Self::finish_task) and drop the sequencer. No other task may be out.
    pub fn finish(&mut self, now: Time) -> Option<LogTask<F::File>> {
        self.step(now);
        let log = self.log.as_mut()?;
        log.writer.spool.want_checkpoint();
        let job = log.writer.spool.take_job(now)?;
        Some(LogTask(Task::Job(job)))
    }

    /// The disk that the log is on.
    pub fn fs(&self) -> Option<Arc<F>> {
        self.log
            .as_ref()
            .map(|log| Arc::clone(log.writer.spool.fs()))
    }

    fn take_staged(&mut self) {
        for _ in 0..VECTORS_PER_STEP * self.shared.workers.len() {
            let Some(staged) = self.shared.staged.pop() else {
                break;
            };
            self.taken.push(staged);
        }
    }

    fn apply_control(&mut self) -> bool {
        let news = !self.control.is_empty();
        for control in self.control.drain(..) {
            match control {
                Control::Opened(stream) => self.dealer.opened(stream),
                Control::Map {
                    stream,
                    map,
                    returned,
                } => self.dealer.install(&stream, map, returned),
            }
        }
        news
    }

    fn deal_taken(&mut self, now: Time) {
        let mut taken = std::mem::take(&mut self.taken);
        for mut staged in taken.drain(..) {
            let count = staged.records.len();
            match &mut self.log {
                Some(log) => log.writer.take(&mut staged, &mut self.dealer, now),
                None => {
                    for record in staged.records.drain(..) {
                        self.dealer.deal(record, now);
                    }
                }
            }
            let port = &self.shared.workers[staged.worker];
            port.staged_records.fetch_sub(count, Ordering::SeqCst);
            // A full list of spare vectors only means that this one is freed.
            drop(port.spare.push(staged.records));
        }
        self.taken = taken;
    }

    #[cfg(test)]
    pub(crate) fn mutate(&mut self, mutation: crate::mutation::Mutation) {
        if let Some(log) = &mut self.log {
            log.writer.mutation = mutation;
            log.refill.mutation = mutation;
        }
        self.dealer.mutation = mutation;
    }
}

impl<F: Fs> LogSide<F> {
    fn step(&mut self, dealer: &mut Dealer, now: Time) -> bool {
        let unknown = dealer.unknown_from();
        let worked = self.writer.step(dealer, now);
        if dealer.unknown_from() != unknown {
            self.refill.doubt();
        }
        self.refill.step(&self.writer.spool, dealer, now);
        worked
    }

    /// Counts what is owed and lies on the disk only.
    fn count(&self, shared: &Shared, dealer: &Dealer) {
        let owed = self.writer.spool.unsettled().len();
        let on_disk = owed.saturating_sub(dealer.in_memory() as u64);
        shared.counts.on_disk.store(on_disk, Ordering::SeqCst);
        shared.counts.owed.store(owed, Ordering::SeqCst);
    }

    /// The same, and counts what damage took: these records have come to their end.
    fn count_lost(&mut self, shared: &Shared, dealer: &Dealer) {
        self.count(shared, dealer);
        let lost = self.damage.take_lost();
        shared.counts.failed.fetch_add(lost, Ordering::SeqCst);
    }

    /// Checking the log waits for lanes that are being filled, and what a stop finds in the log stays there.
    fn may_check(&self, shared: &Shared) -> bool {
        !self.refill.is_busy() && !shared.draining.load(Ordering::Relaxed)
    }

    fn show(&mut self, shared: &Shared, dealer: &Dealer) {
        let check = self.check.status();
        let status = self.writer.show(dealer, self.refill.read_error(), check);
        shared.log_status.store(Some(Arc::new(status)));
    }
}
