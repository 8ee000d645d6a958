//! Reads a stream on a thread of its own while a run goes on, and gives the verdict at its end.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_sdk_kinesis::types::Record;
use forebay_core::{Clock, SystemClock};
use tokio::runtime;
use tokio::sync::oneshot;

use super::reader::{From, PAUSE, Reader, VerifyError, arrival_millis};
use super::report::StreamReport;
use super::target::StreamTarget;
use super::tracker::Tracker;
use crate::ledger::Ledger;
use crate::run_id::RunId;

/// Failed passes in a row that are taken for an outage that will end; every call has retries of its own besides.
const FAILED_PASSES_MAX: u32 = 10;

/// What to follow.
#[derive(Debug, Clone)]
pub struct FollowerConfig {
    /// The stream.
    pub target: StreamTarget,
    /// Where to begin.
    pub from: From,
    /// The run whose messages are looked for.
    pub run: RunId,
    /// Records of the run that are thrown away unseen: the negative control of the check.
    pub discard: u64,
}

impl FollowerConfig {
    /// Follows `run` without discarding anything.
    pub fn new(target: StreamTarget, from: From, run: RunId) -> Self {
        Self {
            target,
            from,
            run,
            discard: 0,
        }
    }
}

/// How far a follower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerProgress {
    /// Different messages of the run found.
    pub stored: u64,
    /// Records beyond the first of their message.
    pub duplicated: u64,
    /// Messages found behind a later one.
    pub reordered: u64,
}

/// The end of a run, as the thread is told it.
#[derive(Debug)]
struct Verdict {
    ledger: Ledger,
    settle: Duration,
    answer: std::sync::mpsc::SyncSender<StreamReport>,
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Follower {
    tracker: Arc<Mutex<Tracker>>,
    verdict: oneshot::Sender<Verdict>,
    thread: JoinHandle<Result<(), VerifyError>>,
}

impl Follower {
    /// Starts the thread and waits until it has its place in every shard: what is published afterwards will be seen.
    /// Blocks; not from within an async task.
    ///
    /// # Errors
    /// When the stream cannot be listed.
    pub fn start(config: FollowerConfig) -> Result<Self, VerifyError> {
        let failed = |error: std::io::Error| VerifyError::Thread(error.to_string());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (opened, opening) = sync_channel(1);
        let (verdict, wanted) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("bench-follower".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let reader = Reader::open(&config.target, config.from).await?;
                    let mut tracker = Tracker::new(config.run, reader.map());
                    tracker.discard(config.discard);
                    let tracker = Arc::new(Mutex::new(tracker));
                    // The other end is gone only when the caller is.
                    opened.send(Arc::clone(&tracker)).ok();
                    drop(opened);
                    follow(reader, &config.target.stream, &tracker, wanted).await
                })
            })
            .map_err(failed)?;
        match opening.recv() {
            Ok(tracker) => Ok(Self {
                tracker,
                verdict,
                thread,
            }),
            Err(_) => Err(ended(thread)),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> FollowerProgress {
        let tracker = lock(&self.tracker);
        FollowerProgress {
            stored: tracker.unique(),
            duplicated: tracker.duplicated(),
            reordered: tracker.reordered(),
        }
    }

    /// Reads on until everything that `ledger` says to be acknowledged was found and the stream's end is reached, or
    /// until nothing new has come for `settle`. Blocks for that long; not from within an async task.
    ///
    /// # Errors
    /// When the stream could not be read to its end.
    pub fn finish(self, ledger: Ledger, settle: Duration) -> Result<StreamReport, VerifyError> {
        let (answer, report) = sync_channel(1);
        let verdict = Verdict {
            ledger,
            settle,
            answer,
        };
        if self.verdict.send(verdict).is_err() {
            return Err(ended(self.thread));
        }
        report.recv().map_err(|_| ended(self.thread))
    }
}

/// Why a thread ended that should not have.
fn ended(thread: JoinHandle<Result<(), VerifyError>>) -> VerifyError {
    match thread.join() {
        Ok(Err(error)) => error,
        Ok(Ok(())) => VerifyError::Thread("it ended early".to_owned()),
        Err(_) => VerifyError::Thread("it panicked".to_owned()),
    }
}

fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    tracker
        .lock()
        .expect("no panic while the tracker is locked")
}

async fn follow(
    mut reader: Reader,
    stream: &str,
    tracker: &Mutex<Tracker>,
    mut wanted: oneshot::Receiver<Verdict>,
) -> Result<(), VerifyError> {
    let clock = SystemClock::new();
    let mut verdict: Option<Verdict> = None;
    let mut last_new = clock.now();
    let mut failed_passes = 0;
    loop {
        let before = lock(tracker).observed();
        let mut observe = |shard: &str, record: &Record| {
            let millis = arrival_millis(record);
            let key = record.partition_key().unwrap_or_default();
            lock(tracker).observe(shard, key, record.data.as_ref(), millis);
        };
        let pass = match reader.pass(&mut observe).await {
            Ok(pass) => pass,
            Err(error) => {
                failed_passes += 1;
                if failed_passes == FAILED_PASSES_MAX {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        failed_passes = 0;
        if pass.resharded {
            lock(tracker).forget_map();
        }
        if lock(tracker).observed() > before {
            last_new = clock.now();
        }
        if let Some(asked) = &verdict {
            let at_end = pass.records == 0 && !pass.behind;
            let report = asked.reached(&lock(tracker), stream, at_end, clock.now() - last_new);
            if let Some(report) = report {
                // The caller may have given up waiting.
                asked.answer.send(report).ok();
                return Ok(());
            }
        }
        if pass.records > 0 {
            continue;
        }
        if verdict.is_some() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match tokio::time::timeout(PAUSE, &mut wanted).await {
            Err(_) => {}
            // A dropped handle ends the thread as well.
            Ok(Err(_)) => return Ok(()),
            Ok(Ok(asked)) => {
                verdict = Some(asked);
                last_new = clock.now();
            }
        }
    }
}

impl Verdict {
    /// The report, once everything acknowledged was found and the stream's end is reached, or nothing new has come for
    /// too long. Where nothing is acknowledged, everything published is waited for.
    fn reached(
        &self,
        tracker: &Tracker,
        stream: &str,
        at_end: bool,
        idle: Duration,
    ) -> Option<StreamReport> {
        let ledger = &self.ledger;
        let all = match ledger.acknowledged() {
            0 => tracker.unique() >= ledger.published(),
            _ => tracker.missing(ledger) == 0,
        };
        (all && at_end || idle >= self.settle).then(|| tracker.report(stream, ledger))
    }
}
