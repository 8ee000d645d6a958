//! Intake: from a publish to staged records, in the thread of the connection that received it.
//!
//! A publish is evaluated, its records get their hash keys, room is reserved for all of them at once, and they are
//! staged. Once per turn of the worker everything that is staged goes to the sequencer in one hand-over.

mod follow_up;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use forebay_core::{
    AckMode, Clock, Message, OnConfigError, OnFull, QoS, SeededEntropy, Ticket, Time,
};
use forebay_metrics::Registry;
use forebay_rules::{Evaluated, OutputRecord, RepublishedMessage, Scratch};
use forebay_spool::Event;

use self::follow_up::{Plan, Unadmitted};
use crate::admission::{Admission, Drained, Promise, Publish, Resumed, admission};
use crate::budget::NoRoom;
use crate::error_action::FailedRecord;
use crate::hash_cache::HashCache;
use crate::rule_book::RulesInForce;
use crate::shared::{IdEvent, Released, Shared, Staged, Wake};
use crate::stream_cache::StreamCache;
use crate::tally::Tally;
use crate::waiting::{Blocked, Needs, Parked, Taken, WaitingList, reserve};
use crate::{Attempts, FailureReason, OverloadStage, Record, StreamId};

/// Payloads below this are copied out of the connection's read buffer when they are staged: a slice of 256 bytes would
/// keep the whole buffer alive for as long as the record waits.
const COPY_BELOW_BYTES: usize = 4096;

/// Staged bytes after which the outbox goes to the sequencer within a turn.
const OUTBOX_BYTES: u64 = 1024 * 1024;

/// One evaluation in so many is timed: two looks at a clock cost more than some evaluations.
const TIMED_EVERY: u32 = 64;

/// The pipeline's end for one ingest worker. Used by that worker's thread only; every call is short and never waits.
#[derive(Debug)]
pub struct Intake {
    shared: Arc<Shared>,
    worker: usize,
    rules: Arc<RulesInForce>,
    scratch: Scratch,
    evaluated: Evaluated,
    entropy: SeededEntropy,
    hashes: HashCache,
    streams: StreamCache,
    outbox: Vec<Record>,
    outbox_bytes: u64,
    /// Changes of packet ids among the records of the outbox.
    ids: Vec<IdEvent>,
    /// The records of the message in hand.
    building: Vec<Record>,
    /// What is special about each of the evaluated records; shorter than those, or empty, where nothing is.
    plans: Vec<Plan>,
    /// Records of the message in hand that failed before they could be admitted.
    unadmitted: Vec<Unadmitted>,
    /// Messages that rules republished and that the broker has not taken.
    republished: Vec<RepublishedMessage>,
    /// Records that failed at the service and whose error documents found no room. Bounded like the mailbox that they
    /// come from.
    failed: VecDeque<FailedRecord>,
    needs: Needs,
    waiting: WaitingList,
    tally: Tally,
    /// What evaluations are timed with. The state machine itself never asks it.
    clock: Option<Arc<dyn Clock>>,
    messages: u32,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize, registry: &Registry, seed: u64) -> Self {
        let rules = shared.rules.current();
        let tally = Tally::new(&rules, registry);
        Self {
            streams: StreamCache::new(shared.config.max_streams),
            shared,
            worker,
            rules,
            scratch: Scratch::default(),
            evaluated: Evaluated::default(),
            entropy: SeededEntropy::new(seed),
            hashes: HashCache::new(seed),
            outbox: Vec::new(),
            outbox_bytes: 0,
            ids: Vec::new(),
            building: Vec::new(),
            plans: Vec::new(),
            unadmitted: Vec::new(),
            republished: Vec::new(),
            failed: VecDeque::new(),
            needs: Vec::new(),
            waiting: WaitingList::default(),
            tally,
            clock: None,
            messages: 0,
        }
    }

    /// Index of the worker that this intake belongs to.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Sets what is woken when there is something to [`drain`](Self::drain). Drain once after it.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        self.port().wake.set(wake);
    }

    /// Sets the clock with which some evaluations are timed for the metrics. Without one, none is.
    pub fn set_evaluation_clock(&mut self, clock: Arc<dyn Clock>) {
        self.clock = Some(clock);
    }

    /// Evaluates a publish and stages its records, or parks it when there is no room for them.
    pub fn publish(&mut self, message: &Message<'_>, publish: Publish, now: Time) -> Admission {
        let (ack, policy) = match self.evaluate(message, publish.qos, publish.listener_ack, now) {
            Ok(found) => found,
            Err(matched) => return Admission::Done { matched },
        };
        if publish.qos == QoS::AtMostOnce && self.drops_qos0() {
            self.drop_building();
            return Admission::Done { matched: true };
        }
        let promise = Promise::of(message, publish, ack);
        if promise.waits() {
            for record in &mut self.building {
                record.ticket = Some(publish.ticket);
            }
        }
        match self.find_room(WaitingList::find_room, now) {
            Ok(()) => self.admit_building(promise),
            Err(blocked) => self.without_room(blocked, policy, publish, promise),
        }
    }

    /// As [`publish`](Self::publish) for a message without a connection that could wait, such as a will. Without room
    /// it waits in a bounded list; beyond that it is dropped and counted. True when it was taken.
    pub fn publish_detached(
        &mut self,
        message: &Message<'_>,
        qos: QoS,
        listener_ack: AckMode,
        now: Time,
    ) -> bool {
        if self.evaluate(message, qos, listener_ack, now).is_err() {
            return true;
        }
        if qos == QoS::AtMostOnce && self.drops_qos0() {
            self.drop_building();
            return false;
        }
        let Err(blocked) = self.find_room(WaitingList::find_room, now) else {
            self.admit_building(Promise::NONE);
            return true;
        };
        if !self.waiting.takes_detached() {
            self.drop_building();
            return false;
        }
        self.park(blocked, None, Promise::NONE);
        true
    }

    /// Takes the PUBREL of a packet id that the log owns: [`Drained::released`] says when its PUBCOMP may leave.
    pub fn release(&mut self, client_id: &str, released: Released) {
        self.ids.push(IdEvent {
            at: self.outbox.len(),
            event: Event::Release {
                client: client_id.to_owned(),
                id: released.packet_id,
            },
            waiting: Some(released),
        });
    }

    /// The session of this client begins anew: packet ids that the log may still have open for it mean nothing any
    /// more. Messages that were taken under them stay.
    pub fn forget(&mut self, client_id: &str) {
        if self.shared.has_log {
            self.ids.push(IdEvent {
                at: self.outbox.len(),
                event: Event::Forget {
                    client: client_id.to_owned(),
                },
                waiting: None,
            });
        }
    }

    /// How full the log is. Without a log there is always room.
    pub fn overload(&self) -> OverloadStage {
        self.shared.overload_stage()
    }

    fn drops_qos0(&self) -> bool {
        self.overload() >= OverloadStage::Refusing
    }

    /// Hands everything that is staged to the sequencer. Once per turn of the worker, not per message.
    pub fn flush(&mut self) {
        self.tally.flush();
        if self.outbox.is_empty() && self.ids.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let port = &shared.workers[self.worker];
        let spare = port.spare.pop().unwrap_or_default();
        let staged = Staged {
            worker: self.worker,
            records: std::mem::replace(&mut self.outbox, spare),
            ids: std::mem::take(&mut self.ids),
        };
        self.outbox_bytes = 0;
        // Counted before anybody else can see the records, so that no figure ever says that more left than came in.
        self.shared
            .counts
            .accepted
            .fetch_add(staged.records.len() as u64, Ordering::SeqCst);
        port.staged_records
            .fetch_add(staged.records.len(), Ordering::SeqCst);
        self.shared.staged.push(staged);
        self.shared.sequencer_wake.wake();
    }

    /// True when there is something to flush.
    pub fn is_dirty(&self) -> bool {
        !self.outbox.is_empty() || !self.ids.is_empty() || self.tally.is_dirty()
    }

    /// Collects what the pipeline has for this worker: call it after the wake. Appends to `drained`.
    pub fn drain(&mut self, drained: &mut Drained, now: Time) {
        while let Some(mut finished) = self.port().finished.pop() {
            drained.finished.append(&mut finished);
        }
        while let Some(released) = self.port().released.pop() {
            drained.released.push(released);
        }
        self.resume(&mut drained.resumed, now);
    }

    /// Forgets the parked message of a connection that is gone: it was never acknowledged.
    pub fn abandon(&mut self, connection: u32, generation: u32) {
        let waiting = &mut self.waiting;
        let dropped = waiting.abandon(&self.shared, self.worker, connection, generation);
        if dropped > 0 {
            self.tally.abandoned(dropped);
        }
    }

    /// Takes over rules that were put in force since the last message. Only between messages, so that each is evaluated
    /// by one set.
    fn follow_rules(&mut self) {
        if self.shared.rules.is_newer_than(&self.rules) {
            self.rules = self.shared.rules.current();
            self.tally.grow(&self.rules);
        }
    }

    /// Runs the rules on a message; one message in [`TIMED_EVERY`] is timed.
    fn run_rules(&mut self, message: &Message<'_>) {
        self.messages = self.messages.wrapping_add(1);
        let clock = self
            .clock
            .as_ref()
            .filter(|_| self.messages.is_multiple_of(TIMED_EVERY));
        let began = clock.map(|clock| clock.now());
        self.rules.set.evaluate(
            message,
            &mut self.scratch,
            &mut self.entropy,
            &mut self.evaluated,
        );
        if let (Some(clock), Some(began)) = (clock, began) {
            let took = clock.now().since(began);
            self.tally.evaluated(&self.evaluated, &self.rules, took);
        }
    }

    /// Fills `building` and says how the message is acknowledged and what happens without room; `Err(matched)` when
    /// it has no records.
    fn evaluate(
        &mut self,
        message: &Message<'_>,
        qos: QoS,
        listener_ack: AckMode,
        now: Time,
    ) -> Result<(AckMode, OnFull), bool> {
        self.follow_rules();
        self.run_rules(message);
        self.tally.outcomes(&self.evaluated, &self.rules);
        let matched = self.evaluated.matched > 0;
        self.plans.clear();
        if self.has_follow_up() {
            self.follow(message);
        }
        if self.evaluated.records.is_empty() {
            return Err(matched);
        }
        let (ack, policy) = self.strictest(AckMode::Accept, listener_ack);
        let to_log = ack == AckMode::Spool && self.shared.has_log;
        let ack = match qos {
            QoS::AtMostOnce if !(to_log && self.shared.config.spool_qos0) => AckMode::Accept,
            _ if ack == AckMode::Spool && !to_log => AckMode::Stored,
            _ => ack,
        };
        self.build(message.payload, message.timestamp_ms, ack, now);
        if self.building.is_empty() {
            Err(matched)
        } else {
            Ok((ack, policy))
        }
    }

    /// True when the rules did more with the message than to make records that wait, should the service refuse them.
    fn has_follow_up(&self) -> bool {
        let Evaluated {
            records,
            republished,
            failures,
            error_targets,
            ..
        } = &self.evaluated;
        let rules = self.rules.set.rules();
        !(republished.is_empty() && failures.is_empty() && error_targets.is_empty())
            || records.iter().any(|record| {
                rules[record.rule as usize].on_config_error() == OnConfigError::ErrorAction
            })
    }

    /// The strictest acknowledgement and policy of the rules whose records are to be admitted, and of `at_least`.
    fn strictest(&self, at_least: AckMode, listener_ack: AckMode) -> (AckMode, OnFull) {
        let (mut ack, mut policy) = (at_least, None);
        for output in &self.evaluated.records {
            // The rule of a document may be gone.
            let Some(rule) = self.rules.set.rules().get(output.rule as usize) else {
                continue;
            };
            let settings = rule.settings();
            ack = ack.max(settings.ack.unwrap_or(listener_ack));
            policy = stricter(
                policy,
                settings.on_full.unwrap_or(self.shared.config.on_full),
            );
        }
        (ack, policy.unwrap_or_default())
    }

    /// Turns the outputs of the rules into records and adds up what they need. Outputs that cannot be admitted are
    /// replaced by the documents of their error actions.
    fn build(&mut self, payload: &Bytes, received_ms: i64, ack: AckMode, now: Time) {
        self.building.clear();
        self.needs.clear();
        let mut left = self.shared.config.output_bytes_per_message;
        self.build_outputs(payload, received_ms, ack, now, &mut left);
        while !self.unadmitted.is_empty() {
            self.follow_unadmitted(received_ms);
            self.build_outputs(payload, received_ms, ack, now, &mut left);
        }
    }

    fn build_outputs(
        &mut self,
        payload: &Bytes,
        received_ms: i64,
        ack: AckMode,
        now: Time,
        left: &mut u64,
    ) {
        let deadline = match (ack, self.shared.config.record_deadline) {
            (AckMode::Accept, Some(after)) => now + after,
            _ => Time::NEVER,
        };
        let mut outputs = std::mem::take(&mut self.evaluated.records);
        let mut plans = std::mem::take(&mut self.plans);
        let mut planned = plans.drain(..);
        for output in outputs.drain(..) {
            let Plan { role, number } = planned.next().unwrap_or_default();
            let number = number.unwrap_or_else(|| self.rules.numbers[output.rule as usize]);
            let of_role = role.as_ref().map_or(0, |role| role.charge());
            let charge = Record::charge_for(output.data.len(), output.partition_key.len())
                .saturating_add(of_role);
            // A document speaks for a record that had its room; it comes of what one payload may be.
            let is_document = role.as_ref().is_some_and(|role| role.is_document());
            if u64::from(charge) > *left && !is_document {
                self.tally.over_limit(number);
                self.fail_unadmitted(number, role, output, FailureReason::RecordTooLarge);
                continue;
            }
            let Ok(stream) = self.streams.open(&self.shared, &output.stream, now) else {
                self.tally.too_many_streams(number);
                self.fail_unadmitted(number, role, output, FailureReason::TooManyStreams);
                continue;
            };
            *left = left.saturating_sub(u64::from(charge));
            let rule = self.rules.set.rules().get(output.rule as usize);
            if let Some(ordering) = rule.and_then(|rule| rule.settings().ordering) {
                stream.raise_ordering(ordering);
            }
            let known = self
                .needs
                .iter()
                .position(|(known, _)| Arc::ptr_eq(known, stream));
            let place = known.unwrap_or_else(|| {
                self.needs.push((Arc::clone(stream), 0));
                self.needs.len() - 1
            });
            self.needs[place].1 += u64::from(charge);
            // Until there is room for it the record names its place in `needs`: the id of a stream is certain only
            // while room in it is held, because streams that nobody uses are let go and their ids used again.
            let stream = StreamId(place as u32);
            let OutputRecord {
                partition_key,
                explicit_hash_key,
                data,
                ..
            } = output;
            let hash = explicit_hash_key.unwrap_or_else(|| self.hashes.hash_key(&partition_key));
            self.building.push(Record {
                seq: 0,
                log: 0,
                in_log: false,
                lane: 0,
                stream,
                rule: number,
                partition_key,
                hash,
                explicit: explicit_hash_key.is_some(),
                data: owned(data, payload),
                admitted: now,
                received_ms,
                deadline,
                ack,
                ticket: None,
                charge,
                ends_publish: false,
                error: role,
                attempts: Attempts::default(),
            });
        }
        drop(planned);
        self.plans = plans;
        self.evaluated.records = outputs;
    }

    /// Takes room for what is being built.
    fn find_room(&mut self, take: fn(&Shared, &Needs) -> Taken, now: Time) -> Result<(), Blocked> {
        loop {
            match take(&self.shared, &self.needs) {
                Ok(()) => return Ok(()),
                Err((NoRoom::Full, blocked)) => return Err(blocked),
                Err((NoRoom::Closed, _)) => self.reopen(now),
            }
        }
    }

    /// Replaces streams that were let go since they were looked up. Records of one that cannot be opened again fail.
    fn reopen(&mut self, now: Time) {
        let mut place = 0;
        while place < self.needs.len() {
            match self.streams.reopen(&self.shared, &self.needs[place].0, now) {
                Ok(open) => {
                    self.needs[place].0 = Arc::clone(open);
                    place += 1;
                }
                Err(_) => self.fail_stream(place),
            }
        }
    }

    /// Fails the records of one stream of the message in hand.
    fn fail_stream(&mut self, place: usize) {
        self.needs.remove(place);
        let tally = &mut self.tally;
        self.building.retain_mut(|record| {
            let index = record.stream.index();
            if index == place {
                tally.too_many_streams(record.rule);
                return false;
            }
            if index > place {
                record.stream = StreamId((index - 1) as u32);
            }
            true
        });
    }

    fn admit_building(&mut self, promise: Promise) -> Admission {
        let records = self.building.len() as u32;
        for record in &mut self.building {
            record.stream = self.needs[record.stream.index()].0.id();
        }
        if let Some(last) = self.building.last_mut() {
            last.ends_publish = true;
            if let Some(event) = promise.opens {
                self.ids.push(IdEvent {
                    at: self.outbox.len(),
                    event,
                    waiting: None,
                });
            }
        }
        self.outbox_bytes += self.needs.iter().map(|(_, bytes)| bytes).sum::<u64>();
        self.outbox.append(&mut self.building);
        if self.outbox_bytes >= OUTBOX_BYTES {
            self.flush();
        }
        admission(promise.ack, records)
    }

    fn without_room(
        &mut self,
        blocked: Blocked,
        policy: OnFull,
        publish: Publish,
        promise: Promise,
    ) -> Admission {
        match policy {
            OnFull::Reject if publish.may_reject && publish.qos != QoS::AtMostOnce => {
                self.republished.clear();
                self.tally.refused(self.building.len());
                Admission::Rejected
            }
            OnFull::DropNewest => {
                self.drop_building();
                Admission::Done { matched: true }
            }
            OnFull::DropOldest => {
                for (stream, bytes) in &self.needs {
                    stream.request_shed(*bytes);
                    self.shared.emit_ready(stream);
                }
                self.park(blocked, Some(publish.ticket), promise)
            }
            OnFull::Block | OnFull::Reject => self.park(blocked, Some(publish.ticket), promise),
        }
    }

    fn park(&mut self, blocked: Blocked, ticket: Option<Ticket>, promise: Promise) -> Admission {
        let parked = Parked {
            records: std::mem::take(&mut self.building),
            needs: std::mem::take(&mut self.needs),
            ticket,
            promise,
            blocked,
        };
        self.waiting.push(&self.shared, self.worker, parked);
        Admission::Parked
    }

    fn drop_building(&mut self) {
        self.republished.clear();
        self.tally.dropped(self.building.len());
        self.building.clear();
    }

    fn resume(&mut self, resumed: &mut Vec<Resumed>, now: Time) {
        let shared = Arc::clone(&self.shared);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.resume(&shared, self.worker, |parked| {
            std::mem::swap(&mut self.building, &mut parked.records);
            std::mem::swap(&mut self.needs, &mut parked.needs);
            if let Err(blocked) = self.find_room(reserve, now) {
                std::mem::swap(&mut self.building, &mut parked.records);
                std::mem::swap(&mut self.needs, &mut parked.needs);
                return Err(blocked);
            }
            let promise = std::mem::replace(&mut parked.promise, Promise::NONE);
            let admission = self.admit_building(promise);
            if let Some(ticket) = parked.ticket {
                let Ticket {
                    connection,
                    generation,
                    slot,
                    ..
                } = ticket;
                resumed.push(Resumed {
                    connection,
                    generation,
                    slot,
                    admission,
                });
            }
            Ok(())
        });
        self.waiting = waiting;
    }

    fn port(&self) -> &crate::shared::WorkerPort {
        &self.shared.workers[self.worker]
    }
}

/// Of the policies of several rules the one that loses least counts.
fn stricter(known: Option<OnFull>, other: OnFull) -> Option<OnFull> {
    let rank = |policy: OnFull| OnFull::ALL.iter().position(|known| *known == policy);
    match known {
        Some(known) if rank(known) <= rank(other) => Some(known),
        _ => Some(other),
    }
}

/// The data of a record in memory of its own, where it would otherwise keep a read buffer alive.
fn owned(data: Bytes, payload: &Bytes) -> Bytes {
    let shares_payload = !data.is_empty() && data.as_ptr() == payload.as_ptr();
    if shares_payload && data.len() < COPY_BELOW_BYTES {
        Bytes::copy_from_slice(&data)
    } else {
        data
    }
}
