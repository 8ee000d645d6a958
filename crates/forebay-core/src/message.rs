//! One published message as rules see it.

use bytes::Bytes;

/// One PUBLISH with the context that SQL functions can ask for.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The topic as it was received, Basic Ingest prefix included. A valid topic name.
    pub topic: &'a str,
    /// The payload, any bytes.
    pub payload: &'a Bytes,
    /// Client id of the publisher; `None` when the message did not come over MQTT.
    pub client_id: Option<&'a str>,
    /// Wall clock when the message was received, milliseconds since the Unix epoch: one value for the whole message.
    pub timestamp_ms: i64,
}
