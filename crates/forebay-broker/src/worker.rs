//! One ingest worker: its end of the pipeline, and what other connections and workers may touch of its connections.
//!
//! A connection's own state lives in its task. Here is only its slot: the acknowledgement ring that the pipeline's
//! answers go into, the queue that publishers put messages into, and the requests of others. A worker is locked for
//! one turn of one task at a time, never across an await point, and only by its own thread; so the lock is never
//! waited for and costs a few nanoseconds per turn and nothing per message.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use forebay_core::{AckMode, Message, Origin, SeededEntropy, Ticket, Time};
use forebay_pipeline::{Admission, Drained, Intake, Publish, Released, RepublishedMessage};
use slab::Slab;
use tracing::warn;

use crate::log_limit::LogLimit;
use crate::mailbox::{Delivery, Mail, Mailbox, Request};
use crate::metrics::{Dropped, Limit, Tally};
use crate::outcome::Cause;
use crate::publication::Publication;
use crate::session::{Pushed, QueueLimits, Queued};
use crate::shared::Shared;
use crate::slot::{ConnectionKey, Slot};
use crate::subscriptions::{Matcher, Target};

/// Rate limits of log lines.
#[derive(Debug, Default)]
pub(crate) struct LogLimits {
    pub(crate) connected: LogLimit,
    pub(crate) disconnected: LogLimit,
    pub(crate) refused: LogLimit,
    pub(crate) blocked: LogLimit,
    pub(crate) dropped: LogLimit,
    pub(crate) retained: LogLimit,
}

/// One ingest worker.
#[derive(Debug)]
pub(crate) struct Worker {
    id: u16,
    pub(crate) shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    pub(crate) intake: Intake,
    slots: Slab<Slot>,
    generation: u32,
    matcher: Matcher,
    targets: Vec<Target>,
    drained: Drained,
    /// Messages that rules republished; kept for its memory.
    republished: Vec<RepublishedMessage>,
    mail: Mail,
    /// Messages for sessions of other workers, by worker.
    outgoing: Vec<Vec<Delivery>>,
    pub(crate) tally: Tally,
    pub(crate) entropy: SeededEntropy,
    pub(crate) logs: LogLimits,
    /// The turn that hands over what was staged was asked for.
    turn_requested: bool,
    queue_limits: QueueLimits,
    /// Tasks of connections that have not come to their end.
    tasks: usize,
    /// Every connection is to end for this cause, also one that was accepted a moment too late.
    closing: Option<Cause>,
}

/// A worker as tasks hold it.
#[derive(Debug, Clone)]
pub(crate) struct WorkerHandle(Arc<Mutex<Worker>>);

impl WorkerHandle {
    pub(crate) fn new(worker: Worker) -> Self {
        Self(Arc::new(Mutex::new(worker)))
    }

    /// Locks the worker. A task that panicked ends alone: what it left is as valid as before its turn began, because
    /// slots and pipeline are changed by single calls.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Worker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    pub(crate) fn new(
        id: u16,
        shared: Arc<Shared>,
        intake: Intake,
        entropy: SeededEntropy,
    ) -> Self {
        let names: Vec<String> = shared
            .listeners
            .iter()
            .map(|l| l.config.name.clone())
            .collect();
        Self {
            id,
            mailbox: Arc::clone(&shared.mailboxes[usize::from(id)]),
            intake,
            slots: Slab::new(),
            generation: 0,
            matcher: shared.subscriptions.matcher(),
            targets: Vec::new(),
            drained: Drained::default(),
            republished: Vec::new(),
            mail: Mail::default(),
            outgoing: shared.mailboxes.iter().map(|_| Vec::new()).collect(),
            tally: Tally::new(&shared.registry, &names),
            entropy,
            logs: LogLimits::default(),
            turn_requested: false,
            queue_limits: shared.queue_limits(),
            tasks: 0,
            closing: None,
            shared,
        }
    }

    /// Makes a slot whose ring holds `receive_maximum` publishes.
    pub(crate) fn open(&mut self, receive_maximum: usize) -> ConnectionKey {
        self.generation = self.generation.wrapping_add(1);
        let index = self
            .slots
            .insert(Slot::new(self.generation, receive_maximum, self.closing));
        ConnectionKey {
            worker: self.id,
            index: u32::try_from(index).expect("fewer connections than descriptors"),
            generation: self.generation,
        }
    }

    /// Removes the slot; a message of it that waits for room is given up.
    pub(crate) fn close(&mut self, key: ConnectionKey) {
        if self.slot(key).is_none() {
            return;
        }
        let slot = self.slots.remove(key.index as usize);
        if slot.parked {
            self.intake.abandon(key.index, key.generation);
            self.shared.stalled.fetch_sub(1, Ordering::Relaxed);
        }
        if slot.queue.len() > 0 {
            self.tally.dropped(Dropped::Slow, slot.queue.len());
        }
        self.request_turn();
    }

    /// The slot of a connection, if it is still there.
    pub(crate) fn slot(&mut self, key: ConnectionKey) -> Option<&mut Slot> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
    }

    /// Says whom to wake for a connection.
    pub(crate) fn set_waker(&mut self, key: ConnectionKey, waker: &Waker) {
        if let Some(slot) = self.slot(key) {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// A task for a connection begins.
    pub(crate) fn enter_task(&mut self) {
        self.tasks += 1;
    }

    /// A task for a connection has ended.
    pub(crate) fn leave_task(&mut self) {
        self.tasks -= 1;
        self.request_turn();
    }

    /// True when every task has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks == 0
    }

    /// Asks for a turn after the tasks that are ready now.
    pub(crate) fn request_turn(&mut self) {
        if !self.turn_requested {
            self.turn_requested = true;
            self.mailbox.notify();
        }
    }

    /// Gives a publish to the rules. A message that is parked keeps its connection from being read.
    pub(crate) fn admit(
        &mut self,
        key: ConnectionKey,
        message: &Message<'_>,
        publish: Publish,
        now: Time,
    ) -> Admission {
        let admission = self.intake.publish(message, publish, now);
        if admission == Admission::Parked
            && let Some(slot) = self.slot(key)
        {
            slot.parked = true;
            self.shared.stalled.fetch_add(1, Ordering::Relaxed);
            if let Some(suppressed) = self.logs.blocked.allow(now) {
                warn!(
                    client_id = message.client_id.unwrap_or_default(),
                    suppressed, "publish blocked: no room for its records"
                );
            }
        }
        self.request_turn();
        admission
    }

    /// Puts the release of a packet id that the log owns into the log; the connection is told when it is there.
    pub(crate) fn release(&mut self, key: ConnectionKey, client_id: &str, packet_id: u16) {
        let released = Released {
            connection: key.index,
            generation: key.generation,
            packet_id,
        };
        self.intake.release(client_id, released);
        self.request_turn();
    }

    /// A client begins a new session: packet ids that the log may have open for it mean nothing any more.
    pub(crate) fn begin_session(&mut self, client_id: &str) {
        self.intake.forget(client_id);
        self.request_turn();
    }

    /// The ticket of a slot of a connection's ring.
    pub(crate) fn ticket(key: ConnectionKey, slot: u32) -> Ticket {
        Ticket {
            worker: key.worker,
            connection: key.index,
            generation: key.generation,
            slot,
        }
    }

    /// Looks up who gets a message on `topic`. Returns how many sessions; [`fan_out`](Self::fan_out) is next.
    pub(crate) fn find_targets(&mut self, topic: &str, publisher: Option<ConnectionKey>) -> usize {
        self.matcher.find(topic, publisher, &mut self.targets);
        self.targets.len()
    }

    /// Puts a message into the queue of every session that was found for it.
    pub(crate) fn fan_out(&mut self, publication: &Arc<Publication>, now: Time) {
        let mut targets = std::mem::take(&mut self.targets);
        for target in targets.drain(..) {
            let delivery = Delivery {
                connection: target.connection,
                qos: publication.qos.min(target.qos),
                retain: publication.retain && target.retain_as_published,
                publication: Arc::clone(publication),
            };
            if target.connection.worker == self.id {
                self.enqueue(delivery, now);
            } else {
                self.outgoing[usize::from(target.connection.worker)].push(delivery);
                self.request_turn();
            }
        }
        self.targets = targets;
    }

    /// Puts what rules republished since the last time into the queues of its subscribers. Not between
    /// [`find_targets`](Self::find_targets) and [`fan_out`](Self::fan_out) of another message.
    pub(crate) fn fan_out_republished(&mut self, now: Time) {
        let mut republished = std::mem::take(&mut self.republished);
        self.intake.take_republished(&mut republished);
        for message in republished.drain(..) {
            if self.find_targets(&message.topic, None) > 0 {
                let publication = Arc::new(Publication::republished(message, now));
                self.fan_out(&publication, now);
            }
        }
        self.republished = republished;
    }

    fn enqueue(&mut self, delivery: Delivery, now: Time) {
        let limits = self.queue_limits;
        let Some(slot) = self.slot(delivery.connection) else {
            return;
        };
        let Some(client_id) = slot.client_id.clone() else {
            return;
        };
        let pushed = slot.queue.push(
            Queued {
                publication: delivery.publication,
                qos: delivery.qos,
                retain: delivery.retain,
            },
            limits,
        );
        let dropped = match pushed {
            Pushed::Queued { dropped } => dropped,
            Pushed::Dropped { dropped } => dropped + 1,
            Pushed::Overflow => {
                slot.close = Some(Cause::SlowConsumer);
                1
            }
        };
        slot.wake();
        if dropped > 0 {
            self.tally.dropped(Dropped::QueueFull, dropped);
            self.tally.limit(Limit::SessionQueue);
            if let Some(suppressed) = self.logs.dropped.allow(now) {
                warn!(%client_id, dropped, suppressed, "messages dropped: queue of the session is full");
            }
        }
    }

    /// Publishes the will of a connection that has just ended. Rules see it with its properties and the address of that
    /// connection.
    pub(crate) fn publish_will(
        &mut self,
        publication: &Arc<Publication>,
        (client_id, address): (&str, IpAddr),
        listener_ack: AckMode,
        now: Time,
        wall_millis: i64,
    ) {
        if publication.retain && self.shared.retained.store(publication, now).is_err() {
            self.retained_full(&publication.topic, now);
        }
        let payload: &Bytes = &publication.payload;
        let origin = Origin {
            source_ip: Some(address),
            properties: publication.rule_properties(),
            ..Origin::UNKNOWN
        };
        let message = Message {
            topic: &publication.topic,
            payload,
            client_id: Some(client_id),
            timestamp_ms: wall_millis,
            origin: &origin,
        };
        // Without room it is counted as dropped by the pipeline: nobody waits for the answer of a will.
        self.intake
            .publish_detached(&message, publication.qos, listener_ack, now);
        if forebay_core::topic::basic_ingest(&publication.topic).is_none() {
            self.find_targets(&publication.topic, None);
            self.fan_out(publication, now);
        }
        self.fan_out_republished(now);
        self.request_turn();
    }

    /// Counts and logs a message that could not be retained.
    pub(crate) fn retained_full(&mut self, topic: &str, now: Time) {
        self.tally.limit(Limit::RetainedMessages);
        if let Some(suppressed) = self.logs.retained.allow(now) {
            warn!(topic, suppressed, "message not retained: the store is full");
        }
    }

    /// The worker's turn: hands over what was staged and spreads what came back.
    pub(crate) fn turn(&mut self, now: Time) {
        self.turn_requested = false;
        self.spread_answers(now);
        self.spread_mail(now);
        if self.intake.has_error_actions() {
            let wall_millis = self.shared.clock.wall_millis();
            self.intake.run_error_actions(now, wall_millis);
            self.fan_out_republished(now);
        }
        self.hand_over();
        self.tally.flush();
        self.shared.loads[usize::from(self.id)]
            .ticked
            .store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Hands over what was staged: records to the sequencer, messages to the workers of their subscribers. Whatever is
    /// published from then on, by whichever worker, comes behind it.
    pub(crate) fn hand_over(&mut self) {
        self.intake.flush();
        for worker in 0..self.outgoing.len() {
            if !self.outgoing[worker].is_empty() {
                let dropped = self.shared.mailboxes[worker].deliver(&mut self.outgoing[worker]);
                if dropped > 0 {
                    self.tally.dropped(Dropped::QueueFull, dropped);
                }
            }
        }
    }

    /// Marks what the pipeline finished and wakes the connections concerned, each once.
    fn spread_answers(&mut self, now: Time) {
        let mut drained = std::mem::take(&mut self.drained);
        drained.clear();
        self.intake.drain(&mut drained, now);
        let mut last = None;
        for finished in &drained.finished {
            let key = self.key(finished.connection, finished.generation);
            if let Some(slot) = self.slot(key) {
                slot.ring.finish(finished.slot, finished.failed);
                // Records of one connection mostly come together; waking it again is cheap, but not free.
                if last.replace(key) != Some(key) {
                    slot.wake();
                }
            }
        }
        for resumed in &drained.resumed {
            let key = self.key(resumed.connection, resumed.generation);
            let Some(slot) = self.slot(key) else {
                continue;
            };
            match resumed.admission {
                Admission::Pending { records, ack } => {
                    if let Some(reply) = slot.ring.reply_mut(resumed.slot) {
                        reply.ack = ack;
                    }
                    slot.ring.pending(resumed.slot, records);
                }
                Admission::Done { .. } | Admission::Rejected | Admission::Parked => {
                    slot.ring.complete(resumed.slot);
                }
            }
            let was_parked = std::mem::take(&mut slot.parked);
            slot.wake();
            if was_parked {
                self.shared.stalled.fetch_sub(1, Ordering::Relaxed);
            }
        }
        for released in &drained.released {
            let key = self.key(released.connection, released.generation);
            if let Some(slot) = self.slot(key) {
                slot.released.push(released.packet_id);
                slot.wake();
            }
        }
        self.drained = drained;
    }

    fn key(&self, index: u32, generation: u32) -> ConnectionKey {
        ConnectionKey {
            worker: self.id,
            index,
            generation,
        }
    }

    /// Takes what others left in the mailbox: requests to their connections, messages to their queues.
    pub(crate) fn spread_mail(&mut self, now: Time) {
        let mut mail = std::mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for request in mail.requests.drain(..) {
            let (Request::Close(key, _) | Request::Granted(key)) = request;
            let Some(slot) = self.slot(key) else {
                continue;
            };
            match request {
                Request::Close(_, cause) => slot.close = Some(cause),
                Request::Granted(_) => slot.granted = true,
            }
            slot.wake();
        }
        for delivery in mail.deliveries.drain(..) {
            self.enqueue(delivery, now);
        }
        self.mail = mail;
    }

    /// Wakes every connection, `close` being the cause for which they are to end, if they are.
    pub(crate) fn wake_all(&mut self, close: Option<Cause>) {
        self.closing = self.closing.or(close);
        for (_, slot) in &mut self.slots {
            if close.is_some() {
                slot.close = close;
            }
            slot.wake();
        }
    }

    /// Publishes the worker's figures for gauges. Once per second is enough: it looks at every connection.
    pub(crate) fn publish_load(&self) {
        let (mut inflight_in, mut inflight_out, mut messages, mut bytes) = (0, 0, 0, 0);
        for (_, slot) in &self.slots {
            inflight_in += slot.ring.len();
            inflight_out += slot.inflight;
            messages += slot.queue.len();
            bytes += slot.queue.bytes();
        }
        let load = &self.shared.loads[usize::from(self.id)];
        load.inflight_in.store(inflight_in, Ordering::Relaxed);
        load.inflight_out.store(inflight_out, Ordering::Relaxed);
        load.queued_messages.store(messages, Ordering::Relaxed);
        load.queued_bytes.store(bytes, Ordering::Relaxed);
    }
}
