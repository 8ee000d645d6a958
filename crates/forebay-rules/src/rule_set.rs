//! The rules in force, compiled and indexed by topic: an immutable snapshot.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_core::topic::basic_ingest;
use forebay_core::{Entropy, Message, PartitionKey, StreamName};
use forebay_sql::{Context, Environment, EvalError, Evaluation, PayloadFault, Selection};

use crate::evaluated::{ErrorKind, Evaluated, OutputRecord, RuleOutcome, Scratch};
use crate::explanation;
use crate::rule::{CompiledAction, CompiledKinesis, Rule, RuleError, Value};
use crate::rule_compiler;
use crate::topic_index::TopicIndex;
use crate::{RuleDocument, RuleExplanation, RuleLimits, RuleSettings};

/// A set of rules.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    by_name: HashMap<String, u32>,
    index: TopicIndex,
    limits: RuleLimits,
    environment: Environment,
}

impl RuleSet {
    /// Compiles a set of rules, in an environment that is as AWS IoT has it.
    ///
    /// # Errors
    /// As [`build_in`](Self::build_in).
    pub fn build(
        documents: Vec<(RuleDocument, RuleSettings)>,
        limits: RuleLimits,
    ) -> Result<Self, Vec<RuleError>> {
        Self::build_in(documents, limits, Environment::DEFAULT)
    }

    /// Compiles a set of rules. It is valid as a whole or refused as a whole.
    ///
    /// # Errors
    /// Everything that is wrong with any of the rules.
    pub fn build_in(
        documents: Vec<(RuleDocument, RuleSettings)>,
        limits: RuleLimits,
        environment: Environment,
    ) -> Result<Self, Vec<RuleError>> {
        let count = documents.len();
        if count > limits.rules_max {
            return Err(vec![RuleError::TooMany {
                count,
                max: limits.rules_max,
            }]);
        }
        let mut errors = Vec::new();
        let mut set = Self {
            rules: Vec::with_capacity(count),
            by_name: HashMap::new(),
            index: TopicIndex::new(),
            limits,
            environment,
        };
        for (index, (document, settings)) in (0..).zip(documents) {
            if set.by_name.insert(document.name.clone(), index).is_some() {
                errors.push(RuleError::Duplicate {
                    rule: document.name.clone(),
                });
            }
            set.rules.extend(rule_compiler::compile(
                index,
                document,
                settings,
                &set.limits,
                &set.environment,
                &mut errors,
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for rule in set.rules.iter().filter(|rule| rule.is_enabled()) {
            if let Some(filter) = rule.filter() {
                set.index.insert(filter, rule.index);
            }
        }
        Ok(set)
    }

    /// All rules, disabled ones included, by index.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of this name.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.by_name
            .get(name)
            .map(|index| &self.rules[*index as usize])
    }

    /// What the rules are compiled and evaluated in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What the rule of this name does: what it reads, converts and evaluates beforehand, and which way its output
    /// takes. The texts are compiled anew for it.
    pub fn explain(&self, name: &str) -> Option<RuleExplanation> {
        explanation::explain(self.rule(name)?, &self.environment)
    }

    /// Runs every rule that the message reaches: for a Basic Ingest topic the rule that it names, else those whose
    /// filter matches, in the order of the set. `out` is cleared first. A partition key that a rule leaves out is
    /// drawn from `entropy`.
    pub fn evaluate(
        &self,
        message: &Message<'_>,
        scratch: &mut Scratch,
        entropy: &mut dyn Entropy,
        out: &mut Evaluated,
    ) {
        out.clear();
        let Scratch {
            sql,
            matched,
            pending,
            body,
            text,
        } = scratch;
        matched.clear();
        let mut topic = message.topic;
        if let Some((name, rest)) = basic_ingest(topic) {
            topic = rest;
            match self.by_name.get(name) {
                Some(index) if self.rules[*index as usize].is_enabled() => matched.push(*index),
                _ => out.unknown_rule = true,
            }
        } else {
            self.index.find(topic, pending, matched);
            matched.sort_unstable();
        }
        let cut = matched
            .len()
            .saturating_sub(self.limits.rules_per_message_max);
        out.cut = u32::try_from(cut).unwrap_or(u32::MAX);
        matched.truncate(self.limits.rules_per_message_max);
        out.matched = u32::try_from(matched.len()).unwrap_or(u32::MAX);
        if matched.is_empty() {
            return;
        }
        let context = Context {
            topic,
            payload: message.payload,
            client_id: message.client_id,
            timestamp_ms: message.timestamp_ms,
            origin: message.origin,
        };
        let mut run = Run {
            evaluation: Evaluation::new(context, self.limits.evaluation, sql, entropy),
            payload: message.payload,
            bytes_left: self.limits.output_bytes_per_message_max,
            body,
            text,
            out,
        };
        run.evaluation.set_environment(&self.environment);
        for index in &*matched {
            run.rule(&self.rules[*index as usize]);
        }
    }
}

/// The run of the matching rules over one message.
struct Run<'a, 'b> {
    evaluation: Evaluation<'a>,
    payload: &'a Bytes,
    bytes_left: usize,
    body: &'b mut Vec<u8>,
    text: &'b mut Vec<u8>,
    out: &'b mut Evaluated,
}

impl<'a> Run<'a, '_> {
    fn rule(&mut self, rule: &'a Rule) {
        let selected =
            self.evaluation
                .select(&rule.statement, rule.settings.select_star, self.body);
        let outcome = match selected {
            Ok(Selection::Filtered) => RuleOutcome::Filtered,
            Ok(Selection::Payload | Selection::Written) => RuleOutcome::Selected,
            Err(error) => RuleOutcome::Error(kind_of(error)),
        };
        self.out.outcomes.push((rule.index, outcome));
        match selected {
            Ok(Selection::Payload) => self.actions(rule, self.payload.clone()),
            Ok(Selection::Written) => {
                let data = Bytes::copy_from_slice(self.body);
                self.actions(rule, data);
            }
            Ok(Selection::Filtered) | Err(_) => {}
        }
        // Asked last, so that a payload which only a template reads is counted too.
        match self.evaluation.take_payload_fault() {
            Some(PayloadFault::NotJson) => self.out.error(rule.index, ErrorKind::Json),
            Some(PayloadFault::TooDeep) => self.out.error(rule.index, ErrorKind::Depth),
            None => {}
        }
    }

    fn actions(&mut self, rule: &'a Rule, data: Bytes) {
        // The last action takes the data itself: most rules have one action, and a clone counts references.
        let Some((last, others)) = rule.actions.split_last() else {
            return;
        };
        for action in others {
            self.action(rule, action, data.clone());
        }
        self.action(rule, last, data);
    }

    fn action(&mut self, rule: &'a Rule, action: &'a CompiledAction, data: Bytes) {
        let record = match action {
            CompiledAction::Kinesis(action) => self.record(rule, action, data),
            CompiledAction::Unsupported => Err(ErrorKind::Action),
        };
        match record {
            Ok(record) => self.out.records.push(record),
            Err(kind) => self.out.error(rule.index, kind),
        }
    }

    fn record(
        &mut self,
        rule: &'a Rule,
        action: &'a CompiledKinesis,
        data: Bytes,
    ) -> Result<OutputRecord, ErrorKind> {
        let stream = self.value(&action.stream, |text| StreamName::new(text).ok())?;
        let partition_key = match &action.partition_key {
            Some(key) => self.value(key, |text| PartitionKey::new(text).ok())?,
            None => PartitionKey::from_uuid_bits(self.evaluation.entropy().uuid_bits()),
        };
        let explicit_hash_key = match &rule.hash_key {
            Some(key) => Some(self.value(key, |text| text.parse().ok())?),
            None => None,
        };
        self.bytes_left = self
            .bytes_left
            .checked_sub(data.len())
            .ok_or(ErrorKind::Limit)?;
        Ok(OutputRecord {
            rule: rule.index,
            stream,
            partition_key,
            explicit_hash_key,
            data,
        })
    }

    fn value<T: Clone>(
        &mut self,
        value: &'a Value<T>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ErrorKind> {
        match value {
            Value::Fixed(value) => Ok(value.clone()),
            Value::Unusable => Err(ErrorKind::Template),
            Value::Template(template) => {
                self.evaluation
                    .template(template, self.text)
                    .map_err(|error| match error {
                        EvalError::Function(..) => ErrorKind::Template,
                        error => kind_of(error),
                    })?;
                // A template writes whole UTF-8.
                let text = std::str::from_utf8(self.text).ok();
                text.and_then(parse).ok_or(ErrorKind::Template)
            }
        }
    }
}

fn kind_of(error: EvalError) -> ErrorKind {
    match error {
        EvalError::Undefined | EvalError::Variables | EvalError::Function(..) => ErrorKind::Eval,
        EvalError::Steps | EvalError::OutputBytes => ErrorKind::Limit,
    }
}
