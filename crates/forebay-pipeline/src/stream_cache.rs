//! One worker's memory of the streams that it has written to, so that a publish takes no lock to find its stream.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use forebay_core::{StreamName, Time};

use crate::Stream;
#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::shared::{Control, Shared};
use crate::stream::TooManyStreams;

#[derive(Debug)]
pub(crate) struct StreamCache {
    by_name: HashMap<StreamName, Arc<Stream>, RandomState>,
    max: usize,
}

impl StreamCache {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            by_name: HashMap::default(),
            max,
        }
    }

    /// The stream of this name, opened if it is not in use yet. It may have been let go meanwhile; a reservation
    /// tells.
    pub(crate) fn open(
        &mut self,
        shared: &Shared,
        name: &StreamName,
        now: Time,
    ) -> Result<&Arc<Stream>, TooManyStreams> {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= self.max {
                // Streams that were let go still have their names here: forget all and look up again as needed.
                self.by_name.clear();
            }
            let stream = lookup(shared, name, now)?;
            self.by_name.insert(name.clone(), stream);
        }
        Ok(&self.by_name[name])
    }

    /// Looks a stream up again that was let go.
    pub(crate) fn reopen(
        &mut self,
        shared: &Shared,
        stream: &Stream,
        now: Time,
    ) -> Result<&Arc<Stream>, TooManyStreams> {
        self.by_name.remove(stream.name());
        self.open(shared, stream.name(), now)
    }
}

fn lookup(shared: &Shared, name: &StreamName, now: Time) -> Result<Arc<Stream>, TooManyStreams> {
    #[cfg(all(test, forebay_loom))]
    if is_planted(Fault::AnnounceLate) {
        let mut opened = false;
        let stream = shared.streams.open(name, now, |_| opened = true)?;
        if opened {
            shared.control.push(Control::Opened(Arc::clone(&stream)));
            shared.sequencer_wake.wake();
        }
        return Ok(stream);
    }
    shared.streams.open(name, now, |stream| {
        shared.control.push(Control::Opened(Arc::clone(stream)));
        shared.sequencer_wake.wake();
    })
}
