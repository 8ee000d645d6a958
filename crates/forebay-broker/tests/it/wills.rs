//! Wills: when they are published, and when not.

use std::sync::atomic::Ordering;

use crate::bed::{Bed, wait_for};
use crate::client::{Client, End, packet, publish, text};

/// A CONNECT with a will of QoS 1; flags besides: retain.
fn connect_with_will(id: &str, topic: &str, payload: &[u8], retain: bool, v5: bool) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT".to_vec();
    body.push(if v5 { 5 } else { 4 });
    body.push(0x0e | if retain { 0x20 } else { 0 });
    body.extend([0, 60]);
    body.extend(v5.then_some(0));
    body.extend(text(id));
    body.extend(v5.then_some(0));
    body.extend(text(topic));
    body.extend(crate::client::binary(payload));
    packet(0x10, &body)
}

fn with_will(bed: &Bed, v5: bool) -> Client {
    let mut client = bed.raw();
    client.send(&connect_with_will(
        "mortal",
        "wills/mortal",
        b"gone",
        false,
        v5,
    ));
    assert_eq!(client.packet()[3], 0);
    client
}

#[test]
fn every_end_but_a_clean_one_publishes_the_will() {
    let bed = Bed::start();
    let mut watcher = bed.v5("watcher");
    watcher.subscribe(1, "wills/#", 0, true);
    let will = publish("wills/mortal", b"gone", 0, 0, Some(&[]));
    for v5 in [false, true] {
        // End of the stream.
        drop(with_will(&bed, v5));
        assert_eq!(watcher.packet(), will);
        // A protocol error.
        with_will(&bed, v5).send(&[0x00, 0]);
        assert_eq!(watcher.packet(), will);
        // A clean leave.
        let mut client = with_will(&bed, v5);
        client.send(&[0xe0, 0]);
        assert_eq!(client.end(), End::Closed);
        watcher.assert_quiet();
    }
    // Reasons of version 5, with and without a length of properties.
    for (bytes, published) in [
        (&[0xe0, 1, 0x00][..], false),
        (&[0xe0, 2, 0x00, 0], false),
        (&[0xe0, 1, 0x04], true),
        (&[0xe0, 2, 0x04, 0], true),
    ] {
        let mut client = with_will(&bed, true);
        client.send(bytes);
        assert_eq!(client.end(), End::Closed);
        if published {
            assert_eq!(watcher.packet(), will, "{bytes:x?}");
        }
        watcher.assert_quiet();
    }
    // A takeover.
    let old = with_will(&bed, true);
    drop(bed.v5("mortal"));
    assert_eq!(watcher.packet(), will);
    drop(old);
}

#[test]
fn a_will_is_a_message_like_any_other() {
    let bed = Bed::start();
    let mut client = bed.raw();
    client.send(&connect_with_will("mortal", "r/wills", b"{}", true, true));
    client.packet();
    drop(client);
    wait_for("a record of the will", || {
        bed.sink.settled.load(Ordering::SeqCst) == 1
    });
    let mut late = bed.v3("late");
    late.subscribe(1, "r/wills", 1, false);
    assert_eq!(late.packet(), publish("r/wills", b"{}", 3, 1, None));
}

#[test]
fn rules_see_the_address_and_the_properties_of_a_will() {
    let bed = Bed::start();
    let mut watcher = bed.v5("watcher");
    watcher.subscribe(1, "o", 0, true);
    let content_type = [vec![0x03], text("text/x")].concat();
    let user = [vec![0x26], text("k"), text("v")].concat();
    // The rule takes the second one only.
    for properties in [content_type.clone(), [user, content_type].concat()] {
        let mut body = b"\x00\x04MQTT\x05\x0e\x00\x3c\x00".to_vec();
        body.extend(text("mortal"));
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(&properties);
        body.extend(text("o"));
        body.extend(crate::client::binary(b"{}"));
        let mut client = bed.raw();
        client.send(&packet(0x10, &body));
        assert_eq!(client.packet()[3], 0);
        drop(client);
        assert_eq!(
            watcher.packet(),
            publish("o", b"{}", 0, 0, Some(&properties))
        );
    }
    wait_for("a record of the second will", || {
        bed.sink.settled.load(Ordering::SeqCst) > 0
    });
    assert_eq!(bed.sink.settled.load(Ordering::SeqCst), 1);
}

#[test]
fn a_will_on_a_topic_that_is_not_accepted_refuses_the_connection() {
    let bed = Bed::start();
    for (topic, retain, v3, v5) in [
        ("$SYS/x", false, Some(5), 0x87),
        ("$aws/rules/basic", true, Some(5), 0x87),
        ("a/+", false, None, 0x90),
        ("", false, None, 0x90),
    ] {
        let mut client = bed.raw();
        client.send(&connect_with_will("c", topic, b"x", retain, false));
        let end = v3.map_or(End::Closed, |code| End::Said(vec![0x20, 2, 0, code]));
        assert_eq!(client.end(), end, "{topic}");
        let mut client = bed.raw();
        client.send(&connect_with_will("c", topic, b"x", retain, true));
        assert_eq!(client.end(), End::Said(vec![0x20, 3, 0, v5, 0]), "{topic}");
    }
}

#[test]
fn a_stop_of_the_server_publishes_no_will() {
    let bed = Bed::start();
    let _mortal = with_will(&bed, false);
    let mut watcher = bed.v5("watcher");
    watcher.subscribe(1, "wills/#", 0, true);
    bed.broker().close_all();
    assert_eq!(watcher.end(), End::Said(vec![0xe0, 2, 0x8b, 0]));
}
