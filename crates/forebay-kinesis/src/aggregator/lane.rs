//! One lane as its consumer sees it: queues, keys, limiter, backoff.
//!
//! A record comes in at the back of `fresh`. What has to be sent again, and what waited for its key and is next, is in
//! `front`, ordered by sequence number, and goes before anything new. While keys are tracked, records whose key is
//! elsewhere wait in the side queue of the key table.
//!
//! In `key` ordering with one request in flight, keys need no tracking as long as nothing is refused: everything of a
//! lane is in one request or in none. When a record is refused the lane turns cautious and tracks keys.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forebay_core::limits::RECORD_BYTES_DEFAULT;
use forebay_core::{Ordering, Time};
use forebay_pipeline::Record;

use super::LaneFigures;
use super::entry::{Entry, Part, Request, RequestId, key_of};
use super::keys::KeyTable;
use crate::backoff::RetryBudget;
use crate::config::RateLimit;
use crate::limiter::Limiter;

/// How long a lane stays cautious after the last refusal.
pub(super) const CAUTIOUS: Duration = Duration::from_secs(30);
/// Records larger than this always travel alone: where the stream's own limit is not known they are the likely culprit
/// of a refused request.
pub(super) const ALONE_BYTES: usize = RECORD_BYTES_DEFAULT;

/// How a lane keeps order, decided per stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneMode {
    pub(super) ordering: Ordering,
    pub(super) inflight_max: u32,
}

impl LaneMode {
    pub(super) fn new(ordering: Ordering, inflight_per_lane: Option<u32>) -> Self {
        let default = if ordering == Ordering::None { 2 } else { 1 };
        Self {
            ordering,
            inflight_max: inflight_per_lane.unwrap_or(default).max(1),
        }
    }

    fn tracks_keys(self, cautious: bool) -> bool {
        match self.ordering {
            Ordering::None => false,
            Ordering::Key => cautious || self.inflight_max > 1,
            Ordering::Strict => true,
        }
    }

    fn one_per_key(self, cautious: bool) -> bool {
        self.ordering == Ordering::Strict || (self.ordering == Ordering::Key && cautious)
    }
}

/// What a part may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// The request is still empty, so that a large record may go into it, alone.
    pub(super) empty: bool,
}

/// What a lane has for a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Bytes of the record that goes first.
    pub(super) first: usize,
}

#[derive(Debug)]
pub(super) struct LaneState {
    mode: LaneMode,
    fresh: VecDeque<Entry>,
    fresh_bytes: usize,
    front: BTreeMap<u64, Entry>,
    keys: Option<KeyTable>,
    /// Requests in flight that carry records of this lane.
    pub(super) in_flight: u32,
    /// No attempt before this.
    pub(super) not_before: Time,
    /// Rounds without a stored record since the last one with.
    pub(super) failures: u32,
    /// End of the cautious state; the past when the lane is healthy.
    pub(super) cautious_until: Time,
    pub(super) limiter: Limiter,
    retry_budget: RetryBudget,
    /// While a culprit is searched: records that the next part may have.
    pub(super) split: Option<usize>,
    /// When a part was released last.
    pub(super) released: Time,
    /// Nothing could be sent although something is queued; an answer or a new record changes that.
    pub(super) stuck: bool,
    /// Time that the limiter alone has kept the lane from sending, and since when it does.
    pub(super) limited: Duration,
    pub(super) limited_since: Option<Time>,
    /// The lane is on the list of lanes with something to do.
    pub(super) listed: bool,
}

impl LaneState {
    pub(super) fn new(mode: LaneMode, rate: RateLimit, now: Time) -> Self {
        Self {
            mode,
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            front: BTreeMap::new(),
            keys: mode
                .tracks_keys(false)
                .then(|| KeyTable::new(mode.one_per_key(false))),
            in_flight: 0,
            not_before: Time::ZERO,
            failures: 0,
            cautious_until: Time::ZERO,
            limiter: Limiter::new(rate, now),
            retry_budget: RetryBudget::new(now),
            split: None,
            released: Time::ZERO,
            stuck: false,
            limited: Duration::ZERO,
            limited_since: None,
            listed: false,
        }
    }

    /// Takes over what was learned about the shard under an earlier map.
    pub(super) fn inherit(&mut self, earlier: &LaneState, now: Time) {
        self.limiter = earlier.limiter.clone();
        self.failures = earlier.failures;
        self.not_before = earlier.not_before;
        self.limited = earlier.limited;
        self.stay_cautious(earlier.cautious_until, now);
    }

    /// Makes an empty lane cautious up to `until`.
    pub(super) fn stay_cautious(&mut self, until: Time, now: Time) {
        if self.mode.ordering == Ordering::Key && until > now {
            self.cautious_until = self.cautious_until.max(until);
            self.restrict();
        }
    }

    /// Changes how order is kept. Only while nothing of the lane is in flight.
    pub(super) fn set_mode(&mut self, mode: LaneMode, now: Time) {
        debug_assert_eq!(self.in_flight, 0);
        self.mode = mode;
        if let Some(keys) = self.keys.take() {
            keys.dissolve(&mut self.front);
        }
        if mode.tracks_keys(self.is_cautious(now)) {
            self.track();
        }
    }

    pub(super) fn inflight_max(&self) -> u32 {
        self.mode.inflight_max
    }

    pub(super) fn is_cautious(&self, now: Time) -> bool {
        self.cautious_until > now
    }

    /// Records queued: fresh, front and side.
    pub(super) fn queued(&self) -> usize {
        self.fresh.len() + self.front.len() + self.keys.as_ref().map_or(0, KeyTable::waiting_len)
    }

    /// Counted bytes of fresh and side records: what the bound of the lane is about.
    pub(super) fn queued_bytes(&self) -> usize {
        self.fresh_bytes + self.keys.as_ref().map_or(0, KeyTable::waiting_bytes)
    }

    /// What can be seen of what is queued.
    pub(super) fn figures(&self, now: Time) -> LaneFigures {
        let front: usize = self.front.values().map(Entry::len).sum();
        let waiting = self
            .limited_since
            .map_or(Duration::ZERO, |since| now.since(since));
        LaneFigures {
            pending: self.queued(),
            pending_bytes: self.queued_bytes() + front,
            oldest: self.oldest(),
            factor: self.limiter.factor(),
            utilization: self.limiter.utilization(now),
            limited: self.limited + waiting,
            cautious: self.is_cautious(now),
        }
    }

    /// When the oldest queued record was admitted.
    fn oldest(&self) -> Option<Time> {
        let side = self.keys.as_ref().and_then(|keys| keys.waiting().next());
        let heads = [self.fresh.front(), self.front.values().next(), side];
        heads
            .into_iter()
            .flatten()
            .map(|entry| entry.record.admitted)
            .min()
    }

    /// Sequence number of the record that goes next, for serving the oldest lane first.
    pub(super) fn head_seq(&self) -> u64 {
        let fresh = self
            .fresh
            .front()
            .map_or(u64::MAX, |entry| entry.record.seq);
        self.front
            .keys()
            .next()
            .copied()
            .unwrap_or(u64::MAX)
            .min(fresh)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.fresh_bytes += entry.len();
        self.fresh.push_back(entry);
        self.stuck = false;
    }

    pub(super) fn has_retries(&self) -> bool {
        !self.front.is_empty()
    }

    /// What the lane would put into a request of at most `records_max` records without limits of its own. Bytes of new
    /// records are taken from their mean.
    pub(super) fn offer(&self, records_max: usize) -> Offer {
        let first = self
            .front
            .values()
            .next()
            .or_else(|| self.fresh.front())
            .map_or(0, Entry::len);
        let records_max = records_max.min(self.split.unwrap_or(usize::MAX));
        let mut offer = Offer {
            records: 0,
            bytes: 0,
            first,
        };
        for entry in self.front.values().take(records_max) {
            offer.records += 1;
            offer.bytes += entry.len();
        }
        if self.front.is_empty() || self.fills_behind_retries() {
            let fresh = self.fresh.len().min(records_max - offer.records);
            offer.records += fresh;
            offer.bytes += self.fresh_bytes * fresh / self.fresh.len().max(1);
        }
        offer
    }

    /// When the first new record was admitted.
    pub(super) fn fresh_since(&self) -> Option<Time> {
        self.fresh.front().map(|entry| entry.record.admitted)
    }

    /// True when new records may follow the ones that are sent again. While keys are not tracked they may not: the
    /// group of a lost answer goes alone until it is resolved.
    fn fills_behind_retries(&self) -> bool {
        self.split.is_none() && (self.keys.is_some() || self.mode.ordering == Ordering::None)
    }

    /// Moves records into the request, as many as the room allows, and returns the part.
    pub(super) fn fill(
        &mut self,
        lane: usize,
        request: &mut Request,
        room: Room,
        now: Time,
    ) -> Option<Part> {
        let start = request.entries.len();
        let mut left = Left {
            room,
            taken: 0,
            bytes: 0,
            full: false,
        };
        if let Some(split) = self.split {
            left.room.records = left.room.records.min(split);
        }
        let id = request.id;
        self.fill_from_front(id, &mut left, &mut request.entries);
        let retries = request.entries.len() - start;
        let only_retries = retries > 0 && !self.fills_behind_retries();
        let room_for_new = self.front.is_empty() || self.keys.is_some();
        if !left.full && !only_retries && room_for_new && self.allows_new(now) {
            self.fill_from_fresh(id, &mut left, &mut request.entries);
        }
        self.retry_budget.spend(retries);
        if left.taken == 0 {
            // Not for lack of room: every record waits for its key.
            self.stuck = !left.full;
            return None;
        }
        request.bytes += left.bytes;
        self.in_flight += 1;
        self.released = now;
        self.limiter.charge(left.taken, left.bytes);
        for entry in &mut request.entries[start..] {
            entry.attempts += 1;
        }
        let part = Part {
            lane,
            entries: start..request.entries.len(),
            bytes: left.bytes,
            retries,
        };
        request.parts.push(part.clone());
        Some(part)
    }

    fn allows_new(&mut self, now: Time) -> bool {
        // A lane that has nothing to send again must not wait for its retry budget.
        self.front.is_empty() || self.retry_budget.allows_new(self.limiter.rate(now), now)
    }

    fn fill_from_front(&mut self, id: RequestId, left: &mut Left, out: &mut Vec<Entry>) {
        match &mut self.keys {
            Some(keys) => {
                keys.take_front(
                    &mut self.front,
                    id,
                    |entry| left.fits(entry),
                    |entry| out.push(entry),
                );
            }
            None => {
                while let Some(head) = self.front.first_entry() {
                    if !left.fits(head.get()) {
                        break;
                    }
                    out.push(head.remove());
                }
            }
        }
    }

    fn fill_from_fresh(&mut self, id: RequestId, left: &mut Left, out: &mut Vec<Entry>) {
        while let Some(head) = self.fresh.front() {
            if let Some(keys) = &mut self.keys
                && !keys.admits(head, id)
            {
                let entry = self.pop_fresh();
                self.keys.as_mut().expect("just seen").put_aside(entry);
                continue;
            }
            if !left.fits(head) {
                break;
            }
            if let Some(keys) = &mut self.keys {
                keys.join(head, id);
            }
            out.push(self.pop_fresh());
        }
    }

    fn pop_fresh(&mut self) -> Entry {
        let entry = self.fresh.pop_front().expect("the caller has seen it");
        self.fresh_bytes -= entry.len();
        entry
    }

    /// Moves the first record into a request of its own that probes a held stream.
    pub(super) fn fill_probe(
        &mut self,
        lane: usize,
        request: &mut Request,
        now: Time,
    ) -> Option<Part> {
        let split = self.split.replace(1);
        let room = Room {
            records: 1,
            bytes: usize::MAX,
            empty: true,
        };
        let part = self.fill(lane, request, room, now);
        self.split = split;
        part
    }

    /// A record of an answered request is to be sent again.
    pub(super) fn take_back(&mut self, entry: Entry) {
        if let Some(keys) = &mut self.keys {
            keys.returned(&entry);
        }
        self.front.insert(entry.record.seq, entry);
    }

    /// A record of an answered request is stored or failed.
    pub(super) fn settle(&mut self, record: &Record) {
        if let Some(keys) = &mut self.keys {
            keys.settled(key_of(record), &mut self.front);
        }
    }

    /// The service refused a record: track keys, one record of each at a time.
    pub(super) fn turn_cautious(&mut self, now: Time) {
        if self.mode.ordering != Ordering::Key {
            return;
        }
        self.cautious_until = now + CAUTIOUS;
        self.restrict();
    }

    /// From now on one record of each key at a time, whether keys were tracked before or not.
    fn restrict(&mut self) {
        match &mut self.keys {
            Some(keys) => keys.restrict(&mut self.front),
            None => {
                debug_assert_eq!(
                    self.in_flight, 0,
                    "untracked keys with more than one request"
                );
                self.track();
            }
        }
    }

    fn track(&mut self) {
        if self.keys.is_none() {
            let mut keys = KeyTable::new(true);
            keys.adopt(&mut self.front);
            if !self.mode.one_per_key(self.cautious_until > Time::ZERO) {
                keys.relax();
            }
            self.keys = Some(keys);
        }
    }

    /// Leaves the cautious state when its time is over and nothing is in flight. What waited goes to the front, in
    /// sequence order: all of it is older than what is fresh.
    pub(super) fn calm_down(&mut self, now: Time) {
        if self.cautious_until == Time::ZERO || self.cautious_until > now || self.in_flight > 0 {
            return;
        }
        self.cautious_until = Time::ZERO;
        if self.mode.tracks_keys(false) {
            if let Some(keys) = &mut self.keys
                && !self.mode.one_per_key(false)
            {
                keys.relax();
            }
        } else if let Some(keys) = self.keys.take() {
            keys.dissolve(&mut self.front);
        }
    }

    /// Everything queued, in no particular order. The lane is empty afterwards.
    pub(super) fn drain(&mut self) -> Vec<Entry> {
        self.fresh_bytes = 0;
        let side = self
            .keys
            .take()
            .into_iter()
            .flat_map(KeyTable::into_waiting);
        let front = std::mem::take(&mut self.front);
        self.fresh
            .drain(..)
            .chain(front.into_values())
            .chain(side)
            .collect()
    }

    /// Removes the queued records for which `gone` holds, and hands them over, oldest first within each queue.
    pub(super) fn remove_if(
        &mut self,
        mut gone: impl FnMut(&Entry) -> bool,
        mut take: impl FnMut(Entry),
    ) {
        let front: Vec<u64> = self
            .front
            .values()
            .filter(|entry| gone(entry))
            .map(|entry| entry.record.seq)
            .collect();
        let side = self.keys.iter().flat_map(KeyTable::waiting);
        let side: Vec<u64> = side
            .filter(|entry| gone(entry))
            .map(|entry| entry.record.seq)
            .collect();
        for seq in front.into_iter().chain(side) {
            take(self.remove_old(seq));
        }
        let kept = VecDeque::with_capacity(self.fresh.len());
        for entry in std::mem::replace(&mut self.fresh, kept) {
            if gone(&entry) {
                self.fresh_bytes -= entry.len();
                take(entry);
            } else {
                self.fresh.push_back(entry);
            }
        }
        self.stuck = false;
    }

    /// Removes a record from the front or the side queue.
    fn remove_old(&mut self, seq: u64) -> Entry {
        let Some(entry) = self.front.remove(&seq) else {
            let keys = self
                .keys
                .as_mut()
                .expect("what is not in front waits for its key");
            return keys
                .remove_waiting(seq, &mut self.front)
                .expect("it was just seen");
        };
        if let Some(keys) = &mut self.keys {
            keys.dropped_from_front(key_of(&entry.record), &mut self.front);
        }
        entry
    }

    /// Removes the queued records up to sequence number `last` that nothing was promised for. The cost is that of the
    /// records up to there, not of the whole queue.
    pub(super) fn shed_until(&mut self, last: u64, mut take: impl FnMut(Entry)) {
        let old = |entry: &&Entry| entry.record.seq <= last;
        let side = self.keys.iter().flat_map(KeyTable::waiting).take_while(old);
        let old: Vec<u64> = self
            .front
            .values()
            .take_while(old)
            .chain(side)
            .filter(|entry| entry.record.droppable())
            .map(|entry| entry.record.seq)
            .collect();
        for seq in old {
            take(self.remove_old(seq));
        }
        let mut kept = Vec::new();
        while self
            .fresh
            .front()
            .is_some_and(|entry| entry.record.seq <= last)
        {
            let entry = self.pop_fresh();
            if entry.record.droppable() {
                take(entry);
            } else {
                kept.push(entry);
            }
        }
        for entry in kept.into_iter().rev() {
            self.fresh_bytes += entry.len();
            self.fresh.push_front(entry);
        }
        self.stuck = false;
    }

    /// The queues, each oldest first.
    pub(super) fn queues(&self) -> [Box<dyn Iterator<Item = &Entry> + '_>; 3] {
        let side = self.keys.iter().flat_map(KeyTable::waiting);
        [
            Box::new(self.front.values()),
            Box::new(side),
            Box::new(self.fresh.iter()),
        ]
    }

    /// Earliest deadline of the queued records.
    pub(super) fn first_deadline(&self) -> Time {
        let deadlines = self
            .queues()
            .into_iter()
            .flatten()
            .map(|entry| entry.record.deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }
}

/// Room that is left while a part is filled.
#[derive(Debug)]
struct Left {
    room: Room,
    taken: usize,
    bytes: usize,
    full: bool,
}

impl Left {
    /// Takes the room of this record if there is any.
    fn fits(&mut self, entry: &Entry) -> bool {
        let len = entry.len();
        let alone = len > ALONE_BYTES;
        let first = self.taken == 0 && self.room.empty;
        // The first record of an empty request always fits, whatever the limits say: it could never be sent otherwise.
        let fits = if alone {
            first
        } else {
            self.taken < self.room.records && (first || self.bytes + len <= self.room.bytes)
        };
        if !fits || self.full {
            self.full = true;
            return false;
        }
        self.full = alone;
        self.taken += 1;
        self.bytes += len;
        true
    }
}
