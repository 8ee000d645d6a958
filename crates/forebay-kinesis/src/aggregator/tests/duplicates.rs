//! What is counted of records that may be stored twice.

use std::sync::Arc;

use forebay_core::{AckMode, Ordering};
use forebay_pipeline::Record;

use super::stand::{Rings, Stand, THROTTLED, unlimited};
use crate::aggregator::Aggregator;
use crate::classify::CallFailure;
use crate::testing::{map, record};

/// A record of the log with this number.
fn logged(stand: &Stand, log: u64) -> Record {
    Record {
        log,
        in_log: true,
        ack: AckMode::Spool,
        ..record(0, &format!("key-{log}"), b"payload", stand.now)
    }
}

fn install(aggregator: &mut Aggregator, stand_now: forebay_core::Time, records: Vec<Record>) {
    let rings = Arc::new(Rings::new(1));
    rings.push(0, records);
    aggregator.install(2, map(1), rings, stand_now, false);
}

#[test]
fn what_an_earlier_process_may_have_sent_is_counted_when_it_is_sent_first() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.aggregator.set_inherited_below(100);
    for log in [98, 99, 100, 101] {
        let record = logged(&stand, log);
        stand.feed_record(record);
    }
    // Not in the log, whatever number it has.
    stand.feed(&["other"]);
    stand.poll();
    assert_eq!((stand.log.inherited, stand.log.duplicates), (2, 0));
    let first = stand.only().id;
    stand.answer_each(first, |_| Some(THROTTLED));
    while stand.log.stored.len() < 5 {
        let sent = stand.next_sent();
        stand.store_all(sent.id);
    }
    assert_eq!((stand.log.inherited, stand.log.duplicates), (2, 0));
}

#[test]
fn a_lost_answer_is_remembered_of_records_that_come_back_from_the_log() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.aggregator.set_inherited_below(8);
    for log in [7, 8] {
        let record = logged(&stand, log);
        stand.feed_record(record);
    }
    stand.poll();
    stand.aggregator.change_map();
    let first = stand.only().id;
    stand.lose(first, CallFailure::Unclear);
    let given_back = stand.aggregator.give_back();
    assert_eq!(given_back.len(), 2);
    // They are dealt again with other places in the order, one after the other, among new ones.
    let again = [(50, 7), (51, 9), (52, 8)].map(|(seq, log)| Record {
        seq,
        ..logged(&stand, log)
    });
    install(&mut stand.aggregator, stand.now, again.into());
    stand.poll();
    while !stand.aggregator.is_idle() {
        match stand.open().first().map(|sent| sent.id) {
            Some(id) => stand.store_all(id),
            None => stand.poll_when_due(),
        }
    }
    assert_eq!(stand.log.stored.len(), 3);
    assert_eq!((stand.log.inherited, stand.log.duplicates), (1, 2));
}

#[test]
fn a_lost_answer_is_remembered_of_records_that_are_not_in_the_log() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "b"]);
    stand.poll();
    stand.aggregator.change_map();
    let first = stand.only().id;
    stand.lose(first, CallFailure::Unclear);
    let given_back = stand.aggregator.give_back();
    // Where they waited for the log again, they come with other places in the order.
    let again = given_back
        .into_iter()
        .zip(50..)
        .map(|(record, seq)| Record { seq, ..record });
    install(&mut stand.aggregator, stand.now, again.collect());
    stand.poll();
    while !stand.aggregator.is_idle() {
        match stand.open().first().map(|sent| sent.id) {
            Some(id) => stand.store_all(id),
            None => stand.poll_when_due(),
        }
    }
    assert_eq!((stand.log.stored.len(), stand.log.duplicates), (2, 2));
}
