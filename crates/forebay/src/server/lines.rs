//! What a start says: who runs, with which rules, and what each of them promises.

use forebay_core::{AckMode, StreamName};
use forebay_rules::{Action, Rule};
use tracing::{info, warn};

use crate::config::Config;
use crate::diagnostics::{Diagnostic, Report};

/// The first line.
pub(super) fn banner(config: &Config) {
    let files: Vec<String> = config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        name = config.server.name,
        configuration = if files.is_empty() {
            "none found: loopback listeners, anonymous clients, rules from rules.d".to_owned()
        } else {
            files.join(", ")
        },
        overrides = config.overrides.join(", "),
        workers = config.server.workers,
        memory_limit = config.memory.limit,
        connections = config.limits.connections,
        "forebay"
    );
}

/// Warnings of the configuration.
pub(super) fn warnings(report: &Report) {
    for Diagnostic {
        code,
        title,
        origin,
        ..
    } in report.entries()
    {
        let place = origin.as_ref().map(|origin| {
            let (line, _) = origin.line_and_column();
            format!("{}:{line}", origin.source.name)
        });
        warn!(code, place, "{title}");
    }
}

/// One line for the roles that are not used, and one for each rule.
pub(super) fn rules(config: &Config) {
    let rules = config.rule_set.rules();
    let mut roles: Vec<&str> = rules
        .iter()
        .flat_map(|rule| rule.document().all_actions())
        .filter_map(Action::role_arn)
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if !roles.is_empty() {
        info!(
            roles = roles.join(", "),
            "roles are ignored, Forebay's own credentials are used (kinesis.role_mode = \"ignore\")"
        );
    }
    if rules.is_empty() {
        warn!(dir = %config.rules.dir.display(), "no rules: messages reach subscribers only");
    }
    for rule in rules {
        contract(config, rule);
    }
}

fn contract(config: &Config, rule: &Rule) {
    let settings = rule.settings();
    let ack = match settings.ack {
        Some(ack) => ack.to_string(),
        None => config
            .listeners
            .iter()
            .map(|listener| format!("{} on {}", listener.ack, listener.name))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let streams: Vec<String> = rule
        .document()
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Kinesis(kinesis) => Some(match StreamName::new(&kinesis.stream_name) {
                Ok(name) => name.as_str().to_owned(),
                Err(_) => kinesis.stream_name.clone(),
            }),
            Action::Republish(_) | Action::Unsupported { .. } => None,
        })
        .collect();
    let mut listeners = config.listeners.iter();
    let spooled = match settings.ack {
        Some(ack) => ack == AckMode::Spool,
        None => listeners.any(|listener| listener.ack == AckMode::Spool),
    };
    let on_spool_failure = spooled.then(|| config.spool.on_failure.as_str());
    info!(
        rule = rule.name(),
        enabled = rule.is_enabled(),
        filter = rule.filter().unwrap_or("none"),
        stream = streams.join(", "),
        ack,
        ordering = %settings.ordering.unwrap_or(config.kinesis.ordering),
        on_full = %settings.on_full.unwrap_or(config.memory.on_full),
        on_spool_failure,
        "rule in force"
    );
}
