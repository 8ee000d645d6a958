//! What takes other users of the codec down. Each must leave the broker serving at once.

use std::time::Duration;

use crate::bed::Bed;
use crate::client::{End, connect_v3, connect_v5, publish};

/// The codec panics on a CONNACK or UNSUBACK from a client, before any CONNECT.
#[test]
fn packets_of_servers_end_only_their_connection() {
    let bed = Bed::start();
    for bytes in [&[0x20, 3, 0, 0, 0][..], &[0xb0, 3, 0, 1, 0]] {
        let mut client = bed.raw();
        client.send(bytes);
        assert_eq!(client.end(), End::Closed);
        for v5 in [false, true] {
            let mut client = if v5 { bed.v5("c") } else { bed.v3("c") };
            client.send(bytes);
            let end = if v5 {
                End::Said(vec![0xe0, 2, 0x82, 0])
            } else {
                End::Closed
            };
            assert_eq!(client.end(), end);
        }
    }
    bed.assert_serving();
}

/// A topic whose first character is not ASCII, while a subscription exists.
#[test]
fn a_topic_may_begin_with_any_character() {
    let bed = Bed::start();
    let mut subscriber = bed.v5("s");
    subscriber.subscribe(1, "#", 0, true);
    let mut client = bed.v3("c");
    for topic in ["é/x", "日本", "\u{10ffff}"] {
        client.publish(topic, b"x", 2, 1, false);
        assert_eq!(client.packet(), [0x40, 2, 0, 1]);
        assert_eq!(subscriber.packet(), publish(topic, b"x", 0, 0, Some(&[])));
    }
    bed.assert_serving();
}

/// Two connections with a client id that holds one of `+ $ # /`.
#[test]
fn a_client_id_with_topic_characters_disables_nothing() {
    let bed = Bed::start();
    for id in ["a#", "a+", "a$", "a/"] {
        let mut first = bed.v3(id);
        let mut second = bed.v5(id);
        assert_eq!(first.end(), End::Closed);
        second.assert_quiet();
    }
    bed.assert_serving();
}

/// A message with properties for a subscriber whose version has none.
#[test]
fn properties_do_not_end_a_subscriber_of_3_1_1() {
    let bed = Bed::start();
    let mut subscriber = bed.v3("s");
    subscriber.subscribe(1, "t", 0, false);
    let mut client = bed.v5("c");
    client.send(&publish("t", b"x", 0, 0, Some(&[0x01, 1])));
    assert_eq!(subscriber.packet(), publish("t", b"x", 0, 0, None));
    subscriber.assert_quiet();
    bed.assert_serving();
}

/// Connections that say nothing, or half of something, must not keep others out.
#[test]
fn silent_connections_keep_nobody_out() {
    let bed = Bed::start();
    let _silent: Vec<_> = (0..20).map(|_| bed.raw()).collect();
    let mut half = bed.raw();
    half.send(&connect_v3("half", 2, 60)[..5]);
    let mut other = bed.raw();
    other.set_timeout(Duration::from_secs(2));
    other.send(&connect_v5("other", 2, 60, &[]));
    assert_eq!(other.packet()[0], 0x20);
    bed.assert_serving();
}
