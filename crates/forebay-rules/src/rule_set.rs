//! The rules in force, compiled and indexed by topic: an immutable snapshot.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_core::topic::basic_ingest;
use forebay_core::{Entropy, Message};
use forebay_sql::{Context, Environment, EvalError, Evaluation, PayloadFault, Selection};

use crate::error_action::{self, CompiledErrorAction};
use crate::evaluated::{
    ErrorKind, Evaluated, OutputRecord, Republished, RepublishedMessage, RuleOutcome, Scratch,
};
use crate::explanation;
use crate::failure::ActionKind;
use crate::fields::{CompiledKinesis, Fault, Fields, hash_key};
use crate::republish::CompiledRepublish;
use crate::rule::{CompiledAction, Rule, RuleError};
use crate::rule_compiler;
use crate::topic_index::TopicIndex;
use crate::{ActionFailure, Failure, RuleDocument, RuleExplanation, RuleLimits, RuleSettings};

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
            topic: message.topic,
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
    /// As it was received.
    topic: &'a str,
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
        if let Some(action) = &rule.error_action {
            self.error_action(rule, action, selected);
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
        match action {
            CompiledAction::Kinesis(action) => self.record(rule, action, data),
            CompiledAction::Republish(action) => self.republish(rule, action, data),
            CompiledAction::Unsupported(action) => {
                let failure = |run: &Self| Failure::of_unsupported(action, run.topic);
                self.failed(rule, ErrorKind::Action, failure);
            }
        }
    }

    fn record(&mut self, rule: &'a Rule, action: &'a CompiledKinesis, data: Bytes) {
        let mut fields = self.fields();
        let stream = match action.stream(&mut fields) {
            Ok(stream) => stream,
            Err(fault) => return self.unusable(rule, ActionKind::Kinesis, &fault, None),
        };
        let keys = action.partition_key(&mut fields).and_then(|partition_key| {
            let explicit = rule.hash_key.as_ref();
            let explicit = explicit.map(|key| hash_key(key, &mut fields));
            Ok((partition_key, explicit.transpose()?))
        });
        match keys.and_then(|keys| self.take_bytes(&data).map(|()| keys)) {
            Ok((partition_key, explicit_hash_key)) => self.out.records.push(OutputRecord {
                rule: rule.index,
                stream,
                partition_key,
                explicit_hash_key,
                data,
            }),
            Err(fault) => self.unusable(rule, ActionKind::Kinesis, &fault, Some(&stream)),
        }
    }

    fn republish(&mut self, rule: &'a Rule, action: &'a CompiledRepublish, data: Bytes) {
        let mut fields = self.fields();
        let topic = match action.topic(&mut fields) {
            Ok(topic) => topic,
            Err(fault) => return self.unusable(rule, ActionKind::Republish, &fault, None),
        };
        let properties = action.properties(&mut fields);
        match properties.and_then(|properties| self.take_bytes(&data).map(|()| properties)) {
            Ok(properties) => self.out.republished.push(Republished {
                rule: rule.index,
                message: RepublishedMessage {
                    topic,
                    qos: action.qos,
                    payload: data,
                    properties,
                },
            }),
            Err(fault) => self.unusable(rule, ActionKind::Republish, &fault, Some(&topic)),
        }
    }

    fn fields(&mut self) -> Fields<'_, 'a> {
        Fields {
            evaluation: &mut self.evaluation,
            text: self.text,
        }
    }

    /// Takes the outgoing payload off what the message may put out.
    fn take_bytes(&mut self, data: &Bytes) -> Result<(), Fault<'a>> {
        let left = self.bytes_left.checked_sub(data.len());
        self.bytes_left = left.ok_or(Fault::OUTPUT_BYTES)?;
        Ok(())
    }

    /// Counts an action without usable fields. `resource` is its stream or topic if that is known; else the text that
    /// should have been one.
    fn unusable(
        &mut self,
        rule: &Rule,
        action: ActionKind,
        fault: &Fault<'_>,
        resource: Option<&str>,
    ) {
        self.failed(rule, fault.kind(), |run| {
            let resource = resource.unwrap_or_else(|| fault.unusable_text(run.text));
            Failure::of_fault(action, fault, run.topic, resource)
        });
    }

    /// Counts an action that failed. What its error document says is only written where there is one.
    fn failed(&mut self, rule: &Rule, kind: ErrorKind, failure: impl FnOnce(&Self) -> Failure) {
        self.out.error(rule.index, kind);
        if rule.has_error_action() {
            let (rule, failure) = (rule.index, failure(self));
            self.out.failures.push(ActionFailure { rule, failure });
        }
    }

    /// Evaluates the fields of the error action, which may be asked for long after the message is gone.
    fn error_action(
        &mut self,
        rule: &'a Rule,
        action: &'a CompiledErrorAction,
        selected: Result<Selection, EvalError>,
    ) {
        match selected {
            Ok(Selection::Payload | Selection::Written) => {}
            Err(error) if kind_of(error) == ErrorKind::Limit => {
                let failure = Failure::of_rule(rule.name(), error, self.topic);
                let rule = rule.index;
                self.out.failures.push(ActionFailure { rule, failure });
            }
            Ok(Selection::Filtered) | Err(_) => return,
        }
        let left = self.evaluation.replace_steps(error_action::STEPS_MAX);
        let target = action.target(&mut self.fields());
        self.evaluation.replace_steps(left);
        self.out.error_targets.push((rule.index, target));
        self.out.trace_id = self.evaluation.trace_id();
    }
}

fn kind_of(error: EvalError) -> ErrorKind {
    match error {
        EvalError::Undefined | EvalError::Variables | EvalError::Function(..) => ErrorKind::Eval,
        EvalError::Steps | EvalError::OutputBytes => ErrorKind::Limit,
    }
}
