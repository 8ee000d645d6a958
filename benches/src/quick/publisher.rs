//! One connection of the closed loop: which messages are in flight, and what their answers mean.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::{QoS, Time};

use crate::latency::Latencies;
use crate::ledger::KeyLedger;
use crate::mqtt::{Incoming, PINGREQ, PublishTemplate, push_pubrel};

/// Bytes that a connection has waiting for its socket before it makes more: windows and payloads may both be large.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// Packet identifier of no packet.
const NO_ID: u16 = 0;

/// A key and what became of its messages.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) number: u32,
    pub(super) ledger: KeyLedger,
}

/// What the answers of one turn add up to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) done: u64,
    pub(super) refused: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    sent: Time,
    key: u32,
    seq: u64,
    open: bool,
}

/// Latencies of messages that were written at one moment and answered at one moment are recorded together.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) latencies: Latencies,
    pub(super) measuring: bool,
    pub(super) now: Time,
    sent: Time,
    count: u64,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            measuring: false,
            now: Time::ZERO,
            sent: Time::ZERO,
            count: 0,
        }
    }

    fn record(&mut self, sent: Time, count: u64) {
        if sent != self.sent {
            self.flush();
            self.sent = sent;
        }
        self.count += count;
    }

    /// Must run before `now` moves on.
    pub(super) fn flush(&mut self) {
        let count = std::mem::take(&mut self.count);
        if self.measuring && count > 0 {
            let latency: Duration = self.now.since(self.sent);
            self.latencies.record(latency, count);
        }
    }
}

/// A connection's place in the closed loop.
#[derive(Debug)]
pub(super) struct Publisher {
    qos: QoS,
    keys: Vec<Key>,
    next_key: usize,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// QoS 0: messages of each group whose PINGRESP is awaited, and when they were written.
    groups: VecDeque<(Time, u64)>,
    pub(super) open: bool,
}

impl Publisher {
    pub(super) fn new(qos: QoS, window: u16, keys: Vec<Key>) -> Self {
        let mut publisher = Self {
            qos,
            keys,
            next_key: 0,
            slots: Vec::new(),
            free: Vec::new(),
            groups: VecDeque::new(),
            open: false,
        };
        publisher.set_window(window);
        publisher
    }

    fn set_window(&mut self, window: u16) {
        self.slots = vec![Slot::default(); window.into()];
        self.free = (1..=window).rev().collect();
    }

    /// Takes the broker's answer to CONNECT: an error is its reason to refuse.
    pub(super) fn accepted(&mut self, code: u8, receive_maximum: u16) -> Result<(), String> {
        if code != 0 {
            return Err(format!("refused with CONNACK code {code:#04x}"));
        }
        if receive_maximum == 0 {
            return Err("CONNACK with Receive Maximum 0".to_owned());
        }
        let window = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        if self.qos != QoS::AtMostOnce && receive_maximum < window {
            self.set_window(receive_maximum);
        }
        self.open = true;
        Ok(())
    }

    /// Takes an answer to a message.
    pub(super) fn answered(
        &mut self,
        answer: Incoming,
        out: &mut Vec<u8>,
        recorder: &mut Recorder,
        tally: &mut Tally,
    ) -> Result<(), String> {
        match answer {
            Incoming::PubAck { id, refused } if self.qos == QoS::AtLeastOnce => {
                self.kept(id, refused)?;
                self.finish(id, refused, recorder, tally)
            }
            Incoming::PubRec { id, refused } if self.qos == QoS::ExactlyOnce => {
                self.kept(id, refused)?;
                if refused {
                    return self.finish(id, true, recorder, tally);
                }
                push_pubrel(out, id);
                Ok(())
            }
            Incoming::PubComp { id } if self.qos == QoS::ExactlyOnce => {
                self.finish(id, false, recorder, tally)
            }
            Incoming::PingResp => {
                let (sent, count) = self.groups.pop_front().ok_or("PINGRESP without PINGREQ")?;
                recorder.record(sent, count);
                tally.done += count;
                Ok(())
            }
            Incoming::Disconnect { code } => Err(format!("DISCONNECT with reason {code:#04x}")),
            other => Err(format!("unexpected {other:?}")),
        }
    }

    /// Fills the window, as far as the room in `out` goes. Returns whether anything was written.
    pub(super) fn fill(
        &mut self,
        out: &mut Vec<u8>,
        template: &PublishTemplate,
        now: Time,
    ) -> bool {
        let before = out.len();
        if self.qos == QoS::AtMostOnce {
            self.fill_groups(out, template, now);
        }
        while self.qos != QoS::AtMostOnce
            && out.len() < OUT_BYTES_MAX
            && let Some(id) = self.free.pop()
        {
            let (key, seq) = self.write_next(out, template, id);
            self.slots[usize::from(id) - 1] = Slot {
                sent: now,
                key,
                seq,
                open: true,
            };
        }
        out.len() > before
    }

    /// QoS 0: two groups of half a window each, so that one is written while the other is on its way. Groups of large
    /// messages are smaller.
    fn fill_groups(&mut self, out: &mut Vec<u8>, template: &PublishTemplate, now: Time) {
        let room = OUT_BYTES_MAX / template.packet_bytes();
        let group = self.slots.len().div_ceil(2).min(room.max(1)) as u64;
        while self.groups.len() < 2 && out.len() < OUT_BYTES_MAX {
            for _ in 0..group {
                self.write_next(out, template, NO_ID);
            }
            out.extend(PINGREQ);
            self.groups.push_back((now, group));
        }
    }

    fn write_next(&mut self, out: &mut Vec<u8>, template: &PublishTemplate, id: u16) -> (u32, u64) {
        let index = self.next_key;
        self.next_key = if index + 1 == self.keys.len() {
            0
        } else {
            index + 1
        };
        let key = &mut self.keys[index];
        key.ledger.published += 1;
        let seq = key.ledger.published;
        template.write(out, key.number, id, seq);
        (index as u32, seq)
    }

    /// Messages that are not answered.
    pub(super) fn in_flight(&self) -> u64 {
        let groups: u64 = self.groups.iter().map(|(_, count)| count).sum();
        (self.slots.len() - self.free.len()) as u64 + groups
    }

    pub(super) fn into_keys(self) -> Vec<Key> {
        self.keys
    }

    fn slot(&self, id: u16) -> Result<Slot, String> {
        let slot = usize::from(id)
            .checked_sub(1)
            .and_then(|it| self.slots.get(it));
        slot.copied()
            .filter(|slot| slot.open)
            .ok_or_else(|| format!("answer for packet identifier {id}, which is not in flight"))
    }

    fn kept(&mut self, id: u16, refused: bool) -> Result<(), String> {
        let slot = self.slot(id)?;
        if !refused {
            let key = &mut self.keys[slot.key as usize];
            key.ledger.acknowledged.insert(slot.seq);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        id: u16,
        refused: bool,
        recorder: &mut Recorder,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let slot = self.slot(id)?;
        self.slots[usize::from(id) - 1].open = false;
        self.free.push(id);
        recorder.record(slot.sent, 1);
        tally.done += 1;
        tally.refused += u64::from(refused);
        Ok(())
    }
}
