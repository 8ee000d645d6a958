//! Packets after CONNACK that end their connection.

use forebay_tests::mqtt::{id, varint};

use super::{MALFORMED, PROTOCOL_ERROR, of, text};

const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xA2;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS1: u8 = 0x32;

/// What is wrong, the bytes, and the reason in the DISCONNECT of 5.0.
pub(super) type Case = (&'static str, Vec<u8>, u8);

pub(super) fn of_3() -> Vec<Case> {
    let mut cases = in_both();
    cases.extend(only_in_3());
    cases
}

pub(super) fn of_5() -> Vec<Case> {
    let mut cases = in_both();
    cases.extend(only_in_5());
    cases.extend(subscriptions_of_5());
    cases.extend(properties_of_5());
    cases
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
    vec![
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
    ]
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
    varint(u32::try_from(too_many.len()).unwrap_or(0), &mut length);
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
