//! One published message as rules see it.

use std::net::IpAddr;

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
    /// What few rules ask for, behind a reference so that a message stays small; [`Origin::UNKNOWN`] where nothing is
    /// known.
    pub origin: &'a Origin<'a>,
}

/// Who published a message, from where, and with which MQTT 5 properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin<'a> {
    /// The authenticated user name, or the thumbprint of the client's certificate.
    pub principal: Option<&'a str>,
    /// Address of the publisher.
    pub source_ip: Option<IpAddr>,
    /// The message's random UUID; `None`: drawn when a rule asks for it.
    pub trace_id: Option<u128>,
    /// The configured account id; `None`: twelve zeros.
    pub account_id: Option<&'a str>,
    /// Properties of the PUBLISH packet.
    pub properties: Properties<'a>,
}

impl Origin<'_> {
    /// Nothing is known.
    pub const UNKNOWN: Origin<'static> = Origin {
        principal: None,
        source_ip: None,
        trace_id: None,
        account_id: None,
        properties: Properties {
            content_type: None,
            response_topic: None,
            correlation_data: None,
            is_utf8: false,
            user: &[],
        },
    };
}

/// Properties of a PUBLISH packet (MQTT 5.0, 3.3.2.3); a packet of an older version has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    /// Content Type.
    pub content_type: Option<&'a str>,
    /// Response Topic.
    pub response_topic: Option<&'a str>,
    /// Correlation Data.
    pub correlation_data: Option<&'a [u8]>,
    /// Payload Format Indicator: true when it says UTF-8.
    pub is_utf8: bool,
    /// User Properties in the order of the packet; names may occur more than once.
    pub user: &'a [(String, String)],
}
