//! The sink adapter's end of the pipeline: events about streams and lanes, and the way back for maps.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::ShardMap;

#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::settlement::Settlement;
use crate::shared::{Control, Shared, Wake};
use crate::{Inherited, LaneTable, Record, Stream, StreamId};

/// What the sink adapter has to know.
#[derive(Debug, Clone)]
pub enum SinkEvent {
    /// A stream is used for the first time: find its shards and [install the map](SinkPort::install_map). Its records
    /// are held, within the stream's share, until then.
    Opened(Arc<Stream>),
    /// The stream has these lanes from now on; the answer to [`SinkPort::install_map`].
    Lanes {
        /// The stream.
        stream: Arc<Stream>,
        /// Its lanes. Those of an earlier table are empty and stay so.
        table: Arc<LaneTable>,
    },
    /// Lanes of the stream have new batches.
    Ready(Arc<Stream>),
    /// The stream was let go; nothing of it is pending. Its id may be used again.
    Closed(StreamId),
    /// Shutdown has begun: send what is there without waiting for more.
    Drain,
}

/// The sink adapter's end of the pipeline. There is one.
#[derive(Debug)]
pub struct SinkPort {
    shared: Arc<Shared>,
}

impl SinkPort {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sets what is woken when there are events. Look for events once after it: earlier ones woke nobody.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        self.shared.sink_wake.set(wake);
    }

    /// The next event, oldest first.
    pub fn next_event(&self) -> Option<SinkEvent> {
        let event = self.shared.events.pop()?;
        if let SinkEvent::Ready(stream) = &event {
            #[cfg(all(test, forebay_loom))]
            if is_planted(Fault::ReadyAfterLook) {
                return Some(event);
            }
            // Cleared before the caller looks into the lanes: a batch that comes later makes a new event.
            stream.ready.store(false, Ordering::SeqCst);
        }
        Some(event)
    }

    /// Gives a stream its first map or a new one. For a new one the caller has stopped taking from the lanes, has
    /// resolved what was in flight, and returns every record that it still holds; the sequencer deals those and what
    /// the old lanes hold to new lanes in sequence order and answers with [`SinkEvent::Lanes`].
    pub fn install_map(&self, stream: &Arc<Stream>, map: Arc<ShardMap>, returned: Vec<Record>) {
        self.shared.control.push(Control::Map {
            stream: Arc::clone(stream),
            map,
            returned,
        });
        self.shared.sequencer_wake.wake();
    }

    /// Says how many records the sink holds, counted by itself: part of the conservation law.
    pub fn set_held(&self, records: usize) {
        self.shared.counts.sink.store(records, Ordering::SeqCst);
    }

    /// What the log owes from earlier processes: the sink counts what it sends of that.
    pub fn inherited(&self) -> Option<Inherited> {
        self.shared.inherited.get().copied()
    }

    /// The door through which records leave.
    pub fn settlement(&self) -> Settlement {
        Settlement::new(Arc::clone(&self.shared))
    }
}
