//! How far opening a directory has come, and which frame each thread decodes: what is left to say when that fails.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use bytes::Bytes;

use crate::frame::{Content, FrameHeader, decode_payload};

/// What opening a directory is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenPhase {
    /// Making the directory, locking it, reading what describes it.
    #[default]
    Directory,
    /// Reading the two checkpoints.
    Checkpoints,
    /// Looking at the segments and reading their frames.
    Segments,
    /// Writing again what may not be on disk.
    Writing,
    /// It is open.
    Open,
}

/// A frame, by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FramePlace {
    /// Number of the segment's file.
    pub slot: u32,
    /// Epoch of the segment.
    pub epoch: u64,
    /// Where the frame begins.
    pub offset: u64,
}

/// What a [`Spool`](crate::Spool) is at, for whoever must explain why it did not come further. It also names frames that
/// are not to be decoded, because doing so ended a process.
///
/// The checksum of such a frame is right: it is what was written, and something in this program cannot cope with it.
/// It is contained like damage: put into quarantine, counted, and its records are settled as lost.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    /// What is being decoded, one entry at most per thread.
    decoding: Mutex<Vec<(ThreadId, FramePlace)>>,
    contained: BTreeSet<FramePlace>,
    trap: Option<Vec<u8>>,
}

impl OpenPhase {
    const ALL: [Self; 5] = [
        Self::Directory,
        Self::Checkpoints,
        Self::Segments,
        Self::Writing,
        Self::Open,
    ];
}

impl Progress {
    /// Nothing has begun, and frames at these places are not to be decoded.
    pub fn new(contained: impl IntoIterator<Item = FramePlace>) -> Self {
        Self {
            contained: contained.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Decoding a frame that contains `bytes` panics from here on: for tests of what such a fault leads to.
    #[must_use]
    pub fn with_trap(mut self, bytes: Vec<u8>) -> Self {
        self.trap = Some(bytes).filter(|bytes| !bytes.is_empty());
        self
    }

    /// What opening is at.
    pub fn phase(&self) -> OpenPhase {
        OpenPhase::ALL[usize::from(self.phase.load(Ordering::Relaxed)) % OpenPhase::ALL.len()]
    }

    /// The frame that the calling thread decodes, or was decoding when it panicked.
    pub fn decoding(&self) -> Option<FramePlace> {
        let own = thread::current().id();
        let decoding = self.lock();
        let mut found = decoding.iter().filter(|(thread, _)| *thread == own);
        found.next().map(|(_, place)| *place)
    }

    /// Places of frames that are not to be decoded.
    pub fn contained(&self) -> &BTreeSet<FramePlace> {
        &self.contained
    }

    pub(crate) fn enter(&self, phase: OpenPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Reads the payload of a frame and lets `then` work with it. `None` when its writer was not this code, or when it
    /// is not to be decoded.
    pub(crate) fn decode<T>(
        &self,
        place: FramePlace,
        (header, payload): (&FrameHeader, &Bytes),
        then: impl FnOnce(Content) -> T,
    ) -> Option<T> {
        if self.contained.contains(&place) {
            return None;
        }
        self.during(place, || {
            self.spring(payload);
            decode_payload(header, payload).map(then)
        })
    }

    /// Works with what a frame holds. Should that panic, the place stays with the thread, for whoever asks why.
    pub fn during<T>(&self, place: FramePlace, work: impl FnOnce() -> T) -> T {
        let own = thread::current().id();
        self.lock().push((own, place));
        let done = work();
        self.lock().retain(|(thread, _)| *thread != own);
        done
    }

    fn spring(&self, payload: &[u8]) {
        if let Some(trap) = &self.trap {
            let sprung = payload.windows(trap.len()).any(|window| window == trap);
            assert!(
                !sprung,
                "a frame of {} bytes is a trap, set for a test",
                payload.len()
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ThreadId, FramePlace)>> {
        self.decoding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const PLACE: FramePlace = FramePlace {
        slot: 3,
        epoch: 9,
        offset: 4096,
    };

    #[test]
    fn a_place_stays_with_the_thread_that_panicked_there() {
        let progress = Progress::default();
        assert_eq!(progress.during(PLACE, || progress.decoding()), Some(PLACE));
        assert_eq!(progress.decoding(), None);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            progress.during(PLACE, || panic!("on purpose"));
        }));
        assert!(panicked.is_err());
        assert_eq!(progress.decoding(), Some(PLACE));
        thread::scope(|scope| {
            let other = scope.spawn(|| progress.decoding());
            assert_eq!(other.join().unwrap(), None);
        });
    }

    #[test]
    fn phases_are_told_apart() {
        let progress = Progress::default();
        for phase in OpenPhase::ALL {
            progress.enter(phase);
            assert_eq!(progress.phase(), phase);
        }
    }
}
