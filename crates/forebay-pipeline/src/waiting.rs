//! Messages that found no room, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use forebay_core::Ticket;

use crate::admission::Promise;
use crate::budget::NoRoom;
use crate::shared::Shared;
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
pub(crate) fn reserve(shared: &Shared, needs: &Needs) -> Result<(), (NoRoom, Blocked)> {
    let mut total = 0;
    for (index, (stream, bytes)) in needs.iter().enumerate() {
        if let Err(reason) = stream.share.reserve(*bytes) {
            release_shares(&needs[..index]);
            return Err((reason, Blocked::Stream(Arc::clone(stream))));
        }
        total += bytes;
    }
    shared.ingest.reserve(total).map_err(|reason| {
        release_shares(needs);
        (reason, Blocked::Ingest)
    })
}

fn release_shares(needs: &[(Arc<Stream>, u64)]) {
    for (stream, bytes) in needs {
        stream.share.release(*bytes);
    }
}

/// The waiting messages of one worker.
#[derive(Debug, Default)]
pub(crate) struct WaitingList {
    parked: VecDeque<Parked>,
    detached: usize,
}

impl WaitingList {
    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Whether one more message without a connection may wait.
    pub(crate) fn takes_detached(&self) -> bool {
        self.detached < DETACHED_MAX
    }

    /// Whether somebody waits for room that these needs would take: then a newcomer waits behind.
    pub(crate) fn somebody_waits(shared: &Shared, needs: &Needs) -> Option<Blocked> {
        if shared.ingest_waiters.load(Ordering::SeqCst) > 0 {
            return Some(Blocked::Ingest);
        }
        let (stream, _) = needs
            .iter()
            .find(|(stream, _)| stream.waiters.load(Ordering::SeqCst) > 0)?;
        Some(Blocked::Stream(Arc::clone(stream)))
    }

    pub(crate) fn push(&mut self, shared: &Shared, parked: Parked) {
        parked
            .blocked
            .counter(shared)
            .fetch_add(1, Ordering::SeqCst);
        shared.counts.parked.fetch_add(1, Ordering::SeqCst);
        self.detached += usize::from(parked.ticket.is_none());
        self.parked.push_back(parked);
    }

    /// Hands every message that finds room now to `admit`, oldest first. A message that still finds none holds back
    /// the later ones of its streams; one that waits for the whole budget holds back all later ones.
    pub(crate) fn resume(&mut self, shared: &Shared, mut admit: impl FnMut(Parked)) {
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
                Some(reserve(shared, &parked.needs))
            };
            if let Some(Ok(())) = tried {
                self.forget(shared, &parked);
                admit(parked);
                continue;
            }
            if let Some(Err((_, now_blocked))) = tried {
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
    }

    /// Drops the messages of a connection that is gone. Returns how many records they had.
    pub(crate) fn abandon(&mut self, shared: &Shared, connection: u32, generation: u32) -> usize {
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
        dropped
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
