//! One case: the rule, the message and what must come of it.

use std::net::IpAddr;

use bytes::Bytes;
use forebay_core::{Message, Origin, Properties};

use super::judgement::{self, Difference};
use super::trial;
use crate::json_text::Json;

/// Client id of a publisher over MQTT where a case names none.
const CLIENT_ID: &str = "client";

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) id: String,
    pub(super) subject: Subject,
    /// As it is written; `None` leaves the default of a rule document.
    pub(super) version: Option<String>,
    /// Name of the rule, for messages that name one by Basic Ingest.
    pub(super) rule_name: Option<String>,
    pub(super) published: Published,
    pub(super) expect: Expect,
    /// Relative tolerance of the numbers in `expect.json`.
    pub(super) tolerance: Option<f64>,
}

/// What is tried.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Statement(String),
    Template {
        text: String,
        field: Field,
        /// The statement whose variables are in force.
        sql: Option<String>,
    },
}

/// The field of an action that a template stands in, which decides what text it can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// None in particular: any text will do.
    Any,
    StreamName,
    PartitionKey,
    ExplicitHashKey,
    RepublishTopic,
}

impl Field {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("kinesis.streamName", Self::StreamName),
        ("kinesis.partitionKey", Self::PartitionKey),
        ("explicit_hash_key", Self::ExplicitHashKey),
        ("republish.topic", Self::RepublishTopic),
    ];
}

/// The message.
#[derive(Debug, Clone, Default)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) client_id: Option<String>,
    /// Not published over MQTT.
    pub(super) http: bool,
    pub(super) principal: Option<String>,
    pub(super) source_ip: Option<IpAddr>,
    pub(super) account_id: Option<String>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) trace_id: Option<u128>,
    pub(super) seed: Option<u64>,
    pub(super) content_type: Option<String>,
    pub(super) response_topic: Option<String>,
    pub(super) correlation_data: Option<Vec<u8>>,
    pub(super) is_utf8: bool,
    pub(super) user_properties: Vec<(String, String)>,
}

/// What must come of it. All members that are present must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Expect {
    pub(super) json: Option<Json>,
    pub(super) text: Option<String>,
    pub(super) base64: Option<Vec<u8>>,
    pub(super) no_match: Option<bool>,
    pub(super) error: Option<String>,
    pub(super) string: Option<String>,
    pub(super) action_fails: Option<bool>,
}

impl Case {
    /// Its name, unique in its file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The group that it belongs to: its name up to the last dash.
    pub fn group(&self) -> &str {
        self.id
            .rsplit_once('-')
            .map_or(self.id.as_str(), |(group, _)| group)
    }

    /// The statement or the template that is tried.
    pub fn text(&self) -> &str {
        match &self.subject {
            Subject::Statement(text) | Subject::Template { text, .. } => text,
        }
    }

    /// Runs the case and returns how the result differs from what was expected: nothing when it passes. `now_ms` is
    /// the time of a message that says none, in milliseconds since the Unix epoch.
    pub fn differences(&self, now_ms: i64) -> Vec<Difference> {
        judgement::differences(self, trial::run(self, now_ms))
    }
}

impl Published {
    /// The message, with everything that it brings along.
    pub(super) fn with_message<T>(
        &self,
        now_ms: i64,
        use_message: impl FnOnce(&Message<'_>) -> T,
    ) -> T {
        let origin = Origin {
            principal: self.principal.as_deref(),
            source_ip: self.source_ip,
            trace_id: self.trace_id,
            account_id: self.account_id.as_deref(),
            properties: Properties {
                content_type: self.content_type.as_deref(),
                response_topic: self.response_topic.as_deref(),
                correlation_data: self.correlation_data.as_deref(),
                is_utf8: self.is_utf8,
                user: &self.user_properties,
            },
        };
        let client_id = self.client_id.as_deref().unwrap_or(CLIENT_ID);
        use_message(&Message {
            topic: &self.topic,
            payload: &self.payload,
            client_id: (!self.http).then_some(client_id),
            timestamp_ms: self.timestamp_ms.unwrap_or(now_ms),
            origin: &origin,
        })
    }
}
