//! A connection: sending, reading with deadlines, and the handshakes of QoS 1 and 2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Acknowledgement, ConnAck, Connect, Packet, Properties, Publish, Version, acknowledge, connect,
    decode, disconnect, frame, ping, publish, subscribe, unsubscribe,
};

const LIMIT: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 64 * 1024;
/// How many bytes of pipelined messages go out in one write.
const WRITE_BYTES: usize = 32 * 1024;

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

/// What a read ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Packet(Packet),
    /// The server closed the connection, in order or not.
    Closed,
    /// Nothing came in time.
    Nothing,
}

/// How a publish ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Of PUBACK, or of PUBREC if that refused, or of PUBCOMP; 0 in 3.1.1 and with QoS 0.
    pub reason: u8,
    pub sent: Instant,
    pub done: Instant,
}

impl Outcome {
    /// From the write of the packet to the last acknowledgement.
    pub fn took(&self) -> Duration {
        self.done - self.sent
    }
}

/// A connection to a server.
///
/// Messages that arrive while the client waits for something else are acknowledged and kept for
/// [`Self::receive`].
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    inbox: VecDeque<Publish>,
    /// QoS 2 messages that were received and not released yet.
    unreleased: BTreeSet<u16>,
    last_id: u16,
    limit: Duration,
    acknowledges: bool,
}

/// A publish on its way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Its position among the messages.
    at: usize,
    when: Instant,
    /// PUBREC came, and with it the place of this message in the order of answers.
    received: bool,
}

/// Publishes on their way, by packet identifier.
type InFlight = BTreeMap<u16, Sent>;

impl Client {
    /// Opens a TCP connection and sends nothing.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(address: SocketAddr, version: Version) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self {
            stream,
            version,
            buffer: Vec::new(),
            inbox: VecDeque::new(),
            unreleased: BTreeSet::new(),
            last_id: 0,
            limit: LIMIT,
            acknowledges: true,
        })
    }

    /// Connects and returns what the server said, also if that is a refusal.
    ///
    /// # Errors
    /// If nobody listens or no CONNACK comes.
    pub fn try_connect(address: SocketAddr, wanted: &Connect) -> Result<(Self, ConnAck)> {
        let mut client = Self::open(address, wanted.version)?;
        client.send(&connect(wanted))?;
        match client.read(LIMIT)? {
            Received::Packet(Packet::ConnAck(connack)) => Ok((client, connack)),
            other => bail!("instead of CONNACK: {other:?}"),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Self::try_connect`], and if the server refuses.
    pub fn connect(address: SocketAddr, wanted: &Connect) -> Result<(Self, ConnAck)> {
        let (client, connack) = Self::try_connect(address, wanted)?;
        ensure!(connack.code == 0, "refused: {connack:?}");
        Ok((client, connack))
    }

    /// Connects with a clean start and nothing else.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn simple(address: SocketAddr, version: Version, client_id: &str) -> Result<Self> {
        Ok(Self::connect(address, &Connect::new(version, client_id))?.0)
    }

    /// How long to wait for an acknowledgement; 20 s unless set.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Whether received messages are acknowledged; they are unless this turns it off.
    pub fn set_acknowledges(&mut self, acknowledges: bool) {
        self.acknowledges = acknowledges;
    }

    /// The protocol version of this connection.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The socket, for what only a socket can do.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is closed, or the server reads nothing for 20 s.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// Reads one packet and does nothing about it.
    ///
    /// # Errors
    /// If what comes is not MQTT.
    pub fn read(&mut self, limit: Duration) -> Result<Received> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = frame(&self.buffer)? {
                let body = &self.buffer[found.header..found.total];
                let packet = decode(self.version, found.first, body)
                    .with_context(|| format!("{:#04x} {body:02x?}", found.first))?;
                self.buffer.drain(..found.total);
                return Ok(Received::Packet(packet));
            }
            let left = end.saturating_duration_since(Instant::now());
            // The operating system takes zero for no timeout at all.
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Received::Closed),
                Ok(length) => self.buffer.extend(&chunk[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Received::Nothing),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Ok(Received::Closed);
                    }
                    ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Reads until the server closes the connection, and returns what came before.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn read_to_close(&mut self, limit: Duration) -> Result<Vec<Packet>> {
        let end = Instant::now() + limit;
        let mut packets = Vec::new();
        loop {
            match self.read(end.saturating_duration_since(Instant::now()))? {
                Received::Packet(packet) => packets.push(packet),
                Received::Closed => return Ok(packets),
                Received::Nothing => bail!("not closed within {limit:?}, got {packets:?}"),
            }
        }
    }

    /// Publishes one message and waits for the end of its handshake.
    ///
    /// # Errors
    /// As [`Self::publish_all`].
    pub fn publish(&mut self, message: Publish) -> Result<Outcome> {
        let outcomes = self.publish_all([message], 1)?;
        outcomes.first().copied().context("one message, no outcome")
    }

    /// Publishes messages with at most `window` unacknowledged, and waits for all of them.
    /// The outcomes are in the order of the messages.
    ///
    /// # Errors
    /// If a PUBACK or PUBREC does not come in time or is not for the oldest message (MQTT 4.6), or
    /// the connection closes.
    pub fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = Publish>,
        window: usize,
    ) -> Result<Vec<Outcome>> {
        let mut messages = messages.into_iter().peekable();
        let mut outcomes = Vec::new();
        let mut in_flight = InFlight::new();
        loop {
            let mut bytes = Vec::new();
            while in_flight.len() < window && bytes.len() < WRITE_BYTES {
                let Some(mut message) = messages.next() else {
                    break;
                };
                let now = Instant::now();
                if message.qos > 0 {
                    message.id = self.next_id(&in_flight);
                    let sent = Sent {
                        at: outcomes.len(),
                        when: now,
                        received: false,
                    };
                    in_flight.insert(message.id, sent);
                }
                outcomes.push(Outcome {
                    reason: 0,
                    sent: now,
                    done: now,
                });
                bytes.extend(publish(self.version, &message));
            }
            self.send(&bytes)?;
            if in_flight.is_empty() && messages.peek().is_none() {
                return Ok(outcomes);
            }
            if !in_flight.is_empty() {
                self.finish_one(&mut in_flight, &mut outcomes)?;
            }
        }
    }

    /// Waits until one more publish has ended.
    fn finish_one(&mut self, in_flight: &mut InFlight, outcomes: &mut [Outcome]) -> Result<()> {
        loop {
            let (kind, ack) = match self.next("an acknowledgement")? {
                Packet::PubAck(ack) => (PUBACK, ack),
                Packet::PubRec(ack) => (PUBREC, ack),
                Packet::PubComp(ack) => (PUBCOMP, ack),
                other => bail!("instead of an acknowledgement: {other:?}"),
            };
            let oldest = in_flight.values().filter(|sent| !sent.received);
            let oldest = oldest.map(|sent| sent.at).min();
            let sent = in_flight
                .get_mut(&ack.id)
                .with_context(|| format!("acknowledgement of nothing: {ack:?}"))?;
            ensure!(
                kind == PUBCOMP || sent.received || oldest == Some(sent.at),
                "answer {kind:#x} to message {} before that to message {oldest:?}",
                sent.at
            );
            if kind == PUBREC && ack.reason < 0x80 {
                sent.received = true;
                self.send(&acknowledge(PUBREL, ack.id))?;
                continue;
            }
            let Sent { at, when, .. } = *sent;
            in_flight.remove(&ack.id);
            outcomes[at] = Outcome {
                reason: ack.reason,
                sent: when,
                done: Instant::now(),
            };
            return Ok(());
        }
    }

    /// Subscribes and returns the codes of SUBACK, one per filter.
    ///
    /// # Errors
    /// If no SUBACK comes.
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Result<Vec<u8>> {
        let id = self.next_id(&InFlight::new());
        self.send(&subscribe(
            self.version,
            id,
            filters,
            &Properties::default(),
        ))?;
        match self.next("SUBACK")? {
            Packet::SubAck(ack) if ack.id == id => Ok(ack.codes),
            other => bail!("instead of SUBACK {id}: {other:?}"),
        }
    }

    /// Unsubscribes and returns the codes of UNSUBACK, which 3.1.1 does not have.
    ///
    /// # Errors
    /// If no UNSUBACK comes.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<Vec<u8>> {
        let id = self.next_id(&InFlight::new());
        self.send(&unsubscribe(self.version, id, filters))?;
        match self.next("UNSUBACK")? {
            Packet::UnsubAck(ack) if ack.id == id => Ok(ack.codes),
            other => bail!("instead of UNSUBACK {id}: {other:?}"),
        }
    }

    /// Sends PINGREQ and waits for PINGRESP.
    ///
    /// # Errors
    /// If it does not come.
    pub fn ping(&mut self) -> Result<()> {
        self.send(&ping())?;
        match self.next("PINGRESP")? {
            Packet::PingResp => Ok(()),
            other => bail!("instead of PINGRESP: {other:?}"),
        }
    }

    /// The next message, acknowledged.
    ///
    /// # Errors
    /// If none comes within `limit`.
    pub fn receive(&mut self, limit: Duration) -> Result<Publish> {
        let message = self.try_receive(limit)?;
        message.with_context(|| format!("no message within {limit:?}"))
    }

    /// The next message, acknowledged; `None` if none comes within `limit`.
    ///
    /// # Errors
    /// If the connection closes.
    pub fn try_receive(&mut self, limit: Duration) -> Result<Option<Publish>> {
        let end = Instant::now() + limit;
        while self.inbox.is_empty() {
            match self.read(end.saturating_duration_since(Instant::now()))? {
                Received::Packet(packet) => {
                    if let Some(packet) = self.settle(packet)? {
                        bail!("instead of a message: {packet:?}");
                    }
                }
                Received::Nothing => return Ok(None),
                Received::Closed => bail!("closed while waiting for a message"),
            }
        }
        Ok(self.inbox.pop_front())
    }

    /// Disconnects in order.
    ///
    /// # Errors
    /// If the connection is closed already.
    pub fn disconnect(mut self) -> Result<()> {
        self.send(&disconnect(self.version, 0))
    }

    /// The next packet that is not part of receiving a message.
    fn next(&mut self, what: &str) -> Result<Packet> {
        let end = Instant::now() + self.limit;
        loop {
            match self.read(end.saturating_duration_since(Instant::now()))? {
                Received::Packet(packet) => {
                    if let Some(packet) = self.settle(packet)? {
                        return Ok(packet);
                    }
                }
                Received::Nothing => bail!("no {what} within {:?}", self.limit),
                Received::Closed => bail!("closed while waiting for {what}"),
            }
        }
    }

    /// Takes packets of incoming messages and returns any other.
    fn settle(&mut self, packet: Packet) -> Result<Option<Packet>> {
        match packet {
            Packet::Publish(message) => self.accept(message)?,
            Packet::PubRel(Acknowledgement { id, .. }) => {
                self.unreleased.remove(&id);
                self.send(&acknowledge(PUBCOMP, id))?;
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn accept(&mut self, message: Publish) -> Result<()> {
        let first = match message.qos {
            1 if self.acknowledges => Some(PUBACK),
            2 if self.acknowledges => Some(PUBREC),
            _ => None,
        };
        let id = message.id;
        // A QoS 2 message that is sent again before its release is the same message.
        if message.qos < 2 || self.unreleased.insert(id) {
            self.inbox.push_back(message);
        }
        match first {
            Some(first) => self.send(&acknowledge(first, id)),
            None => Ok(()),
        }
    }

    fn next_id(&mut self, in_flight: &InFlight) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !in_flight.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests;
