//! What `/statusz` shows, put together from the parts that know it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use forebay_admin::{
    BudgetStatus, ConnectionStatus, Conservation, LastError, ListenerStatus, RecoveryStatus,
    RuleStatus, SpoolStatus, Status, StreamStatus,
};
use forebay_broker::BrokerObserver;
use forebay_core::{Clock, OnSpoolFailure, Time};
use forebay_kinesis::SenderViewer;
use forebay_metrics::Registry;
use forebay_pipeline::{LogCondition, LogStatus, PipelineControl};

use super::{Phase, spool};
use crate::config::Config;

/// Asks the parts.
pub(super) struct StatusSource {
    name: String,
    /// Acknowledgement mode of each listener, in the order of the configuration.
    acks: Vec<String>,
    connection_limit: u64,
    started: Time,
    clock: Arc<dyn Clock>,
    phase: Arc<Phase>,
    registry: Registry,
    control: PipelineControl,
    sender: SenderViewer,
    /// What opening the spool found; `None` without one.
    recovery: Option<RecoveryStatus>,
    on_spool_failure: OnSpoolFailure,
    /// The broker opens after the admin port.
    broker: OnceLock<BrokerObserver>,
}

impl StatusSource {
    pub(super) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        phase: Arc<Phase>,
        registry: Registry,
        control: PipelineControl,
        sender: SenderViewer,
        recovery: Option<RecoveryStatus>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: config.server.name.clone(),
            acks: config
                .listeners
                .iter()
                .map(|listener| listener.ack.to_string())
                .collect(),
            connection_limit: u64::from(config.limits.connections),
            started: clock.now(),
            clock,
            phase,
            registry,
            control,
            sender,
            recovery,
            on_spool_failure: config.spool.on_failure,
            broker: OnceLock::new(),
        })
    }

    /// From here on there is a broker to look at. Only the first one counts.
    pub(super) fn watch(&self, observer: BrokerObserver) {
        self.broker.get_or_init(|| observer);
    }

    /// When the ingest worker that is silent for the longest last took a turn; now while there is none.
    pub(super) fn last_ingest_tick(&self) -> Time {
        match self.broker.get() {
            Some(broker) => broker.status().last_tick,
            None => self.clock.now(),
        }
    }

    /// What reads the whole spool on demand, where anything is kept in one.
    pub(super) fn verifier(&self) -> Option<spool::Verifier> {
        let verifier = || spool::Verifier::new(self.control.clone(), Arc::clone(&self.clock));
        self.recovery.is_some().then(verifier)
    }

    /// True while the spool cannot be written and publishes wait for it.
    pub(super) fn must_stall(&self) -> bool {
        let failed = |log: Arc<LogStatus>| log.condition == LogCondition::Failed;
        self.on_spool_failure == OnSpoolFailure::Stall && self.control.log().is_some_and(failed)
    }

    /// The state of this moment.
    pub(super) fn status(&self) -> Status {
        let broker = self.broker.get().map(BrokerObserver::status);
        let conservation = self.control.conservation();
        Status {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.clock.now().since(self.started).as_secs_f64(),
            draining: self.phase.is_draining(),
            connections: ConnectionStatus {
                open: broker
                    .as_ref()
                    .map_or(0, |broker| broker.connections as u64),
                stalled: broker
                    .as_ref()
                    .map_or(0, |broker| broker.connections_stalled as u64),
                limit: self.connection_limit,
            },
            listeners: broker.map_or_else(Vec::new, |broker| self.listeners(&broker)),
            rules: self.rules(),
            streams: self.streams(self.clock.now()),
            budgets: self.budgets(),
            spool: self.spool(),
            conservation: Conservation {
                accepted: conservation.accepted,
                stored: conservation.stored,
                failed: conservation.failed,
                pending: conservation.pending,
            },
        }
    }

    fn budgets(&self) -> Vec<BudgetStatus> {
        let budget = |name: &str, (used_bytes, limit_bytes)| BudgetStatus {
            name: name.to_owned(),
            used_bytes,
            limit_bytes,
        };
        let mut budgets = vec![budget("memory.ingest", self.control.ingest_bytes())];
        if let Some(log) = self.control.log() {
            budgets.push(budget("memory.lanes", log.lane_bytes));
        }
        budgets
    }

    fn spool(&self) -> Option<SpoolStatus> {
        let log = self.control.log()?;
        let mut status = spool::status_of(&log.stat, &log.backlog, self.clock.wall_millis());
        let recovery = self.recovery.unwrap_or_default();
        status.writer = Some(spool::writer_of(&log, recovery, self.clock.now()));
        Some(status)
    }

    fn listeners(&self, broker: &forebay_broker::BrokerStatus) -> Vec<ListenerStatus> {
        let acks = self.acks.iter();
        acks.zip(&broker.listeners)
            .map(|(ack, listener)| ListenerStatus {
                name: listener.name.clone(),
                address: listener.address.to_string(),
                protocol: "tcp".to_owned(),
                connections: listener.connections as u64,
                ack: ack.clone(),
            })
            .collect()
    }

    fn streams(&self, now: Time) -> Vec<StreamStatus> {
        self.sender
            .status()
            .into_iter()
            .map(|stream| StreamStatus {
                last_error: stream.last_error.map(|error| LastError {
                    code: error.code,
                    message: error.message,
                    age_seconds: now.since(error.at).as_secs_f64(),
                }),
                name: stream.name,
                shards: (stream.shards > 0).then_some(stream.shards as u64),
                pending_records: stream.pending as u64,
                pending_bytes: stream.pending_bytes as u64,
                blocked: stream.blocked,
                oldest_pending_seconds: stream.oldest_pending.map(|age| age.as_secs_f64()),
            })
            .collect()
    }

    /// The rules with their counts, which the registry holds. A rule beyond the label limit has none of its own.
    fn rules(&self) -> Vec<RuleStatus> {
        let counts = RuleCounts::read(&self.registry.render());
        let in_force = self.control.rules();
        let rules = in_force.rules().iter().map(|rule| RuleStatus {
            name: rule.name().to_owned(),
            enabled: rule.is_enabled(),
            ack: rule.settings().ack.map(|ack| ack.to_string()),
            matched: counts.of("forebay_rule_matched_total", rule.name()),
            executed: counts.of("forebay_rule_executed_total", rule.name()),
            errors: counts.of("forebay_rule_errors_total", rule.name()),
        });
        let mut rules: Vec<RuleStatus> = rules.collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules
    }
}

/// Sums of counters by metric and rule.
struct RuleCounts(BTreeMap<(String, String), u64>);

impl RuleCounts {
    /// Reads the lines of an exposition that have a label `rule`.
    fn read(exposition: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in exposition
            .lines()
            .filter(|line| line.starts_with("forebay_rule_"))
        {
            if let Some((metric, rule, value)) = sample(line) {
                *sums
                    .entry((metric.to_owned(), rule.to_owned()))
                    .or_default() += value;
            }
        }
        Self(sums)
    }

    fn of(&self, metric: &str, rule: &str) -> u64 {
        let key = (metric.to_owned(), rule.to_owned());
        self.0.get(&key).copied().unwrap_or(0)
    }
}

/// Metric, rule and value of a line such as `name{rule="a",kind="json"} 3`. A rule's name has no quotes in it.
fn sample(line: &str) -> Option<(&str, &str, u64)> {
    let (metric, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let (_, behind) = labels.split_once("rule=\"")?;
    let (rule, _) = behind.split_once('"')?;
    Some((metric, rule, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_the_other_labels() {
        let counts = RuleCounts::read(
            "# HELP forebay_rule_errors_total Errors.\n\
             forebay_rule_errors_total{rule=\"a\",kind=\"json\"} 3\n\
             forebay_rule_errors_total{kind=\"limit\",rule=\"a\"} 4\n\
             forebay_rule_errors_total{rule=\"b\",kind=\"json\"} 5\n\
             forebay_rules_loaded 2\n",
        );
        assert_eq!(counts.of("forebay_rule_errors_total", "a"), 7);
        assert_eq!(counts.of("forebay_rule_errors_total", "b"), 5);
        assert_eq!(counts.of("forebay_rule_matched_total", "a"), 0);
    }
}
