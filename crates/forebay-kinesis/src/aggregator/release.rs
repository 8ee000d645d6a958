//! When lanes release records, and how requests are put together from what they release.
//!
//! Decided for the whole stream in one pass, oldest lane first, so that many half-idle lanes share one signed request
//! instead of sending one each. While nothing is in flight every lane with a record is ready at once; while something
//! is, the next batch grows. That is group commit: no wait at low load, full requests at high load.

use std::time::Duration;

use forebay_core::Time;
use forebay_core::limits::BYTES_PER_REQUEST_MAX;
use forebay_pipeline::FailureReason;

use super::entry::{Closed, Request, RequestId};
use super::lane::{ALONE_BYTES, LaneState, Offer, Room};
use super::{Aggregator, Effects, Failure, Note, Permits};
use crate::classify::is_for_error_action;
use crate::config::BatchSettings;
use crate::limiter::Allowance;

/// Shortest time between two passes while a request is in flight and no full one is ready.
const PASS_GAP: Duration = Duration::from_millis(2);
/// Longest time that a lane whose backlog exceeds its rate limit collects tokens for a fuller request. What is in such
/// a backlog is late anyway.
const LIMITED_LINGER: Duration = Duration::from_millis(100);
/// Lanes in one request.
const LANES_PER_REQUEST: usize = 64;
/// A lane batch with this many records goes out alone.
const ALONE_RECORDS: usize = 400;

/// What a lane could do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// Release for this reason.
    Now(Closed),
    /// It could release this much, but waits for more until then.
    Waiting {
        until: Time,
        records: usize,
        bytes: usize,
    },
    /// The same for a lane that waits for its limiter: it joins any pass that releases another lane, so that limited
    /// lanes fall into step and fill requests together.
    Collecting {
        until: Time,
        records: usize,
        bytes: usize,
    },
    /// It cannot release before then.
    NotBefore(Time),
    /// An event has to come first.
    Idle,
}

/// What holds for the whole pass.
#[derive(Debug, Clone, Copy)]
struct Pass {
    now: Time,
    /// Nothing is in flight, and that means: send at once.
    at_once: bool,
    flush: bool,
}

impl Aggregator {
    /// One pass over the lanes with something queued.
    pub(super) fn release(&mut self, now: Time, permits: &mut Permits, effects: &mut dyn Effects) {
        self.starved = false;
        self.drop_unlisted();
        if self.listed.is_empty() {
            return;
        }
        if self.hold.is_some() {
            self.probe(now, permits, effects);
            self.give_up_held(now, effects);
            return;
        }
        if self.pause_until > now {
            self.due = self.pause_until;
            return;
        }
        let pass = Pass {
            now,
            at_once: self.in_flight.is_empty() && self.settings.send_on_idle,
            flush: self.flush,
        };
        let ready = self.ready_lanes(pass);
        if !ready.is_empty() {
            self.last_pass = now;
            self.combine(&ready, now, permits, effects);
        }
    }

    fn drop_unlisted(&mut self) {
        let lanes = &mut self.lanes;
        self.listed.retain(|&index| {
            lanes[index].listed = lanes[index].queued() > 0;
            lanes[index].listed
        });
    }

    /// The lanes that release now, oldest first. Sets `due` for those that wait.
    fn ready_lanes(&mut self, pass: Pass) -> Vec<(usize, Closed)> {
        let mut ready = Vec::new();
        let (mut waiting, mut collecting) = (Vec::new(), Vec::new());
        let (mut records, mut bytes) = (0_usize, 0_usize);
        for &index in &self.listed {
            let lane = &mut self.lanes[index];
            lane.calm_down(pass.now);
            match readiness(lane, &self.settings, pass) {
                Readiness::Now(reason) => ready.push((index, reason)),
                Readiness::Waiting {
                    until,
                    records: more,
                    bytes: more_bytes,
                } => {
                    records += more;
                    bytes = bytes.saturating_add(more_bytes);
                    waiting.push((index, until));
                }
                Readiness::Collecting {
                    until,
                    records: more,
                    bytes: more_bytes,
                } => {
                    records += more;
                    bytes = bytes.saturating_add(more_bytes);
                    collecting.push((index, until));
                }
                Readiness::NotBefore(until) => self.due = self.due.min(until),
                Readiness::Idle => {}
            }
        }
        let full = if records >= self.settings.records_per_request {
            Some(Closed::Count)
        } else if bytes >= self.settings.bytes_per_request {
            Some(Closed::Size)
        } else {
            None
        };
        if let Some(reason) = full {
            ready.extend(
                waiting
                    .drain(..)
                    .chain(collecting.drain(..))
                    .map(|(index, _)| (index, reason)),
            );
        }
        let until = waiting
            .iter()
            .chain(&collecting)
            .map(|(_, until)| *until)
            .min();
        self.due = self.due.min(until.unwrap_or(Time::NEVER));
        let gap_end = self.last_pass + PASS_GAP;
        let hurried = pass.flush || ready.iter().any(|(_, reason)| *reason != Closed::Linger);
        if !self.in_flight.is_empty() && !hurried && gap_end > pass.now && !ready.is_empty() {
            self.due = self.due.min(gap_end);
            return Vec::new();
        }
        if !ready.is_empty() {
            ready.extend(
                collecting
                    .into_iter()
                    .map(|(index, _)| (index, Closed::Linger)),
            );
        }
        ready.sort_by_key(|(index, _)| (self.lanes[*index].head_seq(), *index));
        ready
    }

    /// Puts requests together and sends them.
    fn combine(
        &mut self,
        ready: &[(usize, Closed)],
        now: Time,
        permits: &mut Permits,
        effects: &mut dyn Effects,
    ) {
        let mut shared = self.open_request(now);
        for &(index, reason) in ready {
            if permits.is_exhausted() || self.in_flight.len() >= self.inflight_max() {
                break;
            }
            let plan = self.plan(index, now);
            if plan.alone {
                let mut request = self.open_request(now);
                self.fill(index, &mut request, plan, reason, now);
                self.dispatch(request, now, permits, effects);
                continue;
            }
            let no_room = shared.entries.len() + plan.records > self.settings.records_per_request
                || shared.bytes + plan.bytes > self.settings.bytes_per_request
                || shared.parts.len() >= LANES_PER_REQUEST;
            if !no_room || shared.entries.is_empty() {
                self.fill(index, &mut shared, plan, reason, now);
                continue;
            }
            // A request that is nearly full takes the first records of the lane, whose rest comes with a later one.
            // Another nearly empty request would cost more than that wait.
            let top_up = (ALONE_RECORDS..self.settings.records_per_request)
                .contains(&shared.entries.len())
                && shared.parts.len() < LANES_PER_REQUEST;
            if top_up {
                self.fill(index, &mut shared, plan, reason, now);
            }
            let next = self.open_request(now);
            let mut full = std::mem::replace(&mut shared, next);
            full.closed = Closed::Count;
            self.dispatch(full, now, permits, effects);
            if permits.is_exhausted() || self.in_flight.len() >= self.inflight_max() {
                break;
            }
            if !top_up {
                self.fill(index, &mut shared, plan, reason, now);
            }
        }
        self.dispatch(shared, now, permits, effects);
        self.starved = permits.is_exhausted();
        self.reconsider(now);
    }

    fn inflight_max(&self) -> usize {
        usize::try_from(self.settings.inflight_per_stream).unwrap_or(usize::MAX)
    }

    fn open_request(&mut self, now: Time) -> Request {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        Request::new(id, now)
    }

    /// What lane `index` is to put into a request.
    fn plan(&mut self, index: usize, now: Time) -> Plan {
        let settings = &self.settings;
        let lane = &mut self.lanes[index];
        let allowance = lane.limiter.allowance(now);
        let offer = lane.offer(settings.records_per_request);
        let records = offer.records.min(allowance.records.max(1));
        let bytes = offer.bytes * records / offer.records.max(1);
        let alone = records >= ALONE_RECORDS
            || bytes >= settings.bytes_per_lane_in_request
            || offer.first > ALONE_BYTES
            || lane.split.is_some();
        let most = if alone {
            settings.bytes_per_request
        } else {
            settings.bytes_per_lane_in_request
        };
        // The first record is covered by the limiter even where it exceeds what the bucket shows.
        let room = allowance
            .bytes
            .min(most)
            .max(offer.first)
            .min(BYTES_PER_REQUEST_MAX);
        Plan {
            records,
            bytes: bytes.max(offer.first),
            room,
            alone,
        }
    }

    fn fill(&mut self, index: usize, request: &mut Request, plan: Plan, reason: Closed, now: Time) {
        let settings = &self.settings;
        let empty = request.entries.is_empty();
        let left = settings.bytes_per_request.saturating_sub(request.bytes);
        let room = Room {
            records: plan
                .records
                .min(settings.records_per_request - request.entries.len()),
            bytes: if empty {
                plan.room
            } else {
                plan.room.min(left)
            },
            empty,
        };
        let lane = &mut self.lanes[index];
        if let Some(since) = lane.limited_since.take() {
            lane.limited += now.since(since);
        }
        if lane.fill(index, request, room, now).is_some() {
            request.closed = reason;
        }
    }

    fn dispatch(
        &mut self,
        request: Request,
        now: Time,
        permits: &mut Permits,
        effects: &mut dyn Effects,
    ) {
        if request.entries.is_empty() {
            return;
        }
        debug_assert!(request.entries.len() <= self.settings.records_per_request);
        debug_assert!(request.bytes <= BYTES_PER_REQUEST_MAX || request.entries.len() == 1);
        permits.take(request.bytes);
        let (mut again, mut inherited) = (0, 0);
        for entry in &request.entries {
            again += usize::from(entry.ambiguous);
            let first = entry.attempts == 1;
            let record = &entry.record;
            inherited += usize::from(first && record.in_log && record.log < self.inherited_below);
        }
        if again > 0 {
            effects.note(Note::PossibleDuplicates { records: again });
        }
        if inherited > 0 {
            effects.note(Note::Inherited { records: inherited });
        }
        self.last_pass = now;
        effects.send(&request);
        self.in_flight.insert(request.id, request);
    }

    /// After a pass: the lanes that can go on by themselves set the time of the next one.
    fn reconsider(&mut self, now: Time) {
        let pass = Pass {
            now,
            at_once: false,
            flush: self.flush,
        };
        let no_room = self.starved || self.in_flight.len() >= self.inflight_max();
        for position in 0..self.listed.len() {
            let lane = &mut self.lanes[self.listed[position]];
            let due = match readiness(lane, &self.settings, pass) {
                // There was no room: an answer of this stream or of another one brings some.
                Readiness::Now(_) if no_room => continue,
                Readiness::Now(_) => self.last_pass + PASS_GAP,
                Readiness::Waiting { until, .. }
                | Readiness::Collecting { until, .. }
                | Readiness::NotBefore(until) => until,
                Readiness::Idle => continue,
            };
            self.due = self.due.min(due);
        }
    }

    /// Fails the records of a held stream whose rules want that rather than wait. While a probe is due one of them
    /// is left to be it: should nobody else use the stream, it would never be seen to work again.
    fn give_up_held(&mut self, now: Time, effects: &mut dyn Effects) {
        let Some(hold) = &self.hold else { return };
        let probe_is_due = hold.next_probe <= now && self.in_flight.is_empty();
        if !self.has_givers_up || probe_is_due || !is_for_error_action(&hold.reason) {
            return;
        }
        self.has_givers_up = false;
        let failure = Failure {
            reason: FailureReason::Configuration,
            code: &hold.reason,
            message: &hold.message,
            status: None,
        };
        for &index in &self.listed {
            self.lanes[index].remove_if(
                |entry| entry.record.takes_configuration_errors(),
                |entry| effects.failed(entry, &failure),
            );
        }
    }

    /// Sends one record of a held stream when it is time.
    fn probe(&mut self, now: Time, permits: &mut Permits, effects: &mut dyn Effects) {
        let Some(hold) = &self.hold else { return };
        if !self.in_flight.is_empty() {
            return;
        }
        if hold.next_probe > now {
            self.due = hold.next_probe;
            return;
        }
        if permits.is_exhausted() {
            self.starved = true;
            return;
        }
        let oldest = self
            .listed
            .iter()
            .copied()
            .min_by_key(|index| self.lanes[*index].head_seq());
        let Some(index) = oldest else { return };
        let mut request = self.open_request(now);
        request.probe = true;
        if self.lanes[index]
            .fill_probe(index, &mut request, now)
            .is_some()
        {
            self.dispatch(request, now, permits, effects);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    records: usize,
    /// What the records are likely to take.
    bytes: usize,
    /// What they may take.
    room: usize,
    alone: bool,
}

fn readiness(lane: &mut LaneState, settings: &BatchSettings, pass: Pass) -> Readiness {
    let now = pass.now;
    if lane.queued() == 0 || lane.stuck || lane.in_flight >= lane.inflight_max() {
        return Readiness::Idle;
    }
    if lane.not_before > now {
        return Readiness::NotBefore(lane.not_before);
    }
    let Offer {
        records,
        bytes,
        first,
    } = lane.offer(settings.records_per_request);
    if !lane.limiter.covers(1, first, now) {
        lane.limited_since.get_or_insert(now);
        return Readiness::NotBefore(lane.limiter.ready_at(1, first, now));
    }
    if pass.flush {
        return Readiness::Now(Closed::Flush);
    }
    let wanted = bytes.min(settings.bytes_per_request);
    let allowance = lane.limiter.allowance(now);
    if first <= allowance.bytes && (records > allowance.records || wanted > allowance.bytes) {
        return limited(
            lane,
            settings,
            pass,
            Wanted {
                records,
                bytes: wanted,
                allowance,
            },
        );
    }
    if records >= settings.records_per_request {
        return Readiness::Now(Closed::Count);
    }
    if bytes >= settings.bytes_per_lane_in_request {
        return Readiness::Now(Closed::Size);
    }
    let since = lane.fresh_since().filter(|_| !lane.has_retries());
    let until = since.map_or(now, |since| since + settings.linger);
    if pass.at_once || until <= now {
        return Readiness::Now(Closed::Linger);
    }
    Readiness::Waiting {
        until,
        records,
        bytes,
    }
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    records: usize,
    bytes: usize,
    allowance: Allowance,
}

/// A lane with more than its limiter allows: it collects tokens up to a full part, or for a while.
fn limited(
    lane: &mut LaneState,
    settings: &BatchSettings,
    pass: Pass,
    wanted: Wanted,
) -> Readiness {
    let now = pass.now;
    lane.limited_since.get_or_insert(now);
    let allowance = wanted.allowance;
    let collected = lane.released + LIMITED_LINGER;
    if allowance.records >= settings.records_per_request || collected <= now {
        return Readiness::Now(Closed::Linger);
    }
    let covered = lane.limiter.ready_at(wanted.records, wanted.bytes, now);
    // An allowance that shows a whole part in one resource may lack the other for a moment: never wait without end.
    let until = collected.min(covered.max(now + Duration::from_millis(1)));
    Readiness::Collecting {
        until,
        records: wanted.records.min(allowance.records),
        bytes: wanted.bytes.min(allowance.bytes),
    }
}
