//! The pipeline as the program sees it: built once, looked at often, drained at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::{Clock, Entropy, Fs};
use forebay_metrics::Registry;
use forebay_rules::RuleSet;
use forebay_spool::{DiskFs, Spool};

use crate::intake::Intake;
use crate::rule_book::{RuleBook, TooManyRuleNames};
use crate::shared::Shared;
use crate::sink::{SinkEvent, SinkPort};
use crate::{LogStatus, OverloadStage, PipelineConfig, Sequencer, Stream};

/// The ends of a new pipeline.
#[derive(Debug)]
pub struct Pipeline<F: Fs = DiskFs> {
    /// One per ingest worker, in worker order.
    pub intakes: Vec<Intake>,
    /// The state that one thread drives.
    pub sequencer: Sequencer<F>,
    /// The sink adapter's end.
    pub sink: SinkPort,
    /// The program's end.
    pub control: PipelineControl,
}

impl<F: Fs> Pipeline<F> {
    /// Builds the parts of a pipeline without a log; nothing runs yet. What is to go to the log is acknowledged when it
    /// is stored.
    pub fn new(
        config: PipelineConfig,
        rules: &Arc<RuleSet>,
        registry: &Registry,
        entropy: &mut dyn Entropy,
    ) -> Self {
        Self::build(config, rules, registry, entropy, false, Sequencer::new)
    }

    /// Builds the parts of a pipeline with a log, whose records of an earlier run come first; nothing runs yet. `clock`
    /// times the flushes of the log.
    pub fn with_log(
        config: PipelineConfig,
        rules: &Arc<RuleSet>,
        registry: &Registry,
        entropy: &mut dyn Entropy,
        spool: Spool<F>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::build(config, rules, registry, entropy, true, |shared| {
            Sequencer::with_log(shared, spool, clock, registry)
        })
    }

    fn build(
        config: PipelineConfig,
        rules: &Arc<RuleSet>,
        registry: &Registry,
        entropy: &mut dyn Entropy,
        has_log: bool,
        sequencer: impl FnOnce(Arc<Shared>) -> Sequencer<F>,
    ) -> Self {
        let book = RuleBook::new(rules, registry, config.rule_label_limit)
            .expect("a set has far fewer rules than there are numbers");
        let shared = Arc::new(Shared::new(config, book, has_log));
        let intakes = (0..shared.workers.len())
            .map(|worker| Intake::new(Arc::clone(&shared), worker, registry, entropy.next_u64()))
            .collect();
        register(&shared, registry);
        Self {
            intakes,
            sequencer: sequencer(Arc::clone(&shared)),
            sink: SinkPort::new(Arc::clone(&shared)),
            control: PipelineControl::new(shared),
        }
    }
}

/// Where all admitted records are. Taken while the pipeline runs, the figures are of slightly different moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conservation {
    /// Records admitted.
    pub accepted: u64,
    /// Records stored by the service.
    pub stored: u64,
    /// Records that failed for good.
    pub failed: u64,
    /// Records found in the pipeline by counting its queues.
    pub pending: u64,
}

impl Conservation {
    /// Admitted records that are at none of the other places: 0 at rest.
    pub fn difference(&self) -> i64 {
        let settled = self.stored + self.failed;
        self.accepted
            .wrapping_sub(settled)
            .wrapping_sub(self.pending)
            .cast_signed()
    }
}

/// Looks at a pipeline and begins its end. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct PipelineControl {
    shared: Arc<Shared>,
}

impl PipelineControl {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Where all admitted records are.
    pub fn conservation(&self) -> Conservation {
        let counts = &self.shared.counts;
        // What left is read before what came in, so the difference is never negative because of the reading order.
        let stored = counts.stored.load(Ordering::SeqCst);
        let failed = counts.failed.load(Ordering::SeqCst);
        Conservation {
            stored,
            failed,
            pending: self.pending(),
            accepted: counts.accepted.load(Ordering::SeqCst),
        }
    }

    /// Records in the pipeline, counted from its queues. Against the stream: a record that moves on meanwhile may be
    /// missed, but is never counted twice.
    pub fn pending(&self) -> u64 {
        let counts = &self.shared.counts;
        let sink = counts.sink.load(Ordering::SeqCst);
        let lanes: usize = self.streams().iter().map(|stream| stream.queued()).sum();
        let sequencer = counts.sequencer.load(Ordering::SeqCst);
        let workers = self.shared.workers.iter();
        let staged: usize = workers
            .map(|worker| worker.staged_records.load(Ordering::SeqCst))
            .sum();
        let failing = counts.failing.load(Ordering::SeqCst);
        let on_disk = counts.on_disk.load(Ordering::SeqCst);
        (sink + lanes + sequencer + staged + failing) as u64 + on_disk
    }

    /// True when no record is admitted that is neither settled nor in the log, and none waits for room: by the budget,
    /// which knows of a record from the moment of its admission to then.
    pub fn is_empty(&self) -> bool {
        self.shared.ingest.used() == 0 && self.parked() == 0
    }

    /// Messages that wait for room.
    pub fn parked(&self) -> usize {
        self.shared.counts.parked.load(Ordering::SeqCst)
    }

    /// Bytes of the ingest budget in use, and its limit.
    pub fn ingest_bytes(&self) -> (u64, u64) {
        (self.shared.ingest.used(), self.shared.ingest.limit())
    }

    /// Records that are neither at their end nor in the log.
    pub fn unsent(&self) -> u64 {
        let owed = self.shared.counts.owed.load(Ordering::SeqCst);
        self.pending().saturating_sub(owed)
    }

    /// The log as it was at most a tenth of a second ago; `None` without one.
    pub fn log(&self) -> Option<Arc<LogStatus>> {
        self.shared.log_status.load_full()
    }

    /// Has the whole log read and checked, as fast as the disk is while no lane waits for it. Returns the number of the
    /// request, which [`LogCheckStatus::answered`](crate::LogCheckStatus::answered) reaches when the answer is there.
    /// One request at a time: while one is not answered its number is returned.
    pub fn check_log(&self) -> u64 {
        let answered = self.log().map_or(0, |log| log.check.answered);
        let asked = &self.shared.check_asked;
        let swapped =
            asked.compare_exchange(answered, answered + 1, Ordering::SeqCst, Ordering::SeqCst);
        self.shared.sequencer_wake.wake();
        swapped.map_or_else(|current| current, |before| before + 1)
    }

    /// The number of the last request to check the log, 0 before the first.
    pub fn log_check_asked(&self) -> u64 {
        self.shared.check_asked.load(Ordering::SeqCst)
    }

    /// How full the log is. Without a log there is always room.
    pub fn overload(&self) -> OverloadStage {
        self.shared.overload_stage()
    }

    /// The streams in use, by name.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.shared.streams.in_use()
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.shared.rules.current().set)
    }

    /// Puts other rules in force: every publish that an intake is given after this is evaluated by them, each message by
    /// exactly one set. Records of the rules before go their way. `registry` is the one that the pipeline was built
    /// with.
    ///
    /// # Errors
    /// When more names were used since the start than can be told apart. The rules stay as they were.
    pub fn replace_rules(
        &self,
        rules: Arc<RuleSet>,
        registry: &Registry,
    ) -> Result<(), TooManyRuleNames> {
        self.shared.rules.replace(rules, registry)
    }

    /// Tells the sink to send what is there without waiting for more. Call it when nothing is admitted any more.
    pub fn begin_drain(&self) {
        if !self.shared.draining.swap(true, Ordering::SeqCst) {
            self.shared.emit(SinkEvent::Drain);
        }
        self.shared.sequencer_wake.wake();
        self.shared.sink_wake.wake();
    }
}

/// Registers the metrics that are looked up at scrape.
fn register(shared: &Arc<Shared>, registry: &Registry) {
    let control = PipelineControl::new(Arc::clone(shared));
    let help = "Bytes of admitted records that are not settled.";
    let used = registry.gauge("forebay_ingest_budget_used_bytes", help, &[]);
    let help = "Bytes of admitted records that may be held at the same time.";
    let limit = registry.gauge("forebay_ingest_budget_limit_bytes", help, &[]);
    let help = "Messages that wait for room in a budget; their connections are not read.";
    let parked = registry.gauge("forebay_ingest_parked_messages", help, &[]);
    let help = "Records admitted.";
    let accepted = registry.counter("forebay_records_accepted_total", help, &[]);
    let help = "Admitted records by their end.";
    let stored = registry.counter("forebay_records_settled_total", help, &[("how", "stored")]);
    let failed = registry.counter("forebay_records_settled_total", help, &[("how", "failed")]);
    let help = "Records in the pipeline, counted from its queues.";
    let pending = registry.gauge("forebay_records_pending", help, &[]);
    let help = "Accepted minus stored minus failed minus pending records: 0 at rest.";
    let difference = registry.gauge("forebay_records_conservation_difference", help, &[]);
    registry.on_scrape(move || {
        let (used_bytes, limit_bytes) = control.ingest_bytes();
        used.set(used_bytes as f64);
        limit.set(limit_bytes as f64);
        parked.set(control.parked() as f64);
        let conservation = control.conservation();
        accepted.absolute(conservation.accepted);
        stored.absolute(conservation.stored);
        failed.absolute(conservation.failed);
        pending.set(conservation.pending as f64);
        difference.set(conservation.difference() as f64);
    });
}
