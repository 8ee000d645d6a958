//! Reading the whole spool on demand. The pipeline does it, which owns the spool: what is found is also counted, kept
//! for people to look at, and given up where nobody has it any more.

use std::sync::Arc;

use forebay_admin::{SpoolVerifier, VerifyState, VerifyStatus};
use forebay_core::Clock;
use forebay_pipeline::PipelineControl;

use super::view::{progress_of, report_of_check};

/// Asks the pipeline, and tells what it answered.
pub(in crate::server) struct Verifier {
    control: PipelineControl,
    clock: Arc<dyn Clock>,
}

impl Verifier {
    /// For the spool of this process.
    pub(in crate::server) fn new(control: PipelineControl, clock: Arc<dyn Clock>) -> Self {
        Self { control, clock }
    }

    /// The state of the request with this number; 0 when there was none.
    fn status_of(&self, request: u64) -> VerifyStatus {
        let Some(log) = self.control.log().filter(|_| request > 0) else {
            return VerifyStatus::default();
        };
        let check = &log.check;
        if check.answered < request {
            let under_way = check.under_way.as_ref().filter(|progress| progress.asked);
            return VerifyStatus {
                state: VerifyState::Running,
                progress: under_way.map(|progress| progress_of(progress, self.clock.now())),
                ..VerifyStatus::default()
            };
        }
        let dir = &log.stat.dir;
        VerifyStatus {
            state: VerifyState::Done,
            report: check
                .answer
                .as_ref()
                .map(|report| report_of_check(report, dir)),
            ..VerifyStatus::default()
        }
    }
}

impl SpoolVerifier for Verifier {
    fn begin(&self) -> VerifyStatus {
        self.status_of(self.control.check_log())
    }

    fn status(&self) -> VerifyStatus {
        self.status_of(self.control.log_check_asked())
    }
}
