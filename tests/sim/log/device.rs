//! The devices: clients that publish, hear answers or do not, lose their connection and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_core::{AckMode, Entropy as _, QoS, SeededEntropy};
use forebay_pipeline::{AckRing, Admission};

use super::ledger::{Class, Name};
use super::plan::{Mode, STREAMS, WORKERS};

/// The slot of a publish that waits for nothing: no ring ever has it.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A publish as the device keeps it until its answer.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) name: Name,
    pub(super) mode: Mode,
    pub(super) qos: QoS,
    pub(super) id: u16,
    pub(super) bytes: usize,
    pub(super) streams: Vec<usize>,
}

impl Outgoing {
    /// The payload: its number and as much padding as its size asks for.
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload = format!("{} ", self.name.1).into_bytes();
        payload.resize(self.bytes, b'x');
        payload
    }

    /// Whether an answer promises that it is kept.
    pub(super) fn is_owed(&self) -> bool {
        self.qos != QoS::AtMostOnce && self.mode != Mode::Accept
    }

    pub(super) fn class(&self, spool_qos0: bool) -> Class {
        let to_log = matches!(self.mode, Mode::Spool | Mode::Both);
        match to_log && (self.qos != QoS::AtMostOnce || spool_qos0) {
            true => Class::Log,
            false => Class::Direct,
        }
    }
}

/// What the broker keeps of a publish until its answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) publish: Outgoing,
    /// Position among the publishes of the connection.
    pub(super) order: u64,
    pub(super) ack: AckMode,
}

/// Where the broker is with a packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    Pending,
    Received,
    ReceivedInLog,
    Releasing,
}

/// The broker's end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ring: AckRing<Reply>,
    pub(super) parked: bool,
    pub(super) opened: u64,
    pub(super) answered: u64,
    pub(super) ids: BTreeMap<u16, Inbound>,
}

#[derive(Debug)]
struct Key {
    mode: Mode,
    topic: String,
    streams: Vec<usize>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) worker: usize,
    pub(super) client_id: String,
    /// It repeats what was not answered over its next connection; others begin anew.
    pub(super) persistent: bool,
    pub(super) generation: u32,
    pub(super) connection: Option<Connection>,
    /// Messages that it will still think of.
    pub(super) left: u64,
    keys: Vec<Key>,
    capacity: usize,
    /// Sent over this connection and not answered, by order.
    unanswered: VecDeque<(u64, Outgoing)>,
    /// To be sent again, before anything new.
    repeats: VecDeque<Outgoing>,
    /// Packet ids whose PUBREC has come and whose PUBCOMP has not.
    pub(super) releasing: BTreeSet<u16>,
}

impl Device {
    pub(super) fn new(index: usize, entropy: &mut SeededEntropy) -> Self {
        let key = |number: u64, entropy: &mut SeededEntropy| {
            let mode = Mode::any(entropy);
            let stream = entropy.below(2) as usize;
            let topic = format!("{}/{stream}/{index}-{number}", mode.level());
            let mut streams = vec![stream];
            if mode == Mode::Both {
                streams.push(STREAMS.len() - 1);
            }
            Key {
                mode,
                topic,
                streams,
                next: 0,
            }
        };
        Self {
            worker: index % WORKERS,
            client_id: format!("device-{index}"),
            persistent: entropy.below(2) == 0,
            generation: 0,
            connection: None,
            left: 10 + entropy.below(70),
            keys: (0..1 + entropy.below(4))
                .map(|number| key(number, entropy))
                .collect(),
            capacity: 1 + entropy.below(24) as usize,
            unanswered: VecDeque::new(),
            repeats: VecDeque::new(),
            releasing: BTreeSet::new(),
        }
    }

    /// The connection is gone, and what was on its way over it.
    pub(super) fn disconnected(&mut self) {
        self.connection = None;
        self.generation += 1;
        let sent = std::mem::take(&mut self.unanswered);
        if self.persistent {
            for (_, publish) in sent.into_iter().rev() {
                self.repeats.push_front(publish);
            }
        } else {
            self.releasing.clear();
        }
    }

    pub(super) fn connected(&mut self) {
        self.connection = Some(Connection {
            ring: AckRing::new(self.capacity),
            parked: false,
            opened: 0,
            answered: 0,
            ids: BTreeMap::new(),
        });
    }

    /// True when everything that it has thought of is over.
    pub(super) fn is_done(&self) -> bool {
        let quiet = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.ring.is_empty() && !connection.parked);
        let nothing_left = self.left == 0 && self.repeats.is_empty();
        quiet && nothing_left && self.unanswered.is_empty() && self.releasing.is_empty()
    }

    /// The next message and its slot, unless it must wait for answers or has none left.
    pub(super) fn next(&mut self, entropy: &mut SeededEntropy) -> Option<(Outgoing, u32)> {
        let connection = self.connection.as_ref()?;
        let full = connection.ring.len() >= connection.ring.capacity()
            || self.unanswered.len() + self.releasing.len() >= self.capacity;
        if connection.parked || full {
            return None;
        }
        let publish = match self.repeats.pop_front() {
            Some(publish) => publish,
            None => self.think(entropy)?,
        };
        if publish.qos == QoS::AtMostOnce {
            return Some((publish, NO_SLOT));
        }
        let connection = self.connection.as_mut()?;
        let order = connection.opened;
        connection.opened += 1;
        if publish.qos == QoS::ExactlyOnce {
            connection.ids.insert(publish.id, Inbound::Pending);
        }
        self.unanswered.push_back((order, publish.clone()));
        let reply = Reply {
            publish: publish.clone(),
            order,
            ack: AckMode::Accept,
        };
        Some((publish, connection.ring.open(reply)?))
    }

    fn think(&mut self, entropy: &mut SeededEntropy) -> Option<Outgoing> {
        self.left = self.left.checked_sub(1)?;
        // One key of each device is hot.
        let place = match entropy.below(2) {
            0 => 0,
            _ => entropy.below(self.keys.len() as u64) as usize,
        };
        let qos = match entropy.below(10) {
            0 => QoS::AtMostOnce,
            1..=3 => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        };
        let id = self.free_id();
        let key = &mut self.keys[place];
        key.next += 1;
        Some(Outgoing {
            name: (key.topic.clone(), key.next - 1),
            mode: key.mode,
            qos,
            id,
            bytes: 8 + entropy.below(600) as usize,
            streams: key.streams.clone(),
        })
    }

    /// The lowest packet id that is not in use: ids come back soon.
    fn free_id(&self) -> u16 {
        let waiting = self.unanswered.iter().map(|(_, publish)| publish);
        let used: BTreeSet<u16> = waiting
            .chain(&self.repeats)
            .filter(|publish| publish.qos == QoS::ExactlyOnce)
            .map(|publish| publish.id)
            .chain(self.releasing.iter().copied())
            .collect();
        (1..=u16::MAX).find(|id| !used.contains(id)).unwrap()
    }

    /// The device hears an answer. Returns the packet id that it has to release.
    pub(super) fn hears(&mut self, order: u64) -> Option<u16> {
        let place = self.unanswered.iter().position(|(at, _)| *at == order)?;
        let (_, publish) = self.unanswered.remove(place)?;
        (publish.qos == QoS::ExactlyOnce).then(|| {
            self.releasing.insert(publish.id);
            publish.id
        })
    }
}

impl Connection {
    /// What the pipeline said about a publish of `mode`: `Err` when that is not what its mode asks for.
    pub(super) fn admitted(&mut self, slot: u32, admission: Admission) -> Result<(), String> {
        match admission {
            Admission::Parked => self.parked = true,
            Admission::Pending { records, ack } => {
                self.ring.pending(slot, records);
                if let Some(reply) = self.ring.reply_mut(slot) {
                    let publish = &reply.publish;
                    let wanted = match publish.mode {
                        Mode::Stored => AckMode::Stored,
                        _ => AckMode::Spool,
                    };
                    if ack != wanted || records as usize != publish.streams.len() {
                        return Err(format!("{publish:?} waits for {records} records by {ack}"));
                    }
                    reply.ack = ack;
                }
            }
            Admission::Done { matched } => {
                let owed = self
                    .ring
                    .reply_mut(slot)
                    .map(|reply| reply.publish.is_owed());
                if owed == Some(true) || !matched {
                    return Err(format!("slot {slot} is not waited for, matched: {matched}"));
                }
                self.ring.complete(slot);
            }
            Admission::Rejected => return Err(format!("slot {slot} was rejected")),
        }
        Ok(())
    }
}
