//! The gate: checks the raw bytes of one complete frame, then has the codec decode it.
//!
//! What the codec gets here always decodes, or the frame is malformed; there is no third outcome. After an error no
//! later byte of the connection may be interpreted.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttd::protocol::{
    Filter, Packet, Protocol, PubRecReason, Publish, PublishProperties, v4::V4, v5::V5,
};

use super::GateRules;
use super::frame::{Frame, kind};
use super::properties::{Carrier, walk};
use super::reader::Reader;
use crate::outcome::{Cause, Version};

/// A valid packet from a client after its CONNECT.
#[derive(Debug)]
pub(crate) enum Inbound {
    Publish(InboundPublish),
    PubAck(u16),
    /// Packet id, and whether the client refuses the message.
    PubRec(u16, bool),
    PubRel(u16),
    PubComp(u16),
    Subscribe {
        packet_id: u16,
        filters: Vec<Filter>,
        /// The client attached a subscription identifier.
        identifier: bool,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    PingReq,
    Disconnect(Disconnect),
}

/// A PUBLISH whose fixed header, topic bytes and properties are well formed. Whether the topic is acceptable is not
/// decided here.
#[derive(Debug)]
pub(crate) struct InboundPublish {
    /// 0 to 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// 0 with QoS 0.
    pub(crate) packet_id: u16,
    /// UTF-8 without the null character.
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) properties: Option<Box<PublishProperties>>,
}

/// How a client takes its leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnect {
    /// The client wants its will published.
    pub(crate) with_will: bool,
    /// Session expiry interval in seconds, if it is to change.
    pub(crate) session_expiry: Option<u32>,
}

/// Checks and decodes the complete `frame` at the front of `buffer` and takes it out.
///
/// # Errors
/// The first rule that the packet breaks.
pub(crate) fn decode(
    version: Version,
    buffer: &mut BytesMut,
    frame: Frame,
    rules: &GateRules,
) -> Result<Inbound, Cause> {
    debug_assert!(buffer.len() >= frame.total_len);
    let raw = &buffer[..frame.total_len];
    match frame.kind {
        kind::PUBLISH => {
            let head = publish_head(version, raw, frame, rules)?;
            let (publish, properties) = match read(version, buffer, frame)? {
                Packet::Publish(publish, properties) => (publish, properties),
                _ => return Err(Cause::Malformed),
            };
            Ok(Inbound::Publish(inbound_publish(head, publish, properties)))
        }
        kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
            check_acknowledgement(version, raw, frame, rules)?;
            acknowledgement(read(version, buffer, frame)?)
        }
        kind::SUBSCRIBE => subscribe(version, buffer, frame, rules),
        kind::UNSUBSCRIBE => {
            check_unsubscribe(version, raw, frame, rules)?;
            match read(version, buffer, frame)? {
                Packet::Unsubscribe(unsubscribe, _) => Ok(Inbound::Unsubscribe {
                    packet_id: unsubscribe.pkid,
                    filters: unsubscribe.filters,
                }),
                _ => Err(Cause::Malformed),
            }
        }
        kind::PINGREQ if frame.remaining_len() == 0 => match read(version, buffer, frame)? {
            Packet::PingReq(_) => Ok(Inbound::PingReq),
            _ => Err(Cause::Malformed),
        },
        kind::DISCONNECT => disconnect(version, buffer, frame, rules),
        _ => Err(Cause::Malformed),
    }
}

/// Hands exactly one frame to the codec. Any error means malformed, also the one that asks for more bytes.
fn read(version: Version, buffer: &mut BytesMut, frame: Frame) -> Result<Packet, Cause> {
    let before = buffer.len();
    let packet = match version {
        Version::V311 => V4.read_mut(buffer, frame.remaining_len()),
        Version::V5 => V5.read_mut(buffer, frame.remaining_len()),
    };
    debug_assert_eq!(before - buffer.len(), frame.total_len);
    packet.map_err(|_| Cause::Malformed)
}

struct PublishHead {
    qos: u8,
    packet_id: u16,
}

fn publish_head(
    version: Version,
    raw: &[u8],
    frame: Frame,
    rules: &GateRules,
) -> Result<PublishHead, Cause> {
    let mut reader = Reader::new(raw, frame.header_len);
    // The topic's own rules come with an answer of their own, so only what makes it no string is judged here.
    reader.string()?;
    let qos = (frame.flags >> 1) & 3;
    let packet_id = if qos > 0 { reader.packet_id()? } else { 0 };
    if version == Version::V5 {
        walk(&mut reader, Carrier::Publish, rules.properties)?;
    }
    Ok(PublishHead { qos, packet_id })
}

/// The codec keeps QoS and packet id of a PUBLISH to itself, so they come from the head that the gate read.
fn inbound_publish(
    head: PublishHead,
    publish: Publish,
    properties: Option<PublishProperties>,
) -> InboundPublish {
    InboundPublish {
        qos: head.qos,
        retain: publish.retain,
        packet_id: head.packet_id,
        topic: publish.topic,
        payload: publish.payload,
        properties: properties.map(Box::new),
    }
}

fn check_acknowledgement(
    version: Version,
    raw: &[u8],
    frame: Frame,
    rules: &GateRules,
) -> Result<(), Cause> {
    let mut reader = Reader::new(raw, frame.header_len);
    reader.packet_id()?;
    if version == Version::V5 && !reader.is_empty() {
        reader.u8()?;
        if !reader.is_empty() {
            walk(&mut reader, Carrier::Acknowledgement, rules.properties)?;
        }
    }
    end(&reader)
}

fn acknowledgement(packet: Packet) -> Result<Inbound, Cause> {
    match packet {
        Packet::PubAck(ack, _) => Ok(Inbound::PubAck(ack.pkid)),
        Packet::PubRec(ack, _) => {
            let refused = !matches!(
                ack.reason,
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers
            );
            Ok(Inbound::PubRec(ack.pkid, refused))
        }
        Packet::PubRel(ack, _) => Ok(Inbound::PubRel(ack.pkid)),
        Packet::PubComp(ack, _) => Ok(Inbound::PubComp(ack.pkid)),
        _ => Err(Cause::Malformed),
    }
}

fn subscribe(
    version: Version,
    buffer: &mut BytesMut,
    frame: Frame,
    rules: &GateRules,
) -> Result<Inbound, Cause> {
    let raw = &buffer[..frame.total_len];
    let mut reader = Reader::new(raw, frame.header_len);
    reader.packet_id()?;
    let properties_at = reader.position();
    let walked = match version {
        Version::V311 => None,
        Version::V5 => Some(walk(&mut reader, Carrier::Subscribe, rules.properties)?),
    };
    if reader.is_empty() {
        return Err(Cause::ProtocolError);
    }
    while !reader.is_empty() {
        reader.string()?;
        check_subscription_options(version, reader.u8()?)?;
    }

    let identifier = walked
        .as_ref()
        .and_then(|walked| walked.subscription_identifier.clone());
    let packet = match (&identifier, walked) {
        (Some(range), Some(walked)) => {
            let without = without_identifier(raw, frame, properties_at, walked.end, range);
            let len = without.len();
            let mut copy = without;
            buffer.advance(frame.total_len);
            V5.read_mut(&mut copy, len).map_err(|_| Cause::Malformed)?
        }
        _ => read(version, buffer, frame)?,
    };
    match packet {
        Packet::Subscribe(subscribe, _) => Ok(Inbound::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe.filters,
            identifier: identifier.is_some(),
        }),
        _ => Err(Cause::Malformed),
    }
}

fn check_subscription_options(version: Version, options: u8) -> Result<(), Cause> {
    let reserved = match version {
        Version::V311 => options & 0xfc,
        Version::V5 => options & 0xc0,
    };
    if reserved != 0 || (version == Version::V311 && options & 3 == 3) {
        return Err(Cause::Malformed);
    }
    // QoS 3 and Retain Handling 3 (MQTT 5.0, 3.8.3.1).
    if options & 3 == 3 || options & 0x30 == 0x30 {
        return Err(Cause::ProtocolError);
    }
    Ok(())
}

/// A copy of a SUBSCRIBE without its subscription identifier, whose length the codec counts wrongly.
fn without_identifier(
    raw: &[u8],
    frame: Frame,
    properties_at: usize,
    properties_end: usize,
    identifier: &Range<usize>,
) -> BytesMut {
    let mut reader = Reader::new(raw, properties_at);
    let properties_len = reader.variable_integer().unwrap_or(0) - identifier.len();
    let first = reader.position();
    let mut body = BytesMut::with_capacity(frame.total_len);
    body.extend_from_slice(&raw[frame.header_len..properties_at]);
    put_variable_integer(&mut body, properties_len);
    body.extend_from_slice(&raw[first..identifier.start]);
    body.extend_from_slice(&raw[identifier.end..properties_end]);
    body.extend_from_slice(&raw[properties_end..]);
    let mut copy = BytesMut::with_capacity(body.len() + 5);
    copy.put_u8(0x82);
    put_variable_integer(&mut copy, body.len());
    copy.extend_from_slice(&body);
    copy
}

/// Appends a variable byte integer (MQTT 5.0, 1.5.5).
pub(super) fn put_variable_integer(buffer: &mut BytesMut, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            buffer.put_u8(low);
            return;
        }
        buffer.put_u8(low | 0x80);
    }
}

fn check_unsubscribe(
    version: Version,
    raw: &[u8],
    frame: Frame,
    rules: &GateRules,
) -> Result<(), Cause> {
    let mut reader = Reader::new(raw, frame.header_len);
    reader.packet_id()?;
    if version == Version::V5 {
        walk(&mut reader, Carrier::Unsubscribe, rules.properties)?;
    }
    if reader.is_empty() {
        return Err(Cause::ProtocolError);
    }
    while !reader.is_empty() {
        reader.string()?;
    }
    Ok(())
}

fn disconnect(
    version: Version,
    buffer: &mut BytesMut,
    frame: Frame,
    rules: &GateRules,
) -> Result<Inbound, Cause> {
    let raw = &buffer[..frame.total_len];
    let mut reader = Reader::new(raw, frame.header_len);
    if version == Version::V311 {
        end(&reader)?;
    }
    let packet = if frame.remaining_len() == 1 {
        // Legal (MQTT 5.0, 3.14.2.1), and dropped by the codec: it gets the same packet with its length of properties.
        let mut copy = BytesMut::from(&[0xe0, 2, reader.u8()?, 0][..]);
        buffer.advance(frame.total_len);
        let len = copy.len();
        V5.read_mut(&mut copy, len).map_err(|_| Cause::Malformed)?
    } else {
        if frame.remaining_len() > 1 {
            reader.u8()?;
            walk(&mut reader, Carrier::Disconnect, rules.properties)?;
            end(&reader)?;
        }
        read(version, buffer, frame)?
    };
    match packet {
        Packet::Disconnect(disconnect, properties) => {
            use rumqttd::protocol::DisconnectReasonCode as Reason;
            Ok(Inbound::Disconnect(Disconnect {
                with_will: disconnect.reason_code != Reason::NormalDisconnection,
                session_expiry: properties.and_then(|p| p.session_expiry_interval),
            }))
        }
        _ => Err(Cause::Malformed),
    }
}

/// Trailing bytes are malformed.
fn end(reader: &Reader<'_>) -> Result<(), Cause> {
    if reader.is_empty() {
        Ok(())
    } else {
        Err(Cause::Malformed)
    }
}
