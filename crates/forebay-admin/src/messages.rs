//! What the API does messages with: the program hands them to the broker.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use axum::body::Bytes;
use forebay_core::QoS;

/// A message that came over HTTP. Topic and sizes are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPublish {
    /// The topic.
    pub topic: String,
    /// The payload, as it came.
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: QoS,
    /// It is to be retained.
    pub retain: bool,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
    /// MQTT 5 response topic.
    pub response_topic: Option<String>,
    /// MQTT 5 correlation data.
    pub correlation_data: Option<Bytes>,
    /// MQTT 5 payload format indicator: `Some(true)` for UTF-8, `Some(false)` for bytes.
    pub is_utf8: Option<bool>,
    /// MQTT 5 message expiry interval in seconds.
    pub expiry_seconds: Option<u32>,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
    /// Address of the caller.
    pub source: IpAddr,
}

/// Why a message was not taken, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// The topic or a property is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Nobody may publish there.
    #[error("{0}")]
    NotAllowed(String),
    /// The payload is over the limit.
    #[error("the payload is over the limit of {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// There is no room for it, or for what is to be retained, now.
    #[error("{0}")]
    NoRoom(String),
    /// It was taken, and a record of it failed or is not known to be kept.
    #[error("{0}")]
    Failed(String),
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// What a list shows of it.
    pub summary: RetainedSummary,
    /// The payload.
    pub payload: Bytes,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
}

/// A retained message in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedSummary {
    /// Its topic.
    pub topic: String,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// As published.
    pub qos: QoS,
    /// When it was published, milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// What becomes of a published message.
pub type Publishing = Pin<Box<dyn Future<Output = Result<(), PublishFault>> + Send>>;

/// Takes messages as if they came over MQTT, and shows the retained ones.
pub trait MessagePort: Send + Sync {
    /// Publishes: subscribers, retained store, rules, as for a PUBLISH. It is done when a PUBACK could leave.
    ///
    /// # Cancel safety
    /// Dropping the future gives the message up where it still waits for room; otherwise it goes its way.
    fn publish(&self, publish: HttpPublish) -> Publishing;

    /// The retained message of a topic.
    fn retained(&self, topic: &str) -> Option<RetainedMessage>;

    /// Up to `max` retained messages whose topics come behind `after`, by topic.
    fn retained_after(&self, after: Option<&str>, max: usize) -> Vec<RetainedSummary>;
}
