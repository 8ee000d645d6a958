//! Settlement: where every record ends, exactly once.
//!
//! Settling gives the record's bytes back to its budgets, counts it, and finishes the publish that waits for it. What
//! is finished leaves in one list per worker and answer. A record of the log goes to the sequencer, which strikes it
//! off there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error_action::{self, ErrorRole, FailedRecord, Handover, RecordFailure};
use crate::rule_book::KnownRules;
use crate::shared::{Finished, SettledLog, Shared};
use crate::{Record, Stream};

/// Why a record failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// It exceeds the stream's record limit.
    RecordTooLarge,
    /// The service refuses its partition key.
    BadPartitionKey,
    /// Its deadline passed before it was stored.
    Expired,
    /// Its deadline passed while the outcome of an attempt was unknown: it may be stored.
    ExpiredAmbiguous,
    /// `drop_oldest` or `drop_newest` gave up its place.
    BufferFull,
    /// More streams are in use than `kinesis.max_streams`.
    TooManyStreams,
    /// The service refused it alone, so it is the culprit.
    Refused,
    /// The process stops and it was not promised.
    Shutdown,
    /// The service refuses it because of its stream, the key of that or a permission, and its rule does not wait.
    Configuration,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [FailureReason; 9] = [
        Self::RecordTooLarge,
        Self::BadPartitionKey,
        Self::Expired,
        Self::ExpiredAmbiguous,
        Self::BufferFull,
        Self::TooManyStreams,
        Self::Refused,
        Self::Shutdown,
        Self::Configuration,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecordTooLarge => "record_too_large",
            Self::BadPartitionKey => "bad_partition_key",
            Self::Expired => "expired",
            Self::ExpiredAmbiguous => "expired_ambiguous",
            Self::BufferFull => "buffer_full",
            Self::TooManyStreams => "too_many_streams",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Configuration => "configuration",
        }
    }

    /// A sentence for people.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::RecordTooLarge => "the record is larger than the stream takes",
            Self::BadPartitionKey => "the service refuses the partition key",
            Self::Expired => "its deadline passed before it was stored",
            Self::ExpiredAmbiguous => {
                "its deadline passed while it was not known whether it was stored"
            }
            Self::BufferFull => "it gave up its place for newer records",
            Self::TooManyStreams => "more streams are in use than kinesis.max_streams",
            Self::Refused => "the service refuses the record",
            Self::Shutdown => "the process stops",
            Self::Configuration => "the stream, its key or a permission must be mended",
        }
    }
}

/// Settles records of one sink. Call [`flush`](Self::flush) once per answer of the service.
#[derive(Debug)]
pub struct Settlement {
    shared: Arc<Shared>,
    finished: Box<[Vec<Finished>]>,
    /// The stream whose bytes are being added up, so that an answer costs one operation per budget.
    freed: Option<(Arc<Stream>, u64)>,
    freed_total: u64,
    stored: u64,
    failed: u64,
    /// Records of the log among them.
    logged: Vec<SettledLog>,
    /// Failed records whose rules have error actions.
    failing: Vec<FailedRecord>,
    /// Failed records that what was settled answered for, each with whether that failed.
    handovers: Vec<(Arc<Handover>, bool)>,
    /// Stored and failed records by the number of their rule, and the rules that have any, each once.
    by_rule: Vec<(u64, u64)>,
    known: KnownRules,
    rules: Vec<u32>,
}

impl Settlement {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let finished = shared.workers.iter().map(|_| Vec::new()).collect();
        let known = KnownRules::new(&shared.rules);
        Self {
            shared,
            finished,
            freed: None,
            freed_total: 0,
            stored: 0,
            failed: 0,
            logged: Vec::new(),
            failing: Vec::new(),
            handovers: Vec::new(),
            by_rule: Vec::new(),
            known,
            rules: Vec::new(),
        }
    }

    /// The record has a sequence number of the service.
    pub fn stored(&mut self, stream: &Arc<Stream>, record: Record) {
        self.stored += 1;
        self.settle(stream, record, false);
    }

    /// The record will never be stored. The caller has counted and logged the reason. Where its rule has an error
    /// action, that gets what `failure` says, and the record is settled when what the error action makes of it is safe.
    pub fn failed(
        &mut self,
        stream: &Arc<Stream>,
        record: Record,
        failure: impl FnOnce() -> RecordFailure,
    ) {
        let context = record.error.as_ref().and_then(|role| role.context.as_ref());
        if let Some(context) = context.filter(|context| error_action::has_target(context)) {
            self.failing.push(FailedRecord {
                context: Arc::clone(context),
                stream: Arc::clone(stream),
                failure: failure(),
                record,
            });
            return;
        }
        self.failed += 1;
        self.settle(stream, record, true);
    }

    fn settle(&mut self, stream: &Arc<Stream>, mut record: Record, failed: bool) {
        debug_assert_eq!(
            stream.id(),
            record.stream,
            "a record was settled for another stream"
        );
        match record.error.take() {
            Some(role) => self.settle_role(record.rule, *role, failed),
            None => self.count_action(record.rule, failed),
        }
        if record.in_log {
            // Its publish was answered when it was written, and its bytes were given back then; the sequencer, which
            // owns the log and the places in the lanes, does the rest.
            self.logged.push(SettledLog::of(&record));
            return;
        }
        let charge = u64::from(record.charge);
        self.freed_total += charge;
        match &mut self.freed {
            Some((current, bytes)) if Arc::ptr_eq(current, stream) => *bytes += charge,
            _ => {
                self.free_stream();
                self.freed = Some((Arc::clone(stream), charge));
            }
        }
        if let Some(ticket) = record.ticket {
            let finished = Finished {
                connection: ticket.connection,
                generation: ticket.generation,
                slot: ticket.slot,
                failed,
            };
            if let Some(list) = self.finished.get_mut(usize::from(ticket.worker)) {
                list.push(finished);
            }
        }
    }

    fn count_action(&mut self, number: u32, failed: bool) {
        let rule = number as usize;
        if rule >= self.by_rule.len() {
            self.by_rule.resize(rule + 1, (0, 0));
        }
        let (of_rule_stored, of_rule_failed) = &mut self.by_rule[rule];
        if *of_rule_stored + *of_rule_failed == 0 {
            self.rules.push(number);
        }
        *(if failed {
            of_rule_failed
        } else {
            of_rule_stored
        }) += 1;
    }

    fn settle_role(&mut self, rule: u32, role: ErrorRole, failed: bool) {
        if role.is_document() {
            let counters = &self.known.entry(rule, &self.shared.rules).counters;
            counters.error_action("kinesis", failed).increment(1);
        } else {
            self.count_action(rule, failed);
        }
        if let Some(handover) = role.handover {
            self.handovers.push((handover, failed));
        }
    }

    /// Hands the records whose error actions are to run to the workers. While the process stops there are none: what
    /// is in the log stays owed, and what is not was not answered.
    fn hand_over_failing(&mut self) {
        if self.failing.is_empty() {
            return;
        }
        if self.shared.draining.load(Ordering::SeqCst) {
            for failed in std::mem::take(&mut self.failing) {
                if !failed.record.in_log {
                    self.failed += 1;
                    self.settle(&failed.stream, failed.record, true);
                }
            }
            return;
        }
        let counts = &self.shared.counts;
        counts
            .failing
            .fetch_add(self.failing.len(), Ordering::SeqCst);
        for failed in self.failing.drain(..) {
            let workers = self.shared.workers.len();
            let worker = match failed.record.ticket {
                Some(ticket) => usize::from(ticket.worker),
                None => failed.record.seq as usize,
            };
            let port = &self.shared.workers[worker % workers];
            port.failed.push(failed);
            port.wake.wake();
        }
    }

    fn free_stream(&mut self) {
        if let Some((stream, bytes)) = self.freed.take() {
            stream.share.release(bytes);
        }
    }

    /// Makes everything settled since the last call take effect: budgets, counts, finished publishes.
    pub fn flush(&mut self) {
        self.hand_over_failing();
        if self.stored == 0 && self.failed == 0 {
            return;
        }
        for rule in self.rules.drain(..) {
            let (stored, failed) = std::mem::take(&mut self.by_rule[rule as usize]);
            let counters = &self.known.entry(rule, &self.shared.rules).counters;
            counters.success.increment(stored);
            counters.failure.increment(failed);
        }
        let counts = &self.shared.counts;
        counts
            .stored
            .fetch_add(std::mem::take(&mut self.stored), Ordering::SeqCst);
        counts
            .failed
            .fetch_add(std::mem::take(&mut self.failed), Ordering::SeqCst);
        if !self.logged.is_empty() {
            let room_for_next = Vec::with_capacity(self.logged.len());
            let logged = std::mem::replace(&mut self.logged, room_for_next);
            self.shared.settled.push(logged);
            self.shared.sequencer_wake.wake();
        }
        if self.freed_total > 0 {
            self.free_stream();
            self.shared
                .ingest
                .release(std::mem::take(&mut self.freed_total));
            self.shared.send_finished(&mut self.finished);
            self.shared.signal_room();
        }
        for (handover, failed) in self.handovers.drain(..) {
            error_action::finish(&self.shared, handover, failed);
        }
    }
}
