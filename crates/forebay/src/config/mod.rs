//! The configuration: from what the user wrote to values that are never checked again.
//!
//! [`load`] reads all layers (file, `conf.d`, environment, `--set`), merges them, and turns them section by section
//! into a [`Config`]. Everything that is wrong is in the [`Report`], which comes also when nothing is: it then holds
//! the warnings. Nothing is opened, bound or started here.

mod admin;
mod functions;
mod kinesis;
mod layers;
mod limits;
mod listeners;
mod machine;
mod memory;
mod mqtt;
mod process;
mod raw;
mod rules;
mod section;
mod spool;
#[cfg(test)]
mod tests;
pub mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::AckMode;
use forebay_core::topic::TopicLimits;
use forebay_rules::{Environment, Rule, RuleLimits, RuleSet};

pub use admin::Admin;
pub use kinesis::Kinesis;
pub use layers::Inputs;
pub use limits::{Limits, ListenerLimits, Profile};
pub use listeners::Listener;
pub use machine::{Machine, raise_descriptor_limit};
pub use memory::{BASE_BYTES, Memory};
pub use mqtt::{Mqtt, OnQueueFull};
pub use process::{Log, LogFormat, Metrics, Server, Shutdown};
pub use rules::{COMMAND_LINE_SQL_VERSION, CommandLineRule, RuleSources, Rules, SourceRule};
pub(crate) use rules::{parse_document, read_document, read_rule, rule_files, text_error};
pub use spool::Spool;
pub(crate) use spool::{NEEDS_A_DIRECTORY, check_writable};

use crate::diagnostics::Report;
use rules::Inherited;
use section::Section;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The files it was read from, in order; empty when there was none.
    pub files: Vec<PathBuf>,
    /// What environment and `--set` put above the files, as it was written.
    pub overrides: Vec<String>,
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[shutdown]`.
    pub shutdown: Shutdown,
    /// `[listeners]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[kinesis]`.
    pub kinesis: Kinesis,
    /// `[memory]`.
    pub memory: Memory,
    /// `[spool]`.
    pub spool: Spool,
    /// `[mqtt]`.
    pub mqtt: Mqtt,
    /// `[limits]`.
    pub limits: Limits,
    /// `[rules]`.
    pub rules: Rules,
    /// The rules of `rules.dir`, of `[[rules.inline]]` and of the command line, compiled.
    pub rule_set: Arc<RuleSet>,
    /// What they were compiled from.
    pub rule_sources: Arc<RuleSources>,
    /// Every key that is written somewhere, by its dotted name, with its value.
    pub written: BTreeMap<String, String>,
}

/// What the layers gave.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` exactly when the report has errors.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub report: Report,
}

/// Reads and judges the configuration. `rule` is a rule from the command line.
pub fn load(inputs: &Inputs, rule: Option<&CommandLineRule>, machine: &Machine) -> Loaded {
    let mut report = Report::default();
    let layers = layers::read(inputs, &mut report);
    let config = build(layers, rule, machine, &mut report);
    report.sort();
    Loaded {
        config: config.filter(|_| !report.has_errors()),
        report,
    }
}

fn build(
    layers: layers::Layers,
    rule: Option<&CommandLineRule>,
    machine: &Machine,
    report: &mut Report,
) -> Option<Config> {
    let beside = layers.directory().to_owned();
    let written = raw::written(&layers.table);
    let mut root = Section::new("", layers.table, report);
    let mut table = |key| root.table(key);
    let (server, log, metrics, shutdown) = (
        table("server"),
        table("log"),
        table("metrics"),
        table("shutdown"),
    );
    let (listeners, admin, kinesis) = (table("listeners"), table("admin"), table("kinesis"));
    let (memory, spool) = (table("memory"), table("spool"));
    let (mqtt, limits) = (table("mqtt"), table("limits"));
    let (rules, rule_settings) = (table("rules"), table("rule"));
    let functions = table("functions");
    root.finish();

    let server = Server::read(server, machine, report);
    let read_spool = Spool::read(spool, &server.data_dir, report);
    let read_memory = Memory::read(memory, machine, report);
    let mut section = Section::new("limits", limits, report);
    let profile = limits::read_profile(&mut section);
    let read_limits = Limits::read(
        &mut section,
        profile,
        &read_memory.memory,
        machine.descriptors,
    );
    section.finish();
    read_memory.check_fit(read_limits.connections, report);
    let limits = read_limits.limits;
    let listeners = listeners::read_listeners(listeners, server.ack, &limits.listener, report);
    let inherited = Inherited {
        on_full: read_memory.memory.on_full,
        on_full_origin: read_memory.on_full_origin.as_ref(),
        acks: listeners
            .iter()
            .map(|read| (read.listener.ack, read.ack_origin.as_ref()))
            .collect(),
    };
    let read_rules = rules::read(rules, rule_settings, rule, &beside, &limits, report);
    let rules = read_rules.rules.clone();
    let environment = Environment {
        int_division: rules.int_division,
        account_id: Some(rules.account_id.as_str().into()),
        data: Some(Arc::new(functions::read(functions, report))),
    };
    let limits_of_rules = rule_limits(&limits, &rules);
    let compiled = read_rules.compile(&inherited, &limits, limits_of_rules, environment, report);
    let (rule_set, rule_sources) = compiled.unzip();
    let listeners: Vec<Listener> = listeners.into_iter().map(|read| read.listener).collect();
    // Everything is read before rules that cannot be compiled end this: all mistakes come at once.
    if needs_spool(&listeners, rule_set.iter().flat_map(RuleSet::rules)) {
        read_spool.check_medium(report);
    }
    let config = Config {
        files: layers.files,
        overrides: layers.overrides,
        log: Log::read(log, machine, report),
        metrics: Metrics::read(metrics, report),
        shutdown: Shutdown::read(shutdown, report),
        admin: Admin::read(admin, &server.data_dir, report),
        kinesis: Kinesis::read(kinesis, report),
        mqtt: Mqtt::read(mqtt, profile, report),
        server,
        listeners,
        memory: read_memory.memory,
        spool: read_spool.spool,
        limits,
        rules,
        rule_set: Arc::new(rule_set?),
        rule_sources: Arc::new(rule_sources?),
        written,
    };
    Some(config)
}

impl Config {
    /// Whether anything that is published may be acknowledged because it is in the spool.
    pub fn needs_spool(&self) -> bool {
        needs_spool(&self.listeners, self.rule_set.rules())
    }
}

fn needs_spool<'r>(listeners: &[Listener], rules: impl IntoIterator<Item = &'r Rule>) -> bool {
    let by_listener = listeners
        .iter()
        .any(|listener| listener.ack == AckMode::Spool);
    let mut rules = rules.into_iter();
    by_listener || rules.any(|rule| rule.settings().ack == Some(AckMode::Spool))
}

/// The limits of `[limits]` and `[rules]` in the form that the rule engine takes.
fn rule_limits(limits: &Limits, rules: &Rules) -> RuleLimits {
    RuleLimits {
        rules_max: limits.rules as usize,
        rules_per_message_max: rules.max_per_message as usize,
        evaluation: forebay_sql::Limits {
            steps_max: limits.evaluation_steps,
            output_bytes_max: usize::try_from(limits.output_bytes).unwrap_or(usize::MAX),
        },
        output_bytes_per_message_max: usize::try_from(limits.output_bytes_per_message)
            .unwrap_or(usize::MAX),
        topic: TopicLimits {
            bytes_max: limits.listener.topic_bytes as usize,
            levels_max: limits.listener.topic_levels as usize,
        },
    }
}
