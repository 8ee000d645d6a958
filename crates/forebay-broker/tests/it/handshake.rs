//! CONNECT and CONNACK.

use forebay_broker::Version;

use crate::bed::{Bed, Plan, wait_for};
use crate::client::{End, binary, connect_v3, connect_v5, packet, text};

/// Properties of a CONNACK, by id, with their raw values. Only those that the broker sends.
fn properties(connack: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &connack[5..];
    let mut found = Vec::new();
    while let Some((id, value)) = rest.split_first() {
        let len = match id {
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x29 | 0x2a => 1,
            0x12 => 2 + usize::from(value[1]),
            other => panic!("unexpected property {other:x}"),
        };
        found.push((*id, value[..len].to_vec()));
        rest = &value[len..];
    }
    found
}

fn property(connack: &[u8], id: u8) -> Option<Vec<u8>> {
    properties(connack)
        .into_iter()
        .find(|(found, _)| *found == id)
        .map(|(_, value)| value)
}

#[test]
fn both_versions_share_the_port_and_only_what_exists_is_announced() {
    let bed = Bed::start();
    drop(bed.v3("a"));
    let mut client = bed.raw();
    client.send(&connect_v5("b", 2, 60, &[]));
    let connack = client.packet();
    assert_eq!(connack[..4], [0x20, connack.len() as u8 - 2, 0, 0]);
    assert_eq!(
        property(&connack, 0x21),
        Some(vec![1, 0]),
        "receive maximum"
    );
    assert_eq!(
        property(&connack, 0x27),
        Some(vec![0, 0x11, 0, 0]),
        "maximum packet size"
    );
    assert_eq!(
        property(&connack, 0x22),
        Some(vec![0, 0]),
        "topic alias maximum"
    );
    assert_eq!(
        property(&connack, 0x29),
        Some(vec![0]),
        "subscription identifiers"
    );
    assert_eq!(
        property(&connack, 0x2a),
        Some(vec![0]),
        "shared subscriptions"
    );
    for absent in [0x11, 0x12, 0x13, 0x25, 0x28] {
        assert_eq!(property(&connack, absent), None, "property {absent:x}");
    }
    wait_for("one client of version 5", || {
        bed.status().listeners[0].clients_v5 == 1
    });
}

#[test]
fn a_wish_for_a_session_is_answered_with_no_session() {
    let bed = Bed::start();
    let mut old = bed.raw();
    old.send(&connect_v3("a", 0, 60));
    assert_eq!(old.packet(), [0x20, 2, 0, 0]);
    let mut new = bed.raw();
    new.send(&connect_v5("b", 0, 60, &[0x11, 0, 0, 1, 0]));
    let connack = new.packet();
    assert_eq!(connack[2..4], [0, 0]);
    assert_eq!(property(&connack, 0x11), Some(vec![0, 0, 0, 0]));
}

#[test]
fn an_id_is_assigned_to_who_brings_none() {
    let bed = Bed::start();
    let mut old = bed.raw();
    old.send(&connect_v3("", 2, 60));
    assert_eq!(old.packet(), [0x20, 2, 0, 0]);
    let mut new = bed.raw();
    new.send(&connect_v5("", 0, 60, &[]));
    let assigned = property(&new.packet(), 0x12).unwrap();
    let assigned = std::str::from_utf8(&assigned[2..]).unwrap().to_owned();
    assert!(
        assigned.starts_with("auto-") && assigned.len() == 27,
        "{assigned}"
    );
    let mut other = bed.raw();
    other.send(&connect_v5("", 2, 60, &[]));
    assert_ne!(
        property(&other.packet(), 0x12).unwrap()[2..],
        *assigned.as_bytes()
    );

    let mut sessionful = bed.raw();
    sessionful.send(&connect_v3("", 0, 60));
    assert_eq!(sessionful.end(), End::Said(vec![0x20, 2, 0, 2]));
}

#[test]
fn keep_alive_is_kept_within_its_bounds_and_v5_is_told() {
    let bed = Bed::start();
    for (asked, announced) in [
        (60, None),
        (1200, None),
        (1201, Some(1200)),
        (0, Some(1200)),
    ] {
        let mut client = bed.raw();
        client.send(&connect_v5("a", 2, asked, &[]));
        let told = property(&client.packet(), 0x13);
        let announced = announced.map(|seconds: u16| seconds.to_be_bytes().to_vec());
        assert_eq!(told, announced, "keep alive {asked}");
    }
    let mut old = bed.raw();
    old.send(&connect_v3("zero", 2, 0));
    assert_eq!(old.packet(), [0x20, 2, 0, 0]);
    old.assert_quiet();
}

#[test]
fn silence_of_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    let bed = Bed::start();
    let mut old = bed.raw();
    old.send(&connect_v3("old", 2, 1));
    old.packet();
    let mut new = bed.raw();
    new.send(&connect_v5("new", 2, 1, &[]));
    new.packet();
    // A subscriber that receives all the time and says nothing is dead all the same.
    let mut busy = bed.raw();
    busy.send(&connect_v5("busy", 2, 1, &[]));
    busy.packet();
    busy.subscribe(1, "t", 0, true);
    let mut alive = bed.v5("alive");
    alive.subscribe(1, "t", 0, true);
    let mut received = 0;
    loop {
        alive.publish("t", b"x", 0, 0, true);
        alive.packet();
        let next = busy.packet();
        if next[0] == 0xe0 {
            assert_eq!(next, [0xe0, 2, 0x8d, 0]);
            break;
        }
        received += 1;
    }
    assert!(received > 10, "only {received} messages before the end");
    assert_eq!(old.end(), End::Closed);
    assert_eq!(new.end(), End::Said(vec![0xe0, 2, 0x8d, 0]));
    bed.wait_metric("forebay_disconnects_total{reason=\"mqtt_keep_alive_timeout\"} 3");
}

#[test]
fn unknown_levels_are_refused_in_the_form_that_the_client_can_read() {
    let bed = Bed::start();
    let level = |name: &str, level: u8| {
        let mut body = text(name);
        body.extend([level, 2, 0, 60]);
        body.extend(text("a"));
        packet(0x10, &body)
    };
    for (bytes, answer) in [
        (level("MQIsdp", 3), End::Said(vec![0x20, 2, 0, 1])),
        (level("MQTT", 3), End::Said(vec![0x20, 2, 0, 1])),
        (level("MQTT", 6), End::Said(vec![0x20, 3, 0, 0x84, 0])),
        (level("HTTP", 4), End::Closed),
    ] {
        let mut client = bed.raw();
        client.send(&bytes);
        assert_eq!(client.end(), answer, "{bytes:x?}");
    }
    bed.wait_metric("protocol=\"3.1.1\",result=\"protocol_version\"} 2");
}

#[test]
fn a_listener_may_speak_one_version_only() {
    let bed = Plan::default()
        .with(|config| config.listeners[0].versions = vec![Version::V5])
        .start();
    drop(bed.v5("a"));
    let mut client = bed.raw();
    client.send(&connect_v3("a", 2, 60));
    assert_eq!(client.end(), End::Said(vec![0x20, 2, 0, 1]));
    let bed = Plan::default()
        .with(|config| config.listeners[0].versions = vec![Version::V311])
        .start();
    let mut client = bed.raw();
    client.send(&connect_v5("a", 2, 60, &[]));
    assert_eq!(client.end(), End::Said(vec![0x20, 3, 0, 0x84, 0]));
}

#[test]
fn credentials_are_taken_as_bytes_and_an_authentication_method_is_refused() {
    let bed = Bed::start();
    let mut body = b"\x00\x04MQTT\x04\xc2\x00\x3c".to_vec();
    body.extend(text("a"));
    body.extend(text(""));
    body.extend(binary(&[0xff, 0x00, 0xfe]));
    let mut client = bed.raw();
    client.send(&packet(0x10, &body));
    assert_eq!(client.packet(), [0x20, 2, 0, 0]);
    client.assert_quiet();

    let mut method = vec![0x15];
    method.extend(text("SCRAM"));
    let mut client = bed.raw();
    client.send(&connect_v5("a", 2, 60, &method));
    assert_eq!(client.end(), End::Said(vec![0x20, 3, 0, 0x8c, 0]));
}

#[test]
fn a_client_id_may_be_any_text_up_to_its_limit() {
    let bed = Bed::start();
    for id in ["a/b", "+", "#", "$x", "é", &"x".repeat(256)] {
        drop(bed.v5(id));
        drop(bed.v3(id));
    }
    let long = "x".repeat(257);
    let mut old = bed.raw();
    old.send(&connect_v3(&long, 2, 60));
    assert_eq!(old.end(), End::Said(vec![0x20, 2, 0, 2]));
    let mut new = bed.raw();
    new.send(&connect_v5(&long, 2, 60, &[]));
    assert_eq!(new.end(), End::Said(vec![0x20, 3, 0, 0x85, 0]));
}

#[test]
fn a_newer_connection_takes_the_client_id_over() {
    let bed = Bed::start();
    let mut old = bed.v3("a");
    let mut second = bed.v5("a");
    assert_eq!(old.end(), End::Closed);
    second.subscribe(1, "t", 0, true);
    let mut third = bed.v5("a");
    assert_eq!(second.end(), End::Said(vec![0xe0, 2, 0x8e, 0]));
    third.publish("t", b"x", 0, 0, true);
    third.assert_quiet();
    bed.wait_metric("forebay_disconnects_total{reason=\"duplicate_clientid\"} 2");
    wait_for("one session", || bed.status().sessions == 1);
}

#[test]
fn packets_behind_the_connect_are_processed_after_the_connack() {
    let bed = Bed::start();
    let mut client = bed.raw();
    let mut bytes = connect_v5("a", 2, 60, &[]);
    bytes.extend(crate::client::subscribe(7, "t", 1, true));
    bytes.extend(crate::client::publish("t", b"x", 2, 9, Some(&[])));
    client.send(&bytes);
    assert_eq!(client.packet()[0], 0x20);
    assert_eq!(client.packet(), [0x90, 4, 0, 7, 0, 1]);
    let (puback, message) = (client.packet(), client.packet());
    assert_eq!(puback, [0x40, 2, 0, 9]);
    assert_eq!(message[0], 0x32);
}
