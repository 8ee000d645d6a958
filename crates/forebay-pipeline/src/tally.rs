//! Counts of one worker, added up in plain memory and handed to the metrics once per turn.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay_metrics::{BatchedCounter, Counter, Histogram, HistogramShard, Registry, buckets};
use forebay_rules::{ErrorKind, Evaluated, RuleOutcome};

use crate::rule_book::{RuleEntry, RulesInForce};
use crate::settlement::FailureReason;

/// The metrics of one rule, which all threads share.
#[derive(Debug)]
pub(crate) struct RuleCounters {
    matched: Counter,
    selected: Counter,
    filtered: Counter,
    failed: Counter,
    records: Counter,
    errors: [Counter; ErrorKind::ALL.len()],
    evaluation: Histogram,
    /// Actions that succeeded: one per action and message, after all retries.
    pub(crate) success: Counter,
    /// Actions that failed for good.
    pub(crate) failure: Counter,
    rare: Rare,
}

/// Metrics that most rules never have.
#[derive(Debug)]
struct Rare {
    registry: Registry,
    label: Box<str>,
    counters: [OnceLock<Counter>; 6],
}

impl Rare {
    fn counter(
        &self,
        index: usize,
        name: &'static str,
        help: &'static str,
        action: &str,
        failed: bool,
    ) -> &Counter {
        let index = 2 * index + usize::from(failed);
        self.counters[index].get_or_init(|| {
            let result = if failed { "failure" } else { "success" };
            let labels = [
                ("rule", &*self.label),
                ("action", action),
                ("result", result),
            ];
            self.registry.counter(name, help, &labels)
        })
    }
}

const ACTIONS_HELP: &str = "Actions of rules by their end, one per action and message.";

impl RuleCounters {
    /// Error actions by their end. `action` is what the error action does: `kinesis` or `republish`.
    pub(crate) fn error_action(&self, action: &str, failed: bool) -> &Counter {
        let help = "Error actions of rules by their end, one per failed action.";
        let index = usize::from(action == "republish");
        self.rare.counter(
            index,
            "forebay_rule_error_actions_total",
            help,
            action,
            failed,
        )
    }

    /// Republish actions by their end.
    pub(crate) fn republished(&self, failed: bool) -> &Counter {
        self.rare.counter(
            2,
            "forebay_rule_actions_total",
            ACTIONS_HELP,
            "republish",
            failed,
        )
    }
}

impl RuleCounters {
    /// The metrics under the label `rule`.
    pub(crate) fn new(registry: &Registry, rule: &str) -> Self {
        let executed = |result| {
            let labels = [("rule", rule), ("result", result)];
            let help = "Rules run, by what their WHERE and SELECT said.";
            registry.counter("forebay_rule_executed_total", help, &labels)
        };
        let errors = ErrorKind::ALL.map(|kind| {
            let labels = [("rule", rule), ("kind", kind.as_str())];
            let help = "Errors of rules on messages, by kind.";
            registry.counter("forebay_rule_errors_total", help, &labels)
        });
        let action = |result| {
            let labels = [("rule", rule), ("action", "kinesis"), ("result", result)];
            registry.counter("forebay_rule_actions_total", ACTIONS_HELP, &labels)
        };
        let labels = [("rule", rule)];
        let help = "Messages on topics that a rule listens to.";
        let matched = registry.counter("forebay_rule_matched_total", help, &labels);
        let help = "Records that rules produced for streams.";
        let records =
            registry.counter("forebay_kinesis_user_records_received_total", help, &labels);
        let help =
            "Time to evaluate a rule on a message, statement and templates; one message in 64.";
        let name = "forebay_rule_evaluation_seconds";
        Self {
            matched,
            selected: executed("selected"),
            filtered: executed("filtered"),
            failed: executed("error"),
            records,
            errors,
            evaluation: registry.histogram(name, help, &labels, buckets::EVALUATION),
            success: action("success"),
            failure: action("failure"),
            rare: Rare {
                registry: registry.clone(),
                label: Box::from(rule),
                counters: Default::default(),
            },
        }
    }
}

/// What one worker counted for one rule.
#[derive(Debug)]
struct RuleSums {
    shared: Arc<RuleEntry>,
    matched: BatchedCounter,
    selected: BatchedCounter,
    filtered: BatchedCounter,
    failed: BatchedCounter,
    records: BatchedCounter,
    /// Actions that failed before there was a record.
    actions_failed: BatchedCounter,
    errors: [BatchedCounter; ErrorKind::ALL.len()],
    evaluation: HistogramShard,
    /// True while the rule is on the list of rules to flush.
    listed: bool,
}

impl RuleSums {
    fn new(entry: &Arc<RuleEntry>) -> Self {
        let rule = &entry.counters;
        let sum = |counter: &Counter| BatchedCounter::new(counter.clone());
        Self {
            shared: Arc::clone(entry),
            matched: sum(&rule.matched),
            selected: sum(&rule.selected),
            filtered: sum(&rule.filtered),
            failed: sum(&rule.failed),
            records: sum(&rule.records),
            actions_failed: sum(&rule.failure),
            errors: std::array::from_fn(|kind| sum(&rule.errors[kind])),
            evaluation: rule.evaluation.shard(),
            listed: false,
        }
    }

    fn flush(&mut self) {
        self.listed = false;
        for sum in [
            &mut self.matched,
            &mut self.selected,
            &mut self.filtered,
            &mut self.failed,
        ] {
            sum.flush();
        }
        self.records.flush();
        self.actions_failed.flush();
        self.errors.iter_mut().for_each(BatchedCounter::flush);
    }
}

/// All counts of one worker.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By the number of the rule.
    rules: Vec<RuleSums>,
    listed: Vec<u32>,
    cut: BatchedCounter,
    unknown_rule: BatchedCounter,
    dropped: BatchedCounter,
    refused: BatchedCounter,
    abandoned: BatchedCounter,
    too_many_streams: BatchedCounter,
}

impl Tally {
    pub(crate) fn new(rules: &RulesInForce, registry: &Registry) -> Self {
        let counter = |name, help, labels: &[(&'static str, &str)]| {
            BatchedCounter::new(registry.counter(name, help, labels))
        };
        let failed = |reason: FailureReason| {
            let help = "Records that will never be stored, by reason.";
            let labels = [("reason", reason.as_str())];
            counter("forebay_kinesis_user_records_failed_total", help, &labels)
        };
        let limit_help = "Limits that were hit.";
        let mut tally = Self {
            rules: Vec::new(),
            listed: Vec::new(),
            cut: counter(
                "forebay_limit_hits_total",
                limit_help,
                &[("limit", "rules.max_per_message")],
            ),
            unknown_rule: counter(
                "forebay_publish_rejected_total",
                "Publishes that were refused, by reason.",
                &[("reason", "basic_ingest_unknown_rule")],
            ),
            dropped: failed(FailureReason::BufferFull),
            refused: counter(
                "forebay_ingest_refused_records_total",
                "Records whose publish was refused because there was no room (on_full = \"reject\").",
                &[],
            ),
            abandoned: counter(
                "forebay_ingest_abandoned_records_total",
                "Records of messages that waited for room when their connection went; not acknowledged.",
                &[],
            ),
            too_many_streams: failed(FailureReason::TooManyStreams),
        };
        tally.grow(rules);
        tally
    }

    /// Makes room for rules that are new.
    pub(crate) fn grow(&mut self, rules: &RulesInForce) {
        let new = rules.entries.iter().skip(self.rules.len());
        self.rules.extend(new.map(RuleSums::new));
    }

    /// Counts what the rules made of one message.
    pub(crate) fn outcomes(&mut self, evaluated: &Evaluated, rules: &RulesInForce) {
        for &(rule, outcome) in &evaluated.outcomes {
            let sums = self.touch(rules.numbers[rule as usize]);
            match outcome {
                RuleOutcome::Selected => {
                    sums.matched.add(1);
                    sums.selected.add(1);
                }
                RuleOutcome::Filtered => {
                    sums.matched.add(1);
                    sums.filtered.add(1);
                }
                RuleOutcome::Error(kind) => {
                    sums.errors[kind as usize].add(1);
                    // A result that is no outgoing payload ends the rule; other errors stand beside its outcome.
                    match kind {
                        ErrorKind::Eval => {
                            sums.matched.add(1);
                            sums.failed.add(1);
                        }
                        ErrorKind::Template | ErrorKind::Action => sums.actions_failed.add(1),
                        _ => {}
                    }
                }
            }
        }
        for record in &evaluated.records {
            self.touch(rules.numbers[record.rule as usize])
                .records
                .add(1);
        }
        self.cut.add(u64::from(evaluated.cut));
        self.unknown_rule.add(u64::from(evaluated.unknown_rule));
    }

    /// One evaluation took this long; shared evenly by the rules that ran.
    pub(crate) fn evaluated(&self, evaluated: &Evaluated, rules: &RulesInForce, took: Duration) {
        let ran = evaluated.matched.max(1);
        let each = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / u64::from(ran);
        let mut last = None;
        for (rule, _) in &evaluated.outcomes {
            // A rule may have several outcomes, one behind the other.
            if last.replace(rule) != Some(rule) {
                let number = rules.numbers[*rule as usize];
                self.rules[number as usize].evaluation.record(each);
            }
        }
    }

    /// A record that does not fit what one message may produce.
    pub(crate) fn over_limit(&mut self, rule: u32) {
        let sums = self.touch(rule);
        sums.errors[ErrorKind::Limit as usize].add(1);
        sums.actions_failed.add(1);
    }

    /// A rule republished a message.
    pub(crate) fn republished(&mut self, rule: u32) {
        self.rules[rule as usize]
            .shared
            .counters
            .republished(false)
            .increment(1);
    }

    /// A rule's message was not republished because too many led to it.
    pub(crate) fn republished_too_often(&mut self, rule: u32) {
        self.rules[rule as usize]
            .shared
            .counters
            .republished(true)
            .increment(1);
        self.touch(rule).errors[ErrorKind::Limit as usize].add(1);
    }

    /// An error action ended.
    pub(crate) fn error_action(&mut self, rule: u32, action: &str, failed: bool) {
        let counters = &self.rules[rule as usize].shared.counters;
        counters.error_action(action, failed).increment(1);
    }

    /// Actions failed at the service, and error actions take them.
    pub(crate) fn action_failed(&mut self, rule: u32) {
        self.touch(rule).actions_failed.add(1);
    }

    /// A record for one stream too many.
    pub(crate) fn too_many_streams(&mut self, rule: u32) {
        self.touch(rule).actions_failed.add(1);
        self.too_many_streams.add(1);
    }

    /// Records dropped for want of room.
    pub(crate) fn dropped(&mut self, records: usize) {
        self.dropped.add(records as u64);
    }

    /// Records of a publish that was refused for want of room.
    pub(crate) fn refused(&mut self, records: usize) {
        self.refused.add(records as u64);
    }

    /// Records that waited for room when their connection went.
    pub(crate) fn abandoned(&mut self, records: usize) {
        self.abandoned.add(records as u64);
    }

    /// True when something was counted since the last flush.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.listed.is_empty() || self.others().any(|sum| sum.is_dirty())
    }

    /// Hands everything to the metrics.
    pub(crate) fn flush(&mut self) {
        for rule in self.listed.drain(..) {
            self.rules[rule as usize].flush();
        }
        let Self {
            cut,
            unknown_rule,
            dropped,
            refused,
            abandoned,
            too_many_streams,
            ..
        } = self;
        for sum in [
            cut,
            unknown_rule,
            dropped,
            refused,
            abandoned,
            too_many_streams,
        ] {
            sum.flush();
        }
    }

    fn others(&self) -> impl Iterator<Item = &BatchedCounter> {
        [
            &self.cut,
            &self.unknown_rule,
            &self.dropped,
            &self.refused,
            &self.abandoned,
            &self.too_many_streams,
        ]
        .into_iter()
    }

    fn touch(&mut self, rule: u32) -> &mut RuleSums {
        let sums = &mut self.rules[rule as usize];
        if !std::mem::replace(&mut sums.listed, true) {
            self.listed.push(rule);
        }
        sums
    }
}
