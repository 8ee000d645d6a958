//! Packets that no client may send: what the sender sees of it, that nothing behind them is
//! interpreted, and that nobody else notices.
//!
//! 3.1.1 is closed without a word (MQTT 3.1.1, 4.8), 5.0 is told the reason first (MQTT 5.0, 4.13).

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::mqtt::{
    Client, ConnAck, Connect, Packet, Properties, Property, Publish, Received, Version, Will,
    acknowledge, connect, id, packet, ping, publish,
};

use crate::bed::{self, LIMIT};
use crate::witnesses::{BEYOND, Witnesses};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xA2;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS1: u8 = 0x32;

/// Bytes after CONNACK, and the reason in the DISCONNECT of 5.0.
type Case = (&'static str, Vec<u8>, u8);
/// A first packet, and the code of the CONNACK that refuses it, if there is one.
type Opening = (&'static str, Vec<u8>, Option<u8>);

/// A string with its length in front.
fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("strings of a test are short");
    [&length.to_be_bytes(), text].concat()
}

/// The packet with this first byte and these parts of its body.
fn of(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    packet(first, &parts.concat())
}

/// A PUBLISH of 5.0 with QoS 0 and these bytes as its properties, their length included.
fn with_properties(properties: &[u8]) -> Vec<u8> {
    of(PUBLISH, &[&text("t"), properties, b"payload"])
}

/// Cases whose bytes mean the same in both versions.
fn in_both() -> Vec<Case> {
    let surrogate: &[u8] = b"\xED\xA0\x80";
    vec![
        ("packet type 0", vec![0x00, 0x00], MALFORMED),
        (
            "a second CONNECT",
            of(0x10, &[&text("MQTT"), &[4, 2, 0, 0], &text("x")]),
            PROTOCOL_ERROR,
        ),
        ("CONNACK", of(0x20, &[&[0, 0]]), PROTOCOL_ERROR),
        ("SUBACK", of(0x90, &[&[0, 1, 0]]), PROTOCOL_ERROR),
        ("UNSUBACK", of(0xB0, &[&[0, 1]]), PROTOCOL_ERROR),
        ("PINGRESP", of(0xD0, &[]), PROTOCOL_ERROR),
        ("flags of PUBACK", of(0x41, &[&[0, 1]]), MALFORMED),
        ("flags of PUBREC", of(0x52, &[&[0, 1]]), MALFORMED),
        ("flags of PUBREL", of(0x60, &[&[0, 1]]), MALFORMED),
        ("flags of PUBCOMP", of(0x78, &[&[0, 1]]), MALFORMED),
        (
            "flags of SUBSCRIBE",
            of(0x80, &[&[0, 1], &text("t"), &[0]]),
            MALFORMED,
        ),
        (
            "flags of UNSUBSCRIBE",
            of(0xA0, &[&[0, 1], &text("t")]),
            MALFORMED,
        ),
        ("flags of PINGREQ", of(0xC1, &[]), MALFORMED),
        ("flags of DISCONNECT", of(0xE1, &[]), MALFORMED),
        (
            "a length of five bytes",
            vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
            MALFORMED,
        ),
        (
            "a packet above the limit",
            vec![0x30, 0xFF, 0xFF, 0x7F],
            0x95,
        ),
        ("QoS 3", of(0x36, &[&text("t"), &[0, 1]]), MALFORMED),
        ("DUP with QoS 0", of(0x38, &[&text("t"), &[0]]), MALFORMED),
        ("PUBLISH without topic", of(PUBLISH, &[]), MALFORMED),
        (
            "a topic longer than its packet",
            of(PUBLISH, &[&[0xFF, 0xFF], b"t"]),
            MALFORMED,
        ),
        (
            "a topic that is not UTF-8",
            of(PUBLISH, &[&text(b"a\xFF"), &[0]]),
            MALFORMED,
        ),
        (
            "a topic with a surrogate",
            of(PUBLISH, &[&text(surrogate), &[0]]),
            MALFORMED,
        ),
        (
            "a topic with NUL",
            of(PUBLISH, &[&text("a\0b"), &[0]]),
            MALFORMED,
        ),
        (
            "an empty topic",
            of(PUBLISH, &[&text(""), &[0]]),
            PROTOCOL_ERROR,
        ),
        (
            "a topic with a wildcard",
            of(PUBLISH, &[&text("a/#"), &[0]]),
            0x90,
        ),
        (
            "PUBLISH with packet id 0",
            of(PUBLISH_QOS1, &[&text("t"), &[0, 0, 0]]),
            PROTOCOL_ERROR,
        ),
        (
            "PUBLISH without packet id",
            of(PUBLISH_QOS1, &[&text("t")]),
            MALFORMED,
        ),
        (
            "PUBACK with packet id 0",
            of(0x40, &[&[0, 0]]),
            PROTOCOL_ERROR,
        ),
        ("half a PUBACK", of(0x40, &[&[0]]), MALFORMED),
        (
            "PUBREL with packet id 0",
            of(0x62, &[&[0, 0]]),
            PROTOCOL_ERROR,
        ),
        ("trailing bytes of PINGREQ", of(0xC0, &[&[0]]), MALFORMED),
    ]
}

fn only_in_3() -> Vec<Case> {
    // The reason has no place to be said in 3.1.1.
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("AUTH", of(0xF0, &[])),
        ("SUBSCRIBE without filters", of(SUBSCRIBE, &[&[0, 1]])),
        (
            "SUBSCRIBE with packet id 0",
            of(SUBSCRIBE, &[&[0, 0], &text("t"), &[0]]),
        ),
        (
            "SUBSCRIBE with QoS 3",
            of(SUBSCRIBE, &[&[0, 1], &text("t"), &[3]]),
        ),
        (
            "SUBSCRIBE with reserved bits",
            of(SUBSCRIBE, &[&[0, 1], &text("t"), &[0x04]]),
        ),
        (
            "SUBSCRIBE that ends early",
            of(SUBSCRIBE, &[&[0, 1], &text("t")]),
        ),
        (
            "a filter that is not UTF-8",
            of(SUBSCRIBE, &[&[0, 1], &text(b"\xFF"), &[0]]),
        ),
        (
            "a filter with NUL",
            of(SUBSCRIBE, &[&[0, 1], &text("\0"), &[0]]),
        ),
        ("UNSUBSCRIBE without filters", of(UNSUBSCRIBE, &[&[0, 1]])),
        (
            "UNSUBSCRIBE with packet id 0",
            of(UNSUBSCRIBE, &[&[0, 0], &text("t")]),
        ),
        ("trailing bytes of PUBACK", of(0x40, &[&[0, 1, 0]])),
        ("DISCONNECT with a body", of(0xE0, &[&[0]])),
        (
            "a topic of 33 levels",
            of(PUBLISH, &[&text("/".repeat(32))]),
        ),
        (
            "a topic of 1025 bytes",
            of(PUBLISH, &[&text("t".repeat(1025))]),
        ),
        (
            "a reserved topic",
            of(PUBLISH, &[&text("$SYS/broker/version")]),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, bytes)| (name, bytes, 0))
        .collect()
}

fn only_in_5() -> Vec<Case> {
    let mut cases = subscriptions_of_5();
    cases.extend(properties_of_5());
    cases.extend([
        ("AUTH", of(0xF0, &[&[0x18, 0]]), PROTOCOL_ERROR),
        (
            "PUBACK with bytes behind its properties",
            of(0x40, &[&[0, 1, 0, 0, 9]]),
            MALFORMED,
        ),
        (
            "PUBACK with cut properties",
            of(0x40, &[&[0, 1, 0, 5, id::REASON_STRING]]),
            MALFORMED,
        ),
        (
            "DISCONNECT with another session expiry than none",
            of(0xE0, &[&[0, 5, id::SESSION_EXPIRY, 0, 0, 0, 9]]),
            PROTOCOL_ERROR,
        ),
        (
            "DISCONNECT with a server reference",
            of(0xE0, &[&[0, 4, id::SERVER_REFERENCE], &text("a")]),
            PROTOCOL_ERROR,
        ),
        (
            "DISCONNECT with cut properties",
            of(0xE0, &[&[0, 9, 0x1F]]),
            MALFORMED,
        ),
    ]);
    cases
}

fn subscriptions_of_5() -> Vec<Case> {
    let subscribe = |body: &[u8]| of(SUBSCRIBE, &[&[0, 1, 0], &text("t"), body]);
    vec![
        (
            "SUBSCRIBE without filters",
            of(SUBSCRIBE, &[&[0, 1, 0]]),
            PROTOCOL_ERROR,
        ),
        (
            "SUBSCRIBE with packet id 0",
            of(SUBSCRIBE, &[&[0, 0, 0], &text("t"), &[0]]),
            PROTOCOL_ERROR,
        ),
        ("SUBSCRIBE with QoS 3", subscribe(&[3]), PROTOCOL_ERROR),
        (
            "SUBSCRIBE with retain handling 3",
            subscribe(&[0x30]),
            PROTOCOL_ERROR,
        ),
        (
            "SUBSCRIBE with reserved bits",
            subscribe(&[0x40]),
            MALFORMED,
        ),
        ("SUBSCRIBE that ends early", subscribe(&[]), MALFORMED),
        (
            "SUBSCRIBE with cut properties",
            of(SUBSCRIBE, &[&[0, 1, 5, 0x26]]),
            MALFORMED,
        ),
        (
            "a subscription identifier of 0",
            of(
                SUBSCRIBE,
                &[&[0, 1, 2, id::SUBSCRIPTION_IDENTIFIER, 0], &text("t"), &[0]],
            ),
            PROTOCOL_ERROR,
        ),
        (
            "a filter that is not UTF-8",
            of(SUBSCRIBE, &[&[0, 1, 0], &text(b"\xFF"), &[0]]),
            MALFORMED,
        ),
        (
            "a filter with NUL",
            of(SUBSCRIBE, &[&[0, 1, 0], &text("\0"), &[0]]),
            MALFORMED,
        ),
        (
            "UNSUBSCRIBE without filters",
            of(UNSUBSCRIBE, &[&[0, 1, 0]]),
            PROTOCOL_ERROR,
        ),
        (
            "UNSUBSCRIBE with packet id 0",
            of(UNSUBSCRIBE, &[&[0, 0, 0], &text("t")]),
            PROTOCOL_ERROR,
        ),
        (
            "UNSUBSCRIBE with cut properties",
            of(UNSUBSCRIBE, &[&[0, 1, 5, 0x26]]),
            MALFORMED,
        ),
    ]
}

fn properties_of_5() -> Vec<Case> {
    let name_and_value = [&[id::USER_PROPERTY][..], &text("n"), &text("v")].concat();
    let too_many = name_and_value.repeat(101);
    let mut length = Vec::new();
    forebay_tests::mqtt::varint(u32::try_from(too_many.len()).unwrap_or(0), &mut length);
    let content_type = [&[id::CONTENT_TYPE][..], &text("a")].concat();
    vec![
        (
            "properties longer than the packet",
            of(PUBLISH, &[&text("t"), &[9, 1]]),
            MALFORMED,
        ),
        (
            "a property of another packet",
            with_properties(&[5, id::SESSION_EXPIRY, 0, 0, 0, 1]),
            MALFORMED,
        ),
        (
            "an unknown property",
            with_properties(&[2, 0x7F, 0]),
            MALFORMED,
        ),
        (
            "a property twice",
            with_properties(&[&[8][..], &content_type, &content_type].concat()),
            PROTOCOL_ERROR,
        ),
        (
            "a property that runs over the end of all",
            with_properties(&[4, id::CONTENT_TYPE, 0, 5, b'a']),
            MALFORMED,
        ),
        (
            "a property that is not UTF-8",
            with_properties(&[4, id::CONTENT_TYPE, 0, 1, 0xFF]),
            MALFORMED,
        ),
        (
            "payload format 2",
            with_properties(&[2, id::PAYLOAD_FORMAT, 2]),
            PROTOCOL_ERROR,
        ),
        (
            "topic alias 0",
            with_properties(&[3, id::TOPIC_ALIAS, 0, 0]),
            0x94,
        ),
        (
            "a topic alias",
            with_properties(&[3, id::TOPIC_ALIAS, 0, 1]),
            0x94,
        ),
        (
            "a topic alias in place of a topic",
            of(PUBLISH, &[&text(""), &[3, id::TOPIC_ALIAS, 0, 1]]),
            0x94,
        ),
        (
            "a subscription identifier from a client",
            with_properties(&[2, id::SUBSCRIPTION_IDENTIFIER, 1]),
            PROTOCOL_ERROR,
        ),
        (
            "a response topic with a wildcard",
            with_properties(&[&[4, id::RESPONSE_TOPIC][..], &text("#")].concat()),
            PROTOCOL_ERROR,
        ),
        (
            "101 user properties",
            with_properties(&[length, too_many].concat()),
            0x97,
        ),
    ]
}

/// Sends `bytes` and what must not be interpreted any more, and returns what came before the end.
fn send_and_read(client: &mut Client, bytes: &[u8]) -> Result<Vec<Packet>> {
    let beyond = publish(client.version(), &Publish::new(BEYOND, "interpreted", 0));
    client.send(&[bytes, &beyond].concat())?;
    client.read_to_close(LIMIT)
}

fn check_cases(version: Version, cases: Vec<Case>) -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut witnesses = Witnesses::connect(forebay.mqtt())?;
    for (index, (name, bytes, reason)) in cases.into_iter().enumerate() {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("offender-{index}"))?;
        let last = send_and_read(&mut client, &bytes).context(name)?;
        let as_it_should = match (version, last.as_slice()) {
            (Version::V3, []) => true,
            (Version::V5, [Packet::Disconnect { reason: got, .. }]) => *got == reason,
            _ => false,
        };
        ensure!(as_it_should, "{name}: {last:02x?}, not {reason:#04x}");
        witnesses.expect_service().context(name)?;
    }
    bed::stop(forebay)
}

#[test]
fn malformed_packets_of_3_1_1_close_their_connection_and_nothing_else() -> Result<()> {
    let mut cases = in_both();
    cases.extend(only_in_3());
    check_cases(Version::V3, cases)
}

#[test]
fn malformed_packets_of_5_0_are_answered_with_their_reason_and_disturb_nobody() -> Result<()> {
    let mut cases = in_both();
    cases.extend(only_in_5());
    check_cases(Version::V5, cases)
}

/// CONNECT with these flags, level and rest behind the keep alive.
fn connect_of(level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    of(
        0x10,
        &[&text("MQTT"), &[level, flags, 0, 0], &rest.concat()],
    )
}

fn openings_of_3() -> Vec<Opening> {
    let x = text("x");
    vec![
        (
            "PUBLISH first",
            publish(Version::V3, &Publish::new("t", "", 0)),
            None,
        ),
        ("PINGREQ first", ping(), None),
        (
            "flags of CONNECT",
            of(0x11, &[&text("MQTT"), &[4, 2, 0, 0], &x]),
            None,
        ),
        ("a CONNECT above 64 KiB", vec![0x10, 0x81, 0x80, 0x04], None),
        (
            "another protocol",
            of(0x10, &[&text("HTTP"), &[4, 2, 0, 0], &x]),
            None,
        ),
        (
            "3.1",
            of(0x10, &[&text("MQIsdp"), &[3, 2, 0, 0], &x]),
            Some(1),
        ),
        ("level 3", connect_of(3, 2, &[&x]), Some(1)),
        ("the reserved flag", connect_of(4, 0x03, &[&x]), None),
        (
            "a will with QoS 3",
            connect_of(4, 0x1E, &[&x, &text("w"), &text("")]),
            None,
        ),
        ("will QoS without will", connect_of(4, 0x0A, &[&x]), None),
        ("will retain without will", connect_of(4, 0x22, &[&x]), None),
        ("a will without topic", connect_of(4, 0x06, &[&x]), None),
        (
            "a password without user name",
            connect_of(4, 0x42, &[&x, &text("p")]),
            None,
        ),
        ("a missing user name", connect_of(4, 0x82, &[&x]), None),
        ("trailing bytes", connect_of(4, 0x02, &[&x, &[0]]), None),
        (
            "a client id that is not UTF-8",
            connect_of(4, 0x02, &[&text(b"\xFF")]),
            None,
        ),
        (
            "a client id with NUL",
            connect_of(4, 0x02, &[&text("a\0")]),
            None,
        ),
        (
            "no client id and a session",
            connect_of(4, 0x00, &[&text("")]),
            Some(2),
        ),
        (
            "a client id of 257 bytes",
            connect_of(4, 0x02, &[&text("x".repeat(257))]),
            Some(2),
        ),
    ]
}

fn openings_of_5() -> Vec<Opening> {
    let x = text("x");
    let name_and_value = [&[id::USER_PROPERTY][..], &text("n"), &text("v")].concat();
    let with = |properties: Properties| {
        let mut wanted = Connect::new(Version::V5, "x");
        wanted.properties = properties;
        connect(&wanted)
    };
    let one = |key, value| with(Properties::default().with(key, value));
    let mut too_many = Properties::default();
    for _ in 0..101 {
        too_many = too_many.with(id::USER_PROPERTY, Property::Pair("n".into(), "v".into()));
    }
    let twice = Properties::default()
        .with(id::RECEIVE_MAXIMUM, Property::Short(1))
        .with(id::RECEIVE_MAXIMUM, Property::Short(1));
    let mut bad_will = Connect::new(Version::V5, "x");
    bad_will.will = Some(Will {
        topic: "w/#".into(),
        payload: Vec::new(),
        qos: 0,
        retain: false,
        properties: Properties::default(),
    });
    vec![
        ("level 6", connect_of(6, 2, &[&[0], &x]), Some(0x84)),
        (
            "the reserved flag",
            connect_of(5, 0x03, &[&[0], &x]),
            Some(MALFORMED),
        ),
        (
            "a will with QoS 3",
            connect_of(5, 0x1E, &[&[0], &x, &[0], &text("w"), &text("")]),
            Some(MALFORMED),
        ),
        (
            "trailing bytes",
            connect_of(5, 0x02, &[&[0], &x, &[0]]),
            Some(MALFORMED),
        ),
        (
            "cut properties",
            connect_of(5, 0x02, &[&[100], &name_and_value]),
            Some(MALFORMED),
        ),
        (
            "a client id that is not UTF-8",
            connect_of(5, 0x02, &[&[0], &text(b"\xFF")]),
            Some(MALFORMED),
        ),
        (
            "a property of another packet",
            one(id::TOPIC_ALIAS, Property::Short(1)),
            Some(MALFORMED),
        ),
        ("a property twice", with(twice), Some(PROTOCOL_ERROR)),
        (
            "Receive Maximum 0",
            one(id::RECEIVE_MAXIMUM, Property::Short(0)),
            Some(PROTOCOL_ERROR),
        ),
        (
            "Maximum Packet Size 0",
            one(id::MAXIMUM_PACKET_SIZE, Property::Long(0)),
            Some(PROTOCOL_ERROR),
        ),
        (
            "Request Problem Information 2",
            one(id::REQUEST_PROBLEM_INFORMATION, Property::Byte(2)),
            Some(PROTOCOL_ERROR),
        ),
        (
            "an authentication method",
            one(
                id::AUTHENTICATION_METHOD,
                Property::Text("SCRAM-SHA-1".into()),
            ),
            Some(0x8C),
        ),
        (
            "authentication data alone",
            one(id::AUTHENTICATION_DATA, Property::Binary(vec![1])),
            Some(PROTOCOL_ERROR),
        ),
        ("101 user properties", with(too_many), Some(0x97)),
        (
            "a will topic with a wildcard",
            connect(&bad_will),
            Some(0x90),
        ),
        (
            "a client id of 257 bytes",
            connect(&Connect::new(Version::V5, &"x".repeat(257))),
            Some(0x85),
        ),
    ]
}

fn check_opening(broker: SocketAddr, version: Version, opening: &Opening) -> Result<()> {
    let (_, bytes, code) = opening;
    let mut client = Client::open(broker, version)?;
    let last = send_and_read(&mut client, bytes)?;
    let got: Vec<_> = last
        .iter()
        .map(|packet| match packet {
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                ..
            }) => Some(*code),
            _ => None,
        })
        .collect();
    let wanted: Vec<_> = code.iter().map(|code| Some(*code)).collect();
    ensure!(got == wanted, "{last:02x?}, not {code:02x?}");
    Ok(())
}

#[test]
fn first_packets_that_cannot_be_accepted_are_refused_in_the_words_of_their_version() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let mut witnesses = Witnesses::connect(forebay.mqtt())?;
    for (version, openings) in [
        (Version::V3, openings_of_3()),
        (Version::V5, openings_of_5()),
    ] {
        for opening in openings {
            check_opening(forebay.mqtt(), version, &opening).context(opening.0)?;
            witnesses.expect_service().context(opening.0)?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn what_only_looks_malformed_is_accepted() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in Version::ALL {
        let mut client = Client::simple(forebay.mqtt(), version, &format!("odd-{version:?}"))?;
        // A length in more bytes than it needs.
        client.send(&[0xC0, 0x80, 0x00])?;
        ensure!(client.read(LIMIT)? == Received::Packet(Packet::PingResp));
        // Acknowledgements of what was never sent.
        for bytes in [acknowledge(0x40, 77), acknowledge(0x70, 77)] {
            client.send(&bytes)?;
            client.ping()?;
        }
        let not_found = if version == Version::V5 { 0x92 } else { 0 };
        client.send(&acknowledge(0x62, 77))?;
        match client.read(LIMIT)? {
            Received::Packet(Packet::PubComp(ack)) => {
                ensure!((ack.id, ack.reason) == (77, not_found), "{ack:?}");
            }
            other => anyhow::bail!("instead of PUBCOMP: {other:?}"),
        }
    }
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "pubrec")?;
    client.send(&acknowledge(0x50, 78))?;
    match client.read(LIMIT)? {
        Received::Packet(Packet::PubRel(ack)) => ensure!((ack.id, ack.reason) == (78, 0x92)),
        other => anyhow::bail!("instead of PUBREL: {other:?}"),
    }
    bed::stop(forebay)
}

/// Passwords are binary, and 5.0 allows one without a user name.
#[test]
fn user_names_and_passwords_of_any_form_are_read_and_do_no_harm() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    let (binary, empty) = (Some(vec![0xFF, 0x00, 0xFE]), Some(String::new()));
    let logins = [
        (Version::V3, Some("user".to_owned()), binary.clone()),
        (Version::V3, empty.clone(), None),
        (Version::V5, Some("user".to_owned()), binary.clone()),
        (Version::V5, empty, binary.clone()),
        (Version::V5, None, binary),
    ];
    for (index, (version, user_name, password)) in logins.into_iter().enumerate() {
        let mut wanted = Connect::new(version, &format!("login-{index}"));
        wanted.user_name = user_name;
        wanted.password = password;
        let (mut client, _) =
            Client::connect(broker, &wanted).with_context(|| format!("{wanted:?}"))?;
        client.ping()?;
    }
    bed::stop(forebay)
}
