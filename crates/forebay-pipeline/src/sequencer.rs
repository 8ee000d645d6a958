//! The sequencer: gives every record its place in the one order and deals records to lanes.
//!
//! It is a state machine without a thread, a clock or a runtime; [`SequencerThread`](crate::SequencerThread) drives it
//! in production. Only it deals to lanes, so the order of a lane is sequence order by construction.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::{ShardMap, Time};

use crate::shared::{Control, SequencerWake, Shared, Wake};
use crate::sink::SinkEvent;
use crate::{LaneTable, Record, Stream};

/// Staged vectors taken in one step, per worker: keeps busy workers from making a step endless.
const VECTORS_PER_STEP: usize = 64;

/// Where the records of one stream go.
#[derive(Debug)]
enum Dealing {
    /// Nowhere yet: its shards are not known.
    Held(VecDeque<Record>),
    /// To lanes. `tails[i]` is what lane `i` gets next.
    Lanes {
        table: Arc<LaneTable>,
        tails: Box<[Vec<Record>]>,
    },
}

#[derive(Debug)]
struct StreamSlot {
    stream: Arc<Stream>,
    dealing: Dealing,
    epoch: u64,
    /// Lanes with something in their tail, each once.
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
            dealing: Dealing::Held(VecDeque::new()),
            epoch: 0,
            dirty: Vec::new(),
            listed: false,
            counted: 0,
        }
    }

    fn deal(&mut self, record: Record) {
        match &mut self.dealing {
            Dealing::Held(held) => held.push_back(record),
            Dealing::Lanes { table, tails } => {
                let lane = table.map.lookup(record.hash);
                let tail = &mut tails[lane];
                if tail.is_empty() {
                    self.dirty.push(lane);
                }
                tail.push(record);
            }
        }
    }

    /// Pushes every tail that finds room. True when at least one batch was pushed.
    fn push_tails(&mut self) -> bool {
        let Dealing::Lanes { table, tails } = &mut self.dealing else {
            return false;
        };
        let before = self.dirty.len();
        self.dirty.retain(
            |&lane| match table.lanes[lane].push(std::mem::take(&mut tails[lane])) {
                Ok(()) => false,
                Err(batch) => {
                    tails[lane] = batch;
                    true
                }
            },
        );
        self.dirty.len() < before
    }

    /// Everything that is not with the consumer, for dealing it again.
    fn take_back(&mut self) -> Vec<Record> {
        self.dirty.clear();
        match std::mem::replace(&mut self.dealing, Dealing::Held(VecDeque::new())) {
            Dealing::Held(held) => held.into(),
            Dealing::Lanes { table, tails } => {
                let queued = table
                    .lanes
                    .iter()
                    .flat_map(|lane| std::iter::from_fn(|| lane.pop()));
                queued.chain(tails).flatten().collect()
            }
        }
    }

    fn held(&self) -> usize {
        match &self.dealing {
            Dealing::Held(held) => held.len(),
            Dealing::Lanes { tails, .. } => self.dirty.iter().map(|lane| tails[*lane].len()).sum(),
        }
    }
}

/// The sequencer's state. One step takes everything that is staged.
#[derive(Debug)]
pub struct Sequencer {
    shared: Arc<Shared>,
    wake: Arc<dyn Wake>,
    slots: Vec<Option<StreamSlot>>,
    /// Indices of streams that got something in this step or have dirty lanes, each once.
    listed: Vec<usize>,
    /// Records held here, over all streams.
    held: usize,
    taken: Vec<(usize, Vec<Record>)>,
    next_seq: u64,
    next_idle_check: Time,
}

impl std::fmt::Debug for dyn Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Sequencer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let wake: Arc<dyn Wake> = Arc::new(SequencerWake(Arc::clone(&shared)));
        Self {
            shared,
            wake,
            slots: Vec::new(),
            listed: Vec::new(),
            held: 0,
            taken: Vec::new(),
            next_seq: 1,
            next_idle_check: Time::ZERO,
        }
    }

    /// Sets what is woken when there is something to do. Step once after it.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        self.shared.sequencer_wake.set(wake);
    }

    /// Takes what is staged, numbers it, deals it, and tells the sink which streams have something new. True when it
    /// did anything: step again before sleeping.
    pub fn step(&mut self, now: Time) -> bool {
        // While records move on from here they are counted nowhere rather than twice.
        self.shared.counts.sequencer.store(0, Ordering::SeqCst);
        self.take_staged();
        // Control comes after the staged records are taken: a stream is announced before its first record is staged,
        // so every record taken above finds its stream here.
        let mut worked = !self.taken.is_empty();
        let mut news = false;
        while let Some(control) = self.shared.control.pop() {
            worked = true;
            news |= self.control(control);
        }
        self.deal_taken(now);
        news |= self.push_all_tails();
        if now >= self.next_idle_check {
            self.next_idle_check = now + std::time::Duration::from_secs(1);
            news |= self.close_idle(now);
        }
        self.shared
            .counts
            .sequencer
            .store(self.held, Ordering::SeqCst);
        if news {
            self.shared.sink_wake.wake();
        }
        worked
    }

    fn take_staged(&mut self) {
        for _ in 0..VECTORS_PER_STEP * self.shared.workers.len() {
            let Some(staged) = self.shared.staged.pop() else {
                break;
            };
            self.taken.push(staged);
        }
    }

    fn deal_taken(&mut self, now: Time) {
        let mut taken = std::mem::take(&mut self.taken);
        for (worker, mut records) in taken.drain(..) {
            let count = records.len();
            for mut record in records.drain(..) {
                record.seq = self.next_seq;
                self.next_seq += 1;
                self.deal(record, now);
            }
            let port = &self.shared.workers[worker];
            port.staged_records.fetch_sub(count, Ordering::SeqCst);
            // A full list of spare vectors only means that this one is freed.
            drop(port.spare.push(records));
        }
        self.taken = taken;
    }

    fn deal(&mut self, record: Record, now: Time) {
        let index = record.stream.index();
        let slot = self.slots[index]
            .as_mut()
            .expect("a stream is announced before its records");
        slot.stream
            .last_used
            .store(now.as_nanos(), Ordering::Relaxed);
        slot.deal(record);
        Self::list(&mut self.listed, slot, index);
    }

    fn list(listed: &mut Vec<usize>, slot: &mut StreamSlot, index: usize) {
        if !std::mem::replace(&mut slot.listed, true) {
            listed.push(index);
        }
    }

    fn control(&mut self, control: Control) -> bool {
        match control {
            Control::Opened(stream) => {
                let index = stream.id().index();
                if self.slots.len() <= index {
                    self.slots.resize_with(index + 1, || None);
                }
                self.slots[index] = Some(StreamSlot::new(Arc::clone(&stream)));
                self.shared.emit(SinkEvent::Opened(stream));
            }
            Control::Map {
                stream,
                map,
                returned,
            } => self.install(&stream, map, returned),
        }
        true
    }

    /// Deals everything of the stream again under a new map, in sequence order.
    fn install(&mut self, stream: &Arc<Stream>, map: Arc<ShardMap>, returned: Vec<Record>) {
        let index = stream.id().index();
        let slot = match self.slots.get_mut(index).and_then(Option::as_mut) {
            Some(slot) if Arc::ptr_eq(&slot.stream, stream) => slot,
            _ => {
                // The stream was let go while its map was on the way: then nothing of it was pending.
                debug_assert!(returned.is_empty(), "records of a stream that was let go");
                return;
            }
        };
        let mut records = slot.take_back();
        records.extend(returned);
        records.sort_unstable_by_key(|record| record.seq);
        slot.epoch += 1;
        let table = Arc::new(LaneTable::new(slot.epoch, map, &self.wake));
        let tails = table.lanes.iter().map(|_| Vec::new()).collect();
        slot.dealing = Dealing::Lanes {
            table: Arc::clone(&table),
            tails,
        };
        stream.set_table(Arc::clone(&table));
        for record in records {
            slot.deal(record);
        }
        Self::list(&mut self.listed, slot, index);
        self.shared.emit(SinkEvent::Lanes {
            stream: Arc::clone(stream),
            table,
        });
    }

    fn push_all_tails(&mut self) -> bool {
        let mut news = false;
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&index| {
            let Some(slot) = &mut self.slots[index] else {
                return false;
            };
            if slot.push_tails() && !slot.stream.ready.swap(true, Ordering::SeqCst) {
                self.shared.emit(SinkEvent::Ready(Arc::clone(&slot.stream)));
                news = true;
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

    /// Lets streams go that nobody has used for the configured time.
    fn close_idle(&mut self, now: Time) -> bool {
        let idle = self.shared.config.stream_idle;
        let mut closed_any = false;
        for slot in &mut self.slots {
            let Some(stream) = slot.as_ref().map(|slot| &slot.stream) else {
                continue;
            };
            let last_used = Time::from_nanos(stream.last_used.load(Ordering::Relaxed));
            if now.since(last_used) < idle || !self.shared.streams.close(stream) {
                continue;
            }
            let id = stream.id();
            *slot = None;
            self.shared.emit(SinkEvent::Closed(id));
            // The event is queued before the id is free, so the sink hears of the end before a new beginning.
            self.shared.streams.forget(id);
            closed_any = true;
        }
        closed_any
    }
}
