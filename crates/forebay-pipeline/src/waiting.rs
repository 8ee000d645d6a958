//! Messages that found no room, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::Ticket;

use crate::admission::Promise;
use crate::budget::NoRoom;
#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::shared::Shared;
use crate::sync::AtomicU32;
use crate::{Record, Stream, StreamId};

/// Wills and the like that may wait without a connection of their own, per worker.
pub(crate) const DETACHED_MAX: usize = 1024;

/// What a reservation needs: bytes per stream.
pub(crate) type Needs = Vec<(Arc<Stream>, u64)>;

/// Which budget a message waits for.
#[derive(Debug, Clone)]
pub(crate) enum Blocked {
    Ingest,
    Stream(Arc<Stream>),
}

impl Blocked {
    fn counter<'a>(&'a self, shared: &'a Shared) -> &'a AtomicU32 {
        match self {
            Self::Ingest => &shared.ingest_waiters,
            Self::Stream(stream) => &stream.waiters,
        }
    }
}

/// What became of a try to take room, and which budget had none.
pub(crate) type Taken = Result<(), (NoRoom, Blocked)>;

/// One evaluated message without room.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) records: Vec<Record>,
    pub(crate) needs: Needs,
    /// The publish behind it; `None` for wills.
    pub(crate) ticket: Option<Ticket>,
    /// What its publisher was promised.
    pub(crate) promise: Promise,
    pub(crate) blocked: Blocked,
}

/// Takes room for a whole message, or nothing.
pub(crate) fn reserve(shared: &Shared, needs: &Needs) -> Taken {
    let total = needs.iter().map(|(_, bytes)| bytes).sum();
    look(shared, needs, total)?;
    for (index, (stream, bytes)) in needs.iter().enumerate() {
        if let Err(reason) = stream.share.reserve(*bytes) {
            undo(shared, &needs[..index]);
            return Err((reason, Blocked::Stream(Arc::clone(stream))));
        }
    }
    shared.ingest.reserve(total).map_err(|reason| {
        undo(shared, needs);
        (reason, Blocked::Ingest)
    })
}

/// Looks whether there is room for all of it: what certainly finds none must not take for a moment what another worker
/// looks for. A message for a stream that is stuck would do so on every try.
fn look(shared: &Shared, needs: &Needs, total: u64) -> Taken {
    #[cfg(all(test, forebay_loom))]
    if is_planted(Fault::TakeForAMoment) {
        return Ok(());
    }
    for (stream, bytes) in needs {
        let found = stream.share.look(*bytes);
        found.map_err(|reason| (reason, Blocked::Stream(Arc::clone(stream))))?;
    }
    let found = shared.ingest.look(total);
    found.map_err(|reason| (reason, Blocked::Ingest))
}

/// Gives back what was taken for a message that did not find the rest. Who looked for room meanwhile may have missed it
/// and waits, although nothing that could be settled holds it.
fn undo(shared: &Shared, needs: &[(Arc<Stream>, u64)]) {
    for (stream, bytes) in needs {
        stream.share.release(*bytes);
    }
    #[cfg(all(test, forebay_loom))]
    if is_planted(Fault::TakeForAMoment) {
        return;
    }
    if !needs.is_empty() {
        shared.signal_room();
    }
}

/// The waiting messages of one worker.
#[derive(Debug, Default)]
pub(crate) struct WaitingList {
    parked: VecDeque<Parked>,
    detached: usize,
}

impl WaitingList {
    /// Whether one more message without a connection may wait.
    pub(crate) fn takes_detached(&self) -> bool {
        self.detached < DETACHED_MAX
    }

    /// Takes room for a message that has not waited. Behind those that wait for the same room there is none.
    pub(crate) fn find_room(shared: &Shared, needs: &Needs) -> Taken {
        match Self::somebody_waits(shared, needs) {
            Some(blocked) => Err((NoRoom::Full, blocked)),
            None => reserve(shared, needs),
        }
    }

    /// Whether somebody waits for room that these needs would take.
    fn somebody_waits(shared: &Shared, needs: &Needs) -> Option<Blocked> {
        if shared.ingest_waiters.load(Ordering::SeqCst) > 0 {
            return Some(Blocked::Ingest);
        }
        let (stream, _) = needs
            .iter()
            .find(|(stream, _)| stream.waiters.load(Ordering::SeqCst) > 0)?;
        Some(Blocked::Stream(Arc::clone(stream)))
    }

    /// Lets a message of a worker wait.
    pub(crate) fn push(&mut self, shared: &Shared, worker: usize, parked: Parked) {
        parked
            .blocked
            .counter(shared)
            .fetch_add(1, Ordering::SeqCst);
        shared.counts.parked.fetch_add(1, Ordering::SeqCst);
        self.detached += usize::from(parked.ticket.is_none());
        self.parked.push_back(parked);
        let port = &shared.workers[worker];
        port.waiting.store(true, Ordering::SeqCst);
        #[cfg(all(test, forebay_loom))]
        if is_planted(Fault::NoLookAfterParking) {
            return;
        }
        // Room may have been given back between the failed reservation and the line above, when nobody could know
        // that this worker waits: look once more on the next turn.
        port.room.store(true, Ordering::SeqCst);
        port.wake.wake();
    }

    /// Looks whether room was given back, and tries every message again, oldest first. `admit` takes room for it and
    /// takes it over, or says what is missing. A message that still finds no room holds back the later ones of its
    /// streams; one that waits for the whole budget holds back all later ones.
    pub(crate) fn resume(
        &mut self,
        shared: &Shared,
        worker: usize,
        mut admit: impl FnMut(&mut Parked) -> Result<(), Blocked>,
    ) {
        let port = &shared.workers[worker];
        if !port.room.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut blocked: Vec<StreamId> = Vec::new();
        let mut all_blocked = false;
        for _ in 0..self.parked.len() {
            let Some(mut parked) = self.parked.pop_front() else {
                break;
            };
            let behind = all_blocked
                || parked
                    .needs
                    .iter()
                    .any(|(stream, _)| blocked.contains(&stream.id()));
            let tried = if behind {
                None
            } else {
                Some(admit(&mut parked))
            };
            if let Some(Ok(())) = tried {
                self.forget(shared, &parked);
                continue;
            }
            if let Some(Err(now_blocked)) = tried {
                all_blocked = matches!(now_blocked, Blocked::Ingest);
                now_blocked.counter(shared).fetch_add(1, Ordering::SeqCst);
                parked
                    .blocked
                    .counter(shared)
                    .fetch_sub(1, Ordering::SeqCst);
                parked.blocked = now_blocked;
            }
            blocked.extend(parked.needs.iter().map(|(stream, _)| stream.id()));
            self.parked.push_back(parked);
        }
        self.stop_waiting_when_empty(shared, worker);
    }

    /// Drops the messages of a connection that is gone. Returns how many records they had.
    pub(crate) fn abandon(
        &mut self,
        shared: &Shared,
        worker: usize,
        connection: u32,
        generation: u32,
    ) -> usize {
        let mut dropped = 0;
        for _ in 0..self.parked.len() {
            let Some(parked) = self.parked.pop_front() else {
                break;
            };
            let gone = parked.ticket.is_some_and(|ticket| {
                ticket.connection == connection && ticket.generation == generation
            });
            if gone {
                dropped += parked.records.len();
                self.forget(shared, &parked);
            } else {
                self.parked.push_back(parked);
            }
        }
        if dropped > 0 {
            self.stop_waiting_when_empty(shared, worker);
            // Whoever waited behind it, on whichever worker, may find room now.
            shared.signal_room();
        }
        dropped
    }

    fn stop_waiting_when_empty(&self, shared: &Shared, worker: usize) {
        if self.parked.is_empty() {
            shared.workers[worker]
                .waiting
                .store(false, Ordering::SeqCst);
        }
    }

    fn forget(&mut self, shared: &Shared, parked: &Parked) {
        parked
            .blocked
            .counter(shared)
            .fetch_sub(1, Ordering::SeqCst);
        shared.counts.parked.fetch_sub(1, Ordering::SeqCst);
        self.detached -= usize::from(parked.ticket.is_none());
    }
}
