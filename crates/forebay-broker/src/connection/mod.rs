//! One MQTT connection as a state machine: bytes in, bytes out, no socket and no clock.
//!
//! The task that owns the socket gives it what was read ([`Connection::receive`]), tells it that something happened
//! elsewhere ([`Connection::events`]), writes what it finds in [`Connection::output`], and asks when to look again
//! ([`Connection::deadline`]). After the first error no further byte of the client is interpreted.

mod acknowledge;
mod deliver;
mod ending;
mod handshake;
mod publish;
mod subscribe;
mod timing;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use forebay_core::{QoS, Time};
use rumqttd::protocol::{Packet, PingResp};
use tracing::debug;

use crate::metrics::{Limit, Rejected};
use crate::outcome::{Cause, Version};
use crate::partial_pool::PartialCharge;
use crate::retained::RetainedScan;
use crate::session::{InboundIds, Inflight, Queued};
use crate::shared::{Listener, Shared};
use crate::slot::ConnectionKey;
use crate::subscriptions::SubscriptionOptions;
use crate::wire::{ConnectRequest, Encoder, GateRules, Inbound, Peek, Will, decode, peek};
use crate::worker::Worker;

/// Largest packet before the CONNECT is complete.
const CONNECT_BYTES_MAX: usize = 64 * 1024;
/// Packets above this are charged to the pool for incomplete packets, and read into a buffer of their own.
pub(crate) const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Packet type of PUBLISH.
const PUBLISH: u8 = 3;
/// Frames from this size on get a block of their own that nothing else shares.
pub(crate) const OWN_BLOCK_BYTES: usize = 64 * 1024;

/// The time of one turn on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    pub(crate) wall_millis: i64,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but a CONNECT may come.
    Connect,
    /// The client id belongs to an older connection that is ending.
    Takeover,
    /// CONNACK 0 was written.
    Open,
    /// The last bytes are written; what comes in is thrown away.
    Closing(Time),
    /// The socket can be closed.
    Closed,
}

/// What exists between CONNACK and the end.
#[derive(Debug)]
struct Session {
    client_id: Arc<str>,
    /// Nothing for this long ends the connection.
    silence_max: Option<Duration>,
    will: Option<Box<Will>>,
    subscriptions: BTreeMap<Box<str>, SubscriptionOptions>,
    inbound_ids: InboundIds,
    inflight: Inflight,
    /// Messages with QoS 1 and 2 that may be in flight to the client.
    window: usize,
    packet_bytes_max: usize,
    /// Answers may carry a reason string.
    problem_information: bool,
    /// The CONNECT asked for no session beyond the connection.
    expiry_was_zero: bool,
    /// Retained messages that new subscriptions are to get.
    scans: VecDeque<(RetainedScan, QoS)>,
    retained: VecDeque<Queued>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    key: ConnectionKey,
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    peer: SocketAddr,
    rules: GateRules,
    phase: Phase,
    /// Refuse the CONNECT for this reason.
    refuse: Option<Cause>,
    version: Version,
    connect: Option<Box<ConnectRequest>>,
    /// The client brought no id and is to be told the one it got.
    id_is_assigned: bool,
    session: Option<Box<Session>>,
    /// Received bytes that are not interpreted yet.
    pub(crate) partial: BytesMut,
    /// Bytes to be written.
    pub(crate) output: BytesMut,
    /// Bytes of PUBLISH packets among those that were added since the output was last empty.
    output_publishes: usize,
    /// The output was full before the messages for the client were at their end.
    more_to_deliver: bool,
    /// Length of the packet at the front of `partial`, 0 when it is not known.
    needed: usize,
    charge: Option<PartialCharge>,
    /// There is no room in the pool for the packet that is coming.
    pool_is_full: bool,
    /// The client is not read because of something on our side.
    blocked_since: Option<Time>,
    opened: Time,
    last_packet: Time,
    partial_since: Option<Time>,
    /// Bytes wait, and the client has taken none since.
    unwritten_since: Option<Time>,
    /// Keep alive is off and silence cannot be announced as a limit: the socket's own probes have to do.
    pub(crate) wants_probes: bool,
    /// Number of the newest slot of the acknowledgement ring.
    last_slot: u32,
}

impl Connection {
    /// A connection that was just accepted. `refuse` makes its CONNECT fail.
    pub(crate) fn new(
        key: ConnectionKey,
        shared: Arc<Shared>,
        listener: Arc<Listener>,
        peer: SocketAddr,
        refuse: Option<Cause>,
        now: Time,
    ) -> Self {
        Self {
            key,
            rules: shared.gate_rules(&listener.config),
            shared,
            listener,
            peer,
            phase: Phase::Connect,
            refuse,
            version: Version::V311,
            connect: None,
            id_is_assigned: false,
            session: None,
            partial: BytesMut::new(),
            output: BytesMut::new(),
            output_publishes: 0,
            more_to_deliver: false,
            needed: 0,
            charge: None,
            pool_is_full: false,
            blocked_since: None,
            opened: now,
            last_packet: now,
            partial_since: None,
            unwritten_since: None,
            wants_probes: false,
            last_slot: u32::MAX,
        }
    }

    pub(crate) fn key(&self) -> ConnectionKey {
        self.key
    }

    pub(crate) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the socket should be read now.
    pub(crate) fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Connect | Phase::Open => self.blocked_since.is_none(),
            Phase::Closing(_) => true,
            Phase::Takeover | Phase::Closed => false,
        }
    }

    /// True when what is read is only thrown away.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// True when the socket can be closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// How long the packet is whose first bytes are in `partial`; 0 when that is not known.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// Interprets `input`, which begins where the last call stopped. What stays in it is to be given again, in front
    /// of what comes next.
    pub(crate) fn receive(&mut self, worker: &mut Worker, input: &mut BytesMut, at: Moment) {
        while self.may_interpret(worker, at.now) && self.step(worker, input, at) {}
        if self.is_closing() || self.is_closed() {
            input.clear();
            self.partial = BytesMut::new();
        }
        if input.is_empty() {
            self.needed = 0;
            self.charge = None;
            self.partial_since = None;
        } else if self.partial_since.is_none() {
            self.partial_since = Some(at.now);
        }
        self.release_answers(worker, at.now);
        self.deliver(worker, at.now);
        self.note_blocked(worker, at.now);
    }

    /// Interprets one packet. False when there is no complete one or the connection has ended.
    fn step(&mut self, worker: &mut Worker, input: &mut BytesMut, at: Moment) -> bool {
        let connected = self.phase == Phase::Open;
        let (version, max) = if connected {
            (Some(self.version), self.rules.packet_bytes)
        } else {
            (None, self.rules.packet_bytes.min(CONNECT_BYTES_MAX))
        };
        let frame = match peek(input, version, max, self.rules.lenient_flags) {
            Ok(Peek::Complete(frame)) => frame,
            Ok(Peek::Header) => {
                self.needed = 0;
                return false;
            }
            Ok(Peek::Partial(total)) => {
                self.expect(total, worker);
                return false;
            }
            Err(cause) => {
                if cause == Cause::TooLarge {
                    worker.tally.limit(Limit::Packet);
                    if input[0] >> 4 == PUBLISH {
                        worker.tally.rejected(Rejected::TooLarge);
                    }
                }
                self.fail(worker, cause, at);
                return false;
            }
        };
        self.last_packet = at.now;
        self.partial_since = None;
        self.charge = None;
        self.needed = 0;
        worker.tally.packet_received(frame.kind);
        let outcome = if connected {
            decode(self.version, input, frame, &self.rules)
                .and_then(|packet| self.interpret(worker, packet, at))
        } else {
            let bytes = input.split_to(frame.total_len);
            self.connect(worker, &bytes, frame, at);
            Ok(())
        };
        if let Err(cause) = outcome {
            match cause {
                Cause::TopicAlias => worker.tally.rejected(Rejected::Alias),
                Cause::Quota => worker.tally.limit(Limit::UserProperties),
                _ => {}
            }
            self.fail(worker, cause, at);
        }
        true
    }

    /// A packet of `total` bytes has begun: large ones need room in the pool.
    fn expect(&mut self, total: usize, worker: &mut Worker) {
        self.needed = total;
        if total <= READ_BUFFER_BYTES || self.charge.is_some() {
            return;
        }
        self.charge = self.shared.partial.take(total);
        if self.charge.is_none() && !self.pool_is_full {
            worker.tally.limit(Limit::PartialPackets);
        }
        self.pool_is_full = self.charge.is_none();
    }

    /// Whether another packet may be interpreted now.
    fn may_interpret(&mut self, worker: &mut Worker, now: Time) -> bool {
        match self.phase {
            Phase::Connect => true,
            Phase::Open => {
                if self.shared.reading_stopped() {
                    return false;
                }
                match worker.slot(self.key) {
                    Some(slot) if slot.parked => return false,
                    Some(slot) if slot.ring.len() < slot.ring.capacity() => return true,
                    Some(_) => {}
                    None => return false,
                }
                // The window is used up, unless answers are ready that only wait for the end of this turn.
                self.release_answers(worker, now);
                worker
                    .slot(self.key)
                    .is_some_and(|slot| slot.ring.len() < slot.ring.capacity())
            }
            Phase::Takeover | Phase::Closing(_) | Phase::Closed => false,
        }
    }

    fn interpret(&mut self, worker: &mut Worker, packet: Inbound, at: Moment) -> Result<(), Cause> {
        match packet {
            Inbound::Publish(publish) => self.publish(worker, publish, at),
            Inbound::PubAck(id) => self.puback(id),
            Inbound::PubRec(id, refused) => self.pubrec(worker, id, refused),
            Inbound::PubRel(id) => self.pubrel(worker, id),
            Inbound::PubComp(id) => self.pubcomp(id),
            Inbound::Subscribe {
                packet_id,
                filters,
                identifier,
            } => {
                self.subscribe(worker, packet_id, filters, identifier);
                Ok(())
            }
            Inbound::Unsubscribe { packet_id, filters } => {
                self.unsubscribe(worker, packet_id, &filters);
                Ok(())
            }
            Inbound::PingReq => {
                self.send(worker, Packet::PingResp(PingResp));
                Ok(())
            }
            Inbound::Disconnect(disconnect) => {
                let keeps = disconnect.session_expiry.is_some_and(|seconds| seconds > 0);
                if keeps && self.session.as_ref().is_some_and(|s| s.expiry_was_zero) {
                    return Err(Cause::ProtocolError);
                }
                Err(if disconnect.with_will {
                    Cause::ClientDisconnectWithWill
                } else {
                    Cause::ClientDisconnect
                })
            }
        }
    }

    /// Looks at what others did to the connection: answers, messages, a takeover, a stop.
    pub(crate) fn events(&mut self, worker: &mut Worker, at: Moment) {
        let Some(slot) = worker.slot(self.key) else {
            return;
        };
        let (close, granted) = (slot.close.take(), std::mem::take(&mut slot.granted));
        if let Some(cause) = close {
            self.fail(worker, cause, at);
        } else if granted && self.phase == Phase::Takeover {
            self.accept(worker, at);
        }
        self.release_answers(worker, at.now);
        self.deliver(worker, at.now);
        if worker.tally.is_dirty() {
            worker.request_turn();
        }
        if self.pool_is_full {
            self.expect(self.needed, worker);
        }
        self.note_blocked(worker, at.now);
        if self.blocked_since.is_none() && !self.partial.is_empty() && self.wants_input() {
            let mut input = std::mem::take(&mut self.partial);
            self.receive(worker, &mut input, at);
            self.partial = input;
        }
    }

    /// Notes whether the client is not read because of us, and from when on. While that is so its silence is ours.
    fn note_blocked(&mut self, worker: &mut Worker, now: Time) {
        let blocked = self.pool_is_full || !self.may_interpret(worker, now);
        match (blocked, self.blocked_since) {
            (true, None) => self.blocked_since = Some(now),
            (false, Some(_)) => {
                self.blocked_since = None;
                self.last_packet = now;
                self.partial_since = self.partial_since.map(|_| now);
            }
            _ => {}
        }
    }

    /// Adds a packet to the output.
    fn send(&mut self, worker: &mut Worker, packet: Packet) {
        let kind = packet_kind(&packet);
        match Encoder::new(self.version).write(packet, &mut self.output) {
            Ok(()) => worker.tally.packet_sent(kind),
            Err(error) => debug!(%error, kind, "packet not written"),
        }
    }
}

/// Packet type of what a server sends.
fn packet_kind(packet: &Packet) -> u8 {
    match packet {
        Packet::Connect(..) => 1,
        Packet::ConnAck(..) => 2,
        Packet::Publish(..) => 3,
        Packet::PubAck(..) => 4,
        Packet::PubRec(..) => 5,
        Packet::PubRel(..) => 6,
        Packet::PubComp(..) => 7,
        Packet::Subscribe(..) => 8,
        Packet::SubAck(..) => 9,
        Packet::Unsubscribe(..) => 10,
        Packet::UnsubAck(..) => 11,
        Packet::PingReq(_) => 12,
        Packet::PingResp(_) => 13,
        Packet::Disconnect(..) => 14,
    }
}

#[cfg(test)]
mod tests;
