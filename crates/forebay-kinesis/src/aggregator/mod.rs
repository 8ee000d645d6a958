//! The aggregator of one stream: from lanes of batches to PutRecords requests and back to settled records.
//!
//! A synchronous state machine. Time, randomness, batches and permits come in as arguments, what is to be done goes out
//! through [`Effects`]; there is no clock, thread or I/O inside, and nothing depends on the order of a hash map. The
//! sender drives it in production, a seeded simulation drives the same code.
//!
//! What must stay true: every record that was taken is in exactly one place (a queue of a lane or a request in
//! flight) until it is settled exactly once or given back; per lane and key no record is in a request while an older
//! one of its key is elsewhere (orderings `key` and `strict`).

mod answer;
mod entry;
mod expiry;
mod hold;
mod keys;
mod lane;
mod release;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Ordering, ShardMap, Time};
use forebay_pipeline::{Attempts, FailureReason, LaneTable, Record};

pub use self::entry::{Closed, Entry, Part, Request, RequestId};
use self::hold::Hold;
use self::lane::{LaneMode, LaneState};
use crate::config::BatchSettings;
use crate::status::LastError;

/// Where a stream's batches wait: the pipeline's lanes, or a double of them.
pub trait Batches: Send + Sync {
    /// Takes the oldest batch of a lane. Of the records that are in the log, and of those that are not, it is in sequence
    /// order and newer than what was taken before; one that is not in the log is newer than all of that.
    fn pop(&self, lane: usize) -> Option<Vec<Record>>;

    /// True when the lane has no batch now.
    fn is_empty(&self, lane: usize) -> bool;
}

impl Batches for LaneTable {
    fn pop(&self, lane: usize) -> Option<Vec<Record>> {
        self.lanes[lane].pop()
    }

    fn is_empty(&self, lane: usize) -> bool {
        self.lanes[lane].is_empty()
    }
}

/// What the aggregator wants done.
pub trait Effects {
    /// Sends this request; [`Aggregator::answer`] takes its answer later.
    fn send(&mut self, request: &Request);

    /// The record was stored; `lane` is the one it was sent through, `sent` when its request was put together.
    fn stored(&mut self, lane: usize, entry: Entry, sent: Time);

    /// The record failed for good.
    fn failed(&mut self, entry: Entry, failure: &Failure<'_>);

    /// Something happened that is counted, logged or acted upon elsewhere.
    fn note(&mut self, note: Note<'_>);
}

/// Why a record failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The reason, by which it is counted.
    pub reason: FailureReason,
    /// The error code of the service, or the reason's name.
    pub code: &'a str,
    /// What the service said; may be empty.
    pub message: &'a str,
    /// The HTTP status of an answer that refused the whole request.
    pub status: Option<u16>,
}

impl Failure<'static> {
    /// A failure that the service had no part in.
    pub fn own(reason: FailureReason) -> Self {
        Self {
            reason,
            code: reason.as_str(),
            message: reason.explanation(),
            status: None,
        }
    }
}

/// What happened besides sending and settling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note<'a> {
    /// A record was refused with this code.
    RecordRefused {
        /// Index of the lane.
        lane: usize,
        /// The code.
        code: &'a str,
    },
    /// A whole request failed with this code.
    RequestFailed {
        /// The code.
        code: &'a str,
        /// What was said.
        message: &'a str,
        /// The id that the service gave the request.
        request_id: Option<&'a str>,
        /// Records that it carried.
        records: usize,
    },
    /// A lane was throttled.
    Throttled {
        /// Index of the lane.
        lane: usize,
        /// Records that were refused.
        records: usize,
    },
    /// Records are sent again that an attempt without a known outcome may have stored.
    PossibleDuplicates {
        /// Their number.
        records: usize,
    },
    /// Records are sent for the first time that an earlier process may have sent: see
    /// [`Aggregator::set_inherited_below`].
    Inherited {
        /// Their number.
        records: usize,
    },
    /// Newer records of a key were stored before older ones, inside the request in which the service began to refuse.
    Inversions {
        /// Records that were overtaken.
        records: usize,
    },
    /// Records were stored in another shard than the map says.
    WrongShard {
        /// Their number.
        records: usize,
        /// When their request was put together: a map newer than that needs no refresh.
        sent: Time,
    },
    /// The stream does not exist, or not any more.
    NotFound,
    /// The stream is held from now on, or goes on being held.
    Blocked {
        /// The error code.
        reason: &'a str,
        /// True when it was not held before.
        entered: bool,
        /// What the service said.
        message: &'a str,
    },
    /// The stream works again.
    Unblocked,
}

/// Room for requests that all streams share. A request is let through as long as both are above zero, so that the last
/// one may overdraw the bytes but none waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    /// Requests.
    pub requests: u32,
    /// Counted bytes.
    pub bytes: usize,
}

impl Permits {
    fn take(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// True when no request may be sent.
    pub fn is_exhausted(&self) -> bool {
        self.requests == 0 || self.bytes == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There are no lanes: the map is not known, or everything was given back and the new lanes are on their way.
    Waiting,
    Running,
    /// A new map is known: nothing is taken or sent any more until what is in flight is resolved.
    Changing,
}

/// The aggregator of one stream.
pub struct Aggregator {
    settings: BatchSettings,
    mode: LaneMode,
    /// An ordering that applies as soon as nothing is in flight.
    pending_mode: Option<LaneMode>,
    phase: Phase,
    epoch: u64,
    map: Option<Arc<ShardMap>>,
    batches: Option<Arc<dyn Batches>>,
    lanes: Vec<LaneState>,
    /// Lanes with something queued.
    listed: Vec<usize>,
    in_flight: BTreeMap<RequestId, Request>,
    next_request: u64,
    /// Counted bytes of a record that the stream takes, when that is known.
    record_limit: Option<usize>,
    hold: Option<Hold>,
    /// A record is queued whose rule wants it to fail rather than wait while the stream is held.
    has_givers_up: bool,
    pause_until: Time,
    /// Requests in a row that the whole stream was throttled in.
    pauses: u32,
    last_pass: Time,
    flush: bool,
    take_due: bool,
    /// Something is ready and there was no permit for it.
    starved: bool,
    /// Earliest deadline of a queued record, as far as it is known.
    expiry_due: Time,
    /// The attempts of records that were given back for a new map, by their numbers in the log: they are read back from
    /// there, while the others carry theirs.
    histories: BTreeMap<u64, Attempts>,
    /// Records of the log with lower numbers are those of earlier processes.
    inherited_below: u64,
    /// When [`poll`](Self::poll) has something to do again.
    due: Time,
    last_error: Option<LastError>,
}

impl std::fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregator")
            .field("phase", &self.phase)
            .field("lanes", &self.lanes.len())
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl Aggregator {
    /// An aggregator without lanes.
    pub fn new(settings: BatchSettings, ordering: Ordering) -> Self {
        let mode = LaneMode::new(ordering, settings.inflight_per_lane);
        Self {
            settings,
            mode,
            pending_mode: None,
            phase: Phase::Waiting,
            epoch: 0,
            map: None,
            batches: None,
            lanes: Vec::new(),
            listed: Vec::new(),
            in_flight: BTreeMap::new(),
            next_request: 1,
            record_limit: None,
            hold: None,
            has_givers_up: false,
            pause_until: Time::ZERO,
            pauses: 0,
            last_pass: Time::ZERO,
            flush: false,
            take_due: false,
            starved: false,
            expiry_due: Time::NEVER,
            histories: BTreeMap::new(),
            inherited_below: 0,
            due: Time::NEVER,
            last_error: None,
        }
    }

    /// Gives the stream its lanes. Nothing may be held from earlier ones: see [`give_back`](Self::give_back). What was
    /// learned about shards that still exist is kept, unless `forget`.
    pub fn install(
        &mut self,
        epoch: u64,
        map: Arc<ShardMap>,
        batches: Arc<dyn Batches>,
        now: Time,
        forget: bool,
    ) {
        debug_assert!(
            self.in_flight.is_empty() && self.queued() == 0,
            "records of the old lanes"
        );
        let earlier = std::mem::take(&mut self.lanes);
        let earlier_map = self.map.replace(Arc::clone(&map));
        let cautious_until = earlier.iter().map(|lane| lane.cautious_until).max();
        self.lanes = map
            .shards()
            .iter()
            .map(|shard| {
                let mut lane = LaneState::new(self.mode, self.settings.rate_limit, now);
                let same = earlier_map
                    .as_ref()
                    .and_then(|map| map.position(shard.id()));
                if let Some(same) = same.filter(|_| !forget) {
                    lane.inherit(&earlier[same], now);
                }
                // What waited in a cautious lane may come back through any of the new ones.
                lane.stay_cautious(cautious_until.unwrap_or(Time::ZERO), now);
                if let Some(limit) = self.record_limit {
                    lane.limiter.set_record_limit(limit);
                }
                lane
            })
            .collect();
        self.listed.clear();
        self.batches = Some(batches);
        self.epoch = epoch;
        self.phase = Phase::Running;
        self.take_due = true;
        self.due = now;
    }

    /// Lanes have new batches.
    pub fn ready(&mut self, now: Time) {
        self.take_due = true;
        self.due = self.due.min(now);
    }

    /// Sends what is there without waiting for more from now on, or stops doing so.
    pub fn set_flush(&mut self, flush: bool, now: Time) {
        self.flush = flush;
        self.due = self.due.min(now);
    }

    /// Sets how order is kept. A change applies when nothing is in flight; until then nothing new is sent.
    pub fn set_ordering(&mut self, ordering: Ordering, now: Time) {
        let mode = LaneMode::new(ordering, self.settings.inflight_per_lane);
        let current = self.pending_mode.unwrap_or(self.mode);
        if mode != current {
            self.pending_mode = Some(mode);
            self.due = self.due.min(now);
        }
    }

    /// Sets the counted bytes that one record of the stream may have.
    pub fn set_record_limit(&mut self, bytes: usize) {
        self.record_limit = Some(bytes);
        for lane in &mut self.lanes {
            lane.limiter.set_record_limit(bytes);
        }
    }

    /// Has records of the log with lower numbers counted when they are sent first ([`Note::Inherited`]).
    pub fn set_inherited_below(&mut self, log: u64) {
        self.inherited_below = log;
    }

    /// A new map is known: stops taking and sending. When [`can_give_back`](Self::can_give_back) holds, what is still
    /// queued can be given back.
    pub fn change_map(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Changing;
        }
    }

    /// True when the map is changing and nothing is in flight any more.
    pub fn can_give_back(&self) -> bool {
        self.phase == Phase::Changing && self.in_flight.is_empty()
    }

    /// Everything that is queued, in sequence order, for the new lanes.
    ///
    /// # Panics
    /// In debug builds when something is in flight.
    pub fn give_back(&mut self) -> Vec<Record> {
        debug_assert!(self.can_give_back());
        let mut entries: Vec<Entry> = self.lanes.iter_mut().flat_map(LaneState::drain).collect();
        entries.sort_unstable_by_key(|entry| entry.record.seq);
        for entry in &mut entries {
            let attempts = Attempts {
                requests: entry.attempts,
                ambiguous: entry.ambiguous,
            };
            if !entry.record.in_log {
                entry.record.attempts = attempts;
            } else if attempts.requests > 0 {
                self.histories.insert(entry.record.log, attempts);
            }
        }
        self.phase = Phase::Waiting;
        self.batches = None;
        self.due = Time::NEVER;
        entries.into_iter().map(|entry| entry.record).collect()
    }

    /// Does everything that is due at `now`: takes batches, gives up expired records, sends requests.
    pub fn poll(&mut self, now: Time, permits: &mut Permits, effects: &mut dyn Effects) {
        self.apply_pending_mode(now);
        if self.phase != Phase::Running {
            self.due = Time::NEVER;
            return;
        }
        self.take(effects);
        self.due = Time::NEVER;
        if self.expiry_due <= now {
            self.expire(now, effects);
        }
        if self.pending_mode.is_none() {
            self.release(now, permits, effects);
        }
        self.due = self.due.min(self.expiry_due);
    }

    /// When [`poll`](Self::poll) has something to do by itself; [`Time::NEVER`] while only an event can change that.
    pub fn due(&self) -> Time {
        self.due
    }

    /// True when something is ready and only permits were missing: poll again when there are some.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    fn apply_pending_mode(&mut self, now: Time) {
        if let Some(mode) = self.pending_mode
            && self.in_flight.is_empty()
        {
            self.mode = mode;
            self.pending_mode = None;
            for lane in &mut self.lanes {
                lane.set_mode(mode, now);
            }
        }
    }

    fn take(&mut self, effects: &mut dyn Effects) {
        if !std::mem::take(&mut self.take_due) {
            return;
        }
        let Some(batches) = self.batches.clone() else {
            return;
        };
        for index in 0..self.lanes.len() {
            while !batches.is_empty(index) {
                if self.lanes[index].queued_bytes() >= self.settings.lane_bytes {
                    // The rest stays in the pipeline's queue; the next poll looks again.
                    self.take_due = true;
                    break;
                }
                let Some(batch) = batches.pop(index) else {
                    break;
                };
                self.take_batch(index, batch, effects);
            }
        }
    }

    fn take_batch(&mut self, index: usize, batch: Vec<Record>, effects: &mut dyn Effects) {
        let limit = self
            .record_limit
            .unwrap_or(forebay_core::limits::RECORD_BYTES_MAX);
        let lane = &mut self.lanes[index];
        for record in batch {
            let mut entry = Entry::new(record);
            if entry.record.in_log
                && !self.histories.is_empty()
                && let Some(attempts) = self.histories.remove(&entry.record.log)
            {
                entry.attempts = attempts.requests;
                entry.ambiguous = attempts.ambiguous;
            }
            if entry.len() > limit {
                effects.failed(entry, &Failure::own(FailureReason::RecordTooLarge));
                continue;
            }
            self.expiry_due = self.expiry_due.min(entry.record.deadline);
            self.has_givers_up |= entry.record.takes_configuration_errors();
            lane.push(entry);
        }
        self.list(index);
    }

    fn list(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if !lane.listed && lane.queued() > 0 {
            lane.listed = true;
            self.listed.push(index);
        }
    }

    /// The request with this name, while it is in flight.
    pub fn request(&self, id: RequestId) -> Option<&Request> {
        self.in_flight.get(&id)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Counted bytes in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight.values().map(Request::bytes).sum()
    }

    /// Records that are queued here, without those in flight. Counted from the queues.
    pub fn queued(&self) -> usize {
        let listed = self.listed.iter().map(|lane| self.lanes[*lane].queued());
        let queued = listed.sum();
        debug_assert_eq!(
            queued,
            self.lanes.iter().map(LaneState::queued).sum::<usize>()
        );
        queued
    }

    /// Records that are held here: queued and in flight. Counted from the queues.
    pub fn held(&self) -> usize {
        let in_flight: usize = self
            .in_flight
            .values()
            .map(|request| request.entries.len())
            .sum();
        self.queued() + in_flight
    }

    /// True when nothing is held and no batch waits in the lanes.
    pub fn is_idle(&self) -> bool {
        let waiting = self
            .batches
            .as_ref()
            .is_some_and(|batches| (0..self.lanes.len()).any(|lane| !batches.is_empty(lane)));
        !waiting && self.held() == 0
    }

    /// The error code for which the stream is held.
    pub fn blocked(&self) -> Option<&str> {
        self.hold.as_ref().map(|hold| hold.reason.as_str())
    }

    /// The last error code of a request or record.
    pub fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }

    /// Counts the lane tables of the stream; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The shard map of the lanes.
    pub fn map(&self) -> Option<&Arc<ShardMap>> {
        self.map.as_ref()
    }

    /// Figures of every lane.
    pub fn lane_figures(&self, now: Time) -> Vec<LaneFigures> {
        let mut figures: Vec<LaneFigures> =
            self.lanes.iter().map(|lane| lane.figures(now)).collect();
        for request in self.in_flight.values() {
            for part in &request.parts {
                let entries = &request.entries[part.entries.clone()];
                let oldest = entries.iter().map(|entry| entry.record.admitted).min();
                let lane = &mut figures[part.lane];
                lane.pending += entries.len();
                lane.pending_bytes += part.bytes;
                lane.oldest = [lane.oldest, oldest].into_iter().flatten().min();
            }
        }
        figures
    }

    /// Fails what is queued and was promised to nobody, because the process stops. Returns how many records are left.
    pub fn abandon(&mut self, effects: &mut dyn Effects) -> usize {
        let reason = FailureReason::Shutdown;
        for lane in &mut self.lanes {
            lane.remove_if(
                |entry| entry.record.droppable(),
                |entry| effects.failed(entry, &Failure::own(reason)),
            );
        }
        self.held()
    }
}

/// What can be seen of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneFigures {
    /// Records queued or in flight.
    pub pending: usize,
    /// Their counted bytes.
    pub pending_bytes: usize,
    /// When the oldest of them was admitted.
    pub oldest: Option<Time>,
    /// Factor of the limiter.
    pub factor: f64,
    /// Records and bytes accepted over the last second, as part of what a shard takes.
    pub utilization: (f64, f64),
    /// Time for which the limiter alone kept the lane from sending.
    pub limited: std::time::Duration,
    /// The lane sends at most one unresolved record per key because records were refused lately.
    pub cautious: bool,
}
