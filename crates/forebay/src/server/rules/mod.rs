//! The rules of a running server: kept in `rules.dir`, compiled, in force, and replaced one by one or all at once.
//!
//! A change is compiled together with all other rules before anything is written, written before it is in force, and in
//! force before it is answered: what the directory holds always compiles, and a restart finds what was answered.

mod fault;
mod reload;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_admin::{
    Reloaded, RuleChange, RuleControl, RuleDescription, RuleFault, RuleSummary, Tag,
};
use forebay_core::Clock;
use forebay_metrics::{Counter, Gauge, Registry};
use forebay_pipeline::PipelineControl;
use forebay_rules::{Rule, RuleDocument, RuleSet, RuleWarning};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::cli::{Exit, Failure, settings_as_json};
use crate::config::{Config, RuleSources};
use crate::rule_directory::{self, Meta};
pub(crate) use reload::ReadAgain;

/// One rule as it is kept.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    document: RuleDocument,
    payload: Map<String, Value>,
    meta: Meta,
    /// It is a file of the directory; else it is written in the configuration.
    stored: bool,
}

impl Kept {
    /// What the audit trail knows it by.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(Value::Object(self.payload.clone()).to_string());
        for tag in &self.meta.tags {
            hash.update([0]);
            hash.update(&tag.key);
            hash.update([0]);
            hash.update(&tag.value);
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The rules by name. Those of the configuration come first in the set, which is the order in which they run.
type Rules = BTreeMap<String, Kept>;

#[derive(Debug)]
struct State {
    rules: Rules,
    /// Settings, limits and environment that rules are compiled with.
    sources: Arc<RuleSources>,
    log_level: String,
}

/// Keeps the rules.
pub(crate) struct RuleStore {
    state: Mutex<State>,
    dir: PathBuf,
    control: PipelineControl,
    registry: Registry,
    clock: Arc<dyn Clock>,
    started_ms: i64,
    gauges: Gauges,
    /// What was written in the configuration when the server started.
    written: BTreeMap<String, String>,
    read_again: Option<ReadAgain>,
}

impl std::fmt::Debug for RuleStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleStore")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Figures about the rules in force.
struct Gauges {
    loaded: Gauge,
    unsupported: Gauge,
    /// Refused and applied ones.
    reloads: [Counter; 2],
    last_reload: Gauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        let gauge = |name: &'static str, help: &'static str| registry.gauge(name, help, &[]);
        let reloads = ["refused", "applied"].map(|result| {
            let help = "Reloads of configuration and rules, by result.";
            registry.counter("forebay_rules_reload_total", help, &[("result", result)])
        });
        Self {
            reloads,
            last_reload: gauge(
                "forebay_config_last_reload_success_timestamp_seconds",
                "When the configuration was last read and applied, as Unix time; the start counts.",
            ),
            loaded: gauge(
                "forebay_rules_loaded",
                "Rules that were loaded, disabled ones included.",
            ),
            unsupported: gauge(
                "forebay_rules_unsupported_actions",
                "Actions of rules that Forebay keeps and cannot carry out.",
            ),
        }
    }

    fn read_at(&self, wall_millis: i64) {
        self.last_reload.set(wall_millis as f64 / 1000.0);
    }

    fn show(&self, set: &RuleSet) {
        let is_unsupported =
            |warning: &&RuleWarning| matches!(warning, RuleWarning::UnsupportedAction { .. });
        let warnings = set.rules().iter().flat_map(Rule::warnings);
        self.loaded.set(set.rules().len() as f64);
        self.unsupported
            .set(warnings.filter(is_unsupported).count() as f64);
    }
}

impl RuleStore {
    /// Takes over the rules that the server starts with.
    ///
    /// # Errors
    /// When what belongs to a rule cannot be read.
    pub(crate) fn new(
        config: &Config,
        control: PipelineControl,
        registry: Registry,
        clock: Arc<dyn Clock>,
        read_again: Option<ReadAgain>,
    ) -> Result<Self, Failure> {
        let started_ms = clock.wall_millis();
        let dir = config.rules.dir.clone();
        let sources = Arc::clone(&config.rule_sources);
        let rules = reload::kept(&sources, &dir, started_ms)
            .map_err(|message| Failure::new(Exit::Configuration, message))?;
        let gauges = Gauges::new(&registry);
        gauges.show(&config.rule_set);
        gauges.read_at(started_ms);
        Ok(Self {
            state: Mutex::new(State {
                rules,
                sources,
                log_level: config.log.level.clone(),
            }),
            dir,
            control,
            registry,
            clock,
            started_ms,
            gauges,
            written: config.written.clone(),
            read_again,
        })
    }

    fn count_reload(&self, applied: bool) {
        self.gauges.reloads[usize::from(applied)].increment(1);
        if applied {
            self.gauges.read_at(self.clock.wall_millis());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a document that came over the API.
    fn read(
        &self,
        state: &State,
        name: &str,
        payload: &[u8],
    ) -> Result<(RuleDocument, Map<String, Value>), RuleFault> {
        let document = RuleDocument::from_json(payload, Some(name))
            .map_err(|error| fault::of_document(&error, name))?;
        let payload =
            RuleDocument::payload(payload).map_err(|error| fault::of_document(&error, name))?;
        let bytes = Value::Object(payload.clone()).to_string().len() as u64;
        let sources = &state.sources;
        if bytes > sources.document_bytes_max {
            return Err(RuleFault::Invalid(format!(
                "document too large: {bytes} > {} bytes",
                sources.document_bytes_max
            )));
        }
        let (actions, max) = (document.actions.len(), sources.actions_max);
        if actions > max {
            return Err(RuleFault::Limit(format!(
                "too many actions: {actions} > {max}"
            )));
        }
        if let Some(reason) = sources.loses_promised(name) {
            return Err(RuleFault::Invalid(reason));
        }
        Ok((document, payload))
    }

    /// Compiles all rules.
    fn compile(rules: &Rules, sources: &RuleSources) -> Result<Arc<RuleSet>, RuleFault> {
        let written = rules.values().filter(|rule| !rule.stored);
        let stored = rules.values().filter(|rule| rule.stored);
        let documents = written.chain(stored).map(|rule| &rule.document);
        match sources.compile(documents) {
            Ok(set) => Ok(Arc::new(set)),
            Err(errors) => Err(fault::of_set(&errors)),
        }
    }

    /// Puts a compiled set in force.
    fn put_in_force(&self, set: Arc<RuleSet>) -> Result<(), RuleFault> {
        self.gauges.show(&set);
        self.control
            .replace_rules(set, &self.registry)
            .map_err(|error| RuleFault::Limit(error.to_string()))
    }

    /// Changes one rule: compiles all, writes it, puts all in force. `make` gives the rule as it is to be, `None` to
    /// remove it.
    fn change(
        &self,
        name: &str,
        make: impl FnOnce(&State) -> Result<Option<Kept>, RuleFault>,
    ) -> Result<RuleChange, RuleFault> {
        let mut state = self.lock();
        let new = make(&state)?;
        let before = state.rules.get(name).cloned();
        let mut rules = state.rules.clone();
        match &new {
            Some(rule) => drop(rules.insert(name.to_owned(), rule.clone())),
            None => drop(rules.remove(name)),
        }
        let runs_as_before = match (&before, &new) {
            (Some(before), Some(new)) => before.document == new.document,
            _ => false,
        };
        let set = match runs_as_before {
            true => None,
            false => Some(Self::compile(&rules, &state.sources)?),
        };
        self.write(name, before.as_ref(), new.as_ref())
            .map_err(|error| {
                tracing::error!(rule = name, %error, "rule cannot be written");
                RuleFault::Storage(format!("the rule cannot be written: {error}"))
            })?;
        if let Some(set) = set {
            tell(&set, name);
            if let Err(fault) = self.put_in_force(set) {
                // What is kept is what is in force.
                if let Err(error) = self.write(name, new.as_ref(), before.as_ref()) {
                    tracing::error!(rule = name, %error, "refused change of a rule not undone");
                }
                return Err(fault);
            }
        }
        state.rules = rules;
        Ok(RuleChange {
            before: before.as_ref().map(Kept::fingerprint),
            after: new.as_ref().map(Kept::fingerprint),
        })
    }

    fn write(&self, name: &str, before: Option<&Kept>, new: Option<&Kept>) -> io::Result<()> {
        let Some(new) = new else {
            return rule_directory::remove(&self.dir, name);
        };
        let is_new = |same: fn(&Kept, &Kept) -> bool| before.is_none_or(|old| !same(old, new));
        if is_new(|old, new| old.meta == new.meta) {
            rule_directory::write_meta(&self.dir, name, &new.meta)?;
        }
        if is_new(|old, new| old.payload == new.payload) {
            rule_directory::write_document(&self.dir, name, &new.payload)?;
        }
        Ok(())
    }

    fn describe(&self, name: &str, rule: &Kept, set: &RuleSet) -> RuleSummary {
        let compiled = set.rule(name);
        RuleSummary {
            name: name.to_owned(),
            topic_pattern: compiled.and_then(Rule::filter).map(str::to_owned),
            created_ms: rule.meta.created_at_ms,
            disabled: rule.document.disabled,
        }
    }
}

/// A rule that the API may change.
fn changeable<'a>(state: &'a State, name: &str) -> Result<&'a Kept, RuleFault> {
    match state.rules.get(name) {
        Some(rule) if rule.stored => Ok(rule),
        Some(_) => Err(RuleFault::ReadOnly(format!(
            "rule {name} is written in the configuration and is changed there"
        ))),
        None => Err(RuleFault::Missing),
    }
}

/// Says what runs now under this name.
fn tell(set: &RuleSet, name: &str) {
    let Some(rule) = set.rule(name) else {
        tracing::info!(rule = name, "rule removed");
        return;
    };
    tracing::info!(
        rule = name,
        enabled = rule.is_enabled(),
        filter = rule.filter().unwrap_or("none"),
        "rule changed"
    );
    for warning in rule.warnings() {
        tracing::warn!(rule = name, "{warning}");
    }
}

impl RuleControl for RuleStore {
    fn list(&self) -> Vec<RuleSummary> {
        let state = self.lock();
        let set = self.control.rules();
        let rules = state.rules.iter();
        rules
            .map(|(name, rule)| self.describe(name, rule, &set))
            .collect()
    }

    fn get(&self, name: &str) -> Option<RuleDescription> {
        let state = self.lock();
        let rule = state.rules.get(name)?;
        let set = self.control.rules();
        let compiled = set.rule(name)?;
        Some(RuleDescription {
            summary: self.describe(name, rule, &set),
            sql_version: rule.document.version.to_string(),
            payload: rule.payload.clone(),
            settings: settings_as_json(compiled.settings()),
            warnings: compiled
                .warnings()
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn create(&self, name: &str, payload: &[u8], tags: Vec<Tag>) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| {
            let (document, payload) = self.read(state, name, payload)?;
            let rule = Kept {
                document,
                payload,
                meta: Meta {
                    created_at_ms: self.clock.wall_millis(),
                    tags,
                },
                stored: true,
            };
            check_tags(&rule.meta.tags, state.sources.tags_max)?;
            if state.rules.contains_key(name) {
                // A document that is wrong is told as such first.
                let mut rules = state.rules.clone();
                rules.insert(name.to_owned(), rule);
                Self::compile(&rules, &state.sources)?;
                return Err(RuleFault::Exists);
            }
            let file = rule_directory::document_path(&self.dir, name);
            if file.exists() {
                return Err(RuleFault::ReadOnly(format!(
                    "there is a file for rule {name} that is not loaded: reload first"
                )));
            }
            Ok(Some(rule))
        })
    }

    fn replace(&self, name: &str, payload: &[u8]) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| {
            let known = changeable(state, name)?;
            let (document, payload) = self.read(state, name, payload)?;
            Ok(Some(Kept {
                document,
                payload,
                ..known.clone()
            }))
        })
    }

    fn set_disabled(&self, name: &str, disabled: bool) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| {
            let mut rule = changeable(state, name)?.clone();
            rule.document.disabled = disabled;
            rule.payload
                .insert("ruleDisabled".to_owned(), disabled.into());
            Ok(Some(rule))
        })
    }

    fn delete(&self, name: &str) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| changeable(state, name).map(|_| None))
    }

    fn tags(&self, name: &str) -> Option<Vec<Tag>> {
        let state = self.lock();
        state.rules.get(name).map(|rule| rule.meta.tags.clone())
    }

    fn tag(&self, name: &str, tags: Vec<Tag>) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| {
            let mut rule = changeable(state, name)?.clone();
            for tag in tags {
                let known = rule.meta.tags.iter_mut().find(|known| known.key == tag.key);
                match known {
                    Some(known) => *known = tag,
                    None => rule.meta.tags.push(tag),
                }
            }
            check_tags(&rule.meta.tags, state.sources.tags_max)?;
            Ok(Some(rule))
        })
    }

    fn untag(&self, name: &str, keys: &[String]) -> Result<RuleChange, RuleFault> {
        self.change(name, |state| {
            let mut rule = changeable(state, name)?.clone();
            rule.meta.tags.retain(|tag| !keys.contains(&tag.key));
            Ok(Some(rule))
        })
    }

    fn reload(&self) -> Result<Reloaded, String> {
        reload::reload(self)
    }
}

fn check_tags(tags: &[Tag], max: usize) -> Result<(), RuleFault> {
    match tags.len() {
        count if count > max => Err(RuleFault::Limit(format!("too many tags: {count} > {max}"))),
        _ => Ok(()),
    }
}
