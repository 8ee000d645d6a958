//! Packet ids of QoS 2 publishes between their PUBLISH and their PUBREL: what makes "exactly once" of a repetition.

use std::collections::BTreeMap;

/// Where an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboundId {
    /// Its PUBREC has not left.
    Pending,
    /// Its PUBREC has left; PUBREL is to come.
    Received,
}

/// The ids of one client. Their number is bounded by whoever adds them.
#[derive(Debug, Default)]
pub(crate) struct InboundIds {
    ids: BTreeMap<u16, InboundId>,
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

    /// The PUBREC of `id` leaves.
    pub(crate) fn answered(&mut self, id: u16) {
        if let Some(state @ InboundId::Pending) = self.ids.get_mut(&id) {
            *state = InboundId::Received;
            self.received += 1;
        }
    }

    /// Forgets `id`. False when it was not known.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        let removed = self.ids.remove(&id);
        self.received -= usize::from(removed == Some(InboundId::Received));
        removed.is_some()
    }
}
