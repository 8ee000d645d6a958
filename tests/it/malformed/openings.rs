//! First packets that cannot be accepted.

use forebay_tests::mqtt::{
    Connect, Properties, Property, Publish, Version, Will, connect, id, ping, publish,
};

use super::{MALFORMED, PROTOCOL_ERROR, of, text};

/// What is wrong, the bytes, and the code of the CONNACK that refuses them, if there is one.
pub(super) type Opening = (&'static str, Vec<u8>, Option<u8>);

/// CONNECT with these flags, level and rest behind the keep alive.
fn connect_of(level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    of(
        0x10,
        &[&text("MQTT"), &[level, flags, 0, 0], &rest.concat()],
    )
}

pub(super) fn of_3() -> Vec<Opening> {
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

pub(super) fn of_5() -> Vec<Opening> {
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
