//! What stands in for threads, sockets and logs around the state machines.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use forebay_core::{AckMode, Time};
use forebay_kinesis::aggregator::{Effects, Entry, Failure, Note, Request, RequestId};
use forebay_pipeline::{FailureReason, Record, Wake};

use crate::service::{Sent, Way};

/// What happened, a line each: two runs of one seed must agree to the letter.
#[derive(Debug, Default)]
pub(crate) struct Trace(pub(crate) String);

impl Trace {
    pub(crate) fn line(&mut self, now: Time, what: fmt::Arguments<'_>) {
        writeln!(self.0, "{now:?} {what}").expect("writing to a string cannot fail");
    }
}

/// Remembers that somebody was woken.
#[derive(Debug, Default)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Atomic::SeqCst);
    }
}

impl Woken {
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Atomic::SeqCst)
    }
}

/// What the aggregator asked for during one call.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) sent: Vec<(RequestId, Vec<Sent>)>,
    pub(crate) stored: Vec<Entry>,
    pub(crate) failed: Vec<(Entry, FailureReason)>,
    pub(crate) inversions: usize,
    /// Records that were said to be possible duplicates.
    pub(crate) again: usize,
    pub(crate) wrong_shard: bool,
}

impl Effects for Asked {
    fn send(&mut self, request: &Request) {
        let records = request.records().map(sent).collect();
        self.sent.push((request.id(), records));
    }

    fn stored(&mut self, _lane: usize, entry: Entry, _sent: Time) {
        self.stored.push(entry);
    }

    fn failed(&mut self, entry: Entry, failure: &Failure<'_>) {
        self.failed.push((entry, failure.reason));
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Inversions { records } => self.inversions += records,
            Note::PossibleDuplicates { records } => self.again += records,
            Note::WrongShard { .. } => self.wrong_shard = true,
            _ => {}
        }
    }
}

/// A record as the service sees it. Every payload of a simulation begins with the number of its publish.
pub(crate) fn sent(record: &Record) -> Sent {
    let text = std::str::from_utf8(&record.data).unwrap();
    let number = text.split(' ').next().unwrap().parse().unwrap();
    Sent {
        key: record.partition_key.to_string(),
        number,
        hash: record.hash,
        bytes: record.data.len(),
        way: match record.in_log {
            true => Way::Log,
            false if record.ack == AckMode::Spool => Way::Fallback,
            false => Way::Direct,
        },
    }
}
