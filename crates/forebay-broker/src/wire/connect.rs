//! CONNECT. Its payload is parsed here, because the codec takes binary passwords for text, an empty user name for
//! none, and trailing bytes for nothing; the codec then decodes a copy without user name and password.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::QoS;
use rumqttd::protocol::{
    ConnectProperties, LastWillProperties, Packet, Protocol, PublishProperties, v4::V4, v5::V5,
};

use super::GateRules;
use super::frame::Frame;
use super::gate::put_variable_integer;
use super::properties::{Carrier, Walked, walk};
use super::reader::Reader;
use crate::outcome::{Cause, Version};

/// A valid CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct ConnectRequest {
    pub(crate) version: Version,
    /// Clean Session or Clean Start.
    pub(crate) clean: bool,
    /// Seconds; 0 = off.
    pub(crate) keep_alive: u16,
    /// May be empty: the server then assigns one.
    pub(crate) client_id: String,
    pub(crate) will: Option<Box<Will>>,
    /// Publishes with QoS 1 and 2 that the client takes at the same time.
    pub(crate) receive_maximum: u16,
    /// Largest packet that the client takes.
    pub(crate) packet_bytes_max: u32,
    /// Session expiry interval in seconds that was asked for.
    pub(crate) session_expiry: u32,
    /// Answers may carry a reason string (MQTT 5.0, 3.1.2.11.7).
    pub(crate) problem_information: bool,
}

/// The message that a client leaves behind.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<PublishProperties>>,
}

/// Why a CONNECT is refused, and in whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The version whose CONNACK is used, `None` when the socket is just closed.
    pub(crate) version: Option<Version>,
    pub(crate) cause: Cause,
}

const FLAG_RESERVED: u8 = 0x01;
const FLAG_WILL: u8 = 0x04;
const FLAG_WILL_RETAIN: u8 = 0x20;
const FLAG_PASSWORD: u8 = 0x40;
const FLAG_USER_NAME: u8 = 0x80;

/// Decodes the CONNECT that `bytes` consists of.
///
/// # Errors
/// A refusal with the version in whose form it is to be written.
pub(crate) fn decode_connect(
    bytes: &[u8],
    frame: Frame,
    rules: &GateRules,
) -> Result<ConnectRequest, Refusal> {
    let mut reader = Reader::new(bytes, frame.header_len);
    let version = protocol(&mut reader).map_err(|cause| match cause {
        Cause::UnsupportedLevel => Refusal {
            version: Some(Version::V311),
            cause,
        },
        Cause::UnsupportedLevelV5 => Refusal {
            version: Some(Version::V5),
            cause,
        },
        cause => Refusal {
            version: None,
            cause,
        },
    })?;
    decode_body(bytes, frame, rules, reader, version).map_err(|cause| Refusal {
        version: Some(version),
        cause,
    })
}

/// Reads protocol name and level.
fn protocol(reader: &mut Reader<'_>) -> Result<Version, Cause> {
    let name = reader.string()?;
    let level = reader.u8()?;
    match (name, level) {
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        ("MQTT", 6..) => Err(Cause::UnsupportedLevelV5),
        ("MQTT" | "MQIsdp", _) => Err(Cause::UnsupportedLevel),
        _ => Err(Cause::Malformed),
    }
}

fn decode_body(
    bytes: &[u8],
    frame: Frame,
    rules: &GateRules,
    mut reader: Reader<'_>,
    version: Version,
) -> Result<ConnectRequest, Cause> {
    let flags_at = reader.position();
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    reader.u16()?;

    let properties = match version {
        Version::V311 => Walked::default(),
        Version::V5 => walk(&mut reader, Carrier::Connect, rules.properties)?,
    };
    reader.string()?;
    if flags & FLAG_WILL != 0 {
        if version == Version::V5 {
            walk(&mut reader, Carrier::Will, rules.properties)?;
        }
        reader.string()?;
        reader.binary()?;
    }
    let login_at = reader.position();
    if flags & FLAG_USER_NAME != 0 {
        reader.string()?;
    }
    if flags & FLAG_PASSWORD != 0 {
        reader.binary()?;
    }
    if !reader.is_empty() {
        return Err(Cause::Malformed);
    }
    if properties.authentication_method {
        return Err(Cause::AuthMethod);
    }

    let mut copy = without_login(bytes, frame, flags_at, login_at);
    let len = copy.len();
    let packet = match version {
        Version::V311 => V4.read_mut(&mut copy, len),
        Version::V5 => V5.read_mut(&mut copy, len),
    };
    let Ok(Packet::Connect(connect, options, will, will_properties, _)) = packet else {
        return Err(Cause::Malformed);
    };
    let will = will
        .map(|will| {
            Ok(Box::new(Will {
                topic: will.topic,
                payload: will.message,
                qos: QoS::from_level(will.qos as u8).ok_or(Cause::Malformed)?,
                retain: will.retain,
                properties: will_properties.map(|p| Box::new(publish_properties(p))),
            }))
        })
        .transpose()?;
    Ok(request(version, connect, options, will))
}

fn check_flags(flags: u8, version: Version) -> Result<(), Cause> {
    let will_qos = (flags >> 3) & 3;
    let will = flags & FLAG_WILL != 0;
    let right = flags & FLAG_RESERVED == 0
        && will_qos != 3
        && (will || (will_qos == 0 && flags & FLAG_WILL_RETAIN == 0))
        // MQTT 3.1.1, 3.1.2.9; MQTT 5.0 allows a password alone.
        && (version == Version::V5 || flags & FLAG_USER_NAME != 0 || flags & FLAG_PASSWORD == 0);
    if right { Ok(()) } else { Err(Cause::Malformed) }
}

/// The same CONNECT without user name and password.
fn without_login(bytes: &[u8], frame: Frame, flags_at: usize, login_at: usize) -> BytesMut {
    let remaining = login_at - frame.header_len;
    let mut copy = BytesMut::with_capacity(remaining + 5);
    copy.put_u8(0x10);
    put_variable_integer(&mut copy, remaining);
    let flags_in_copy = copy.len() + flags_at - frame.header_len;
    copy.extend_from_slice(&bytes[frame.header_len..login_at]);
    copy[flags_in_copy] &= !(FLAG_USER_NAME | FLAG_PASSWORD);
    copy
}

fn request(
    version: Version,
    connect: rumqttd::protocol::Connect,
    options: Option<ConnectProperties>,
    will: Option<Box<Will>>,
) -> ConnectRequest {
    let mut request = ConnectRequest {
        version,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        will,
        receive_maximum: u16::MAX,
        packet_bytes_max: u32::MAX,
        session_expiry: 0,
        problem_information: version == Version::V5,
    };
    if let Some(options) = options {
        request.receive_maximum = options.receive_maximum.unwrap_or(u16::MAX);
        request.packet_bytes_max = options.max_packet_size.unwrap_or(u32::MAX);
        request.session_expiry = options.session_expiry_interval.unwrap_or(0);
        request.problem_information = options.request_problem_info != Some(0);
    }
    request
}

/// What of a will's properties belongs to the message; the delay does not.
fn publish_properties(will: LastWillProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: will.payload_format_indicator,
        message_expiry_interval: will.message_expiry_interval,
        topic_alias: None,
        response_topic: will.response_topic,
        correlation_data: will.correlation_data,
        user_properties: will.user_properties,
        subscription_identifiers: Vec::new(),
        content_type: will.content_type,
    }
}
