//! Bounds: what happens when they are reached.

use std::time::Duration;

use forebay_broker::OnQueueFull;

use crate::bed::{Bed, Plan, wait_for};
use crate::client::{End, connect_v3, connect_v5, packet, publish, text};

#[test]
fn connections_beyond_the_bound_are_told_so() {
    let bed = Plan::default()
        .with(|config| config.limits.connections = 2)
        .start();
    let first = bed.v3("a");
    let _second = bed.v5("b");
    let mut old = bed.raw();
    old.send(&connect_v3("c", 2, 60));
    assert_eq!(old.end(), End::Said(vec![0x20, 2, 0, 3]));
    let mut new = bed.raw();
    new.send(&connect_v5("c", 2, 60, &[]));
    assert_eq!(new.end(), End::Said(vec![0x20, 3, 0, 0x97, 0]));
    drop((first, old, new));
    wait_for("one connection", || bed.status().connections == 1);
    drop(bed.v5("d"));
    bed.wait_metric("forebay_limit_hits_total{limit=\"connections\"} 2");
}

#[test]
fn connections_of_one_address_have_a_bound_of_their_own() {
    let plan = Plan::default().with(|config| {
        config.listeners[0].limits.connections_per_address = Some(1);
    });
    let bed = plan.start();
    let first = bed.v5("a");
    let mut second = bed.raw();
    second.send(&connect_v5("b", 2, 60, &[]));
    assert_eq!(second.end(), End::Said(vec![0x20, 3, 0, 0x97, 0]));
    drop((first, second));
    wait_for("no connection", || bed.status().connections == 0);
    drop(bed.v5("a"));
}

#[test]
fn a_client_id_that_connects_too_often_is_refused() {
    let bed = Plan::default()
        .with(|config| config.limits.connects_burst_per_client = 2)
        .start();
    let _first = bed.v5("a");
    let mut second = bed.v5("a");
    let mut third = bed.raw();
    third.send(&connect_v5("a", 2, 60, &[]));
    assert_eq!(third.end(), End::Said(vec![0x20, 3, 0, 0x9f, 0]));
    let mut old = bed.raw();
    old.send(&connect_v3("a", 2, 60));
    assert_eq!(old.end(), End::Said(vec![0x20, 2, 0, 3]));
    second.assert_quiet();
}

#[test]
fn topics_payloads_and_packets_have_bounds() {
    let plan = Plan::default().with(|config| {
        let limits = &mut config.listeners[0].limits;
        limits.topic.bytes_max = 10;
        limits.topic.levels_max = 3;
        limits.payload_bytes = 100;
        limits.packet_bytes = 200;
    });
    let bed = plan.start();
    let mut new = bed.v5("n");
    for topic in ["a/b/c/d", "01234567890"] {
        new.publish(topic, b"x", 2, 1, true);
        assert_eq!(new.refusal(), (0x40, 1, 0x90));
        new.publish(topic, b"x", 0, 0, true);
    }
    // The prefix of Basic Ingest is not counted.
    new.publish("$aws/rules/basic/a/b/c", b"x", 2, 1, true);
    assert_eq!(new.packet(), [0x40, 2, 0, 1]);
    new.publish("t", &[b'x'; 101], 2, 1, true);
    assert_eq!(new.end(), End::Said(vec![0xe0, 2, 0x95, 0]));
    let mut new = bed.v5("n");
    new.send(&publish("t", &[b'x'; 250], 0, 0, Some(&[])));
    assert_eq!(new.end(), End::Said(vec![0xe0, 2, 0x95, 0]));
    for bytes in [
        publish("a/b/c/d", b"x", 0, 0, None),
        publish("t", &[b'x'; 101], 0, 0, None),
        publish("t", &[b'x'; 250], 0, 0, None),
    ] {
        let mut old = bed.v3("o");
        old.send(&bytes);
        assert_eq!(old.end(), End::Closed);
    }
    bed.wait_metric("forebay_publish_rejected_total{reason=\"too_large\"} 4");
}

#[test]
fn subscriptions_and_filters_have_bounds() {
    let plan = Plan::default().with(|config| {
        let limits = &mut config.listeners[0].limits;
        limits.subscriptions_per_client = 2;
        limits.filters_per_subscribe = 3;
    });
    let bed = plan.start();
    let mut client = bed.v5("c");
    let mut body = vec![0, 1, 0];
    for filter in ["a", "b", "c", "d"] {
        body.extend(text(filter));
        body.push(0);
    }
    client.send(&packet(0x82, &body));
    assert_eq!(client.packet(), [0x90, 7, 0, 1, 0, 0, 0, 0x97, 0x97]);
    client.subscribe(2, "a", 1, true);
    bed.wait_metric("forebay_limit_hits_total{limit=\"subscriptions_per_client\"} 1");
    bed.wait_metric("forebay_limit_hits_total{limit=\"filters_per_subscribe\"} 1");
}

#[test]
fn user_properties_have_bounds() {
    let bed = Plan::default()
        .with(|config| config.limits.user_properties = 2)
        .start();
    let three = [0x26, 0, 0, 0, 0].repeat(3);
    let mut client = bed.v5("c");
    client.send(&publish("t", b"x", 0, 0, Some(&three)));
    assert_eq!(client.end(), End::Said(vec![0xe0, 2, 0x97, 0]));
    let mut client = bed.raw();
    client.send(&connect_v5("c", 2, 60, &three));
    assert_eq!(client.end(), End::Said(vec![0x20, 3, 0, 0x97, 0]));
}

#[test]
fn a_connect_that_does_not_come_and_a_packet_that_does_not_end_are_not_waited_for() {
    let plan = Plan::default().with(|config| {
        let limits = &mut config.listeners[0].limits;
        limits.time_to_connect = Duration::from_millis(200);
        limits.packet_timeout = Duration::from_millis(200);
    });
    let bed = plan.start();
    let mut silent = bed.raw();
    let mut half = bed.v5("half");
    half.send(&[0x30, 50, 0]);
    assert_eq!(silent.end(), End::Closed);
    assert_eq!(half.end(), End::Said(vec![0xe0, 2, 0x80, 0]));
    bed.wait_metric("forebay_limit_hits_total{limit=\"time_to_connect\"} 1");
    bed.wait_metric("forebay_limit_hits_total{limit=\"packet_timeout\"} 1");
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let plan = Plan::default().with(|config| {
        config.listeners[0].limits.write_timeout = Duration::from_millis(300);
        config.limits.session_queue_bytes = 64 << 20;
    });
    let bed = plan.start();
    let mut slow = bed.v5("slow");
    slow.subscribe(1, "t", 0, true);
    let mut publisher = bed.v5("p");
    // More than the buffers of both sockets hold.
    for _ in 0..40 {
        publisher.publish("t", &vec![b'x'; 512 * 1024], 0, 0, true);
    }
    bed.wait_metric("forebay_limit_hits_total{limit=\"write_timeout\"} 1");
    wait_for("the slow client is gone", || bed.status().sessions == 1);
    publisher.assert_quiet();
}

#[test]
fn answers_that_nobody_reads_have_a_bound() {
    let plan = Plan::default().with(|config| config.listeners[0].limits.unsent_bytes = 1024);
    let bed = plan.start();
    let mut flood = bed.v5("flood");
    let pings = [0xc0, 0].repeat(32 * 1024);
    while flood.try_send(&pings) {}
    bed.wait_metric("forebay_limit_hits_total{limit=\"unsent_bytes\"} 1");
    bed.assert_serving();
}

#[test]
fn a_full_queue_may_end_the_session() {
    let plan = Plan::default().with(|config| {
        config.limits.session_queue_messages = 2;
        config.mqtt.on_queue_full = OnQueueFull::Disconnect;
    });
    let bed = plan.start();
    let mut slow = bed.raw();
    slow.send(&connect_v5("slow", 2, 60, &[0x21, 0, 1]));
    slow.packet();
    slow.subscribe(1, "t", 1, true);
    let mut publisher = bed.v5("p");
    for id in 1..=10 {
        publisher.publish("t", b"x", 2, id, true);
        publisher.packet();
    }
    // Whether a first message comes before depends on who is faster.
    let End::Said(said) = slow.end() else {
        panic!("closed without a reason");
    };
    assert!(said.ends_with(&[0xe0, 2, 0x97, 0]), "{said:x?}");
}

#[test]
fn incomplete_packets_share_a_pool() {
    let plan = Plan::default().with(|config| config.limits.partial_packets_bytes = 150_000);
    let bed = plan.start();
    let large = publish("t", &[b'x'; 100_000], 2, 1, Some(&[]));
    let mut first = bed.v5("a");
    first.send(&large[..1000]);
    bed.wait_metric("forebay_partial_packet_bytes 100010");
    let mut second = bed.v5("b");
    second.send(&large);
    bed.wait_metric("forebay_limit_hits_total{limit=\"partial_packets\"} 1");
    first.send(&large[1000..]);
    assert_eq!(first.packet()[..4], [0x40, 4, 0, 1]);
    assert_eq!(second.packet()[..4], [0x40, 4, 0, 1]);
}

#[test]
fn accepting_is_limited_per_second() {
    let plan = Plan::default().with(|config| {
        config.listeners[0].limits.connects_per_second = 50;
        config.listeners[0].limits.connects_burst = 2;
    });
    let bed = plan.start();
    for index in 0..10 {
        drop(bed.v5(&format!("c{index}")));
    }
    let text = bed.registry.render();
    let hits = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("forebay_limit_hits_total{limit=\"connects_per_second\"} ")
        })
        .unwrap();
    assert!(hits.parse::<u64>().unwrap() > 0, "{hits}");
}

#[test]
fn a_stalled_connection_may_be_closed_after_a_time() {
    let plan = Plan {
        ingest_bytes: 4096,
        ..Plan::default()
    }
    .with(|config| config.mqtt.stall_disconnect = Some(Duration::from_millis(200)));
    let bed = plan.start();
    bed.sink
        .paused
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let mut client = bed.v5("c");
    for id in 1..=10 {
        client.publish("r/x", &[b'x'; 1000], 2, id, true);
    }
    assert_eq!(client.end(), End::Said(vec![0xe0, 2, 0x97, 0]));
}

#[test]
fn a_stalled_connection_outlives_its_keep_alive() {
    let bed = Plan {
        ingest_bytes: 4096,
        ..Plan::default()
    }
    .start();
    bed.sink
        .paused
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let mut client = bed.raw();
    client.send(&connect_v5("c", 2, 1, &[]));
    client.packet();
    for id in 1..=10 {
        client.publish("r/x", &[b'x'; 1000], 2, id, true);
    }
    let mut witness = bed.raw();
    witness.send(&connect_v5("w", 2, 2, &[]));
    witness.packet();
    // The witness is silent for three seconds; the stalled client had only one and a half.
    assert_eq!(witness.end(), End::Said(vec![0xe0, 2, 0x8d, 0]));
    bed.sink
        .paused
        .store(false, std::sync::atomic::Ordering::SeqCst);
    for id in 1..=10 {
        assert_eq!(client.packet(), [0x40, 2, 0, id]);
    }
}

#[test]
fn a_listener_beyond_loopback_must_allow_anonymous_clients() {
    let plan = Plan::default().with(|config| {
        config.listeners[0].bind = "0.0.0.0:0".parse().unwrap();
        config.listeners[0].allow_anonymous = false;
    });
    let error = plan.try_start().err().unwrap().to_string();
    assert_eq!(
        error,
        "listener \"default\" binds 0.0.0.0:0, which is not loopback: set allow_anonymous = true for it"
    );
}

#[test]
fn an_address_in_use_is_an_error_although_ports_are_shared_among_workers() {
    let bed = Bed::start();
    let address = bed.address();
    let plan = Plan::default().with(|config| config.listeners[0].bind = address);
    assert!(plan.try_start().err().unwrap().is_address_in_use());
}
