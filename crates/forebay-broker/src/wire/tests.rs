//! One test per known hole of the codec, named after what the gate does about it, and a round trip through an
//! independent decoder for everything that a server sends.

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet,
    PingReq, PingResp, PubAck, PubAckReason, PubComp, PubCompReason, PubRec, PubRecReason, PubRel,
    PubRelReason, Publish, PublishProperties, QoS, SubAck, SubscribeReasonCode, UnsubAck,
    UnsubAckReason,
};

use super::encode::{EncodeError, to_v4, to_v5};
use super::frame::Frame;
use super::*;
use crate::outcome::{Cause, Version};

const RULES: GateRules = GateRules {
    packet_bytes: 1 << 20,
    properties: PropertyLimits {
        user_properties: 3,
        user_property_bytes: 30,
    },
    lenient_flags: false,
};

fn frame(version: Version, bytes: &[u8]) -> Result<Frame, Cause> {
    match peek(
        bytes,
        Some(version),
        RULES.packet_bytes,
        RULES.lenient_flags,
    )? {
        Peek::Complete(frame) => Ok(frame),
        other => panic!("not a whole packet: {other:?}"),
    }
}

/// Runs one packet through the gate with another one behind it, which must stay.
fn gate(version: Version, bytes: &[u8]) -> Result<Inbound, Cause> {
    let frame = frame(version, bytes)?;
    let mut buffer = BytesMut::from(bytes);
    buffer.extend_from_slice(&[0xc0, 0]);
    let packet = decode(version, &mut buffer, frame, &RULES)?;
    assert_eq!(buffer[..], [0xc0, 0], "exactly one frame is taken");
    Ok(packet)
}

fn v3(bytes: &[u8]) -> Result<Inbound, Cause> {
    gate(Version::V311, bytes)
}

fn v5(bytes: &[u8]) -> Result<Inbound, Cause> {
    gate(Version::V5, bytes)
}

fn cause(result: Result<Inbound, Cause>) -> Cause {
    match result {
        Ok(packet) => panic!("accepted: {packet:?}"),
        Err(cause) => cause,
    }
}

fn connect(bytes: &[u8]) -> Result<ConnectRequest, Cause> {
    match peek(bytes, None, RULES.packet_bytes, false)? {
        Peek::Complete(frame) => {
            decode_connect(bytes, frame, &RULES).map_err(|refusal| refusal.cause)
        }
        other => panic!("not a whole packet: {other:?}"),
    }
}

fn encode(version: Version, packet: Packet) -> Result<Vec<u8>, EncodeError> {
    let mut out = BytesMut::from(&b"before"[..]);
    let written = Encoder::new(version).write(packet, &mut out);
    assert!(out.starts_with(b"before"));
    match written {
        Ok(()) => Ok(out[6..].to_vec()),
        Err(error) => {
            assert_eq!(
                out[..],
                b"before"[..],
                "nothing is left of a packet that failed"
            );
            Err(error)
        }
    }
}

#[test]
fn c1_types_that_only_servers_send_are_refused_before_decoding() {
    for version in [Version::V311, Version::V5] {
        for kind in [1, 2, 9, 11, 13] {
            let first = [kind << 4];
            assert_eq!(
                peek(&first, Some(version), 100, false),
                Err(Cause::ProtocolError)
            );
        }
        assert_eq!(
            peek(&[0x00], Some(version), 100, false),
            Err(Cause::Malformed)
        );
    }
    for kind in 2..16 {
        assert_eq!(
            peek(&[kind << 4], None, 100, false),
            Err(Cause::ProtocolError)
        );
    }
    assert_eq!(peek(&[0x10], None, 100, false), Ok(Peek::Header));
}

#[test]
fn c2_a_frame_that_ends_inside_its_properties_is_malformed_and_not_incomplete() {
    for bytes in [
        &[0x32, 6, 0, 1, b't', 0, 1, 0x80][..],
        &[0x40, 4, 0, 1, 0, 0x80],
        &[0x50, 4, 0, 1, 0, 0x80],
        &[0x62, 4, 0, 1, 0, 0x80],
        &[0x70, 4, 0, 1, 0, 0x80],
        &[0x82, 3, 0, 1, 0x80],
        &[0xa2, 3, 0, 1, 0x80],
        &[0xe0, 2, 0, 0x80],
    ] {
        assert_eq!(cause(v5(bytes)), Cause::Malformed, "{bytes:x?}");
    }
    let body = b"\x00\x04MQTT\x05\x02\x00\x3c\x80";
    let bytes = [&[0x10, body.len() as u8][..], body].concat();
    assert_eq!(connect(&bytes).unwrap_err(), Cause::Malformed);
}

#[test]
fn c3_a_disconnect_may_have_a_reason_and_nothing_else() {
    for (bytes, with_will) in [
        (&[0xe0, 0][..], false),
        (&[0xe0, 1, 0], false),
        (&[0xe0, 1, 4], true),
        (&[0xe0, 2, 4, 0], true),
        (&[0xe0, 1, 0x81], true),
    ] {
        let Inbound::Disconnect(disconnect) = v5(bytes).unwrap() else {
            panic!("{bytes:x?}");
        };
        assert_eq!(disconnect.with_will, with_will, "{bytes:x?}");
        assert_eq!(disconnect.session_expiry, None);
    }
    let Inbound::Disconnect(disconnect) = v5(&[0xe0, 7, 0, 5, 0x11, 0, 0, 1, 0]).unwrap() else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.session_expiry, Some(256));
    assert_eq!(cause(v5(&[0xe0, 1, 0x55])), Cause::Malformed);
    assert_eq!(cause(v3(&[0xe0, 1, 0])), Cause::Malformed);
}

#[test]
fn c4_flags_of_every_type_are_checked() {
    for kind in [4_u8, 5, 6, 7, 8, 10, 12, 14] {
        let right = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        for flags in 0..16_u8 {
            let found = peek(&[kind << 4 | flags], Some(Version::V5), 100, false);
            assert_eq!(found.is_ok(), flags == right, "type {kind} flags {flags}");
            let lenient = peek(&[kind << 4 | flags], Some(Version::V5), 100, true);
            let tolerated = flags == right || matches!(kind, 6 | 8 | 10);
            assert_eq!(lenient.is_ok(), tolerated, "type {kind} flags {flags}");
        }
    }
    for flags in 0..16_u8 {
        let qos = (flags >> 1) & 3;
        let right = qos != 3 && (qos > 0 || flags & 8 == 0);
        let found = peek(&[0x30 | flags], Some(Version::V311), 100, false);
        assert_eq!(found.is_ok(), right, "PUBLISH flags {flags}");
    }
}

#[test]
fn c5_and_c6_strings_are_utf_8_without_null() {
    for topic in [&[0xff][..], b"a\0", &[0xed, 0xa0, 0x80]] {
        let body = [&[0, topic.len() as u8][..], topic].concat();
        let bytes = [&[0x30, body.len() as u8][..], &body].concat();
        assert_eq!(cause(v3(&bytes)), Cause::Malformed);
        let filter = [&[0, 1][..], &body, &[0]].concat();
        let bytes = [&[0x82, filter.len() as u8][..], &filter].concat();
        assert_eq!(cause(v3(&bytes)), Cause::Malformed);
        let name = [&b"\x00\x04MQTT\x04\x02\x00\x3c"[..], &body].concat();
        let bytes = [&[0x10, name.len() as u8][..], &name].concat();
        assert_eq!(connect(&bytes).unwrap_err(), Cause::Malformed);
    }
    let Inbound::Publish(publish) = v3(&[0x30, 4, 0, 2, 0xc3, 0xa9]).unwrap() else {
        panic!("no PUBLISH");
    };
    assert_eq!(publish.topic, "é");
}

#[test]
fn c7_packet_ids_are_not_zero_and_lists_not_empty() {
    for bytes in [
        &[0x40, 2, 0, 0][..],
        &[0x50, 2, 0, 0],
        &[0x62, 2, 0, 0],
        &[0x70, 2, 0, 0],
        &[0x82, 6, 0, 0, 0, 1, b't', 0],
        &[0xa2, 5, 0, 0, 0, 1, b't'],
        &[0x82, 2, 0, 1],
        &[0xa2, 2, 0, 1],
        &[0x32, 6, 0, 1, b't', 0, 0, 0],
    ] {
        assert_eq!(cause(v3(bytes)), Cause::ProtocolError, "{bytes:x?}");
    }
    assert_eq!(cause(v3(&[0x40, 1, 0])), Cause::Malformed);
}

#[test]
fn c8_properties_are_allowed_once_in_range_and_end_where_they_say() {
    let publish = |properties: &[u8], rest: &[u8]| {
        let mut body = vec![0, 1, b't', properties.len() as u8];
        body.extend(properties);
        body.extend(rest);
        v5(&[&[0x30, body.len() as u8][..], &body].concat())
    };
    assert!(publish(&[0x01, 1, 0x02, 0, 0, 0, 9, 0x26, 0, 1, b'a', 0, 0], b"x").is_ok());
    for (properties, expected) in [
        (&[0x11, 0, 0, 0, 1][..], Cause::Malformed),
        (&[0x55], Cause::Malformed),
        (&[0x02, 0, 0, 0], Cause::Malformed),
        (&[0x26, 0, 1, b'a', 0, 9], Cause::Malformed),
        (&[0x01, 0, 0x01, 0], Cause::ProtocolError),
        (&[0x01, 2], Cause::ProtocolError),
        (&[0x08, 0, 1, b'+'], Cause::ProtocolError),
        (&[0x08, 0, 0], Cause::ProtocolError),
        (&[0x0b, 1], Cause::ProtocolError),
        (&[0x23, 0, 0], Cause::TopicAlias),
        (&[0x23, 0, 1], Cause::TopicAlias),
        (&[0x26, 0, 0, 0, 0].repeat(4), Cause::Quota),
        (
            &[&[0x26, 0, 31][..], &[b'a'; 31], &[0, 0]].concat(),
            Cause::Quota,
        ),
    ] {
        // Behind the properties are bytes that a value could run into.
        assert_eq!(
            cause(publish(properties, &[0; 20])),
            expected,
            "{properties:x?}"
        );
    }
}

#[test]
fn c9_a_subscription_identifier_is_taken_out_before_the_codec_counts_it() {
    let filters = [0, 1, b'a', 1, 0, 1, b'b', 2];
    for (properties, identified) in [
        (&[][..], false),
        (&[0x0b, 5][..], true),
        (&[0x0b, 0xff, 0x7f], true),
        (
            &[0x0b, 0x80, 0x80, 0x01, 0x26, 0, 1, b'k', 0, 1, b'v'],
            true,
        ),
        (&[0x26, 0, 1, b'k', 0, 1, b'v', 0x0b, 9], true),
    ] {
        let mut body = vec![0, 7, properties.len() as u8];
        body.extend(properties);
        body.extend(filters);
        let bytes = [&[0x82, body.len() as u8][..], &body].concat();
        let Inbound::Subscribe {
            packet_id,
            filters,
            identifier,
        } = v5(&bytes).unwrap()
        else {
            panic!("no SUBSCRIBE");
        };
        assert_eq!((packet_id, identifier), (7, identified));
        let paths: Vec<_> = filters
            .iter()
            .map(|filter| (filter.path.as_str(), filter.qos))
            .collect();
        assert_eq!(paths, [("a", QoS::AtLeastOnce), ("b", QoS::ExactlyOnce)]);
    }
    for properties in [&[0x0b, 0][..], &[0x0b, 1, 0x0b, 2]] {
        let body = [&[0, 7, properties.len() as u8][..], properties, &filters].concat();
        let bytes = [&[0x82, body.len() as u8][..], &body].concat();
        assert_eq!(cause(v5(&bytes)), Cause::ProtocolError);
    }
}

#[test]
fn c10_and_c11_the_connect_is_parsed_here_and_the_codec_sees_no_login() {
    let build = |level: u8, flags: u8, payload: &[u8]| {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend([level, flags, 0, 60]);
        if level == 5 {
            body.push(0);
        }
        body.extend(payload);
        [&[0x10, body.len() as u8][..], &body].concat()
    };
    let id = &[0, 1, b'c'][..];
    let binary_password = [id, &[0, 1, b'u', 0, 2, 0xff, 0xfe]].concat();
    let empty_name = [id, &[0, 0]].concat();
    let password_alone = [id, &[0, 1, b'p']].concat();
    for (level, flags, payload) in [
        (4, 0xc2, &binary_password),
        (5, 0xc2, &binary_password),
        (4, 0x82, &empty_name),
        (5, 0x42, &password_alone),
    ] {
        let request = connect(&build(level, flags, payload)).unwrap();
        assert_eq!((request.client_id.as_str(), request.keep_alive), ("c", 60));
        assert!(request.clean && request.will.is_none());
    }
    for (level, flags, payload) in [
        (4, 0x42, &password_alone[..]),
        (4, 0x03, id),
        (5, 0x03, id),
        (4, 0x02, &[0, 1, b'c', 0]),
        (4, 0x0a, id),
        (4, 0x22, id),
        (5, 0x1e, &[0, 1, b'c', 0, 0, 1, b't', 0, 0]),
        (4, 0x82, id),
    ] {
        let found = connect(&build(level, flags, payload)).unwrap_err();
        assert_eq!(found, Cause::Malformed, "level {level} flags {flags:x}");
    }
    let with_will = [id, &[0, 0, 1, b't', 0, 2, 0xff, 0, 0, 1, b'u']].concat();
    let request = connect(&build(5, 0xa6 | 0x10, &with_will)).unwrap();
    let will = request.will.unwrap();
    assert_eq!(
        (&will.topic[..], &will.payload[..]),
        (&b"t"[..], &[0xff, 0][..])
    );
    assert!(will.retain && will.qos == forebay_core::QoS::ExactlyOnce);
}

#[test]
fn c12_the_level_is_read_before_a_codec_is_chosen() {
    for (name, level, expected) in [
        ("MQTT", 4, Ok(Version::V311)),
        ("MQTT", 5, Ok(Version::V5)),
        ("MQTT", 3, Err(Cause::UnsupportedLevel)),
        ("MQIsdp", 3, Err(Cause::UnsupportedLevel)),
        ("MQTT", 6, Err(Cause::UnsupportedLevelV5)),
        ("MQTt", 4, Err(Cause::Malformed)),
    ] {
        let mut body = vec![0, name.len() as u8];
        body.extend(name.as_bytes());
        body.extend([level, 2, 0, 60]);
        body.extend((level == 5).then_some(0));
        body.extend([0, 1, b'c']);
        let bytes = [&[0x10, body.len() as u8][..], &body].concat();
        assert_eq!(
            connect(&bytes).map(|request| request.version),
            expected,
            "{name} {level}"
        );
    }
}

/// Every packet that a server sends, with all that MQTT 5.0 can put into it.
fn server_packets() -> Vec<Packet> {
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(9),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        subscription_identifiers: vec![1, 128, 16_384, 2_097_152, 5, 6, 7, 8],
        content_type: Some("c".to_owned()),
        topic_alias: None,
    };
    let publish = publish_packet(1, true, 0x1234, b"t/1", Bytes::from_static(b"x"));
    let pkid = 0x0102;
    vec![
        Packet::ConnAck(
            ConnAck {
                session_present: false,
                code: ConnectReturnCode::Success,
            },
            Some(ConnAckProperties {
                receive_max: Some(5),
                ..ConnAckProperties::default()
            }),
        ),
        Packet::Publish(publish, Some(properties)),
        Packet::PubAck(
            PubAck {
                pkid,
                reason: PubAckReason::QuotaExceeded,
            },
            None,
        ),
        Packet::PubRec(
            PubRec {
                pkid,
                reason: PubRecReason::NotAuthorized,
            },
            None,
        ),
        Packet::PubRel(
            PubRel {
                pkid,
                reason: PubRelReason::PacketIdentifierNotFound,
            },
            None,
        ),
        Packet::PubComp(
            PubComp {
                pkid,
                reason: PubCompReason::PacketIdentifierNotFound,
            },
            None,
        ),
        Packet::SubAck(
            SubAck {
                pkid,
                return_codes: vec![
                    SubscribeReasonCode::QoS1,
                    SubscribeReasonCode::QuotaExceeded,
                ],
            },
            None,
        ),
        Packet::UnsubAck(
            UnsubAck {
                pkid,
                reasons: vec![UnsubAckReason::NoSubscriptionExisted],
            },
            None,
        ),
        Packet::PingResp(PingResp),
    ]
}

#[test]
fn c13_each_encoder_gets_only_what_its_version_has() {
    let expected_v3: [&[u8]; 9] = [
        &[0x20, 2, 0, 0],
        &[0x33, 8, 0, 3, b't', b'/', b'1', 0x12, 0x34, b'x'],
        &[0x40, 2, 1, 2],
        &[0x50, 2, 1, 2],
        &[0x62, 2, 1, 2],
        &[0x70, 2, 1, 2],
        &[0x90, 4, 1, 2, 1, 0x80],
        &[0xb0, 2, 1, 2],
        &[0xd0, 0],
    ];
    let mut expected_publish = vec![0x33, 62, 0, 3, b't', b'/', b'1', 0x12, 0x34, 52];
    expected_publish.extend([
        0x01, 1, 0x02, 0, 0, 0, 9, 0x08, 0, 1, b'r', 0x09, 0, 2, 0, 255,
    ]);
    expected_publish.extend([0x26, 0, 1, b'k', 0, 1, b'v']);
    expected_publish.extend([
        0x0b, 1, 0x0b, 0x80, 1, 0x0b, 0x80, 0x80, 1, 0x0b, 0x80, 0x80, 0x80, 1,
    ]);
    expected_publish.extend([0x0b, 5, 0x0b, 6, 0x0b, 7, 0x0b, 8, 0x03, 0, 1, b'c', b'x']);
    expected_publish[1] = (expected_publish.len() - 2) as u8;
    let end = expected_publish.len() - 1;
    expected_publish[9] = (end - 10) as u8;
    let expected_v5: [&[u8]; 9] = [
        &[0x20, 6, 0, 0, 3, 0x21, 0, 5],
        &expected_publish,
        &[0x40, 4, 1, 2, 0x97, 0],
        &[0x50, 4, 1, 2, 0x87, 0],
        &[0x62, 4, 1, 2, 0x92, 0],
        &[0x70, 4, 1, 2, 0x92, 0],
        &[0x90, 5, 1, 2, 0, 1, 0x97],
        &[0xb0, 4, 1, 2, 0, 0x11],
        &[0xd0, 0],
    ];
    for (index, packet) in server_packets().into_iter().enumerate() {
        assert_eq!(
            encode(Version::V311, packet.clone()).unwrap(),
            expected_v3[index],
            "{packet:?}"
        );
        assert_eq!(
            encode(Version::V5, packet.clone()).unwrap(),
            expected_v5[index],
            "{packet:?}"
        );
    }
    let ack = |code| {
        Packet::ConnAck(
            ConnAck {
                session_present: false,
                code,
            },
            None,
        )
    };
    for code in [
        ConnectReturnCode::RefusedProtocolVersion,
        ConnectReturnCode::ServiceUnavailable,
    ] {
        assert_eq!(
            encode(Version::V5, ack(code)),
            Err(EncodeError::NotWritable)
        );
        assert!(encode(Version::V311, ack(code)).is_ok());
    }
    for code in [
        ConnectReturnCode::QuotaExceeded,
        ConnectReturnCode::MalformedPacket,
    ] {
        assert_eq!(
            encode(Version::V311, ack(code)),
            Err(EncodeError::NotWritable)
        );
        assert!(encode(Version::V5, ack(code)).is_ok());
    }
    let disconnect = Disconnect {
        reason_code: DisconnectReasonCode::NormalDisconnection,
    };
    for packet in [
        Packet::PingReq(PingReq),
        Packet::Disconnect(disconnect, None),
    ] {
        assert_eq!(to_v4(&mut packet.clone()), Err(EncodeError::NotWritable));
        assert_eq!(to_v5(&packet), Err(EncodeError::NotWritable));
    }
}

#[test]
fn c14_a_3_1_1_suback_knows_one_failure() {
    use SubscribeReasonCode as Code;
    let return_codes = vec![
        Code::QoS0,
        Code::QoS2,
        Code::Success(QoS::AtLeastOnce),
        Code::Failure,
        Code::Unspecified,
        Code::ImplementationSpecific,
        Code::NotAuthorized,
        Code::TopicFilterInvalid,
        Code::PkidInUse,
        Code::QuotaExceeded,
        Code::SharedSubscriptionsNotSupported,
        Code::SubscriptionIdNotSupported,
        Code::WildcardSubscriptionsNotSupported,
    ];
    let bytes = encode(
        Version::V311,
        Packet::SubAck(
            SubAck {
                pkid: 1,
                return_codes,
            },
            None,
        ),
    )
    .unwrap();
    assert_eq!(bytes[4..7], [0, 2, 1]);
    assert!(bytes[7..].iter().all(|code| *code == 0x80), "{bytes:x?}");
}

#[test]
fn c15_a_disconnect_is_four_bytes_and_only_version_5_sends_it() {
    let mut out = BytesMut::new();
    Encoder::new(Version::V311).write_disconnect(0x8e, &mut out);
    assert!(out.is_empty());
    Encoder::new(Version::V5).write_disconnect(0x8e, &mut out);
    assert_eq!(out[..], [0xe0, 2, 0x8e, 0]);
}

#[test]
fn c16_fields_beyond_sixteen_bits_are_refused() {
    let long = "x".repeat(65_536);
    let publish = |topic: &str| publish_packet(0, false, 0, topic.as_bytes(), Bytes::new());
    for version in [Version::V311, Version::V5] {
        let packet = Packet::Publish(publish(&long), None);
        assert_eq!(
            encode(version, packet),
            Err(EncodeError::FieldTooLong(65_536))
        );
        assert!(encode(version, Packet::Publish(publish(&"x".repeat(65_535)), None)).is_ok());
    }
    let mut with = PublishProperties {
        content_type: Some(long.clone()),
        ..Default::default()
    };
    assert!(
        encode(
            Version::V5,
            Packet::Publish(publish("t"), Some(with.clone()))
        )
        .is_err()
    );
    with.content_type = None;
    with.user_properties.push(("k".to_owned(), long.clone()));
    assert!(encode(Version::V5, Packet::Publish(publish("t"), Some(with))).is_err());
    let properties = ConnAckProperties {
        assigned_client_identifier: Some(long),
        ..Default::default()
    };
    let ack = ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
    };
    assert!(encode(Version::V5, Packet::ConnAck(ack, Some(properties))).is_err());
}

#[test]
fn c17_nothing_is_left_of_a_packet_that_the_codec_refuses() {
    // QoS 1 without an id: the codec has written the header when it notices.
    let publish = publish_packet(1, false, 0, b"t", Bytes::new());
    for version in [Version::V311, Version::V5] {
        let result = encode(version, Packet::Publish(publish.clone(), None));
        assert!(matches!(result, Err(EncodeError::Codec(_))), "{result:?}");
    }
}

#[test]
fn c18_auth_is_known_although_the_codec_does_not_know_it() {
    assert_eq!(
        peek(&[0xf0, 0], Some(Version::V5), 100, false),
        Err(Cause::ProtocolError)
    );
    assert_eq!(
        peek(&[0xf0, 0], Some(Version::V311), 100, false),
        Err(Cause::Malformed)
    );
    let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c\x05\x15\x00\x02XX".to_vec();
    body.extend([0, 1, b'c']);
    let bytes = [&[0x10, body.len() as u8][..], &body].concat();
    assert_eq!(connect(&bytes).unwrap_err(), Cause::AuthMethod);
}

#[test]
fn c19_a_kept_message_does_not_keep_the_read_buffer() {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    buffer.extend_from_slice(&[0x30, 4, 0, 1, b't', b'x']);
    let frame = frame(Version::V311, &buffer).unwrap();
    let Inbound::Publish(publish) = decode(Version::V311, &mut buffer, frame, &RULES).unwrap()
    else {
        panic!("no PUBLISH");
    };
    let kept = crate::publication::Publication::new(
        "t",
        &publish.payload,
        forebay_core::QoS::AtMostOnce,
        true,
        None,
        forebay_core::Time::ZERO,
    );
    drop(publish);
    assert_eq!(kept.payload, "x");
    assert!(buffer.try_reclaim(64 * 1024), "the buffer is free again");
}

#[test]
fn c20_topics_are_matched_without_the_codec() {
    use forebay_core::topic::{HashParent, matches};
    assert!(matches("é/+", "é/x", HashParent::Matches));
    assert!(matches("$SYS/#", "$SYS/x", HashParent::Matches));
    assert!(!matches("#", "$SYS/x", HashParent::Matches));
}

#[test]
fn the_hidden_parts_of_a_publish_keep_their_layout() {
    for qos in 0..3_u8 {
        for retain in [false, true] {
            let packet_id = if qos == 0 { 0 } else { 0xabcd };
            let publish = publish_packet(qos, retain, packet_id, b"t", Bytes::from_static(b"pay"));
            let id = packet_id.to_be_bytes();
            let first = 0x30 | qos << 1 | u8::from(retain);
            let mut expected = vec![first, id[0], id[1], 0, 1, b't'];
            expected.extend(b"pay");
            assert_eq!(publish.serialize(), expected);
            assert_eq!(Publish::deserialize(publish.serialize()), publish);
        }
    }
}

#[test]
fn headers_are_judged_byte_by_byte() {
    let whole = [0x30, 0x85, 0x01];
    for len in 0..3 {
        assert_eq!(
            peek(&whole[..len], Some(Version::V5), 1000, false),
            Ok(Peek::Header)
        );
    }
    assert_eq!(
        peek(&whole, Some(Version::V5), 1000, false),
        Ok(Peek::Partial(136))
    );
    assert_eq!(
        peek(&whole, Some(Version::V5), 135, false),
        Err(Cause::TooLarge)
    );
    let five = [0x30, 0x80, 0x80, 0x80, 0x80];
    assert_eq!(
        peek(&five[..4], Some(Version::V5), 1000, false),
        Ok(Peek::Header)
    );
    assert_eq!(
        peek(&five, Some(Version::V5), 1000, false),
        Err(Cause::Malformed)
    );
    // A length with more bytes than it needs is harmless.
    let padded = Frame {
        kind: 12,
        flags: 0,
        header_len: 3,
        total_len: 3,
    };
    assert_eq!(
        peek(&[0xc0, 0x80, 0], Some(Version::V5), 1000, false),
        Ok(Peek::Complete(padded))
    );
}

#[test]
fn the_codec_alone_still_has_the_holes_that_the_gate_closes() {
    use rumqttd::protocol::{Error, Protocol, matches, v4::V4, v5::V5};
    let read = |bytes: &'static [u8]| {
        std::panic::catch_unwind(|| V5.read_mut(&mut BytesMut::from(bytes), 1000))
    };
    assert!(read(&[0x20, 3, 0, 0, 0]).is_err(), "a CONNACK panics");
    let cut = read(&[0x82, 3, 0, 1, 0x80]).unwrap();
    assert!(matches!(cut, Err(Error::InsufficientBytes(_))), "{cut:?}");
    assert!(
        read(&[0xe0, 1, 4]).unwrap().is_err(),
        "a legal DISCONNECT is refused"
    );
    assert!(std::panic::catch_unwind(|| matches("é/x", "é/x")).is_err());
    let properties = Packet::PubAck(
        PubAck {
            pkid: 1,
            reason: PubAckReason::Success,
        },
        Some(rumqttd::protocol::PubAckProperties {
            reason_string: None,
            user_properties: Vec::new(),
        }),
    );
    let written = std::panic::catch_unwind(|| V4.write(properties, &mut BytesMut::new()));
    assert!(written.is_err(), "properties panic in 3.1.1");
    let mut out = BytesMut::new();
    let reason_code = DisconnectReasonCode::SessionTakenOver;
    let written = V5.write(
        Packet::Disconnect(Disconnect { reason_code }, None),
        &mut out,
    );
    assert_eq!(
        (written, &out[..]),
        (Ok(3), &[0xe0, 1, 0x8e, 0][..]),
        "one byte too many"
    );
}
