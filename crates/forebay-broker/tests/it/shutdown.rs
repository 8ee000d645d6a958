//! The steps of a stop.

use std::net::TcpStream;
use std::sync::atomic::Ordering;

use crate::bed::{Bed, wait_for};
use crate::client::{Client, End, connect_v3};

#[test]
fn a_stop_answers_what_was_read_and_then_says_goodbye() {
    let bed = Bed::start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    let mut new = bed.v5("n");
    let mut old = bed.v3("o");
    new.publish("r/x", b"{}", 2, 1, true);
    old.publish("r/x", b"{}", 2, 1, false);
    wait_for("two records", || bed.control.pending() == 2);

    let address = bed.address();
    bed.broker().stop_accepting();
    wait_for("the listener is closed", || {
        TcpStream::connect(address).is_err()
    });
    assert!(!bed.status().accepting);
    bed.broker().stop_reading();
    new.publish("r/x", b"{}", 2, 2, true);
    assert_eq!(bed.broker().unanswered(), 2);
    bed.sink.paused.store(false, Ordering::SeqCst);
    assert_eq!(new.packet(), [0x40, 2, 0, 1]);
    assert_eq!(old.packet(), [0x40, 2, 0, 1]);
    wait_for("everything is answered", || bed.broker().unanswered() == 0);
    bed.broker().close_all();
    assert_eq!(new.end(), End::Said(vec![0xe0, 2, 0x8b, 0]));
    assert_eq!(old.end(), End::Closed);
    assert_eq!(bed.sink.settled.load(Ordering::SeqCst), 2);
    bed.stop();
}

#[test]
fn who_connects_while_the_server_drains_is_told_to_come_back_later() {
    let bed = Bed::start();
    let mut early = bed.raw();
    wait_for("an open socket", || bed.status().connections == 1);
    bed.broker().stop_accepting();
    early.send(&connect_v3("c", 2, 60));
    assert_eq!(early.end(), End::Said(vec![0x20, 2, 0, 3]));
}

#[test]
fn joining_ends_the_threads_although_clients_say_nothing() {
    let bed = Bed::start();
    let _silent: Vec<Client> = (0..5).map(|_| bed.raw()).collect();
    let mut client = bed.v5("c");
    wait_for("six sockets", || bed.status().connections == 6);
    let observer = bed.broker().observer();
    bed.stop();
    assert_eq!(client.end(), End::Said(vec![0xe0, 2, 0x8b, 0]));
    assert_eq!(observer.status().connections, 0);
}
