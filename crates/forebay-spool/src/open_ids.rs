//! The QoS 2 packet ids that are open: their PUBLISH is spooled, their PUBREL has not come.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::{Fields, len_u32, put_text};

/// Open ids that one client may have. Twice the greatest Receive Maximum would allow more ids than exist.
const IDS_PER_CLIENT_MAX: usize = 65_535;

/// A change of the table of open ids. It is part of the log without a sequence number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A QoS 2 PUBLISH with this id was taken; travels with its records.
    Open {
        /// Client that published.
        client: String,
        /// Packet id.
        id: u16,
    },
    /// The PUBREL of this id was taken.
    Release {
        /// Client that published.
        client: String,
        /// Packet id.
        id: u16,
    },
    /// The session of this client is gone, and with it all its open ids.
    Forget {
        /// Client whose session ended.
        client: String,
    },
}

/// The table of open ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenIds {
    clients: BTreeMap<String, BTreeSet<u16>>,
}

impl OpenIds {
    /// True when a PUBLISH with this id is spooled and was not released.
    pub fn is_open(&self, client: &str, id: u16) -> bool {
        self.clients
            .get(client)
            .is_some_and(|ids| ids.contains(&id))
    }

    /// True when the client has any open id.
    pub fn has_client(&self, client: &str) -> bool {
        self.clients.contains_key(client)
    }

    /// All open ids by client.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u16)> {
        self.clients
            .iter()
            .flat_map(|(client, ids)| ids.iter().map(|id| (client.as_str(), *id)))
    }

    /// Number of open ids.
    pub fn len(&self) -> usize {
        self.clients.values().map(BTreeSet::len).sum()
    }

    /// True when no id is open.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Open { client, id } => {
                self.clients.entry(client.clone()).or_default().insert(*id);
            }
            Event::Release { client, id } => {
                if let Some(ids) = self.clients.get_mut(client) {
                    ids.remove(id);
                    if ids.is_empty() {
                        self.clients.remove(client);
                    }
                }
            }
            Event::Forget { client } => {
                self.clients.remove(client);
            }
        }
    }

    /// Forgets what an event speaks of, because it is not known whether it took place.
    pub(crate) fn doubt(&mut self, event: &Event) {
        match event {
            Event::Open { client, id } => self.apply(&Event::Release {
                client: client.clone(),
                id: *id,
            }),
            Event::Release { .. } | Event::Forget { .. } => self.apply(event),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.clients.clear();
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&len_u32(self.clients.len()).to_le_bytes());
        for (client, ids) in &self.clients {
            put_text(out, client);
            out.extend_from_slice(&len_u32(ids.len()).to_le_bytes());
            for id in ids {
                out.extend_from_slice(&id.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let mut clients = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let client = fields.text()?.to_owned();
            let len = usize::try_from(fields.u32()?).ok()?;
            if len > IDS_PER_CLIENT_MAX + 1 {
                return None;
            }
            let ids: BTreeSet<u16> = (0..len).map(|_| fields.u16()).collect::<Option<_>>()?;
            clients.insert(client, ids);
        }
        Some(Self { clients })
    }
}

pub(crate) fn encode_event(out: &mut Vec<u8>, event: &Event) {
    let (kind, client, id) = match event {
        Event::Open { client, id } => (0_u8, client, *id),
        Event::Release { client, id } => (1, client, *id),
        Event::Forget { client } => (2, client, 0),
    };
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    put_text(out, client);
}

pub(crate) fn decode_event(fields: &mut Fields<'_>) -> Option<Event> {
    let kind = fields.u8()?;
    let id = fields.u16()?;
    let client = fields.text()?.to_owned();
    match kind {
        0 => Some(Event::Open { client, id }),
        1 => Some(Event::Release { client, id }),
        2 => Some(Event::Forget { client }),
        _ => None,
    }
}
