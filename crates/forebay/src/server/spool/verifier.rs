//! Reading the whole spool on demand, beside the thread that writes it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use forebay_admin::{SpoolVerifier, VerifyState, VerifyStatus};
use forebay_core::Clock;
use forebay_spool::ReadOnlyDisk;

use super::report_of;

/// Longest pause after a MiB.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// One reading at a time, and what the last one found.
#[derive(Clone)]
pub(in crate::server) struct Verifier {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    status: Arc<Mutex<VerifyStatus>>,
}

impl Verifier {
    /// For the spool of this process.
    pub(in crate::server) fn new(dir: &Path, clock: &Arc<dyn Clock>) -> Self {
        Self {
            dir: dir.to_owned(),
            clock: Arc::clone(clock),
            status: Arc::default(),
        }
    }

    fn set(&self, status: VerifyStatus) -> VerifyStatus {
        let mut shown = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&status);
        status
    }

    /// Reads everything.
    fn read(&self) -> VerifyStatus {
        let began = self.clock.now();
        let mut read_since = began;
        // Of ten parts of the time the disk is left to the writer for nine.
        let mut pause = || {
            let busy = self.clock.now().since(read_since);
            thread::park_timeout((busy * 9).min(PAUSE_MAX));
            read_since = self.clock.now();
        };
        match forebay_spool::verify_beside(&ReadOnlyDisk, &self.dir, &mut pause) {
            Ok(found) => {
                let report = report_of(&found, &self.dir, self.clock.now().since(began));
                if report.damaged > 0 {
                    tracing::error!(places = report.damaged, "the spool is damaged");
                } else {
                    tracing::info!(bytes = report.bytes, "the spool was read: it is whole");
                }
                VerifyStatus {
                    state: VerifyState::Done,
                    report: Some(report),
                    error: None,
                }
            }
            Err(error) => failed(&error),
        }
    }
}

impl SpoolVerifier for Verifier {
    fn begin(&self) -> VerifyStatus {
        let running = VerifyStatus {
            state: VerifyState::Running,
            ..VerifyStatus::default()
        };
        {
            let mut shown = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.state == VerifyState::Running {
                return shown.clone();
            }
            shown.clone_from(&running);
        }
        let reader = self.clone();
        let thread = thread::Builder::new().name("spool-verify".into());
        match thread.spawn(move || {
            let ended = EndsReading(&reader);
            ended.0.set(reader.read());
        }) {
            Ok(_) => running,
            Err(error) => self.set(failed(&error)),
        }
    }

    fn status(&self) -> VerifyStatus {
        let shown = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }
}

/// A reading that panics is over as well.
struct EndsReading<'v>(&'v Verifier);

impl Drop for EndsReading<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set(failed(&"the reading thread panicked"));
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> VerifyStatus {
    VerifyStatus {
        state: VerifyState::Failed,
        report: None,
        error: Some(error.to_string()),
    }
}
