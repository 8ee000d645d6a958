//! The rules as they were read, kept so that they can be compiled again when one of them changes.

use std::collections::BTreeMap;

use forebay_core::{AckMode, OnFull};
use forebay_rules::{Environment, RuleDocument, RuleError, RuleLimits, RuleSet, RuleSettings};
use serde_json::{Map, Value};

/// One rule as it was read.
#[derive(Debug, Clone)]
pub struct SourceRule {
    /// What it says, checked for shape.
    pub document: RuleDocument,
    /// The TopicRulePayload that it was read from, with members that Forebay does not know.
    pub payload: Map<String, Value>,
    /// It is a file of `rules.dir`, which the API may change; else it is written in the configuration.
    pub stored: bool,
}

/// Everything that a rule set is made from.
#[derive(Debug, Clone)]
pub struct RuleSources {
    /// The rules, those of the configuration first.
    pub rules: Vec<SourceRule>,
    /// `[rule."NAME"]`, by name, also of rules that do not exist.
    pub settings: BTreeMap<String, RuleSettings>,
    /// `limits.actions_per_rule`.
    pub actions_max: usize,
    /// `limits.tags_per_rule`.
    pub tags_max: usize,
    /// `limits.rule_document_bytes`.
    pub document_bytes_max: u64,
    pub(super) on_full: OnFull,
    /// The acknowledgement modes of the listeners.
    pub(super) acks: Vec<AckMode>,
    pub(super) limits: RuleLimits,
    pub(super) environment: Environment,
}

impl RuleSources {
    /// Compiles these documents with the settings, limits and environment of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn compile<'a>(
        &self,
        documents: impl Iterator<Item = &'a RuleDocument>,
    ) -> Result<RuleSet, Vec<RuleError>> {
        let rules = documents.map(|document| {
            let settings = self.settings.get(&document.name);
            (document.clone(), settings.cloned().unwrap_or_default())
        });
        RuleSet::build_in(rules.collect(), self.limits, self.environment.clone())
    }

    /// Why a rule would lose records that its acknowledgement promises to keep, in words.
    pub fn loses_promised(&self, name: &str) -> Option<String> {
        let drop = loses(
            self.settings.get(name),
            self.on_full,
            self.acks.iter().copied(),
        )?;
        Some(drop.in_words(name))
    }
}

/// A policy that loses records, and who promises to keep them.
pub(super) struct Loses {
    policy: OnFull,
    who: &'static str,
    ack: AckMode,
}

impl Loses {
    pub(super) fn in_words(&self, name: &str) -> String {
        let Self { policy, who, ack } = self;
        format!("rule {name}: on_full = \"{policy}\" loses records, and {who} has ack = \"{ack}\"")
    }
}

/// A policy that loses records is legal only where nothing was promised. A rule that says both itself is judged when it
/// is compiled; this is about what it inherits.
pub(super) fn loses(
    own: Option<&RuleSettings>,
    inherited: OnFull,
    mut acks: impl Iterator<Item = AckMode>,
) -> Option<Loses> {
    let own_policy = own.and_then(|own| own.on_full);
    let own_ack = own.and_then(|own| own.ack);
    let policy = own_policy.unwrap_or(inherited);
    if !policy.drops() || (own_policy.is_some() && own_ack.is_some()) {
        return None;
    }
    let promises = |ack: &AckMode| *ack != AckMode::Accept;
    let (who, ack) = match own_ack {
        Some(ack) => ("the rule", Some(ack)),
        None => ("a listener", acks.find(promises)),
    };
    let ack = ack.filter(promises)?;
    Some(Loses { policy, who, ack })
}
