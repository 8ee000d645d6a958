//! What a message brings about besides its own records: messages that rules republish, and documents of error actions.
//!
//! All of it is evaluated in the admission of the message that caused it, so that one acknowledgement covers the whole
//! chain. Only a record that fails later, at the service, has its document admitted on its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use forebay_core::topic::basic_ingest;
use forebay_core::{AckMode, Message, OnConfigError, Origin, Properties, Time};
use forebay_rules::{
    ActionFailure, ErrorDocumentContext, ErrorTarget, Failure, OutputRecord, RepublishProperties,
    Republished, RepublishedMessage, error_document,
};
use forebay_spool::ErrorContext;

use super::{COPY_BELOW_BYTES, Intake};
use crate::admission::Promise;
use crate::error_action::{self, ErrorRole, FailedRecord, Handover, RESERVED_BYTES};
use crate::shared::SettledLog;
use crate::{FailureReason, Record};

/// Messages in a row that may cause one another by being republished, so that a loop ends (`limits.republish_hops`).
const HOPS_MAX: u8 = 8;
/// Republished messages that one publish may cause, so that a loop which multiplies ends as well.
const REPUBLISHED_MAX: usize = 1_000;
/// The rule of an output that is known by its number only.
const NO_INDEX: u32 = u32::MAX;

/// What is special about one of the records that a message became.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) role: Option<Box<ErrorRole>>,
    /// The number of its rule, where the rule may have gone since.
    pub(super) number: Option<u32>,
}

/// A record that failed before it could be admitted, and whose rule has an error action.
#[derive(Debug)]
pub(super) struct Unadmitted {
    /// Its rule, by index in the set; `NO_INDEX` where that may have gone.
    rule: u32,
    number: u32,
    context: Arc<ErrorContext>,
    data: Bytes,
    failure: Failure,
}

/// What a message has brought about so far.
#[derive(Debug, Default)]
struct Chain {
    records: Vec<OutputRecord>,
    plans: Vec<Plan>,
    /// Republished messages that the rules have not seen, each with its distance from the first message.
    next: VecDeque<(RepublishedMessage, u8)>,
    republished: usize,
}

/// The rule whose error action is to run.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    /// Its index in the set; `NO_INDEX` where it may have gone.
    index: u32,
    number: u32,
    name: &'a str,
}

/// The error action of a rule that ran on the message in hand.
struct Armed {
    rule: u32,
    context: Arc<ErrorContext>,
    target: Arc<ErrorTarget>,
}

impl Intake {
    /// Goes on from what the rules made of a message, until nothing more follows. The records of the whole chain are in
    /// `evaluated` afterwards, what is special about each in `plans`, republished messages in `republished`.
    pub(super) fn follow(&mut self, message: &Message<'_>) {
        let mut chain = Chain::default();
        self.collect(message, 0, &mut chain);
        self.run_chain(chain, message.timestamp_ms);
    }

    /// Documents of records that failed before they could be admitted, as records to be admitted instead.
    pub(super) fn follow_unadmitted(&mut self, timestamp_ms: i64) {
        let mut chain = Chain::default();
        for failed in std::mem::take(&mut self.unadmitted) {
            let target = error_action::target(&failed.context);
            let document = document_of(&failed.context, &failed.data, &failed.failure);
            let rule = Subject {
                index: failed.rule,
                number: failed.number,
                name: error_action::rule_name(&failed.context),
            };
            self.hand_document(rule, target.as_ref(), document, 0, &mut chain);
        }
        self.run_chain(chain, timestamp_ms);
    }

    fn run_chain(&mut self, mut chain: Chain, timestamp_ms: i64) {
        while let Some((message, hop)) = chain.next.pop_front() {
            let origin = Origin {
                properties: properties(&message.properties),
                ..Origin::UNKNOWN
            };
            let seen = Message {
                topic: &message.topic,
                payload: &message.payload,
                client_id: None,
                timestamp_ms,
                origin: &origin,
            };
            self.run_rules(&seen);
            self.tally.outcomes(&self.evaluated, &self.rules);
            self.collect(&seen, hop, &mut chain);
            self.republished.push(message);
        }
        self.evaluated.records = chain.records;
        self.plans = chain.plans;
    }

    /// Takes what the rules made of one message of the chain.
    fn collect(&mut self, message: &Message<'_>, hop: u8, chain: &mut Chain) {
        let armed = self.arm(message);
        let republished = std::mem::take(&mut self.evaluated.republished);
        let mut failures = std::mem::take(&mut self.evaluated.failures);
        for record in self.evaluated.records.drain(..) {
            let rule = &self.rules.set.rules()[record.rule as usize];
            let armed = armed.iter().find(|armed| armed.rule == record.rule);
            let context = match armed {
                Some(armed) => Some(Arc::clone(&armed.context)),
                None if rule.on_config_error() == OnConfigError::ErrorAction => {
                    Some(error_action::giving_up(rule.name()))
                }
                None => None,
            };
            let role = context.map(ErrorRole::read_back);
            chain.records.push(record);
            chain.plans.push(Plan { role, number: None });
        }
        for Republished { rule, message } in republished {
            let number = self.rules.numbers[rule as usize];
            if hop < HOPS_MAX && chain.republished < REPUBLISHED_MAX {
                chain.republished += 1;
                chain.next.push_back((message, hop + 1));
                self.tally.republished(number);
                continue;
            }
            self.tally.republished_too_often(number);
            failures.push(ActionFailure {
                rule,
                failure: Failure {
                    action: "RepublishAction".into(),
                    message: format!(
                        "Failed to republish: a message may cause {HOPS_MAX} others in a row and {REPUBLISHED_MAX} in all. \
                         Action: republish, topic: {}",
                        message.topic
                    ),
                    resource: message.topic,
                    code: None,
                    attempts: 0,
                    ambiguous: false,
                },
            });
        }
        for ActionFailure { rule, failure } in failures {
            let Some(armed) = armed.iter().find(|armed| armed.rule == rule) else {
                continue;
            };
            let document = document_of(&armed.context, message.payload, &failure);
            let rule = Subject {
                index: rule,
                number: self.rules.numbers[rule as usize],
                name: error_action::rule_name(&armed.context),
            };
            self.hand_document(rule, Some(&armed.target), document, hop, chain);
        }
    }

    /// What the error actions of the rules that ran on this message will need.
    fn arm(&mut self, message: &Message<'_>) -> Vec<Armed> {
        let trace_id = self.evaluated.trace_id;
        let records = &self.evaluated.records;
        let rules = &self.rules.set;
        let armed = self
            .evaluated
            .error_targets
            .drain(..)
            .map(|(rule, target)| {
                let made = records.iter().find(|record| record.rule == rule);
                let is_payload = made.is_some_and(|record| {
                    record.data.as_ptr() == message.payload.as_ptr()
                        && record.data.len() == message.payload.len()
                });
                let compiled = &rules.rules()[rule as usize];
                let fails_at_once = compiled.on_config_error() == OnConfigError::ErrorAction;
                let context = ErrorContext {
                    topic: basic_ingest(message.topic)
                        .map_or(message.topic, |(_, rest)| rest)
                        .to_owned(),
                    client_id: message.client_id.unwrap_or_default().to_owned(),
                    trace_id,
                    source_ip: message
                        .origin
                        .source_ip
                        .map(|address| address.to_string())
                        .unwrap_or_default(),
                    fields: error_action::watched_fields(compiled.name(), fails_at_once, &target),
                    payload: (!is_payload).then(|| kept(message.payload)),
                };
                Armed {
                    rule,
                    context: Arc::new(context),
                    target,
                }
            });
        armed.collect()
    }

    /// Gives a document to the error action of its rule.
    fn hand_document(
        &mut self,
        rule: Subject<'_>,
        target: Option<&ErrorTarget>,
        document: Bytes,
        hop: u8,
        chain: &mut Chain,
    ) {
        match target {
            Some(ErrorTarget::Kinesis {
                stream,
                partition_key,
            }) => {
                chain.records.push(OutputRecord {
                    rule: rule.index,
                    stream: stream.clone(),
                    partition_key: partition_key.clone(),
                    explicit_hash_key: None,
                    data: document,
                });
                chain.plans.push(Plan {
                    role: Some(ErrorRole::document(rule.name)),
                    number: (rule.index == NO_INDEX).then_some(rule.number),
                });
            }
            Some(ErrorTarget::Republish {
                topic,
                qos,
                properties,
            }) if hop < HOPS_MAX && chain.republished < REPUBLISHED_MAX => {
                chain.republished += 1;
                let message = RepublishedMessage {
                    topic: topic.clone(),
                    qos: *qos,
                    payload: document,
                    properties: properties.clone(),
                };
                chain.next.push_back((message, hop + 1));
                self.tally.error_action(rule.number, "republish", false);
            }
            Some(ErrorTarget::Republish { .. }) => {
                self.tally.error_action(rule.number, "republish", true)
            }
            Some(ErrorTarget::Unusable { .. }) | None => {
                self.tally.error_action(rule.number, "kinesis", true);
            }
        }
    }

    /// Messages that rules republished since the last call, for the subscribers of their topics. `into` is cleared.
    pub fn take_republished(&mut self, into: &mut Vec<RepublishedMessage>) {
        into.clear();
        std::mem::swap(into, &mut self.republished);
    }

    /// True when there may be something to do for [`run_error_actions`](Self::run_error_actions).
    pub fn has_error_actions(&self) -> bool {
        !self.failed.is_empty() || !self.port().failed.is_empty()
    }

    /// Runs the error actions of records that failed for good at the service: once per turn of the worker. What they
    /// republish is [taken](Self::take_republished) after it.
    pub fn run_error_actions(&mut self, now: Time, wall_ms: i64) {
        while let Some(failed) = self.port().failed.pop() {
            self.failed.push_back(failed);
        }
        while let Some(failed) = self.failed.pop_front() {
            let described = failed.failure.describe(
                &failed.context,
                &failed.stream,
                &failed.record.partition_key,
            );
            let document = document_of(&failed.context, &failed.record.data, &described);
            let charge = Record::charge_for(document.len(), 0);
            let reserved = u64::from(charge).min(RESERVED_BYTES);
            if !self.reserve_document(reserved) {
                self.failed.push_front(failed);
                return;
            }
            self.run_error_action(failed, document, reserved, now, wall_ms);
        }
    }

    /// Takes room for a document, or asks to be woken when some was given back.
    fn reserve_document(&self, bytes: u64) -> bool {
        if self.shared.error_reserve.reserve(bytes).is_ok() {
            return true;
        }
        self.port().error_waits.store(true, Ordering::SeqCst);
        // Room that was given back before the line above woke nobody.
        self.shared.error_reserve.reserve(bytes).is_ok()
    }

    fn run_error_action(
        &mut self,
        failed: FailedRecord,
        document: Bytes,
        reserved: u64,
        now: Time,
        wall_ms: i64,
    ) {
        let FailedRecord {
            mut record,
            context,
            stream,
            ..
        } = failed;
        let handover = Arc::new(Handover {
            logged: record.in_log.then(|| SettledLog::of(&record)),
            ticket: record.ticket.take(),
            before: record.error.take().and_then(|role| role.handover),
            reserved,
            has_failed: AtomicBool::new(false),
        });
        self.follow_rules();
        let mut chain = Chain::default();
        let target = error_action::target(&context);
        let rule = Subject {
            index: NO_INDEX,
            number: record.rule,
            name: error_action::rule_name(&context),
        };
        self.hand_document(rule, target.as_ref(), document, 0, &mut chain);
        self.run_chain(chain, wall_ms);
        let (ack, _) = self.strictest(record.ack, record.ack);
        let ack = match ack {
            AckMode::Spool if !self.shared.has_log => AckMode::Stored,
            ack => ack,
        };
        self.build(&Bytes::new(), wall_ms, ack, now);
        for made in &mut self.building {
            made.error.get_or_insert_default().handover = Some(Arc::clone(&handover));
        }
        self.overdraw(now);
        self.shared.counts.failed.fetch_add(1, Ordering::SeqCst);
        self.shared.counts.failing.fetch_sub(1, Ordering::SeqCst);
        self.tally.action_failed(record.rule);
        if !record.in_log {
            self.shared.release_failed(&stream, &record);
        }
        self.admit_building(Promise::NONE);
        error_action::finish(&self.shared, handover, false);
    }

    /// Takes room for what is being built although there may be none: the reserve bounds how much of it there is.
    fn overdraw(&mut self, now: Time) {
        let mut place = 0;
        while place < self.needs.len() {
            let (stream, bytes) = &self.needs[place];
            if stream.share.overdraw(*bytes).is_ok() {
                place += 1;
                continue;
            }
            match self.streams.reopen(&self.shared, &self.needs[place].0, now) {
                Ok(open) => self.needs[place].0 = Arc::clone(open),
                Err(_) => self.fail_stream(place),
            }
        }
        let total = self.needs.iter().map(|(_, bytes)| bytes).sum();
        self.shared
            .ingest
            .overdraw(total)
            .expect("the ingest budget is never closed");
    }

    /// A record cannot be admitted: its error action gets it, if its rule has one, in the same admission.
    pub(super) fn fail_unadmitted(
        &mut self,
        number: u32,
        role: Option<Box<ErrorRole>>,
        output: OutputRecord,
        reason: FailureReason,
    ) {
        let Some(role) = role else { return };
        if role.is_document() {
            return self.tally.error_action(number, "kinesis", true);
        }
        if let Some(context) = role
            .context
            .filter(|context| error_action::has_target(context))
        {
            let failure = Failure {
                action: "KinesisAction".into(),
                message: format!(
                    "Failed to put record: {}. Message arrived on: {}, Action: kinesis, Stream: {}, Partition key: {}",
                    reason.explanation(),
                    context.topic,
                    output.stream.as_str(),
                    &*output.partition_key,
                ),
                resource: output.stream.as_str().to_owned(),
                code: Some(reason.as_str().to_owned()),
                attempts: 0,
                ambiguous: false,
            };
            self.unadmitted.push(Unadmitted {
                rule: output.rule,
                number,
                context,
                data: output.data,
                failure,
            });
        }
    }
}

/// The document of a failure. `data` is the payload where the context has none.
fn document_of(context: &ErrorContext, data: &[u8], failure: &Failure) -> Bytes {
    let context = ErrorDocumentContext {
        rule_name: error_action::rule_name(context),
        topic: &context.topic,
        trace_id: context.trace_id,
        client_id: &context.client_id,
        source_ip: &context.source_ip,
        payload: context.payload.as_deref().unwrap_or(data),
    };
    error_document(&context, failure)
}

/// The payload in memory of its own, where it would otherwise keep a read buffer alive.
fn kept(payload: &Bytes) -> Bytes {
    if payload.len() < COPY_BELOW_BYTES {
        Bytes::copy_from_slice(payload)
    } else {
        payload.clone()
    }
}

/// The properties of a republished message as functions of rules see them.
fn properties(properties: &RepublishProperties) -> Properties<'_> {
    Properties {
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data: properties.correlation_data.as_deref(),
        is_utf8: properties.payload_format_indicator == Some(1),
        user: &properties.user_properties,
    }
}
