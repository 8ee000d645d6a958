//! Every kind of wrong packet in both versions: what its sender is told, and that nobody else notices.

use crate::bed::Bed;
use crate::client::{End, connect_v5, packet, publish, text};

struct Case {
    name: &'static str,
    /// For MQTT 3.1.1, if it applies. The connection is closed without a word.
    v3: Option<Vec<u8>>,
    /// For MQTT 5.0, with the reason of the DISCONNECT.
    v5: Option<(Vec<u8>, u8)>,
}

fn both(name: &'static str, bytes: &[u8], reason: u8) -> Case {
    Case {
        name,
        v3: Some(bytes.to_vec()),
        v5: Some((bytes.to_vec(), reason)),
    }
}

fn v5(name: &'static str, bytes: Vec<u8>, reason: u8) -> Case {
    Case {
        name,
        v3: None,
        v5: Some((bytes, reason)),
    }
}

/// The same publish in the form of each version.
fn topic(name: &'static str, topic: &str, reason: u8) -> Case {
    Case {
        name,
        v3: Some(publish(topic, b"x", 0, 0, None)),
        v5: Some((publish(topic, b"x", 0, 0, Some(&[])), reason)),
    }
}

fn with_properties(properties: &[u8]) -> Vec<u8> {
    publish("t", b"x", 0, 0, Some(properties))
}

fn subscribe_v5(options: u8) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    body.extend(text("t"));
    body.push(options);
    packet(0x82, &body)
}

fn headers() -> Vec<Case> {
    vec![
        both("type 0", &[0x00, 0], 0x81),
        Case {
            name: "type 15",
            v3: Some(vec![0xf0, 0]),
            v5: Some((vec![0xf0, 0], 0x82)),
        },
        both("CONNACK", &[0x20, 2, 0, 0], 0x82),
        both("SUBACK", &[0x90, 3, 0, 1, 0], 0x82),
        both("UNSUBACK", &[0xb0, 2, 0, 1], 0x82),
        both("PINGRESP", &[0xd0, 0], 0x82),
        both("second CONNECT", &connect_v5("x", 2, 60, &[]), 0x82),
        both("flags of PUBACK", &[0x41, 2, 0, 1], 0x81),
        both("flags of PUBREL", &[0x60, 2, 0, 1], 0x81),
        both("flags of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b't', 0], 0x81),
        both("flags of UNSUBSCRIBE", &[0xa0, 5, 0, 1, 0, 1, b't'], 0x81),
        both("flags of PINGREQ", &[0xc1, 0], 0x81),
        both("flags of DISCONNECT", &[0xe1, 0], 0x81),
        both(
            "length of five bytes",
            &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
            0x81,
        ),
        both(
            "larger than the limit",
            &[0x30, 0xff, 0xff, 0xff, 0x7f],
            0x95,
        ),
        both("PINGREQ with a body", &[0xc0, 1, 0], 0x81),
        Case {
            name: "DISCONNECT with a body",
            v3: Some(vec![0xe0, 1, 0]),
            v5: None,
        },
    ]
}

fn publishes() -> Vec<Case> {
    vec![
        topic("topic with null", "a\0b", 0x81),
        topic("topic with +", "a/+", 0x90),
        topic("topic with #", "#", 0x90),
        topic("empty topic", "", 0x82),
        both("topic not UTF-8", &[0x30, 5, 0, 1, 0xff, 0, 0], 0x81),
        both(
            "topic longer than the packet",
            &[0x30, 4, 0, 9, b't', 0],
            0x81,
        ),
        both("QoS 3", &[0x36, 6, 0, 1, b't', 0, 1, 0], 0x81),
        both("DUP with QoS 0", &[0x38, 4, 0, 1, b't', 0], 0x81),
        both("packet id 0", &[0x32, 6, 0, 1, b't', 0, 0, 0], 0x82),
        both("QoS 1 without id", &[0x32, 3, 0, 1, b't'], 0x81),
        both("empty PUBLISH", &[0x30, 0], 0x81),
        v5("topic alias", with_properties(&[0x23, 0, 1]), 0x94),
        v5("topic alias 0", with_properties(&[0x23, 0, 0]), 0x94),
        v5("subscription identifier", with_properties(&[0x0b, 1]), 0x82),
        v5(
            "property of another packet",
            with_properties(&[0x11, 0, 0, 0, 1]),
            0x81,
        ),
        v5("unknown property", with_properties(&[0x7f, 0]), 0x81),
        v5("property twice", with_properties(&[0x01, 0, 0x01, 0]), 0x82),
        v5("flag property 2", with_properties(&[0x01, 2]), 0x82),
        v5(
            "property without its value",
            with_properties(&[0x02, 0, 0]),
            0x81,
        ),
        v5(
            "property text not UTF-8",
            with_properties(&[0x03, 0, 1, 0xff]),
            0x81,
        ),
        v5(
            "property text with null",
            with_properties(&[0x03, 0, 1, 0]),
            0x81,
        ),
        v5(
            "response topic with wildcard",
            with_properties(&[0x08, 0, 1, b'#']),
            0x82,
        ),
        v5(
            "properties longer than the packet",
            vec![0x30, 4, 0, 1, b't', 9],
            0x81,
        ),
        v5(
            "value beyond the properties",
            vec![0x30, 8, 0, 1, b't', 2, 0x02, 0, 0, 0],
            0x81,
        ),
        v5("properties missing", vec![0x30, 3, 0, 1, b't'], 0x81),
        v5(
            "length of properties cut",
            vec![0x30, 4, 0, 1, b't', 0x80],
            0x81,
        ),
    ]
}

fn subscriptions() -> Vec<Case> {
    vec![
        Case {
            name: "SUBSCRIBE with id 0",
            v3: Some(vec![0x82, 6, 0, 0, 0, 1, b't', 0]),
            v5: Some((vec![0x82, 7, 0, 0, 0, 0, 1, b't', 0], 0x82)),
        },
        Case {
            name: "SUBSCRIBE without filter",
            v3: Some(vec![0x82, 2, 0, 1]),
            v5: Some((vec![0x82, 3, 0, 1, 0], 0x82)),
        },
        Case {
            name: "UNSUBSCRIBE without filter",
            v3: Some(vec![0xa2, 2, 0, 1]),
            v5: Some((vec![0xa2, 3, 0, 1, 0], 0x82)),
        },
        Case {
            name: "UNSUBSCRIBE with id 0",
            v3: Some(vec![0xa2, 5, 0, 0, 0, 1, b't']),
            v5: Some((vec![0xa2, 6, 0, 0, 0, 0, 1, b't'], 0x82)),
        },
        both("SUBSCRIBE cut", &[0x82, 1, 0], 0x81),
        both("UNSUBSCRIBE cut", &[0xa2, 1, 0], 0x81),
        Case {
            name: "QoS 3",
            v3: Some(vec![0x82, 6, 0, 1, 0, 1, b't', 3]),
            v5: Some((subscribe_v5(3), 0x82)),
        },
        Case {
            name: "options of version 5",
            v3: Some(vec![0x82, 6, 0, 1, 0, 1, b't', 4]),
            v5: None,
        },
        v5("retain handling 3", subscribe_v5(0x30), 0x82),
        v5("reserved option bits", subscribe_v5(0x40), 0x81),
        v5(
            "subscription identifier 0",
            vec![0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b't', 0],
            0x82,
        ),
        v5(
            "subscription identifier twice",
            vec![0x82, 11, 0, 1, 4, 0x0b, 1, 0x0b, 1, 0, 1, b't', 0],
            0x82,
        ),
        both("filter not UTF-8", &[0x82, 7, 0, 1, 0, 0, 1, 0xff, 0], 0x81),
    ]
}

fn acknowledgements() -> Vec<Case> {
    vec![
        both("PUBACK with id 0", &[0x40, 2, 0, 0], 0x82),
        both("PUBREC with id 0", &[0x50, 2, 0, 0], 0x82),
        both("PUBREL with id 0", &[0x62, 2, 0, 0], 0x82),
        both("PUBCOMP with id 0", &[0x70, 2, 0, 0], 0x82),
        both("PUBACK of one byte", &[0x40, 1, 0], 0x81),
        both("empty PUBREL", &[0x62, 0], 0x81),
        Case {
            name: "PUBACK of three bytes",
            v3: Some(vec![0x40, 3, 0, 1, 0]),
            v5: None,
        },
        Case {
            name: "PUBREC with trailing bytes",
            v3: Some(vec![0x50, 4, 0, 1, 0, 0]),
            v5: None,
        },
        v5(
            "reason that does not exist",
            vec![0x40, 3, 0, 1, 0x55],
            0x81,
        ),
        v5("trailing bytes", vec![0x40, 5, 0, 1, 0, 0, 0], 0x81),
        v5(
            "property of a PUBLISH",
            vec![0x40, 6, 0, 1, 0, 2, 0x01, 0],
            0x81,
        ),
        v5(
            "DISCONNECT with a server reference",
            vec![0xe0, 6, 0, 4, 0x1c, 0, 1, b'x'],
            0x82,
        ),
        v5(
            "DISCONNECT that wants a session",
            vec![0xe0, 7, 0, 5, 0x11, 0, 0, 0, 9],
            0x82,
        ),
        v5(
            "DISCONNECT with an unknown reason",
            vec![0xe0, 1, 0x55],
            0x81,
        ),
        v5("DISCONNECT cut", vec![0xe0, 2, 0, 9], 0x81),
    ]
}

#[test]
fn a_wrong_packet_ends_its_connection_and_no_other() {
    let bed = Bed::start();
    let mut bystander = bed.v5("bystander");
    bystander.subscribe(1, "still/here", 0, true);
    let mut cases = headers();
    cases.extend(publishes());
    cases.extend(subscriptions());
    cases.extend(acknowledgements());
    for case in &cases {
        // What follows the error must not be interpreted.
        let after = |v5| publish("still/here", b"x", 0, 0, if v5 { Some(&[]) } else { None });
        if let Some(bytes) = &case.v3 {
            let mut client = bed.v3("wrong");
            client.send(&[&bytes[..], &after(false)].concat());
            assert_eq!(client.end(), End::Closed, "{} in 3.1.1", case.name);
        }
        if let Some((bytes, reason)) = &case.v5 {
            let mut client = bed.v5("wrong");
            client.send(&[&bytes[..], &after(true)].concat());
            let end = End::Said(vec![0xe0, 2, *reason, 0]);
            assert_eq!(client.end(), end, "{} in 5.0", case.name);
        }
        bystander.assert_quiet();
    }
    bed.assert_serving();
}

#[test]
fn a_wrong_connect_is_refused_in_the_words_of_its_version() {
    let bed = Bed::start();
    let v3 = |flags: u8, rest: &[u8]| {
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend([flags, 0, 60]);
        body.extend(rest);
        packet(0x10, &body)
    };
    let v5 = |flags: u8, properties: &[u8], rest: &[u8]| {
        let mut body = b"\x00\x04MQTT\x05".to_vec();
        body.extend([flags, 0, 60, properties.len() as u8]);
        body.extend(properties);
        body.extend(rest);
        packet(0x10, &body)
    };
    let id = &[0, 1, b'c'][..];
    let refused = |code| End::Said(vec![0x20, 3, 0, code, 0]);
    let many: Vec<u8> = [0x26, 0, 0, 0, 0].repeat(25);
    for (name, bytes, end) in [
        ("reserved flag", v3(3, id), End::Closed),
        ("reserved flag", v5(3, &[], id), refused(0x81)),
        ("will QoS without will", v3(0x0a, id), End::Closed),
        ("will retain without will", v5(0x22, &[], id), refused(0x81)),
        (
            "will QoS 3",
            v3(0x1e, &[id, &[0, 1, b't', 0, 0]].concat()),
            End::Closed,
        ),
        (
            "password without user name",
            v3(0x42, &[id, &[0, 1, b'p']].concat()),
            End::Closed,
        ),
        ("trailing bytes", v3(2, &[id, &[0]].concat()), End::Closed),
        (
            "trailing bytes",
            v5(2, &[], &[id, &[0]].concat()),
            refused(0x81),
        ),
        ("id not UTF-8", v5(2, &[], &[0, 1, 0xff]), refused(0x81)),
        ("id with null", v3(2, &[0, 1, 0]), End::Closed),
        ("id cut", v5(2, &[], &[0, 9, b'c']), refused(0x81)),
        ("receive maximum 0", v5(2, &[0x21, 0, 0], id), refused(0x82)),
        (
            "maximum packet size 0",
            v5(2, &[0x27, 0, 0, 0, 0], id),
            refused(0x82),
        ),
        (
            "property twice",
            v5(2, &[0x21, 0, 1, 0x21, 0, 1], id),
            refused(0x82),
        ),
        ("flag property 2", v5(2, &[0x17, 2], id), refused(0x82)),
        (
            "authentication data alone",
            v5(2, &[0x16, 0, 1, 0], id),
            refused(0x82),
        ),
        (
            "will delay in CONNECT",
            v5(2, &[0x18, 0, 0, 0, 0], id),
            refused(0x81),
        ),
        ("not a CONNECT", vec![0xc0, 0], End::Closed),
        (
            "larger than before a CONNECT allowed",
            vec![0x10, 0xff, 0xff, 0x7f],
            End::Closed,
        ),
    ] {
        let mut client = bed.raw();
        client.send(&bytes);
        assert_eq!(client.end(), end, "{name}: {bytes:x?}");
    }
    let mut allowed = bed.raw();
    allowed.send(&v5(2, &many, id));
    assert_eq!(allowed.packet()[3], 0, "25 user properties");
    let mut password = bed.raw();
    password.send(&v5(0x42, &[], &[id, &[0, 1, b'p']].concat()));
    assert_eq!(password.packet()[3], 0, "version 5 allows a password alone");
    bed.assert_serving();
}
