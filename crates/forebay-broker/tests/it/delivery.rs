//! Messages to subscribers.

use std::time::Duration;

use crate::bed::{Bed, Plan, wait_for};
use crate::client::{connect_v5, packet, publish, subscribe, text};

#[test]
fn the_lower_qos_counts_and_overlapping_filters_bring_one_message() {
    let bed = Bed::start();
    let mut subscriber = bed.v5("s");
    subscriber.subscribe(1, "a/+", 0, true);
    subscriber.subscribe(2, "a/b", 2, true);
    subscriber.subscribe(3, "#", 1, true);
    let mut client = bed.v3("p");
    client.publish("a/b", b"0", 0, 0, false);
    client.publish("a/b", b"1", 2, 1, false);
    client.publish("a/c", b"2", 4, 2, false);
    let messages: Vec<Vec<u8>> = (0..3).map(|_| subscriber.packet()).collect();
    assert_eq!(messages[0], publish("a/b", b"0", 0, 0, Some(&[])));
    assert_eq!(messages[1], publish("a/b", b"1", 2, 1, Some(&[])));
    assert_eq!(messages[2], publish("a/c", b"2", 2, 2, Some(&[])));
    subscriber.assert_quiet();
}

#[test]
fn qos_2_is_delivered_in_its_four_steps_to_both_versions() {
    let bed = Bed::start();
    let mut publisher = bed.v5("p");
    for v5 in [false, true] {
        let mut subscriber = if v5 { bed.v5("s") } else { bed.v3("s") };
        subscriber.subscribe(1, "t", 2, v5);
        publisher.publish("t", b"x", 4, 1, true);
        publisher.packet();
        publisher.send(&[0x62, 2, 0, 1]);
        publisher.packet();
        assert_eq!(
            subscriber.packet(),
            publish("t", b"x", 4, 1, v5.then_some(&[]))
        );
        subscriber.send(&[0x50, 2, 0, 1]);
        assert_eq!(subscriber.packet(), [0x62, 2, 0, 1]);
        subscriber.send(&[0x50, 2, 0, 1]);
        assert_eq!(subscriber.packet(), [0x62, 2, 0, 1]);
        subscriber.send(&[0x70, 2, 0, 1]);
        // Acknowledgements of what is not in flight change nothing; an unknown PUBREC is told so.
        subscriber.send(&[0x40, 2, 0, 9, 0x70, 2, 0, 9, 0x50, 2, 0, 9]);
        let unknown = if v5 {
            vec![0x62, 4, 0, 9, 0x92, 0]
        } else {
            vec![0x62, 2, 0, 9]
        };
        assert_eq!(subscriber.packet(), unknown);
        subscriber.assert_quiet();
    }
}

#[test]
fn subscribe_and_unsubscribe_answer_every_filter() {
    let bed = Bed::start();
    for v5 in [false, true] {
        let mut client = if v5 { bed.v5("c") } else { bed.v3("c") };
        let mut body = vec![0, 7];
        body.extend(v5.then_some(0));
        let filters = ["a/b", "a/#/b", "$share/g/a", "$aws/rules/x", "b+", "$SYS/#"];
        for filter in filters {
            body.extend(text(filter));
            body.push(1);
        }
        client.send(&packet(0x82, &body));
        let codes = if v5 {
            vec![1, 0x8f, 0x9e, 0x87, 0x8f, 1]
        } else {
            vec![1, 0x80, 0x80, 0x80, 0x80, 1]
        };
        assert!(client.packet().ends_with(&codes));

        let mut body = vec![0, 8];
        body.extend(v5.then_some(0));
        for filter in ["a/b", "unknown"] {
            body.extend(text(filter));
        }
        client.send(&packet(0xa2, &body));
        let expected = if v5 {
            vec![0xb0, 5, 0, 8, 0, 0, 0x11]
        } else {
            vec![0xb0, 2, 0, 8]
        };
        assert_eq!(client.packet(), expected);
        client.publish("a/b", b"x", 0, 0, v5);
        client.assert_quiet();

        // A text that is no filter takes no other subscription away.
        client.subscribe(9, "c/#", 0, v5);
        client.subscribe(10, "d", 0, v5);
        let mut body = vec![0, 11];
        body.extend(v5.then_some(0));
        body.extend([text("c/#/x"), text("d")].concat());
        client.send(&packet(0xa2, &body));
        assert_eq!(client.packet()[0], 0xb0);
        client.publish("c/e", b"x", 0, 0, v5);
        assert!(client.packet().ends_with(b"x"));
    }
    wait_for("no subscription", || bed.status().subscriptions == 0);
}

#[test]
fn a_subscription_identifier_is_refused_for_every_filter() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    let mut body = vec![0, 7, 9, 0x0b, 0x80, 0x01, 0x26, 0, 1, b'k', 0, 0];
    body[2] = (body.len() - 3) as u8;
    body.extend(text("a"));
    body.push(0);
    body.extend(text("b"));
    body.push(1);
    client.send(&packet(0x82, &body));
    assert_eq!(client.packet(), [0x90, 5, 0, 7, 0, 0xa1, 0xa1]);
    client.publish("a", b"x", 0, 0, true);
    client.assert_quiet();
}

#[test]
fn no_local_and_retain_as_published_are_kept() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    client.subscribe(1, "t", 4, true);
    client.publish("t", b"x", 0, 0, true);
    client.assert_quiet();
    let mut other = bed.v5("o");
    other.publish("t", b"y", 0, 0, true);
    assert!(client.packet().ends_with(b"y"));

    let mut as_published = bed.v5("r");
    as_published.subscribe(1, "u", 8, true);
    let mut plain = bed.v5("q");
    plain.subscribe(1, "u", 0, true);
    other.publish("u", b"z", 1, 0, true);
    assert_eq!(as_published.packet()[0], 0x31);
    assert_eq!(plain.packet()[0], 0x30);
}

#[test]
fn properties_of_a_message_reach_version_5_and_are_left_out_for_3_1_1() {
    let bed = Bed::start();
    let mut new = bed.v5("new");
    new.subscribe(1, "t", 0, true);
    let mut old = bed.v3("old");
    old.subscribe(1, "t", 0, false);
    let mut properties = vec![0x01, 1, 0x08, 0, 1, b'r', 0x09, 0, 2, 0xff, 0];
    properties.extend([0x26, 0, 1, b'k', 0, 1, b'1', 0x26, 0, 1, b'k', 0, 1, b'2']);
    properties.extend([0x03, 0, 1, b'j']);
    let mut publisher = bed.v5("p");
    publisher.send(&publish("t", b"x", 0, 0, Some(&properties)));
    assert_eq!(new.packet(), publish("t", b"x", 0, 0, Some(&properties)));
    assert_eq!(old.packet(), publish("t", b"x", 0, 0, None));
}

#[test]
fn an_expired_message_is_not_delivered_and_the_rest_of_its_time_is_told() {
    let bed = Bed::start();
    let mut client = bed.raw();
    // Receive Maximum 1 makes messages wait in the session.
    client.send(&connect_v5("c", 2, 60, &[0x21, 0, 1]));
    client.packet();
    client.subscribe(1, "t", 1, true);
    let mut publisher = bed.v5("p");
    for (payload, seconds) in [(b"a", 100_u8), (b"b", 1), (b"c", 200)] {
        publisher.send(&publish(
            "t",
            payload,
            2,
            1,
            Some(&[0x02, 0, 0, 0, seconds]),
        ));
        publisher.packet();
    }
    let first = client.packet();
    assert_eq!(first, publish("t", b"a", 2, 1, Some(&[0x02, 0, 0, 0, 100])));
    client.assert_quiet();
    let clock = forebay_core::SystemClock::new();
    wait_for("one second", || {
        forebay_core::Clock::now(&clock).since(forebay_core::Time::ZERO)
            > Duration::from_millis(1_100)
    });
    client.send(&[0x40, 2, 0, 1]);
    let last = client.packet();
    assert!(last.ends_with(b"c"), "{last:x?}");
    assert!(last[12] == 198 || last[12] == 199, "{last:x?}");
    bed.wait_metric("forebay_publish_dropped_total{reason=\"expired\"} 1");
}

#[test]
fn the_clients_limits_are_kept() {
    let bed = Bed::start();
    let mut client = bed.raw();
    // Receive Maximum 2, Maximum Packet Size 40.
    client.send(&connect_v5("c", 2, 60, &[0x21, 0, 2, 0x27, 0, 0, 0, 40]));
    client.packet();
    client.subscribe(1, "t", 1, true);
    let mut publisher = bed.v5("p");
    publisher.publish("t", &[b'x'; 100], 2, 1, true);
    publisher.packet();
    for id in 2..6 {
        publisher.publish("t", b"x", 2, id, true);
        publisher.packet();
    }
    assert_eq!(client.packet(), publish("t", b"x", 2, 2, Some(&[])));
    assert_eq!(client.packet(), publish("t", b"x", 2, 3, Some(&[])));
    client.assert_quiet();
    client.send(&[0x40, 2, 0, 3]);
    assert_eq!(client.packet(), publish("t", b"x", 2, 4, Some(&[])));
    client.assert_quiet();
    client.send(&[0x40, 2, 0, 2]);
    assert_eq!(client.packet(), publish("t", b"x", 2, 5, Some(&[])));
    bed.wait_metric("forebay_publish_dropped_total{reason=\"too_large_for_client\"} 1");
}

#[test]
fn a_slow_subscriber_loses_messages_by_count_and_slows_nobody() {
    // One worker: each message has reached the session before its publisher goes on.
    let plan = Plan {
        workers: 1,
        ..Plan::default()
    }
    .with(|config| config.limits.session_queue_messages = 10);
    let bed = plan.start();
    let mut slow = bed.raw();
    slow.send(&connect_v5("slow", 2, 60, &[0x21, 0, 1]));
    slow.packet();
    slow.subscribe(1, "t", 1, true);
    let mut publisher = bed.v5("p");
    for id in 1..=50 {
        publisher.publish("t", &[id], 2, u16::from(id), true);
        assert_eq!(publisher.packet(), [0x40, 2, 0, id]);
    }
    // Ten wait and one is in flight; what came while there was no room was dropped.
    bed.wait_metric("forebay_publish_dropped_total{reason=\"queue_full\"} 39");
    let mut received = Vec::new();
    for _ in 0..11 {
        let message = slow.packet();
        let (id, payload) = (message.len() - 4, message.len() - 1);
        received.push(message[payload]);
        slow.send(&[0x40, 2, message[id], message[id + 1]]);
    }
    assert!(
        received.starts_with(&[1, 2, 3, 4, 5]) && received.is_sorted(),
        "{received:?}"
    );
    slow.assert_quiet();
}

#[test]
fn every_session_gets_a_message_whichever_worker_it_is_on() {
    let bed = &Bed::start();
    let mut subscribers: Vec<_> = (0..40)
        .map(|index| {
            let mut client = bed.v5(&format!("s{index}"));
            client.subscribe(1, "t/+", 1, true);
            client
        })
        .collect();
    let mut publisher = bed.v3("p");
    for id in 1..=20_u8 {
        publisher.publish("t/x", &[id], 2, u16::from(id), false);
    }
    for subscriber in &mut subscribers {
        for expected in 1..=20_u8 {
            let message = subscriber.packet();
            assert!(message.ends_with(&[expected]), "{message:x?}");
        }
    }
    bed.wait_metric("forebay_publish_sent_total{qos=\"1\"} 800");
}

#[test]
fn a_second_subscription_replaces_the_first() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    client.subscribe(1, "t", 2, true);
    client.send(&subscribe(2, "t", 0, true));
    client.packet();
    client.publish("t", b"x", 2, 1, true);
    assert_eq!(client.packet(), [0x40, 2, 0, 1]);
    assert_eq!(client.packet(), publish("t", b"x", 0, 0, Some(&[])));
}
