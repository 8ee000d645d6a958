//! What a fault is: which requests it strikes and what it does to them.

use serde::{Deserialize, Serialize};

/// One rule of a fault script. A field that is not set matches everything.
///
/// The control call takes it as JSON with the same names in capitalised form, for example
/// `{"Operation": "PutRecords", "ShardIndex": 3, "Times": 5, "Effect": {"Type": "ResetAfterStore"}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct FaultRule {
    /// The operation, such as `PutRecords`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The stream that the request names. GetRecords counts as naming the stream of its iterator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// The index of a shard: requests with at least one record for it, and of their records only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_index: Option<u32>,
    /// A partition key: requests with at least one record of it, and of their records only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The first request that is struck, counted from 1 over the requests that match all of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_request: Option<u64>,
    /// The last request that is struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_request: Option<u64>,
    /// The number of requests that are struck at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The share of the matching requests that is struck, 0 to 1, drawn from the seed of the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// When the rule begins to work, in milliseconds after the script was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_millis: Option<u64>,
    /// How long it works from then on, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_millis: Option<u64>,
    /// What happens.
    pub effect: FaultEffect,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Type", rename_all_fields = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum FaultEffect {
    /// Records of PutRecords are refused one by one inside a successful answer. Of PutRecord, the request is.
    RecordError {
        /// The error code, such as `ProvisionedThroughputExceededException` or `InternalFailure`.
        code: String,
        /// The message; the service's own text for the two codes above when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The share of the matching records, 0 to 1; all when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fraction: Option<f64>,
        /// The number of records that are refused at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
    },
    /// Records are answered as stored and are not: the negative control of a test that looks for losses.
    DropRecords {
        /// The share of the matching records, 0 to 1; all when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fraction: Option<f64>,
        /// The number of records that are dropped at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
    },
    /// The whole request is refused and nothing of it stored, such as with `ExpiredTokenException`.
    RequestError {
        /// The error code.
        code: String,
        /// The message; the code again when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The HTTP status; 400 when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// The answer comes later; the request is carried out at once. The delays of several rules add up.
    Delay {
        /// Milliseconds.
        millis: u64,
        /// Up to so many milliseconds more, drawn from the seed of the script.
        #[serde(default)]
        jitter_millis: u64,
    },
    /// The connection is reset when the head of the request was read and its body was not. Such a rule can match by
    /// the operation, but not by stream, shard or key.
    ResetBeforeBody,
    /// The connection is reset when the body was read; nothing of it is stored.
    ResetAfterBody,
    /// The connection is reset when the body was read and stored.
    ResetAfterStore,
    /// The request is carried out, and the connection (over HTTP/2, the stream) ended in the middle of the answer.
    TruncateAnswer,
    /// The connection stays open and no answer comes.
    NeverAnswer {
        /// Whether the request is carried out.
        stored: bool,
    },
    /// The whole server is out of reach, also for connections that exist. Matches nothing but time; set by a control
    /// call it needs a duration, because no further call would get through.
    SinkDown {
        /// How a connection notices.
        mode: DownMode,
    },
}

/// How a server is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownMode {
    /// Connections are accepted and reset.
    Close,
    /// Connections are accepted and nothing happens on them until the time is over; then they are reset.
    Hang,
}

impl FaultEffect {
    /// The name under which it is counted and written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RecordError { .. } => "RecordError",
            Self::DropRecords { .. } => "DropRecords",
            Self::RequestError { .. } => "RequestError",
            Self::Delay { .. } => "Delay",
            Self::ResetBeforeBody => "ResetBeforeBody",
            Self::ResetAfterBody => "ResetAfterBody",
            Self::ResetAfterStore => "ResetAfterStore",
            Self::TruncateAnswer => "TruncateAnswer",
            Self::NeverAnswer { .. } => "NeverAnswer",
            Self::SinkDown { .. } => "SinkDown",
        }
    }
}

/// Why a fault script is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// A share is not from 0 to 1.
    #[error("rule {rule}: {field} = {value} is not from 0 to 1")]
    Share {
        /// Index of the rule.
        rule: usize,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The HTTP status is none of an error.
    #[error("rule {rule}: Status = {status} is not from 400 to 599")]
    Status {
        /// Index of the rule.
        rule: usize,
        /// The value.
        status: u16,
    },
    /// The rule matches by something that is not known when its effect is due.
    #[error("rule {rule}: {effect} cannot be matched by {field}")]
    Match {
        /// Index of the rule.
        rule: usize,
        /// The effect.
        effect: &'static str,
        /// The field that it cannot be matched by.
        field: &'static str,
    },
    /// There is no such operation.
    #[error("rule {rule}: Operation = {operation:?} is not an operation of this server")]
    Operation {
        /// Index of the rule.
        rule: usize,
        /// The value.
        operation: String,
    },
    /// `SinkDown` without an end, by a call that could never be followed by another.
    #[error("rule {rule}: SinkDown needs DurationMillis, because no later call would get through")]
    Endless {
        /// Index of the rule.
        rule: usize,
    },
    /// Too many rules.
    #[error("{count} rules > {max}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there can be.
        max: usize,
    },
}

impl FaultRule {
    /// A rule that strikes every request with `effect`.
    pub fn new(effect: FaultEffect) -> Self {
        Self {
            operation: None,
            stream_name: None,
            shard_index: None,
            partition_key: None,
            from_request: None,
            to_request: None,
            times: None,
            probability: None,
            start_millis: None,
            duration_millis: None,
            effect,
        }
    }

    /// Only requests for this operation.
    #[must_use]
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// Only requests that name this stream.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream_name = Some(name.into());
        self
    }

    /// Only records of this shard.
    #[must_use]
    pub fn shard(mut self, index: u32) -> Self {
        self.shard_index = Some(index);
        self
    }

    /// Only records of this partition key.
    #[must_use]
    pub fn partition_key(mut self, key: impl Into<String>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// Only the matching requests with these numbers, counted from 1.
    #[must_use]
    pub fn requests(mut self, from: u64, to: u64) -> Self {
        self.from_request = Some(from);
        self.to_request = Some(to);
        self
    }

    /// At most so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Only this share of the matching requests, 0 to 1.
    #[must_use]
    pub fn probability(mut self, share: f64) -> Self {
        self.probability = Some(share);
        self
    }

    /// Only from `start` milliseconds after the script was set, for `duration` milliseconds.
    #[must_use]
    pub fn window(mut self, start: u64, duration: u64) -> Self {
        self.start_millis = Some(start);
        self.duration_millis = Some(duration);
        self
    }

    /// Checks the rule; `index` is where it stands in its script.
    pub(super) fn check(&self, index: usize, known: fn(&str) -> bool) -> Result<(), FaultError> {
        let share = |field, value: Option<f64>| match value {
            Some(value) if !(0.0..=1.0).contains(&value) => Err(FaultError::Share {
                rule: index,
                field,
                value,
            }),
            _ => Ok(()),
        };
        share("Probability", self.probability)?;
        if let Some(operation) = self
            .operation
            .as_deref()
            .filter(|operation| !known(operation))
        {
            return Err(FaultError::Operation {
                rule: index,
                operation: operation.to_owned(),
            });
        }
        match &self.effect {
            FaultEffect::RecordError { fraction, .. }
            | FaultEffect::DropRecords { fraction, .. } => share("Fraction", *fraction),
            FaultEffect::RequestError {
                status: Some(status),
                ..
            } if !(400..600).contains(status) => Err(FaultError::Status {
                rule: index,
                status: *status,
            }),
            FaultEffect::ResetBeforeBody | FaultEffect::SinkDown { .. } => self.check_early(index),
            _ => Ok(()),
        }
    }

    /// Checks that an effect that comes before the body is not matched by what is in it.
    fn check_early(&self, rule: usize) -> Result<(), FaultError> {
        let down = matches!(self.effect, FaultEffect::SinkDown { .. });
        let fields = [
            ("StreamName", self.stream_name.is_some()),
            ("ShardIndex", self.shard_index.is_some()),
            ("PartitionKey", self.partition_key.is_some()),
            ("Operation", down && self.operation.is_some()),
            ("FromRequest", down && self.from_request.is_some()),
            ("ToRequest", down && self.to_request.is_some()),
            ("Times", down && self.times.is_some()),
            ("Probability", down && self.probability.is_some()),
        ];
        match fields.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(FaultError::Match {
                rule,
                effect: self.effect.name(),
                field,
            }),
            None => Ok(()),
        }
    }
}

/// A set of rules that come into force together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FaultScript {
    /// The rules. Where two would end a request differently, the first one does.
    pub rules: Vec<FaultRule>,
    /// Seed of everything that is drawn: the same requests in the same order meet the same faults.
    #[serde(default)]
    pub seed: u64,
}
