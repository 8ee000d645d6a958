//! What the ends of the pipeline share: budgets, mailboxes and counts. Everything here is an atomic or a queue.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use forebay_core::ShardMap;

use crate::budget::Budget;
use crate::mailbox::Mailbox;
use crate::sink::SinkEvent;
use crate::stream::Streams;
use crate::tally::ActionCounters;
use crate::{PipelineConfig, Record, Stream};

/// Wakes the owner of a mailbox. May be called from any thread, often, and when there is nothing to do.
pub trait Wake: Send + Sync {
    /// Makes the owner look into its mailbox soon.
    fn wake(&self);
}

/// A place for a [`Wake`] that is known only after the mailbox was made.
#[derive(Default)]
pub(crate) struct WakeSlot(OnceLock<Arc<dyn Wake>>);

impl fmt::Debug for WakeSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WakeSlot")
    }
}

impl WakeSlot {
    /// Sets the wake; the first one stays.
    pub(crate) fn set(&self, wake: Arc<dyn Wake>) {
        // What was put into the mailbox before is found by the owner, who looks once after it has set its wake.
        drop(self.0.set(wake));
    }

    pub(crate) fn wake(&self) {
        if let Some(wake) = self.0.get() {
            wake.wake();
        }
    }
}

/// One record of a publish was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Index of the connection on its worker.
    pub connection: u32,
    /// Tells apart the connections that used the index.
    pub generation: u32,
    /// Slot of the publish in the connection's [`AckRing`](crate::AckRing).
    pub slot: u32,
    /// True when the record failed for good.
    pub failed: bool,
}

/// Vectors that wait to be used again between one worker and the sequencer.
const SPARE_VECTORS: usize = 8;

/// Both directions between one ingest worker and the rest.
#[derive(Debug)]
pub(crate) struct WorkerPort {
    /// Records of this worker that the sequencer has not taken.
    pub(crate) staged_records: AtomicUsize,
    pub(crate) spare: ArrayQueue<Vec<Record>>,
    /// Bounded by the acknowledgement rings, in which every entry has an open slot.
    pub(crate) finished: Mailbox<Vec<Finished>>,
    /// The worker has parked messages.
    pub(crate) waiting: AtomicBool,
    /// Room was given back since the worker last looked.
    pub(crate) room: AtomicBool,
    pub(crate) wake: WakeSlot,
}

impl WorkerPort {
    fn new() -> Self {
        Self {
            staged_records: AtomicUsize::new(0),
            spare: ArrayQueue::new(SPARE_VECTORS),
            finished: Mailbox::new(),
            waiting: AtomicBool::new(false),
            room: AtomicBool::new(false),
            wake: WakeSlot::default(),
        }
    }
}

/// What the sequencer is told besides records.
#[derive(Debug)]
pub(crate) enum Control {
    /// A stream is used for the first time.
    Opened(Arc<Stream>),
    /// A stream has a new map; `returned` is what its consumer still held.
    Map {
        stream: Arc<Stream>,
        map: Arc<ShardMap>,
        returned: Vec<Record>,
    },
}

/// Records by what became of them. `accepted` is counted before a record is visible to anybody else and the others
/// after it has left, so that `accepted - stored - failed` is never below what is pending.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: CachePadded<AtomicU64>,
    pub(crate) stored: CachePadded<AtomicU64>,
    pub(crate) failed: CachePadded<AtomicU64>,
    /// Records that the sequencer holds.
    pub(crate) sequencer: AtomicUsize,
    /// Records that the sink holds.
    pub(crate) sink: AtomicUsize,
    /// Messages that are parked.
    pub(crate) parked: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: PipelineConfig,
    pub(crate) ingest: Budget,
    /// Messages that wait for room in the ingest budget as a whole.
    pub(crate) ingest_waiters: AtomicU32,
    pub(crate) streams: Streams,
    pub(crate) workers: Box<[CachePadded<WorkerPort>]>,
    /// What the workers handed over, with the index of each. One queue for all of them: what one worker hands over
    /// after another has done so is sequenced after it, which keeps the order of a device that reconnects. Bounded by
    /// the ingest budget, of which every staged record holds its part.
    pub(crate) staged: Mailbox<(usize, Vec<Record>)>,
    /// At most two entries per stream in use and map change.
    pub(crate) control: Mailbox<Control>,
    /// At most one entry of each kind per stream in use.
    pub(crate) events: Mailbox<SinkEvent>,
    pub(crate) sequencer_wake: WakeSlot,
    pub(crate) sink_wake: WakeSlot,
    pub(crate) counts: Counts,
    /// How the actions of each rule ended, by rule index.
    pub(crate) actions: Box<[ActionCounters]>,
    pub(crate) draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: PipelineConfig, actions: Box<[ActionCounters]>) -> Self {
        let share = (config.ingest_bytes as f64 * config.per_stream_share) as u64;
        Self {
            ingest: Budget::new(config.ingest_bytes),
            ingest_waiters: AtomicU32::new(0),
            streams: Streams::new(config.max_streams, share, config.ordering),
            workers: (0..config.workers)
                .map(|_| CachePadded::new(WorkerPort::new()))
                .collect(),
            staged: Mailbox::new(),
            control: Mailbox::new(),
            events: Mailbox::new(),
            sequencer_wake: WakeSlot::default(),
            sink_wake: WakeSlot::default(),
            counts: Counts::default(),
            actions,
            draining: AtomicBool::new(false),
            config,
        }
    }

    /// Tells every worker with parked messages that room was given back.
    pub(crate) fn signal_room(&self) {
        for worker in &self.workers {
            if worker.waiting.load(Ordering::SeqCst) {
                worker.room.store(true, Ordering::SeqCst);
                worker.wake.wake();
            }
        }
    }

    /// Tells the sink to look at a stream, unless it will anyway.
    pub(crate) fn emit_ready(&self, stream: &Arc<Stream>) {
        if !stream.ready.swap(true, Ordering::SeqCst) {
            self.emit(SinkEvent::Ready(Arc::clone(stream)));
            self.sink_wake.wake();
        }
    }

    /// Tells the sink about an event.
    pub(crate) fn emit(&self, event: SinkEvent) {
        self.events.push(event);
    }
}

/// The sequencer's wake as lanes hold it.
#[derive(Debug)]
pub(crate) struct SequencerWake(pub(crate) Arc<Shared>);

impl Wake for SequencerWake {
    fn wake(&self) {
        self.0.sequencer_wake.wake();
    }
}
