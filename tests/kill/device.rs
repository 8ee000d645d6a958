//! Devices that keep publishing while the broker dies and comes back, each over a thread of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use forebay_tests::mqtt::{
    Client, Connect, Packet, Properties, Property, Publish, Received, Version, acknowledge, id,
    publish,
};
use forebay_tests::oracle::Numbered;
use forebay_tests::wait;

use crate::message::payload;
use crate::site::wall_ms;

/// How long a device goes without an answer, or without a broker, before it gives up: longer than every outage.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a waiting device looks around.
const LOOK: Duration = Duration::from_millis(20);
/// Messages that are sent in one write.
const BURST: usize = 8;
const PUBREL: u8 = 0x62;
/// The lowest reason code that says no.
const REFUSED: u8 = 0x80;

/// What a device does with its unanswered messages when it connects again and the broker has no session for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Begins with a clean start, and publishes them as new messages.
    StartsClean,
    /// Asks for its session and, as there is none, forgets its own, as MQTT 5.0 demands (3.2.2.1.1): it publishes them
    /// as new messages and uses packet ids again at once.
    Forgets,
    /// Asks for its session and goes on as if it were there, as most clients do: DUP and the same packet ids, PUBREL
    /// for what was received.
    Persists,
    /// Begins with a clean start, and never speaks of them again. Nobody owes them to it.
    GivesUp,
}

impl Habit {
    pub(crate) const ALL: [Self; 4] = [
        Self::StartsClean,
        Self::Forgets,
        Self::Persists,
        Self::GivesUp,
    ];
}

/// A device: who it is and how it publishes. Every second message of a key has QoS 2, the others QoS 1.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) habit: Habit,
    pub(crate) keys: u64,
    /// Messages that are not finished, at most.
    pub(crate) window: usize,
    /// Time between two bursts.
    pub(crate) pause: Duration,
    /// How many messages; `None` for as many as there are until the device is stopped.
    pub(crate) messages: Option<u64>,
}

/// A device at work.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) device: Device,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<Delivery>>,
}

/// What was published, all of it answered but what was given up.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Messages of each key, numbered from 0.
    pub(crate) published: BTreeMap<String, u64>,
    /// How often a message was sent again.
    pub(crate) repeats: BTreeMap<Numbered, u64>,
    /// Messages that were never answered and not sent again.
    pub(crate) given_up: BTreeSet<Numbered>,
    /// When a message was answered, in milliseconds since the epoch, where that is known.
    pub(crate) answered_ms: BTreeMap<Numbered, u64>,
}

// === impl Device ===

impl Device {
    pub(crate) fn new(name: &str, version: Version, habit: Habit) -> Self {
        Self {
            name: name.to_owned(),
            version,
            habit,
            keys: 2,
            window: 24,
            pause: Duration::from_millis(60),
            messages: None,
        }
    }

    /// Nearly always has some on their way.
    pub(crate) fn eager(mut self) -> Self {
        self.window = 4;
        self.pause = Duration::from_millis(10);
        self
    }

    pub(crate) fn messages(mut self, messages: u64) -> Self {
        self.messages = Some(messages);
        self
    }

    /// Starts to publish to `broker`, which need not be there yet.
    pub(crate) fn start(self, broker: SocketAddr) -> Running {
        let (stop, answered) = (Arc::default(), Arc::default());
        let work = Work {
            device: self.clone(),
            broker,
            stop: Arc::clone(&stop),
            answered: Arc::clone(&answered),
            unanswered: VecDeque::new(),
            unfinished: BTreeSet::new(),
            published: 0,
            delivery: Delivery::default(),
            next_burst: Instant::now(),
        };
        Running {
            device: self,
            stop,
            answered,
            thread: thread::spawn(move || work.run()),
        }
    }

    fn numbered(&self, index: u64) -> Numbered {
        let key = format!("{}-{}", self.name, index % self.keys);
        (key, index / self.keys)
    }
}

// === impl Running ===

impl Running {
    /// How many messages were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Tells it to publish nothing new.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Waits until everything is answered.
    pub(crate) fn finish(self) -> Result<Delivery> {
        self.stop();
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.with_context(|| format!("{:?}", self.device))
    }
}

/// A message without an answer.
#[derive(Debug)]
struct Unanswered {
    index: u64,
    id: u16,
    sent: bool,
}

/// How a connection ended.
enum End {
    /// Everything is published and answered.
    Done,
    Lost,
}

/// The thread of a device.
struct Work {
    device: Device,
    broker: SocketAddr,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// In the order of publishing, which is the order of their answers.
    unanswered: VecDeque<Unanswered>,
    /// Packet ids that wait for PUBCOMP. Their messages are answered.
    unfinished: BTreeSet<u16>,
    published: u64,
    delivery: Delivery,
    next_burst: Instant,
}

impl Work {
    fn run(mut self) -> Result<Delivery> {
        loop {
            let mut client = self.connect()?;
            if let End::Done = self.converse(&mut client)? {
                // Nothing is owed to it, whether the broker hears this or not.
                drop(client.disconnect());
                let counted = (0..self.published).map(|index| self.device.numbered(index));
                for (key, number) in counted {
                    self.delivery.published.insert(key, number + 1);
                }
                return Ok(self.delivery);
            }
        }
    }

    fn connect(&mut self) -> Result<Client> {
        let mut connect = Connect::new(self.device.version, &self.device.name);
        connect.clean = matches!(self.device.habit, Habit::StartsClean | Habit::GivesUp);
        if self.device.version == Version::V5 && !connect.clean {
            connect.properties =
                Properties::default().with(id::SESSION_EXPIRY, Property::Long(3600));
        }
        let (client, connack) = wait::until("a broker", PATIENCE, || {
            let connected = Client::try_connect(self.broker, &connect);
            Ok(connected.ok().filter(|(_, connack)| connack.code == 0))
        })?;
        let forgets =
            connect.clean || (self.device.habit == Habit::Forgets && !connack.session_present);
        if self.device.habit == Habit::GivesUp {
            let given_up = self.unanswered.drain(..);
            let given_up = given_up.map(|message| self.device.numbered(message.index));
            self.delivery.given_up.extend(given_up);
        }
        if forgets {
            self.unfinished.clear();
            for (message, id) in self.unanswered.iter_mut().zip(1..) {
                message.id = id;
            }
        }
        Ok(client)
    }

    /// Sends what is left of the last connection, then publishes and takes answers until the connection ends.
    fn converse(&mut self, client: &mut Client) -> Result<End> {
        let mut bytes: Vec<u8> = Vec::new();
        for id in &self.unfinished {
            bytes.extend(acknowledge(PUBREL, *id));
        }
        for message in &mut self.unanswered {
            let numbered = self.device.numbered(message.index);
            let mut packet = packet(&numbered, message.id, &self.device);
            packet.duplicate = message.sent && self.device.habit == Habit::Persists;
            bytes.extend(publish(self.device.version, &packet));
            *self.delivery.repeats.entry(numbered).or_default() += 1;
            message.sent = true;
        }
        if client.send(&bytes).is_err() {
            return Ok(End::Lost);
        }
        let mut last_answer = Instant::now();
        loop {
            if self.publish(client).is_err() {
                return Ok(End::Lost);
            }
            if self.unanswered.is_empty() && self.unfinished.is_empty() {
                last_answer = Instant::now();
                if self.is_over() {
                    return Ok(End::Done);
                }
            }
            match client.read(LOOK)? {
                Received::Packet(Packet::Disconnect { .. }) | Received::Closed => {
                    return Ok(End::Lost);
                }
                Received::Packet(packet) => {
                    last_answer = Instant::now();
                    if !self.take(client, &packet)? {
                        return Ok(End::Lost);
                    }
                }
                Received::Nothing => ensure!(
                    last_answer.elapsed() < PATIENCE,
                    "no answer for {PATIENCE:?} to {:?} {:?}",
                    self.unanswered,
                    self.unfinished
                ),
            }
        }
    }

    fn is_over(&self) -> bool {
        let enough = self
            .device
            .messages
            .is_some_and(|most| self.published >= most);
        enough || self.stop.load(Ordering::SeqCst)
    }

    /// Takes an answer. False if the connection is lost.
    fn take(&mut self, client: &mut Client, packet: &Packet) -> Result<bool> {
        match packet {
            Packet::PubAck(ack) => {
                ensure!(ack.reason < REFUSED, "refused: {ack:?}");
                self.answered(ack.id, 1)?;
            }
            Packet::PubRec(ack) => {
                ensure!(ack.reason < REFUSED, "refused: {ack:?}");
                self.answered(ack.id, 2)?;
                self.unfinished.insert(ack.id);
                return Ok(client.send(&acknowledge(PUBREL, ack.id)).is_ok());
            }
            Packet::PubComp(ack) => {
                let known = self.unfinished.remove(&ack.id);
                ensure!(known, "PUBCOMP for nothing: {ack:?}");
            }
            other => bail!("instead of an answer: {other:?}"),
        }
        Ok(true)
    }

    /// The answers of a connection come in the order of its publishes (MQTT 5.0, 4.6).
    fn answered(&mut self, id: u16, qos: u8) -> Result<()> {
        let first = self
            .unanswered
            .pop_front()
            .context("an answer to nothing")?;
        let numbered = self.device.numbered(first.index);
        let wanted = qos_of(&numbered);
        ensure!(
            first.id == id && wanted == qos,
            "answer of QoS {qos} to {id} before that of QoS {wanted} to {first:?}"
        );
        self.delivery.answered_ms.insert(numbered, wall_ms());
        self.answered.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Sends a burst if one is due.
    fn publish(&mut self, client: &mut Client) -> Result<()> {
        if Instant::now() < self.next_burst {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for _ in 0..BURST {
            let open = self.unanswered.len() + self.unfinished.len();
            if self.is_over() || open >= self.device.window {
                break;
            }
            let message = Unanswered {
                index: self.published,
                id: self.free_id(),
                sent: true,
            };
            let numbered = self.device.numbered(message.index);
            let packet = packet(&numbered, message.id, &self.device);
            bytes.extend(publish(self.device.version, &packet));
            self.unanswered.push_back(message);
            self.published += 1;
        }
        self.next_burst = Instant::now() + self.device.pause;
        client.send(&bytes)
    }

    /// The lowest packet id that is not in use: what a small device does, and the hardest for a broker that remembers.
    fn free_id(&self) -> u16 {
        let used: BTreeSet<u16> = self.unanswered.iter().map(|message| message.id).collect();
        (1..)
            .find(|id| !used.contains(id) && !self.unfinished.contains(id))
            .expect("the window is smaller than the range of ids")
    }
}

fn qos_of((_, number): &Numbered) -> u8 {
    1 + (number % 2) as u8
}

fn packet(numbered: &Numbered, id: u16, device: &Device) -> Publish {
    let (key, number) = numbered;
    let topic = format!("dt/{}", device.name);
    let mut packet = Publish::new(&topic, payload(key, *number), qos_of(numbered));
    packet.id = id;
    packet
}
