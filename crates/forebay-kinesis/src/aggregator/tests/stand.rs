//! An aggregator on a test stand: lanes by hand, requests and outcomes to look at.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compact_str::CompactString;
use forebay_core::{Ordering, SeededEntropy, ShardMap, Time};
use forebay_pipeline::{ErrorRole, FailureReason, Record};

use crate::aggregator::{
    Aggregator, Batches, Effects, Entry, Failure, Note, Permits, Request, RequestId,
};
use crate::api::{EntryAnswer, PutRecordsAnswer};
use crate::classify::{CallError, CallFailure};
use crate::config::{BatchSettings, RateLimit};
use crate::testing::{map, record};

/// The pipeline's lanes, by hand.
#[derive(Debug, Default)]
pub(super) struct Rings(Vec<Mutex<VecDeque<Vec<Record>>>>);

impl Rings {
    pub(super) fn new(lanes: usize) -> Self {
        Self((0..lanes).map(|_| Mutex::default()).collect())
    }

    pub(super) fn push(&self, lane: usize, batch: Vec<Record>) {
        self.0[lane].lock().unwrap().push_back(batch);
    }
}

impl Batches for Rings {
    fn pop(&self, lane: usize) -> Option<Vec<Record>> {
        self.0[lane].lock().unwrap().pop_front()
    }

    fn is_empty(&self, lane: usize) -> bool {
        self.0[lane].lock().unwrap().is_empty()
    }
}

/// A request as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: RequestId,
    pub(super) at: Time,
    pub(super) seqs: Vec<u64>,
    pub(super) lanes: Vec<usize>,
    pub(super) bytes: usize,
    pub(super) probe: bool,
}

/// Everything that the aggregator did.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) sent: Vec<Sent>,
    pub(super) stored: Vec<u64>,
    pub(super) failed: Vec<(u64, FailureReason)>,
    pub(super) inversions: usize,
    pub(super) duplicates: usize,
    pub(super) inherited: usize,
    pub(super) wrong_shard: usize,
    pub(super) blocked: bool,
    pub(super) not_found: usize,
}

impl Effects for Log {
    fn send(&mut self, request: &Request) {
        self.sent.push(Sent {
            id: request.id(),
            at: request.sent(),
            seqs: request.records().map(|record| record.seq).collect(),
            lanes: request.parts().iter().map(|part| part.lane).collect(),
            bytes: request.bytes(),
            probe: request.is_probe(),
        });
    }

    fn stored(&mut self, _lane: usize, entry: Entry, _sent: Time) {
        self.stored.push(entry.record.seq);
    }

    fn failed(&mut self, entry: Entry, failure: &Failure<'_>) {
        self.failed.push((entry.record.seq, failure.reason));
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Inversions { records } => self.inversions += records,
            Note::PossibleDuplicates { records } => self.duplicates += records,
            Note::Inherited { records } => self.inherited += records,
            Note::WrongShard { records, .. } => self.wrong_shard += records,
            Note::Blocked { .. } => self.blocked = true,
            Note::Unblocked => self.blocked = false,
            Note::NotFound => self.not_found += 1,
            Note::RecordRefused { .. } | Note::RequestFailed { .. } | Note::Throttled { .. } => {}
        }
    }
}

pub(super) struct Stand {
    pub(super) aggregator: Aggregator,
    pub(super) rings: Arc<Rings>,
    pub(super) map: Arc<ShardMap>,
    pub(super) now: Time,
    pub(super) log: Log,
    entropy: SeededEntropy,
    next_seq: u64,
}

/// Settings without a rate limit, so that a test sees only what it is about.
pub(super) fn unlimited() -> BatchSettings {
    BatchSettings {
        rate_limit: RateLimit::Off,
        ..BatchSettings::default()
    }
}

impl Stand {
    pub(super) fn new(settings: BatchSettings, ordering: Ordering, shards: u32) -> Self {
        let now = Time::from_millis(1_000_000);
        let mut aggregator = Aggregator::new(settings, ordering);
        let map = map(shards);
        let rings = Arc::new(Rings::new(map.len()));
        aggregator.install(1, Arc::clone(&map), Arc::clone(&rings) as _, now, false);
        Self {
            aggregator,
            rings,
            map,
            now,
            log: Log::default(),
            entropy: SeededEntropy::new(42),
            next_seq: 1,
        }
    }

    /// Puts one record per key into the lanes, in this order, one batch each. Returns their sequence numbers.
    pub(super) fn feed(&mut self, keys: &[&str]) -> Vec<u64> {
        keys.iter()
            .map(|key| self.feed_one(key, b"payload"))
            .collect()
    }

    pub(super) fn feed_one(&mut self, key: &str, data: &[u8]) -> u64 {
        self.feed_record(record(self.next_seq, key, data, self.now))
    }

    /// A record whose rule does not wait for a stream that has to be mended.
    pub(super) fn feed_giving_up(&mut self, key: &str) -> u64 {
        let mut record = record(self.next_seq, key, b"payload", self.now);
        record.error = Some(ErrorRole::giving_up());
        self.feed_record(record)
    }

    pub(super) fn feed_record(&mut self, mut record: Record) -> u64 {
        record.seq = self.next_seq;
        self.next_seq += 1;
        let seq = record.seq;
        self.rings.push(self.map.lookup(record.hash), vec![record]);
        self.aggregator.ready(self.now);
        seq
    }

    pub(super) fn poll(&mut self) {
        let mut permits = Permits {
            requests: 256,
            bytes: 64 << 20,
        };
        self.aggregator.poll(self.now, &mut permits, &mut self.log);
    }

    /// Moves the clock to when the aggregator wants to go on, and lets it.
    pub(super) fn poll_when_due(&mut self) {
        let due = self.aggregator.due();
        assert_ne!(due, Time::NEVER, "nothing would ever happen");
        self.now = self.now.max(due);
        self.poll();
    }

    /// Moves the clock until something is sent, and returns it.
    pub(super) fn next_sent(&mut self) -> Sent {
        let before = self.log.sent.len();
        while self.log.sent.len() == before {
            self.poll_when_due();
        }
        self.log.sent[before].clone()
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.poll();
    }

    /// Requests sent and not answered, oldest first.
    pub(super) fn open(&self) -> Vec<Sent> {
        let open = |sent: &&Sent| self.aggregator.request(sent.id).is_some();
        self.log.sent.iter().filter(open).cloned().collect()
    }

    /// The only request in flight.
    pub(super) fn only(&self) -> Sent {
        let open = self.open();
        assert_eq!(open.len(), 1, "requests in flight: {open:?}");
        open[0].clone()
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Result<PutRecordsAnswer, CallError>) {
        self.aggregator
            .answer(id, answer, self.now, &mut self.entropy, &mut self.log);
        self.poll();
    }

    /// Answers record by record: `None` is stored, `Some(code)` refused.
    pub(super) fn answer_each(
        &mut self,
        id: RequestId,
        mut code: impl FnMut(u64) -> Option<&'static str>,
    ) {
        let request = self.aggregator.request(id).expect("in flight");
        let entries = request
            .records()
            .map(|record| match code(record.seq) {
                None => EntryAnswer::Stored {
                    shard: self.map.shard(self.map.lookup(record.hash)).id().into(),
                },
                Some(code) => EntryAnswer::Refused {
                    code: code.into(),
                    message: CompactString::default(),
                },
            })
            .collect();
        self.answer(id, Ok(PutRecordsAnswer { entries }));
    }

    pub(super) fn store_all(&mut self, id: RequestId) {
        self.answer_each(id, |_| None);
    }

    pub(super) fn refuse(&mut self, id: RequestId, code: &str) {
        let error = CallError {
            failure: CallFailure::Service(400),
            code: code.into(),
            message: String::from("scripted"),
            request_id: None,
            retry_after: None,
        };
        self.answer(id, Err(error));
    }

    pub(super) fn lose(&mut self, id: RequestId, failure: CallFailure) {
        self.answer(id, Err(CallError::local(failure, "Transport", "scripted")));
    }
}

pub(super) const THROTTLED: &str = "ProvisionedThroughputExceededException";
