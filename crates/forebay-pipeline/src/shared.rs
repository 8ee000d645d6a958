//! What the ends of the pipeline share: budgets, mailboxes and counts. Everything here is an atomic or a queue.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use forebay_core::ShardMap;
use forebay_spool::Event;

use crate::budget::Budget;
use crate::error_action::{FailedRecord, RESERVED_BYTES};
use crate::mailbox::Mailbox;
#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::rule_book::RuleBook;
use crate::sink::SinkEvent;
use crate::stream::Streams;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, SetOnce, fence};
use crate::{Inherited, LogStatus, OverloadStage, PipelineConfig, Record, Stream, StreamId};

/// Wakes the owner of a mailbox. May be called from any thread, often, and when there is nothing to do.
pub trait Wake: Send + Sync {
    /// Makes the owner look into its mailbox soon.
    fn wake(&self);
}

/// A place for a [`Wake`] that is known only after the mailbox was made.
#[derive(Default)]
pub(crate) struct WakeSlot(SetOnce<Arc<dyn Wake>>);

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
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wake(&self) {
        #[cfg(all(test, forebay_loom))]
        let fence = |order| match is_planted(Fault::NoFenceBeforeWake) {
            true => (),
            false => fence(order),
        };
        // Whoever sets its wake looks into its mailbox behind a fence too: either it finds what was put in before this
        // line, or the wake is found here.
        fence(Ordering::SeqCst);
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
    /// Bounded by the packet ids that the clients may have open.
    pub(crate) released: Mailbox<Released>,
    /// The worker has parked messages.
    pub(crate) waiting: AtomicBool,
    /// Room was given back since the worker last looked.
    pub(crate) room: AtomicBool,
    /// Records that failed at the service, for their error actions. Bounded by the budgets that they hold room of.
    pub(crate) failed: Mailbox<FailedRecord>,
    /// The worker waits for room in the reserve of error documents.
    pub(crate) error_waits: AtomicBool,
    pub(crate) wake: WakeSlot,
}

impl WorkerPort {
    fn new() -> Self {
        Self {
            staged_records: AtomicUsize::new(0),
            spare: ArrayQueue::new(SPARE_VECTORS),
            finished: Mailbox::new(),
            released: Mailbox::new(),
            waiting: AtomicBool::new(false),
            room: AtomicBool::new(false),
            failed: Mailbox::new(),
            error_waits: AtomicBool::new(false),
            wake: WakeSlot::default(),
        }
    }
}

/// A QoS 2 packet id was released: its PUBCOMP may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Index of the connection on its worker.
    pub connection: u32,
    /// Tells apart the connections that used the index.
    pub generation: u32,
    /// The packet id.
    pub packet_id: u16,
}

/// A change of the QoS 2 packet ids that the log owns, at its place among the records of a worker.
#[derive(Debug)]
pub(crate) struct IdEvent {
    /// Index of the record that it stands before; the records of the publish that opens an id follow it.
    pub(crate) at: usize,
    pub(crate) event: Event,
    /// Who waits for it, on which worker.
    pub(crate) waiting: Option<Released>,
}

/// What a worker hands over in one turn.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) worker: usize,
    pub(crate) records: Vec<Record>,
    pub(crate) ids: Vec<IdEvent>,
}

/// A record of the log that needs no place in a lane any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettledLog {
    pub(crate) log: u64,
    pub(crate) stream: StreamId,
    pub(crate) lane: u32,
    pub(crate) charge: u32,
    /// Bytes of its data and partition key.
    pub(crate) bytes: u32,
}

impl SettledLog {
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            log: record.log,
            stream: record.stream,
            lane: record.lane,
            charge: record.charge,
            bytes: u32::try_from(record.kinesis_len()).unwrap_or(u32::MAX),
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
    /// Records that failed and wait for their error action.
    pub(crate) failing: AtomicUsize,
    /// Records that are owed, lie in the log, and are nowhere in memory.
    pub(crate) on_disk: AtomicU64,
    /// Records that are owed and lie in the log, in memory or not.
    pub(crate) owed: AtomicU64,
    /// Messages that are parked.
    pub(crate) parked: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: PipelineConfig,
    pub(crate) ingest: Budget,
    /// Room for error documents besides the ingest budget, which they overdraw by no more than this.
    pub(crate) error_reserve: Budget,
    /// Messages that wait for room in the ingest budget as a whole.
    pub(crate) ingest_waiters: AtomicU32,
    pub(crate) streams: Streams,
    pub(crate) workers: Box<[CachePadded<WorkerPort>]>,
    /// What the workers handed over. One queue for all of them: what one worker hands over after another has done so
    /// is sequenced after it, which keeps the order of a device that reconnects. Bounded by the ingest budget, of
    /// which every staged record holds its part, and by the packet ids that clients may have open.
    pub(crate) staged: Mailbox<Staged>,
    /// True when there is a log.
    pub(crate) has_log: bool,
    /// Records of the log that were settled. Bounded by the budget of the lanes, of which each holds its part.
    pub(crate) settled: Mailbox<Vec<SettledLog>>,
    /// How full the log is, as an [`OverloadStage`].
    pub(crate) overload: AtomicU8,
    pub(crate) log_status: ArcSwapOption<LogStatus>,
    /// The number of the newest request to read the whole log.
    pub(crate) check_asked: AtomicU64,
    /// What the log owed when it was opened; set before anything runs.
    pub(crate) inherited: OnceLock<Inherited>,
    /// At most two entries per stream in use and map change.
    pub(crate) control: Mailbox<Control>,
    /// At most one entry of each kind per stream in use.
    pub(crate) events: Mailbox<SinkEvent>,
    pub(crate) sequencer_wake: WakeSlot,
    pub(crate) sink_wake: WakeSlot,
    pub(crate) counts: Counts,
    pub(crate) rules: RuleBook,
    pub(crate) draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: PipelineConfig, rules: RuleBook, has_log: bool) -> Self {
        let share = (config.ingest_bytes as f64 * config.per_stream_share) as u64;
        Self {
            ingest: Budget::new(config.ingest_bytes),
            error_reserve: Budget::new(RESERVED_BYTES),
            ingest_waiters: AtomicU32::new(0),
            streams: Streams::new(config.max_streams, share, config.ordering),
            workers: (0..config.workers)
                .map(|_| CachePadded::new(WorkerPort::new()))
                .collect(),
            staged: Mailbox::new(),
            has_log,
            settled: Mailbox::new(),
            overload: AtomicU8::new(0),
            log_status: ArcSwapOption::empty(),
            check_asked: AtomicU64::new(0),
            inherited: OnceLock::new(),
            control: Mailbox::new(),
            events: Mailbox::new(),
            sequencer_wake: WakeSlot::default(),
            sink_wake: WakeSlot::default(),
            counts: Counts::default(),
            rules,
            draining: AtomicBool::new(false),
            config,
        }
    }

    /// True when no worker has handed anything over that the sequencer has not taken.
    pub(crate) fn nothing_staged(&self) -> bool {
        self.staged.is_empty()
    }

    /// How full the log is.
    pub(crate) fn overload_stage(&self) -> OverloadStage {
        OverloadStage::from_level(self.overload.load(Ordering::Relaxed))
    }

    /// Hands every worker its list of finished records, by worker, and wakes those that got one.
    pub(crate) fn send_finished(&self, lists: &mut [Vec<Finished>]) {
        for (worker, finished) in self.workers.iter().zip(lists) {
            if !finished.is_empty() {
                let room_for_next = Vec::with_capacity(finished.len());
                worker
                    .finished
                    .push(std::mem::replace(finished, room_for_next));
                worker.wake.wake();
            }
        }
    }

    /// A record that is in no log has failed, and something else answers for it: gives its room back.
    pub(crate) fn release_failed(&self, stream: &Arc<Stream>, record: &Record) {
        let charge = u64::from(record.charge);
        stream.share.release(charge);
        self.ingest.release(charge);
        self.signal_room();
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
        if self.note_ready(stream) {
            self.sink_wake.wake();
        }
    }

    /// As [`emit_ready`](Self::emit_ready), but leaves the wake to the caller: true when one is needed.
    pub(crate) fn note_ready(&self, stream: &Arc<Stream>) -> bool {
        let news = !stream.ready.swap(true, Ordering::SeqCst);
        if news {
            self.emit(SinkEvent::Ready(Arc::clone(stream)));
        }
        news
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
