//! The encoder front: turns an answer or a delivery into bytes, and lets the codec write only what it writes correctly.
//!
//! The codec panics when one version's codes are written with the other's encoder, cuts lengths to sixteen bits without
//! a word, and leaves half a packet behind when it fails. Every packet therefore passes [`to_v4`] or [`to_v5`], whose
//! matches name every packet and every code, and is written at the tail of the buffer, which is cut back on an error.
//! DISCONNECT is written here: the codec's form of it is wrong for every reason without properties.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::protocol::{
    ConnectReturnCode, Packet, Protocol, Publish, PublishProperties, SubscribeReasonCode, v4::V4,
    v5::V5,
};

use crate::outcome::Version;

/// Why a packet was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The version has no such packet, or a server does not send it.
    #[error("packet or code does not exist in this direction and version")]
    NotWritable,
    /// A string or binary field above 65 535 bytes.
    #[error("field too long: {0} > 65535 bytes")]
    FieldTooLong(usize),
    /// The codec refused it.
    #[error("codec: {0}")]
    Codec(rumqttd::protocol::Error),
}

/// Writes packets of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoder {
    version: Version,
}

impl Encoder {
    pub(crate) fn new(version: Version) -> Self {
        Self { version }
    }

    /// Appends `packet` to `out`. Nothing is appended on an error.
    ///
    /// # Errors
    /// When this version cannot carry the packet.
    pub(crate) fn write(self, mut packet: Packet, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        let written = match self.version {
            Version::V311 => {
                to_v4(&mut packet).and_then(|()| V4.write(packet, out).map_err(EncodeError::Codec))
            }
            Version::V5 => {
                to_v5(&packet).and_then(|()| V5.write(packet, out).map_err(EncodeError::Codec))
            }
        };
        if written.is_err() {
            out.truncate(start);
        }
        written.map(drop)
    }

    /// Appends a DISCONNECT with a reason. Only MQTT 5.0 servers send one; for 3.1.1 nothing is written.
    pub(crate) fn write_disconnect(self, reason: u8, out: &mut BytesMut) {
        if self.version == Version::V5 {
            out.put_slice(&[0xe0, 2, reason, 0]);
        }
    }
}

/// A PUBLISH for the codec. It hides QoS, DUP and packet id behind a form of its own that carries them in front of the
/// topic; the layout is pinned by a test. DUP is never set: nothing is sent twice on one connection.
pub(crate) fn publish_packet(
    qos: u8,
    retain: bool,
    packet_id: u16,
    topic: &[u8],
    payload: Bytes,
) -> Publish {
    let mut form = BytesMut::with_capacity(5 + topic.len());
    form.put_u8(0x30 | qos << 1 | u8::from(retain));
    form.put_u16(packet_id);
    // The encoder front checks the real length of the topic; here it only has to be found again.
    form.put_u16(0);
    let mut publish = Publish::deserialize(form.split().freeze());
    form.extend_from_slice(topic);
    publish.topic = form.freeze();
    publish.payload = payload;
    publish
}

fn field(len: usize) -> Result<(), EncodeError> {
    if len > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong(len));
    }
    Ok(())
}

fn check_pairs(pairs: &[(String, String)]) -> Result<(), EncodeError> {
    for (name, value) in pairs {
        field(name.len())?;
        field(value.len())?;
    }
    Ok(())
}

fn check_text(text: &Option<String>) -> Result<(), EncodeError> {
    text.as_ref().map_or(Ok(()), |text| field(text.len()))
}

fn check_publish(properties: &PublishProperties) -> Result<(), EncodeError> {
    check_text(&properties.response_topic)?;
    check_text(&properties.content_type)?;
    check_pairs(&properties.user_properties)?;
    properties
        .correlation_data
        .as_ref()
        .map_or(Ok(()), |data| field(data.len()))
}

/// Makes a packet one that the encoder of MQTT 3.1.1 may be called with: properties go, codes of MQTT 5.0 become those
/// of 3.1.1.
pub(super) fn to_v4(packet: &mut Packet) -> Result<(), EncodeError> {
    match packet {
        Packet::PubAck(_, properties) => *properties = None,
        Packet::Publish(publish, properties) => {
            field(publish.topic.len())?;
            *properties = None;
        }
        Packet::PingResp(_) => {}
        Packet::PubRec(_, properties) => *properties = None,
        Packet::PubRel(_, properties) => *properties = None,
        Packet::PubComp(_, properties) => *properties = None,
        Packet::SubAck(ack, properties) => {
            for code in &mut ack.return_codes {
                *code = subscribe_code_v4(*code);
            }
            *properties = None;
        }
        Packet::UnsubAck(_, properties) => *properties = None,
        Packet::ConnAck(ack, properties) => {
            connect_code_v4(ack.code)?;
            *properties = None;
        }
        Packet::Connect(..)
        | Packet::PingReq(_)
        | Packet::Subscribe(..)
        | Packet::Unsubscribe(..)
        | Packet::Disconnect(..) => return Err(EncodeError::NotWritable),
    }
    Ok(())
}

/// Checks that the encoder of MQTT 5.0 may be called with a packet.
pub(super) fn to_v5(packet: &Packet) -> Result<(), EncodeError> {
    match packet {
        Packet::Publish(publish, properties) => {
            field(publish.topic.len())?;
            properties.as_ref().map_or(Ok(()), check_publish)?;
        }
        Packet::ConnAck(ack, properties) => {
            connect_code_v5(ack.code)?;
            if let Some(properties) = properties {
                check_text(&properties.assigned_client_identifier)?;
                check_text(&properties.reason_string)?;
                check_text(&properties.response_information)?;
                check_text(&properties.server_reference)?;
                check_text(&properties.authentication_method)?;
                check_pairs(&properties.user_properties)?;
            }
        }
        Packet::PubAck(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::PubRec(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::PubRel(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::PubComp(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::SubAck(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::UnsubAck(_, Some(properties)) => {
            check_text(&properties.reason_string)?;
            check_pairs(&properties.user_properties)?;
        }
        Packet::PubAck(_, None)
        | Packet::PubRec(_, None)
        | Packet::PubRel(_, None)
        | Packet::PubComp(_, None)
        | Packet::SubAck(_, None)
        | Packet::UnsubAck(_, None)
        | Packet::PingResp(_) => {}
        Packet::Connect(..)
        | Packet::PingReq(_)
        | Packet::Subscribe(..)
        | Packet::Unsubscribe(..)
        | Packet::Disconnect(..) => return Err(EncodeError::NotWritable),
    }
    Ok(())
}

fn subscribe_code_v4(code: SubscribeReasonCode) -> SubscribeReasonCode {
    match code {
        SubscribeReasonCode::QoS0
        | SubscribeReasonCode::QoS1
        | SubscribeReasonCode::QoS2
        | SubscribeReasonCode::Success(_) => code,
        SubscribeReasonCode::Failure
        | SubscribeReasonCode::Unspecified
        | SubscribeReasonCode::ImplementationSpecific
        | SubscribeReasonCode::NotAuthorized
        | SubscribeReasonCode::TopicFilterInvalid
        | SubscribeReasonCode::PkidInUse
        | SubscribeReasonCode::QuotaExceeded
        | SubscribeReasonCode::SharedSubscriptionsNotSupported
        | SubscribeReasonCode::SubscriptionIdNotSupported
        | SubscribeReasonCode::WildcardSubscriptionsNotSupported => SubscribeReasonCode::Failure,
    }
}

fn connect_code_v4(code: ConnectReturnCode) -> Result<(), EncodeError> {
    use ConnectReturnCode as Code;
    match code {
        Code::Success
        | Code::RefusedProtocolVersion
        | Code::ClientIdentifierNotValid
        | Code::ServiceUnavailable
        | Code::BadUserNamePassword
        | Code::NotAuthorized => Ok(()),
        Code::UnspecifiedError
        | Code::MalformedPacket
        | Code::ProtocolError
        | Code::ImplementationSpecificError
        | Code::UnsupportedProtocolVersion
        | Code::ServerUnavailable
        | Code::ServerBusy
        | Code::Banned
        | Code::BadAuthenticationMethod
        | Code::TopicNameInvalid
        | Code::PacketTooLarge
        | Code::QuotaExceeded
        | Code::PayloadFormatInvalid
        | Code::RetainNotSupported
        | Code::QoSNotSupported
        | Code::UseAnotherServer
        | Code::ServerMoved
        | Code::ConnectionRateExceeded => Err(EncodeError::NotWritable),
    }
}

fn connect_code_v5(code: ConnectReturnCode) -> Result<(), EncodeError> {
    use ConnectReturnCode as Code;
    match code {
        Code::RefusedProtocolVersion | Code::ServiceUnavailable => Err(EncodeError::NotWritable),
        Code::Success
        | Code::UnspecifiedError
        | Code::MalformedPacket
        | Code::ProtocolError
        | Code::ImplementationSpecificError
        | Code::UnsupportedProtocolVersion
        | Code::ClientIdentifierNotValid
        | Code::BadUserNamePassword
        | Code::NotAuthorized
        | Code::ServerUnavailable
        | Code::ServerBusy
        | Code::Banned
        | Code::BadAuthenticationMethod
        | Code::TopicNameInvalid
        | Code::PacketTooLarge
        | Code::QuotaExceeded
        | Code::PayloadFormatInvalid
        | Code::RetainNotSupported
        | Code::QoSNotSupported
        | Code::UseAnotherServer
        | Code::ServerMoved
        | Code::ConnectionRateExceeded => Ok(()),
    }
}
