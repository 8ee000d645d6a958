//! Retained messages.

use crate::bed::{Bed, Plan};
use crate::client::{connect_v5, publish, subscribe};

#[test]
fn the_last_retained_message_comes_after_the_suback_with_its_flag() {
    let bed = Bed::start();
    let mut publisher = bed.v5("p");
    for payload in [b"1", b"2"] {
        publisher.publish("a/b", payload, 3, 1, true);
        publisher.packet();
    }
    publisher.publish("a/b", b"3", 2, 1, true);
    publisher.packet();
    for v5 in [false, true] {
        let mut client = if v5 { bed.v5("c") } else { bed.v3("c") };
        client.subscribe(1, "a/+", 1, v5);
        assert_eq!(
            client.packet(),
            publish("a/b", b"2", 3, 1, v5.then_some(&[]))
        );
        client.assert_quiet();
    }
    bed.wait_metric("forebay_retained_messages 1");
}

#[test]
fn only_an_empty_retained_message_deletes() {
    let bed = Bed::start();
    let mut publisher = bed.v5("p");
    publisher.publish("t", b"1", 1, 0, true);
    publisher.publish("t", b"", 0, 0, true);
    publisher.assert_quiet();
    let mut client = bed.v5("c");
    client.subscribe(1, "t", 0, true);
    assert_eq!(client.packet(), publish("t", b"1", 1, 0, Some(&[])));
    publisher.publish("t", b"", 1, 0, true);
    // The empty message itself goes to those who are subscribed already.
    assert_eq!(client.packet(), publish("t", b"", 0, 0, Some(&[])));
    let mut late = bed.v5("l");
    late.subscribe(1, "t", 0, true);
    late.assert_quiet();
}

#[test]
fn retain_handling_says_when_retained_messages_come() {
    let bed = Bed::start();
    let mut client = bed.v5("c");
    client.publish("t", b"1", 1, 0, true);
    let expect = |client: &mut crate::client::Client, handling: u8, comes: bool| {
        client.send(&subscribe(1, "t", handling << 4, true));
        assert_eq!(client.packet()[0], 0x90);
        if comes {
            assert_eq!(client.packet(), publish("t", b"1", 1, 0, Some(&[])));
        }
        client.assert_quiet();
    };
    expect(&mut client, 2, false);
    expect(&mut client, 1, false);
    expect(&mut client, 0, true);
    expect(&mut client, 0, true);
    let mut new = bed.v5("n");
    expect(&mut new, 1, true);
}

#[test]
fn hundreds_of_retained_messages_come_through_a_small_window() {
    let bed = Bed::start();
    let mut publisher = bed.v5("p");
    for index in 0..300_u16 {
        publisher.publish(&format!("d/{index:03}"), b"x", 3, 1, true);
        publisher.packet();
    }
    let mut client = bed.raw();
    client.send(&connect_v5("c", 2, 60, &[0x21, 0, 3]));
    client.packet();
    client.subscribe(1, "d/#", 1, true);
    for index in 0..300_u16 {
        let message = client.packet();
        assert_eq!(message[4..9], *format!("d/{index:03}").as_bytes());
        client.send(&[0x40, 2, message[9], message[10]]);
    }
    client.assert_quiet();
}

#[test]
fn a_full_store_refuses_in_version_5_and_keeps_nothing_in_3_1_1() {
    let bed = Plan::default()
        .with(|config| config.limits.retained_messages = 1)
        .start();
    let mut new = bed.v5("n");
    new.publish("a", b"1", 3, 1, true);
    assert_eq!(new.packet(), [0x40, 2, 0, 1]);
    new.publish("b", b"1", 3, 2, true);
    assert_eq!(new.refusal(), (0x40, 2, 0x97));
    let mut old = bed.v3("o");
    old.publish("c", b"1", 3, 3, false);
    assert_eq!(old.packet(), [0x40, 2, 0, 3]);
    new.subscribe(1, "#", 0, true);
    assert_eq!(new.packet(), publish("a", b"1", 1, 0, Some(&[])));
    new.assert_quiet();
    bed.wait_metric("forebay_limit_hits_total{limit=\"retained_messages\"} 2");
}
