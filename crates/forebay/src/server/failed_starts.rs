//! Starts that end by themselves: a small record of them in the data directory, so that a crash loop comes to an end.
//!
//! A start fails when it returns an error that no change of the configuration would mend, or panics. A kill says nothing
//! about the start that it hit, so it leaves nothing here, and a start that comes to serve takes away what others left.
//! When three starts within a minute failed at the same, the next one
//! - does not decode the frame at which they panicked, which costs that frame's records and keeps its bytes, or
//! - says, should it fail there as well, that it gives up, where, why, and what to do.
//!
//! A frame can also be fatal to the thread that reads the log back. That ends a process that serves, so those failures
//! are only forgotten with their frame.

mod record;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::{Clock, Time};
use forebay_spool::{FramePlace, OpenPhase, Progress};

use crate::cli::{Exit, Failure};
use record::{FailedStart, Record};

/// Makes decoding a frame that contains its value panic.
const TRAP: &str = "FOREBAY_TEST_UNDECODABLE";

/// What a start is at, after the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The spool is opened.
    Spool,
    /// The threads that move records.
    Threads,
    /// The admin port.
    Admin,
    /// The listeners.
    Listeners,
    /// Clients are served.
    Serving,
}

/// This start, and what is known of those before it.
#[derive(Debug)]
pub(crate) struct FailedStarts {
    /// `None` where nothing is remembered.
    dir: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    began: Time,
    step: AtomicU8,
    /// Another process has the directory: this start is wrong here, and says nothing about the directory.
    is_guest: AtomicBool,
    record: Mutex<Record>,
    progress: Arc<Progress>,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Spool,
        Self::Threads,
        Self::Admin,
        Self::Listeners,
        Self::Serving,
    ];
}

impl FailedStarts {
    /// For a server that remembers nothing.
    pub(super) fn forgotten(clock: Arc<dyn Clock>) -> Self {
        Self::of(None, Record::default(), clock, None)
    }

    /// Reads what earlier starts left in the data directory and decides what this one leaves out.
    pub(super) fn read(dir: &Path, clock: Arc<dyn Clock>) -> Self {
        let mut record = Record::read(dir);
        if let Some(place) = record.fatal_frame() {
            tracing::error!(
                segment = place.slot,
                epoch = place.epoch,
                offset = place.offset,
                "starts fail while they decode this frame of the spool: it is put into quarantine"
            );
            record.contain(place);
        }
        let trap = std::env::var(TRAP).ok();
        if trap.is_some() {
            tracing::warn!(
                "{TRAP} is set: this process panics at frames of the spool; for tests only"
            );
        }
        Self::of(Some(dir.to_owned()), record, clock, trap)
    }

    fn of(
        dir: Option<PathBuf>,
        record: Record,
        clock: Arc<dyn Clock>,
        trap: Option<String>,
    ) -> Self {
        let mut progress = Progress::new(record.contained());
        if let Some(trap) = trap {
            progress = progress.with_trap(trap.into_bytes());
        }
        Self {
            dir,
            began: clock.now(),
            clock,
            step: AtomicU8::new(Step::Spool as u8),
            is_guest: AtomicBool::new(false),
            record: Mutex::new(record),
            progress: Arc::new(progress),
        }
    }

    /// Where the spool says how far it has come, and reads what it must not decode.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// What the start is at from here on.
    pub(super) fn enter(&self, step: Step) {
        self.step.store(step as u8, Ordering::SeqCst);
    }

    /// The directory belongs to another process.
    pub(super) fn is_guest(&self) {
        self.is_guest.store(true, Ordering::SeqCst);
    }

    /// Runs a start and remembers how it failed.
    ///
    /// # Errors
    /// Those of the start; or that it is given up.
    ///
    /// # Panics
    /// When the start does and it is not given up.
    pub(super) fn watch<T>(
        &self,
        start: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match catch_unwind(AssertUnwindSafe(start)) {
            Ok(Ok(started)) => Ok(started),
            Ok(Err(failure)) if failure.exit != Exit::InputOutput => Err(failure),
            Ok(Err(failure)) => match self.failed(&failure.message, false) {
                Some(given_up) => Err(given_up),
                None => Err(failure),
            },
            Err(panic) => match self.failed(text_of(&*panic), false) {
                Some(given_up) => Err(given_up),
                None => resume_unwind(panic),
            },
        }
    }

    /// A vital thread panicked, which ends the process. That is a failed start before clients are served, and later
    /// when a frame was being decoded: it is read again after every start.
    pub(super) fn thread_panicked(&self, error: &str) {
        if self.step() != Step::Serving || self.progress.decoding().is_some() {
            self.failed(error, true);
        }
    }

    /// Clients are served, and these frames that are not decoded lie in segments in use.
    pub(super) fn serves(&self, contained: &[FramePlace]) {
        self.enter(Step::Serving);
        let mut record = self.lock();
        record.served(contained);
        self.write(&record);
    }

    /// Remembers that this start failed. Returns what to say when it is given up.
    fn failed(&self, error: &str, in_thread: bool) -> Option<Failure> {
        if self.is_guest.load(Ordering::SeqCst) {
            return None;
        }
        let phase = self.phase();
        let mut record = self.lock();
        let failure = FailedStart::new(
            phase,
            self.clock.wall_millis(),
            self.clock.now().since(self.began),
            error,
            self.progress.decoding(),
            in_thread,
        );
        let given_up = record.is_hopeless(phase);
        record.push(failure);
        self.write(&record);
        given_up.then(|| self.give_up(phase, error))
    }

    /// What the start is at, in a word.
    fn phase(&self) -> &'static str {
        if self.progress.decoding().is_some() {
            return record::DECODE;
        }
        match self.step() {
            Step::Spool => match self.progress.phase() {
                OpenPhase::Directory => "directory",
                OpenPhase::Checkpoints => "checkpoints",
                OpenPhase::Segments => "segments",
                OpenPhase::Writing | OpenPhase::Open => "writing",
            },
            Step::Threads => "threads",
            Step::Admin => "admin",
            Step::Listeners | Step::Serving => "listeners",
        }
    }

    fn step(&self) -> Step {
        Step::ALL[usize::from(self.step.load(Ordering::SeqCst)) % Step::ALL.len()]
    }

    fn give_up(&self, phase: &str, error: &str) -> Failure {
        let advice = match phase {
            "directory" => {
                "look whether the data directory, the spool directory and its files LOCK and META are there and can be \
                 read and written by this user"
            }
            "checkpoints" | "segments" => {
                "look whether the files of the spool can be read, and into the system's log for errors of the disk"
            }
            record::DECODE => {
                "this version cannot read what is in the spool: run the version that wrote it, and report this error"
            }
            "writing" => {
                "look whether the disk of the spool can be written, and into the system's log"
            }
            _ => "look at the limits of this user and of the machine: threads, open files, memory",
        };
        let text = format!(
            "giving up: this start failed in the phase `{phase}`, as the {} before it did within {} seconds; \
             the last error was: {error}; what to do: {advice}, then start again. What was acknowledged is still in \
             the spool; nothing was removed",
            record::FAILURES,
            record::WITHIN.as_secs(),
        );
        Failure::new(Exit::InputOutput, text)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be written is not remembered: the next start is judged without it.
    fn write(&self, record: &Record) {
        let written = self.dir.as_deref().map_or(Ok(()), |dir| record.write(dir));
        if let Err(error) = written {
            tracing::warn!(%error, "how starts fail cannot be remembered in the data directory");
        }
    }
}

/// What a panic said.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
}

#[cfg(test)]
mod tests;
