//! Packet ids of QoS 2 publishes between their PUBLISH and their PUBREL: what makes "exactly once" of a repetition.

use std::collections::BTreeMap;

/// Where an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboundId {
    /// Its PUBREC has not left.
    Pending,
    /// Its PUBREC has left; PUBREL is to come.
    Received,
    /// The same, and the log owns the id.
    ReceivedInLog,
    /// Its PUBREL has come and goes into the log; PUBCOMP waits for that.
    Releasing,
}

/// The ids of one client. Their number is bounded by whoever adds them.
#[derive(Debug, Default)]
pub(crate) struct InboundIds {
    ids: BTreeMap<u16, InboundId>,
    /// Those whose PUBREC has left.
    received: usize,
}

impl InboundIds {
    pub(crate) fn get(&self, id: u16) -> Option<InboundId> {
        self.ids.get(&id).copied()
    }

    /// Ids whose PUBREC has left.
    pub(crate) fn received(&self) -> usize {
        self.received
    }

    /// A new publish with this id has come.
    pub(crate) fn open(&mut self, id: u16) {
        self.remove(id);
        self.ids.insert(id, InboundId::Pending);
    }

    /// The PUBREC of `id` leaves; `in_log` when the log owns the id from now on.
    pub(crate) fn answered(&mut self, id: u16, in_log: bool) {
        if let Some(state @ InboundId::Pending) = self.ids.get_mut(&id) {
            *state = match in_log {
                true => InboundId::ReceivedInLog,
                false => InboundId::Received,
            };
            self.received += 1;
        }
    }

    /// The PUBREL of `id`, which the log owns, goes into the log.
    pub(crate) fn releasing(&mut self, id: u16) {
        if let Some(state) = self.ids.get_mut(&id) {
            debug_assert_eq!(*state, InboundId::ReceivedInLog);
            *state = InboundId::Releasing;
        }
    }

    /// Forgets `id`. False when it was not known.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        let removed = self.ids.remove(&id);
        let was_pending = removed.is_none_or(|state| state == InboundId::Pending);
        self.received -= usize::from(!was_pending);
        removed.is_some()
    }
}
