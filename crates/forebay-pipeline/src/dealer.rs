//! The dealer: every record to the lane of its shard, in the one order.
//!
//! It is the part of the sequencer that knows the streams. Only it puts anything into lanes, so the order of a lane is
//! the order in which it dealt.

mod passes;
mod remap;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::{AckMode, StreamName, Time};

use crate::lane_budget::LaneBudget;
use crate::lane_feed::{Lag, LaneFeed};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::shared::{SequencerWake, SettledLog, Shared, Wake};
use crate::sink::SinkEvent;
use crate::stream::TooManyStreams;
use crate::{LaneTable, Record, Stream};

/// Where the records of one stream go.
#[derive(Debug)]
enum Dealing {
    /// Nowhere yet: its shards are not known. What is in the log waits there, from this number on.
    Held(VecDeque<Record>, Option<u64>),
    /// To lanes; `feeds[i]` is for lane `i`.
    Lanes {
        table: Arc<LaneTable>,
        feeds: Box<[LaneFeed]>,
    },
}

#[derive(Debug)]
struct StreamSlot {
    stream: Arc<Stream>,
    dealing: Dealing,
    epoch: u64,
    /// Records of the log that are in memory.
    in_memory: usize,
    /// Lanes that lag; 1 when the shards are not known and something waits for them in the log.
    lagging: usize,
    /// Lanes that something waits for, each once.
    dirty: Vec<usize>,
    /// True while the stream is on the list of streams to look at in this step.
    listed: bool,
    /// Records held when they were last counted.
    counted: usize,
}

impl StreamSlot {
    fn new(stream: Arc<Stream>) -> Self {
        Self {
            stream,
            dealing: Dealing::Held(VecDeque::new(), None),
            epoch: 0,
            in_memory: 0,
            lagging: 0,
            dirty: Vec::new(),
            listed: false,
            counted: 0,
        }
    }

    /// Pushes everything that finds room. True when at least one batch was pushed.
    fn push_tails(&mut self) -> bool {
        let Dealing::Lanes { table, feeds } = &mut self.dealing else {
            return false;
        };
        let mut pushed = false;
        self.dirty.retain(|&lane| {
            pushed |= feeds[lane].push_into(&table.lanes[lane]);
            feeds[lane].has_next()
        });
        pushed
    }

    fn held(&self) -> usize {
        match &self.dealing {
            Dealing::Held(held, _) => held.len(),
            // Only lanes that lag hold something besides what they get next.
            Dealing::Lanes { feeds, .. } if self.lagging == 0 => {
                self.dirty.iter().map(|lane| feeds[*lane].held()).sum()
            }
            Dealing::Lanes { feeds, .. } => feeds.iter().map(LaneFeed::held).sum(),
        }
    }
}

/// A lane that takes part in a pass over the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) stream: usize,
    pub(crate) lane: usize,
    pub(crate) cursor: u64,
    /// Its part of the hash key range.
    pub(crate) from: u128,
    pub(crate) to: u128,
}

/// Streams, lanes, and what goes into them.
#[derive(Debug)]
pub(crate) struct Dealer {
    shared: Arc<Shared>,
    wake: Arc<dyn Wake>,
    slots: Vec<Option<StreamSlot>>,
    /// Indices of streams that got something in this step or have dirty lanes, each once.
    listed: Vec<usize>,
    /// Records held here, over all streams.
    held: usize,
    next_seq: u64,
    budget: LaneBudget,
    /// Records of the log that are in memory, over all streams.
    in_memory: usize,
    /// Lanes that lag, and streams whose records wait in the log for their shards to be known.
    lagging: usize,
    /// From here on the log may have records of streams that are not in use yet. `None` when all are known.
    unknown_from: Option<u64>,
    #[cfg(test)]
    pub(crate) mutation: Mutation,
}

impl std::fmt::Debug for dyn Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Dealer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let wake: Arc<dyn Wake> = Arc::new(SequencerWake(Arc::clone(&shared)));
        let budget = LaneBudget::new(shared.config.lanes_bytes, shared.config.per_stream_share);
        Self {
            shared,
            wake,
            slots: Vec::new(),
            listed: Vec::new(),
            held: 0,
            next_seq: 1,
            budget,
            in_memory: 0,
            lagging: 0,
            unknown_from: None,
            #[cfg(test)]
            mutation: Mutation::None,
        }
    }

    /// The log has records from an earlier run, from this number on.
    pub(crate) fn expect_from(&mut self, log: u64) {
        self.unknown_from = Some(log);
    }

    /// Records of an earlier run were found from `log` on, behind everything that any lane was given.
    pub(crate) fn fall_behind(&mut self, log: u64) {
        self.unknown_from = Some(self.unknown_from.unwrap_or(log).min(log));
        for slot in self.slots.iter_mut().flatten() {
            let before = slot.lagging;
            let mut left = 0;
            match &mut slot.dealing {
                Dealing::Held(_, lag) => {
                    *lag = Some(lag.unwrap_or(log).min(log));
                    slot.lagging = 1;
                }
                Dealing::Lanes { feeds, .. } => {
                    for feed in feeds.iter_mut() {
                        // A pass that is under way may be past it.
                        left += feed.leave_pass(&mut self.budget);
                        let lag = feed.lag.get_or_insert_with(|| Lag::from(log));
                        lag.cursor = lag.cursor.min(log);
                    }
                    slot.lagging = feeds.len();
                }
            }
            slot.in_memory -= left;
            self.in_memory -= left;
            self.lagging = self.lagging + slot.lagging - before;
        }
    }

    /// From where on the log may have records of streams that are not in use yet.
    pub(crate) fn unknown_from(&self) -> Option<u64> {
        self.unknown_from
    }

    /// The streams of all records before `log` are in use, or those of all records.
    pub(crate) fn known_up_to(&mut self, log: u64, all: bool) {
        self.unknown_from = match all {
            true => None,
            false => self.unknown_from.map(|from| from.max(log)),
        };
    }

    /// Records held here.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Records of the log that are in memory: held here, in lanes, or at the sender.
    pub(crate) fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// False when certainly none of these records of the log is in memory.
    pub(crate) fn may_have(&mut self, seqs: &Range<u64>) -> bool {
        self.budget.may_have(seqs)
    }

    /// Bytes of the records of the log that are in memory.
    pub(crate) fn lane_bytes(&self) -> u64 {
        self.budget.used()
    }

    /// Lanes that lag.
    pub(crate) fn lagging(&self) -> usize {
        self.lagging
    }

    /// Makes a stream known.
    pub(crate) fn opened(&mut self, stream: Arc<Stream>) {
        let index = stream.id().index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if self.slots[index].is_none() {
            let mut slot = StreamSlot::new(Arc::clone(&stream));
            if let Some(from) = self.unknown_from {
                // The log may have older records for it.
                slot.dealing = Dealing::Held(VecDeque::new(), Some(from));
                slot.lagging = 1;
                self.lagging += 1;
            }
            self.slots[index] = Some(slot);
            self.shared.emit(SinkEvent::Opened(stream));
        }
    }

    /// The stream of a record that was found in the log, opened if it is not in use.
    pub(crate) fn open(
        &mut self,
        name: &StreamName,
        now: Time,
    ) -> Result<Arc<Stream>, TooManyStreams> {
        let stream = self.shared.streams.open(name, now, |_| ())?;
        // A worker may have opened it a moment ago and its announcement may still be on the way.
        self.opened(Arc::clone(&stream));
        self.shared.sink_wake.wake();
        Ok(stream)
    }

    /// The stream of a name as the log writes it, if it is in use here.
    pub(crate) fn stream(&self, index: usize) -> Option<&Arc<Stream>> {
        self.slots.get(index)?.as_ref().map(|slot| &slot.stream)
    }

    fn slot(&mut self, index: usize, now: Time) -> &mut StreamSlot {
        let slot = self.slots[index]
            .as_mut()
            .expect("a stream is announced before its records");
        slot.stream
            .last_used
            .store(now.as_nanos(), Ordering::Relaxed);
        if !std::mem::replace(&mut slot.listed, true) {
            self.listed.push(index);
        }
        slot
    }

    fn number(next_seq: &mut u64, record: &mut Record) {
        record.seq = *next_seq;
        *next_seq += 1;
    }

    /// Deals a record that is not in the log. One that should be there, and for which `log` is the number that the next
    /// record of the log will have at least, waits where older ones wait on the disk.
    pub(crate) fn deal(&mut self, mut record: Record, now: Time) {
        Self::number(&mut self.next_seq, &mut record);
        #[cfg(test)]
        let behind_log = self.mutation == Mutation::NoReserve;
        let slot = self.slot(record.stream.index(), now);
        match &mut slot.dealing {
            Dealing::Held(held, _) => held.push_back(record),
            Dealing::Lanes { table, feeds } => {
                let lane = table.map.lookup(record.hash);
                put(feeds, &mut slot.dirty, lane, record);
                #[cfg(test)]
                if behind_log {
                    let feed = &mut feeds[lane];
                    feed.tail.append(&mut feed.outside);
                }
            }
        }
    }

    /// Deals a record that has just become durable. Without room in its lane it stays on the disk.
    pub(crate) fn deal_durable(&mut self, mut record: Record, now: Time) {
        Self::number(&mut self.next_seq, &mut record);
        let index = record.stream.index();
        self.slot(index, now);
        let slot = self.slots[index].as_mut().expect("just seen");
        match &mut slot.dealing {
            Dealing::Held(_, lag) => {
                if lag.is_none() {
                    *lag = Some(record.log);
                    slot.lagging += 1;
                    self.lagging += 1;
                }
            }
            Dealing::Lanes { table, feeds } => {
                let lane = table.map.lookup(record.hash);
                record.lane = lane as u32;
                let count = feeds.len();
                let feed = &mut feeds[lane];
                let (had_next, lagged) = (feed.has_next(), feed.lag.is_some());
                if feed.give(record, count, &mut self.budget) {
                    slot.in_memory += 1;
                    self.in_memory += 1;
                }
                if feed.lag.is_some() && !lagged {
                    slot.lagging += 1;
                    self.lagging += 1;
                }
                if !had_next && feed.has_next() {
                    slot.dirty.push(lane);
                }
            }
        }
    }

    /// A record of the log was settled: its place in the lane is free.
    pub(crate) fn settled(&mut self, settled: SettledLog) {
        let charge = u64::from(settled.charge);
        self.budget.give_back(settled.log, charge);
        self.in_memory -= 1;
        if let Some(Some(slot)) = self.slots.get_mut(settled.stream.index()) {
            slot.in_memory -= 1;
            if let Dealing::Lanes { feeds, .. } = &mut slot.dealing {
                feeds[settled.lane as usize].bytes -= charge;
            }
        }
    }

    /// Pushes what lanes have room for and says which streams have something new. True when the sink is to be woken.
    pub(crate) fn push_tails(&mut self) -> bool {
        let mut news = false;
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&index| {
            let Some(slot) = &mut self.slots[index] else {
                return false;
            };
            if slot.push_tails() {
                news |= self.shared.note_ready(&slot.stream);
            }
            // Counted from the queues themselves, so that the conservation law compares two independent figures.
            let held = slot.held();
            self.held = self.held + held - std::mem::replace(&mut slot.counted, held);
            slot.listed = !slot.dirty.is_empty();
            slot.listed
        });
        self.listed = listed;
        news
    }

    /// Lets streams go that nobody has used for the configured time. True when the sink is to be woken.
    pub(crate) fn close_idle(&mut self, now: Time) -> bool {
        let idle = self.shared.config.stream_idle;
        let mut closed_any = false;
        for slot in &mut self.slots {
            let Some(open) = slot.as_ref() else {
                continue;
            };
            let last_used = Time::from_nanos(open.stream.last_used.load(Ordering::Relaxed));
            let in_use = open.in_memory > 0 || open.lagging > 0;
            if in_use || now.since(last_used) < idle || !self.shared.streams.close(&open.stream) {
                continue;
            }
            if let Dealing::Lanes { feeds, .. } = &open.dealing {
                self.budget.change_lanes(feeds.len(), 0);
            }
            let id = open.stream.id();
            *slot = None;
            self.shared.emit(SinkEvent::Closed(id));
            // The event is queued before the id is free, so the sink hears of the end before a new beginning.
            self.shared.streams.forget(id);
            closed_any = true;
        }
        closed_any
    }
}

/// Puts a record that is not in the log where its lane gets it from. One that should be there comes behind what the log
/// has for the lane.
fn put(feeds: &mut [LaneFeed], dirty: &mut Vec<usize>, lane: usize, mut record: Record) {
    record.lane = lane as u32;
    let feed = &mut feeds[lane];
    let follows_log = record.ack == AckMode::Spool;
    if follows_log && feed.lag.is_some() {
        feed.stall(record);
        return;
    }
    if !feed.has_next() {
        dirty.push(lane);
    }
    match follows_log {
        true => feed.tail.push(record),
        false => feed.outside.push(record),
    }
}
