//! The streams in use: their share of the budget, their strictest ordering, and when they are let go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use arc_swap::ArcSwapOption;
use forebay_core::{Ordering, ShardMap, StreamName, Time};

use crate::LaneTable;
use crate::budget::Budget;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, MutexGuard};

/// Names a stream while it is in use. Ids of streams that were let go are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The id as an index: small numbers, densely used.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One stream in use.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    name: StreamName,
    ordering: AtomicU8,
    table: ArcSwapOption<LaneTable>,
    /// Its share of the ingest budget.
    pub(crate) share: Budget,
    /// Messages that wait for room in this stream, over all workers.
    pub(crate) waiters: AtomicU32,
    /// Bytes of droppable records that should make room.
    shed: AtomicU64,
    /// Set while a `Ready` event is queued, so that there is at most one.
    pub(crate) ready: AtomicBool,
    /// When a record was last dealt, nanoseconds of the clock.
    pub(crate) last_used: AtomicU64,
}

impl Stream {
    /// Its id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// The strictest ordering of the rules that have written to it so far.
    pub fn ordering(&self) -> Ordering {
        let level = self.ordering.load(Atomic::Relaxed);
        Ordering::ALL
            .get(usize::from(level))
            .copied()
            .unwrap_or(Ordering::Strict)
    }

    pub(crate) fn raise_ordering(&self, ordering: Ordering) {
        // Relaxed: the level only rises and guards nothing else; a consumer that sees it a moment late is in the state
        // it would be in had the rule been a moment later.
        let level = ordering as u8;
        if self.ordering.load(Atomic::Relaxed) < level {
            self.ordering.fetch_max(level, Atomic::Relaxed);
        }
    }

    /// The shard map in force, `None` until the first one is known.
    pub fn map(&self) -> Option<Arc<ShardMap>> {
        self.table
            .load()
            .as_ref()
            .map(|table| Arc::clone(&table.map))
    }

    /// Records that are queued in its lanes.
    pub(crate) fn queued(&self) -> usize {
        self.table.load().as_ref().map_or(0, |table| table.len())
    }

    pub(crate) fn set_table(&self, table: Arc<LaneTable>) {
        self.table.store(Some(table));
    }

    /// Bytes of records that are admitted and not settled.
    pub fn used_bytes(&self) -> u64 {
        self.share.used()
    }

    /// Bytes that its records can hold at most.
    pub fn share_bytes(&self) -> u64 {
        self.share.limit()
    }

    pub(crate) fn request_shed(&self, bytes: u64) {
        // Before the stream is said to be ready: whoever finds it ready already leaves the rest to the one look that is
        // still to come, which has to find this.
        self.shed.fetch_add(bytes, Atomic::SeqCst);
    }

    /// Takes the number of bytes that droppable queued records should give up, oldest first (`drop_oldest`).
    pub fn take_shed(&self) -> u64 {
        self.shed.swap(0, Atomic::SeqCst)
    }
}

/// Too many streams are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many streams in use: kinesis.max_streams = {max}")]
pub struct TooManyStreams {
    /// The limit.
    pub max: usize,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<StreamName, Arc<Stream>>,
    free: Vec<u32>,
    next: u32,
}

/// All streams in use, by name.
#[derive(Debug)]
pub(crate) struct Streams {
    names: Mutex<Names>,
    max: usize,
    share_bytes: u64,
    default_ordering: Ordering,
}

impl Streams {
    pub(crate) fn new(max: usize, share_bytes: u64, default_ordering: Ordering) -> Self {
        Self {
            names: Mutex::default(),
            max,
            share_bytes,
            default_ordering,
        }
    }

    /// The stream of this name; `opened` is called while the name is still locked when it was not in use before, so
    /// that nobody sees the stream before its opening was announced.
    pub(crate) fn open(
        &self,
        name: &StreamName,
        now: Time,
        opened: impl FnOnce(&Arc<Stream>),
    ) -> Result<Arc<Stream>, TooManyStreams> {
        let mut names = self.lock();
        if let Some(stream) = names.by_name.get(name) {
            return Ok(Arc::clone(stream));
        }
        if names.by_name.len() >= self.max {
            return Err(TooManyStreams { max: self.max });
        }
        let id = names.free.pop().unwrap_or_else(|| {
            names.next += 1;
            names.next - 1
        });
        let stream = Arc::new(Stream {
            id: StreamId(id),
            name: name.clone(),
            ordering: AtomicU8::new(self.default_ordering as u8),
            table: ArcSwapOption::empty(),
            share: Budget::new(self.share_bytes),
            waiters: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            last_used: AtomicU64::new(now.as_nanos()),
        });
        names.by_name.insert(name.clone(), Arc::clone(&stream));
        opened(&stream);
        Ok(stream)
    }

    /// Lets a stream go if nothing of it is in use. Its id stays taken until [`forget`](Self::forget).
    pub(crate) fn close(&self, stream: &Stream) -> bool {
        let mut names = self.lock();
        // Under the lock: nobody can look the name up between the closing and the removal.
        let closed = stream.share.close_if_unused();
        if closed {
            names.by_name.remove(stream.name());
        }
        closed
    }

    /// Makes the id of a closed stream free, once nobody refers to it any more.
    pub(crate) fn forget(&self, id: StreamId) {
        self.lock().free.push(id.0);
    }

    pub(crate) fn in_use(&self) -> Vec<Arc<Stream>> {
        let mut streams: Vec<_> = self.lock().by_name.values().cloned().collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names
            .lock()
            .expect("no panic while the names are locked")
    }
}
