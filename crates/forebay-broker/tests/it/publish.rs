//! PUBLISH from clients: answers, order, repetition, reserved topics.

use std::sync::atomic::Ordering;

use forebay_core::OnFull;

use crate::bed::{Bed, Plan, wait_for};
use crate::client::{End, connect_v5, publish, text};

#[test]
fn answers_say_what_became_of_a_publish() {
    let bed = Bed::start();
    let mut new = bed.v5("new");
    new.publish("r/x", b"{}", 2, 1, true);
    assert_eq!(new.packet(), [0x40, 2, 0, 1]);
    new.publish("nobody/listens", b"{}", 2, 2, true);
    assert_eq!(new.packet(), [0x40, 4, 0, 2, 0x10, 0]);
    new.publish("nobody/listens", b"{}", 3, 3, true);
    assert_eq!(new.packet(), [0x40, 2, 0, 3], "it is retained");
    let mut old = bed.v3("old");
    old.publish("nobody/else", b"{}", 2, 2, false);
    assert_eq!(old.packet(), [0x40, 2, 0, 2]);
    assert_eq!(bed.sink.settled.load(Ordering::SeqCst), 1);
    bed.wait_metric("forebay_publish_received_total{protocol=\"5.0\",qos=\"1\"} 3");
    bed.wait_metric("forebay_publish_ack_seconds_count{qos=\"1\",ack=\"stored\"} 1");
    bed.wait_metric("forebay_publish_ack_seconds_count{qos=\"1\",ack=\"accept\"} 3");
}

#[test]
fn an_answer_waits_until_the_record_is_stored_and_answers_keep_their_order() {
    let bed = Bed::start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut client = bed.v5("a");
    client.publish("r/x", b"{}", 2, 1, true);
    client.publish("nobody", b"{}", 2, 2, true);
    client.publish("r/y", b"{}", 4, 3, true);
    client.assert_quiet();
    wait_for("two records pending", || bed.control.pending() == 2);
    bed.sink.paused.store(false, Ordering::SeqCst);
    assert_eq!(client.packet(), [0x40, 2, 0, 1]);
    assert_eq!(client.packet(), [0x40, 4, 0, 2, 0x10, 0]);
    assert_eq!(client.packet(), [0x50, 2, 0, 3]);
}

#[test]
fn a_refusal_explains_itself_only_to_clients_that_want_and_can_take_it() {
    let bed = Bed::start();
    bed.sink.failing.store(true, Ordering::SeqCst);
    // Request Problem Information 0 and 1, Maximum Packet Size 16 and 256.
    let wishes: [(&[u8], bool); 4] = [
        (&[0x17, 0], false),
        (&[0x17, 1], true),
        (&[0x27, 0, 0, 0, 16], false),
        (&[0x27, 0, 0, 1, 0], true),
    ];
    for (properties, explained) in wishes {
        let mut client = bed.raw();
        client.send(&connect_v5("a", 2, 60, properties));
        assert_eq!(client.packet()[0], 0x20);
        for (flags, first) in [(2, 0x40), (4, 0x50)] {
            client.publish("r/x", b"{}", flags, 1, true);
            if explained {
                assert_eq!(client.refusal(), (first, 1, 0x83));
            } else {
                assert_eq!(client.packet(), [first, 4, 0, 1, 0x83, 0]);
            }
        }
        client.send(&[0xe0, 0]);
        client.end();
    }
}

#[test]
fn a_record_that_fails_for_good_is_a_negative_answer_where_there_is_one() {
    let bed = Bed::start();
    bed.sink.failing.store(true, Ordering::SeqCst);
    let mut new = bed.v5("new");
    new.publish("r/x", b"{}", 2, 1, true);
    assert_eq!(new.refusal(), (0x40, 1, 0x83));
    new.publish("r/x", b"{}", 4, 2, true);
    assert_eq!(new.refusal(), (0x50, 2, 0x83));
    // The id of a refused QoS 2 publish is free again.
    new.send(&[0x62, 2, 0, 2]);
    assert_eq!(new.packet(), [0x70, 4, 0, 2, 0x92, 0]);
    let mut old = bed.v3("old");
    old.publish("r/x", b"{}", 2, 1, false);
    assert_eq!(old.packet(), [0x40, 2, 0, 1]);
}

#[test]
fn qos_2_goes_through_once_however_often_it_is_sent() {
    for v5 in [false, true] {
        let bed = Bed::start();
        let mut subscriber = bed.v5("s");
        subscriber.subscribe(1, "t", 0, true);
        let mut client = if v5 { bed.v5("c") } else { bed.v3("c") };
        for flags in [4, 12, 12] {
            client.publish("t", b"x", flags, 5, v5);
            assert_eq!(client.packet(), [0x50, 2, 0, 5]);
        }
        client.send(&[0x62, 2, 0, 5]);
        assert_eq!(client.packet(), [0x70, 2, 0, 5]);
        client.send(&[0x62, 2, 0, 5]);
        let unknown = if v5 {
            vec![0x70, 4, 0, 5, 0x92, 0]
        } else {
            vec![0x70, 2, 0, 5]
        };
        assert_eq!(client.packet(), unknown);
        client.publish("t", b"y", 4, 5, v5);
        assert_eq!(client.packet(), [0x50, 2, 0, 5]);
        assert!(subscriber.packet().ends_with(b"x"));
        assert!(subscriber.packet().ends_with(b"y"));
        subscriber.assert_quiet();
    }
}

#[test]
fn a_pubrel_with_a_property_is_understood() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    client.publish("t", b"x", 4, 5, true);
    client.packet();
    client.send(&[0x62, 9, 0, 5, 0, 5, 0x1f, 0, 2, b'o', b'k']);
    assert_eq!(client.packet(), [0x70, 2, 0, 5]);
}

#[test]
fn reserved_topics_are_refused_and_basic_ingest_reaches_exactly_its_rule() {
    let bed = Bed::start();
    let mut subscriber = bed.v5("s");
    subscriber.subscribe(1, "#", 0, true);
    let mut new = bed.v5("new");
    for (topic, flags, code) in [
        ("$aws/things/x/shadow/update", 2, 0x87),
        ("$aws/events/presence/connected/x", 2, 0x87),
        ("$SYS/x", 2, 0x87),
        ("$other/x", 2, 0x90),
        ("$share/g/x", 2, 0x90),
        ("$aws/rules/basic", 3, 0x87),
        ("$aws/rules/missing/x", 2, 0x10),
    ] {
        new.publish(topic, b"{}", flags, 1, true);
        if code < 0x80 {
            assert_eq!(new.packet(), [0x40, 4, 0, 1, code, 0], "{topic}");
        } else {
            assert_eq!(new.refusal(), (0x40, 1, code), "{topic}");
        }
    }
    new.publish("$aws/rules/basic/a/b", b"{}", 2, 2, true);
    assert_eq!(new.packet(), [0x40, 2, 0, 2]);
    new.publish("$SYS/x", b"{}", 0, 0, true);
    new.assert_quiet();
    assert_eq!(bed.sink.settled.load(Ordering::SeqCst), 1);
    subscriber.assert_quiet();
    bed.wait_metric("forebay_publish_rejected_total{reason=\"not_authorised\"} 5");
    bed.wait_metric("forebay_publish_rejected_total{reason=\"basic_ingest_unknown_rule\"} 1");

    for topic in ["$SYS/x", "$other/x", "$aws/things/x"] {
        let mut old = bed.v3("old");
        old.publish(topic, b"{}", 2, 1, false);
        assert_eq!(old.end(), End::Closed, "{topic}");
    }
    let mut old = bed.v3("old");
    old.publish("$aws/rules/missing", b"{}", 2, 1, false);
    assert_eq!(old.packet(), [0x40, 2, 0, 1]);
}

#[test]
fn rules_see_the_address_and_the_properties_of_a_publish() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    let content_type = |value: &str| [vec![3], text(value)].concat();
    let user = [vec![0x26], text("k"), text("v")].concat();
    for (id, properties, records) in [
        (1, [content_type("other"), user.clone()].concat(), 0),
        (2, content_type("text/x"), 0),
        (3, [content_type("text/x"), user].concat(), 1),
    ] {
        client.send(&publish("o", b"{}", 2, id, Some(&properties)));
        assert_eq!(client.packet().get(..1), Some(&[0x40][..]));
        assert_eq!(bed.sink.settled.load(Ordering::SeqCst), records);
    }
}

#[test]
fn without_room_a_publish_waits_and_its_connection_is_not_read() {
    let bed = Plan {
        ingest_bytes: 4096,
        ..Plan::default()
    }
    .start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut other = bed.v5("other");
    let mut client = bed.v5("a");
    let payload = [b'x'; 1000];
    for id in 1..=10 {
        client.publish("r/x", &payload, 2, id, true);
    }
    wait_for("a stalled connection", || {
        bed.status().connections_stalled == 1
    });
    bed.wait_metric("forebay_connections_stalled 1");
    other.assert_quiet();
    bed.sink.paused.store(false, Ordering::SeqCst);
    for id in 1..=10 {
        assert_eq!(client.packet(), [0x40, 2, 0, id]);
    }
    wait_for("nothing stalled", || bed.status().connections_stalled == 0);
    client.assert_quiet();
}

#[test]
fn qos_0_waits_for_room_too_and_goes_on_in_order() {
    let bed = Plan {
        ingest_bytes: 4096,
        ..Plan::default()
    }
    .start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut client = bed.v5("a");
    client.publish("r/x", b"{}", 2, 1, true);
    for _ in 0..10 {
        client.publish("r/x", &[b'x'; 1000], 0, 0, true);
    }
    client.publish("nobody", b"{}", 2, 2, true);
    wait_for("a stalled connection", || {
        bed.status().connections_stalled == 1
    });
    bed.sink.paused.store(false, Ordering::SeqCst);
    assert_eq!(client.packet(), [0x40, 2, 0, 1]);
    assert_eq!(client.packet(), [0x40, 4, 0, 2, 0x10, 0]);
    wait_for("eleven records", || {
        bed.sink.settled.load(Ordering::SeqCst) == 11
    });
}

#[test]
fn a_stalled_connection_that_goes_away_gives_its_message_up() {
    let bed = Plan {
        ingest_bytes: 4096,
        ..Plan::default()
    }
    .start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut client = bed.v5("a");
    for id in 1..=10 {
        client.publish("r/x", &[b'x'; 1000], 2, id, true);
    }
    wait_for("a stalled connection", || {
        bed.status().connections_stalled == 1
    });
    drop(bed.v5("a"));
    wait_for("nothing stalled", || bed.status().connections_stalled == 0);
    assert_eq!(bed.control.parked(), 0);
}

#[test]
fn on_full_reject_is_a_negative_answer_for_version_5() {
    let plan = Plan {
        ingest_bytes: 4096,
        on_full: OnFull::Reject,
        ..Plan::default()
    };
    let bed = plan.start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut client = bed.v5("a");
    for id in 1..=5 {
        client.publish("r/x", &[b'x'; 1000], 2, id, true);
    }
    wait_for("records pending", || bed.control.pending() > 0);
    client.assert_quiet();
    bed.sink.paused.store(false, Ordering::SeqCst);
    let codes: Vec<Option<u8>> = (1..=5)
        .map(|id| {
            let ack = client.packet();
            assert_eq!(ack[..4], [0x40, ack[1], 0, id]);
            ack.get(4).copied()
        })
        .collect();
    assert_eq!(codes[0], None);
    assert_eq!(codes[4], Some(0x97), "{codes:x?}");
}

#[test]
fn the_window_of_unanswered_publishes_stops_the_reading_but_pubrel_is_read() {
    let plan = Plan::default().with(|config| config.listeners[0].limits.receive_maximum = 4);
    let bed = plan.start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut client = bed.v5("a");
    let mut bytes = Vec::new();
    for id in 1..=6 {
        bytes.extend(publish("r/x", b"{}", 2, id, Some(&[])));
    }
    bytes.extend([0xc0, 0]);
    client.send(&bytes);
    wait_for("four records", || bed.control.pending() == 4);
    bed.sink.paused.store(false, Ordering::SeqCst);
    // The answer to the ping may overtake those that still wait for their records, and no other order is free.
    let mut answers: Vec<Vec<u8>> = (0..7).map(|_| client.packet()).collect();
    answers.retain(|answer| *answer != [0xd0, 0]);
    let expected: Vec<Vec<u8>> = (1..=6).map(|id| vec![0x40, 2, 0, id]).collect();
    assert_eq!(answers, expected);

    // Ids that wait for PUBREL do not stop the reading; beyond twice the window they end the connection.
    for id in 1..=8 {
        client.publish("t", b"x", 4, id, true);
        assert_eq!(client.packet()[..4], [0x50, 4, 0, id as u8]);
    }
    client.publish("t", b"x", 4, 9, true);
    assert_eq!(client.end(), End::Said(vec![0xe0, 2, 0x93, 0]));
}

#[test]
fn large_payloads_arrive_whole_in_small_pieces() {
    let bed = Bed::start();
    let mut subscriber = bed.v5("s");
    subscriber.subscribe(1, "t", 1, true);
    let mut client = bed.v5("a");
    for (id, len) in [(1, 100), (2, 5_000), (3, 60_000), (4, 70_000), (5, 1 << 20)] {
        let payload: Vec<u8> = (0..len).map(|index: u32| (index % 251) as u8).collect();
        for piece in publish("t", &payload, 2, id, Some(&[])).chunks(30_000) {
            client.send(piece);
        }
        assert_eq!(client.packet(), [0x40, 2, 0, id as u8]);
        let message = subscriber.packet();
        assert!(message.ends_with(&payload), "{len} bytes");
        let at = message.len() - payload.len();
        subscriber.send(&[0x40, 2, message[at - 3], message[at - 2]]);
    }
    wait_for("no incomplete packet", || {
        bed.registry
            .render()
            .contains("forebay_partial_packet_bytes 0")
    });
}
