//! Reading the configuration again: what can change while the server runs is applied as a whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use forebay_admin::Reloaded;

use super::{Kept, RuleStore, Rules};
use crate::config::{Config, Loaded, RuleSources, SourceRule, read_rule, rule_files};
use crate::diagnostics::{Report, Style, render};
use crate::logging;
use crate::rule_directory::{self, Meta};

/// Reads the configuration as it was read at the start.
pub(crate) type ReadAgain = Box<dyn Fn() -> Loaded + Send + Sync>;

/// The key of the log's level, which is applied.
const LOG_LEVEL: &str = "log.level";

/// The rules that were read, with what is kept beside them.
///
/// # Errors
/// When a sidecar cannot be read or two rules have one name, in words.
pub(super) fn kept(sources: &RuleSources, dir: &Path, started_ms: i64) -> Result<Rules, String> {
    let mut rules = Rules::new();
    for rule in &sources.rules {
        let SourceRule {
            document,
            payload,
            stored,
        } = rule.clone();
        let meta = match stored {
            true => rule_directory::read_meta(dir, &document.name)?,
            false => Meta {
                created_at_ms: started_ms,
                tags: Vec::new(),
            },
        };
        let kept = Kept {
            document,
            payload,
            meta,
            stored,
        };
        if let Some(other) = rules.insert(kept.document.name.clone(), kept) {
            return Err(format!("rule {} is defined twice", other.document.name));
        }
    }
    Ok(rules)
}

/// Reads everything again and applies what can be applied.
///
/// # Errors
/// What is wrong, in words. Everything stays as it was.
pub(super) fn reload(store: &RuleStore) -> Result<Reloaded, String> {
    let reloaded = read_and_apply(store);
    match &reloaded {
        Ok(done) => tracing::info!(
            rules = done.rules,
            changed_rules = done.changed_rules.len(),
            applied = done.applied.join(", "),
            needs_restart = done.needs_restart.join(", "),
            "reloaded"
        ),
        Err(reason) => {
            tracing::error!(%reason, "reload refused: everything stays as it was");
        }
    }
    store.count_reload(reloaded.is_ok());
    reloaded
}

fn read_and_apply(store: &RuleStore) -> Result<Reloaded, String> {
    let read_again = store
        .read_again
        .as_ref()
        .ok_or("this server was started without a configuration that could be read again")?;
    // Locked first: a change over the API between reading and applying would be lost.
    let mut state = store.lock();
    let Loaded { config, report } = read_again();
    let config = config.ok_or_else(|| render(&report, Style::Plain))?;
    let sources = Arc::new(sources_of(store, &state.sources, &config)?);
    let rules = kept(&sources, &store.dir, store.started_ms)?;
    let set = RuleStore::compile(&rules, &sources).map_err(|fault| fault.to_string())?;
    let mut reloaded = Reloaded {
        rules: rules.len(),
        changed_rules: changed(&state.rules, &state.sources, &rules, &sources),
        needs_restart: needs_restart(&store.written, &config.written),
        warnings: warnings_of(&report),
        ..Reloaded::default()
    };
    if config.needs_spool() && store.control.log().is_none() {
        reloaded.warnings.push(
            "a rule or listener has ack = \"spool\", and this process has no spool: what it selects is acknowledged when it is stored, until a restart".to_owned(),
        );
    }
    if config.log.level != state.log_level {
        logging::set_level(&config.log.level)?;
        state.log_level.clone_from(&config.log.level);
        reloaded.applied.push(LOG_LEVEL.to_owned());
    }
    store.put_in_force(set).map_err(|fault| fault.to_string())?;
    state.rules = rules;
    state.sources = sources;
    Ok(reloaded)
}

/// New rules and settings with the limits and the environment that the server runs with, and from the directory that it
/// writes to.
fn sources_of(
    store: &RuleStore,
    running: &RuleSources,
    config: &Config,
) -> Result<RuleSources, String> {
    let mut sources = running.clone();
    sources.rules.clone_from(&config.rule_sources.rules);
    sources.settings.clone_from(&config.rule_sources.settings);
    if config.rules.dir != store.dir {
        sources.rules.retain(|rule| !rule.stored);
        let mut report = Report::default();
        for path in rule_files(&store.dir, &mut report) {
            match read_rule(&path, running.document_bytes_max) {
                Ok(rule) => sources.rules.push(rule),
                Err(diagnostic) => report.push(*diagnostic),
            }
        }
        if report.has_errors() {
            return Err(render(&report, Style::Plain));
        }
    }
    for rule in &sources.rules {
        if let Some(reason) = sources.loses_promised(&rule.document.name) {
            return Err(reason);
        }
    }
    Ok(sources)
}

/// Names of the rules that are new, gone, or do something else.
fn changed(
    old: &Rules,
    old_sources: &RuleSources,
    new: &Rules,
    new_sources: &RuleSources,
) -> Vec<String> {
    let is_same = |name: &String| {
        let payload = |rules: &Rules| rules.get(name).map(|rule| rule.payload.clone());
        payload(old) == payload(new)
            && old_sources.settings.get(name) == new_sources.settings.get(name)
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !is_same(name));
    names.into_iter().cloned().collect()
}

/// Keys that say something else than at the start and are not applied.
fn needs_restart(start: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let applied = |key: &str| key == LOG_LEVEL || key == "rules.inline" || key.starts_with("rule.");
    let mut keys: Vec<&String> = start.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !applied(key) && start.get(*key) != now.get(*key));
    keys.into_iter().cloned().collect()
}

fn warnings_of(report: &Report) -> Vec<String> {
    let entries = report.entries().iter();
    entries.map(|entry| entry.title.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_by_what_is_written() {
        let written = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let start = written(&[
            ("log.level", "\"info\""),
            ("server.workers", "2"),
            ("rule.a.ack", "\"accept\""),
            ("kinesis.linger", "\"10ms\""),
            ("mqtt.keep_alive_max", "\"60s\""),
        ]);
        let now = written(&[
            ("log.level", "\"debug\""),
            ("server.workers", "4"),
            ("rule.b.ack", "\"accept\""),
            ("rules.inline", "[]"),
            ("kinesis.linger", "\"10ms\""),
            ("limits.rules", "5"),
        ]);
        assert_eq!(
            needs_restart(&start, &now),
            ["limits.rules", "mqtt.keep_alive_max", "server.workers"]
        );
        assert_eq!(needs_restart(&start, &start), [""; 0]);
    }
}
