//! What the rules make of one message.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{HashKey, PartitionKey, QoS, StreamName};

use crate::{ActionFailure, ErrorTarget};

/// One record for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRecord {
    /// Index of the rule in its set.
    pub rule: u32,
    /// The stream.
    pub stream: StreamName,
    /// The partition key.
    pub partition_key: PartitionKey,
    /// The hash key that overrides the one of the partition key.
    pub explicit_hash_key: Option<HashKey>,
    /// The outgoing payload: the message's own bytes, shared, or freshly written ones.
    pub data: Bytes,
}

/// One message that a rule publishes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republished {
    /// Index of the rule in its set.
    pub rule: u32,
    /// The message.
    pub message: RepublishedMessage,
}

/// A message that a rule publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepublishedMessage {
    /// Its topic: a valid topic name within the broker's limits, never one that names a rule.
    pub topic: String,
    /// Its quality of service, 0 or 1.
    pub qos: QoS,
    /// The outgoing payload: the message's own bytes, shared, or freshly written ones.
    pub payload: Bytes,
    /// Its MQTT 5 properties.
    pub properties: RepublishProperties,
}

/// The MQTT 5 properties of a message that a rule publishes; without headers in the action it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepublishProperties {
    /// 0: bytes; 1: UTF-8 text.
    pub payload_format_indicator: Option<u8>,
    /// Content type.
    pub content_type: Option<String>,
    /// A valid topic name.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// Seconds, 1 to 604 800.
    pub message_expiry: Option<u32>,
    /// At most 100 pairs, 8 KiB together.
    pub user_properties: Vec<(String, String)>,
}

/// How a rule ended for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleOutcome {
    /// WHERE was true and SELECT gave an outgoing payload.
    Selected,
    /// WHERE was not true.
    Filtered,
    /// Something went wrong.
    Error(ErrorKind),
}

/// What went wrong in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A clause read the payload and it is not a JSON object or array. Its fields are Undefined; the rule went on.
    Json,
    /// As [`Json`](Self::Json), because the brackets are nested too deeply.
    Depth,
    /// `SELECT VALUE` gave Undefined, or the variables are too long: no action ran.
    Eval,
    /// A template gave no usable stream name, partition key, hash key, topic or header: that action failed.
    Template,
    /// A limit of evaluation steps or of outgoing bytes: no action ran, or not this one.
    Limit,
    /// An action that Forebay does not carry out.
    Action,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [ErrorKind; 6] = [
        Self::Json,
        Self::Depth,
        Self::Eval,
        Self::Template,
        Self::Limit,
        Self::Action,
    ];

    /// The name in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Depth => "depth",
            Self::Eval => "eval",
            Self::Template => "template",
            Self::Limit => "limit",
            Self::Action => "action",
        }
    }
}

/// The result of one evaluation. Reused: an evaluation clears it first and keeps the capacity.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// Rules that matched the topic and ran.
    pub matched: u32,
    /// Records for streams, in the order of rules and their actions.
    pub records: Vec<OutputRecord>,
    /// Messages that rules publish, in the order of rules and their actions.
    pub republished: Vec<Republished>,
    /// Actions that failed, of rules that have an error action; a rule that met a limit counts as one.
    pub failures: Vec<ActionFailure>,
    /// Where the failures of a rule go, for every rule with an error action that was selected or met a limit: an action
    /// that has not failed yet may still do so.
    pub error_targets: Vec<(u32, Arc<ErrorTarget>)>,
    /// The message's random UUID; 0 while there is no error target.
    pub trace_id: u128,
    /// How each rule ended, by rule index. `Selected`, `Filtered` or one error that stopped the rule comes once per
    /// rule that ran; errors that do not stop a rule (`Json`, `Depth`, and per action `Template`, `Action`, `Limit`)
    /// come beside it.
    pub outcomes: Vec<(u32, RuleOutcome)>,
    /// Rules that matched and did not run because too many did.
    pub cut: u32,
    /// The message named a rule by Basic Ingest that is missing or disabled.
    pub unknown_rule: bool,
}

impl Evaluated {
    /// Empties it and keeps the capacity.
    pub fn clear(&mut self) {
        self.matched = 0;
        self.records.clear();
        self.republished.clear();
        self.failures.clear();
        self.error_targets.clear();
        self.trace_id = 0;
        self.outcomes.clear();
        self.cut = 0;
        self.unknown_rule = false;
    }

    pub(crate) fn error(&mut self, rule: u32, kind: ErrorKind) {
        self.outcomes.push((rule, RuleOutcome::Error(kind)));
    }
}

/// Buffers that evaluations reuse; one per thread.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) sql: forebay_sql::Scratch,
    pub(crate) matched: Vec<u32>,
    pub(crate) pending: Vec<(u32, usize)>,
    pub(crate) body: Vec<u8>,
    pub(crate) text: Vec<u8>,
}
