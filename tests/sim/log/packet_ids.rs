//! Which QoS 2 packet ids the log may have open after a restart, and which it must.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    May,
    /// Its publish was answered, and nothing that would close it was said.
    Must,
    /// Its release was answered: the device may use it for another message.
    MustNot,
}

/// The ids of all clients.
#[derive(Debug, Default)]
pub(super) struct PacketIds(BTreeMap<(String, u16), Known>);

impl PacketIds {
    fn set(&mut self, client: &str, id: u16, known: Known) {
        self.0.insert((client.to_owned(), id), known);
    }

    /// A publish with it is on its way into the log, or its release is.
    pub(super) fn changes(&mut self, client: &str, id: u16) {
        self.set(client, id, Known::May);
    }

    /// The publish with it was answered, and is in the log.
    pub(super) fn answered(&mut self, client: &str, id: u16) {
        self.set(client, id, Known::Must);
    }

    /// Its release was answered.
    pub(super) fn completed(&mut self, client: &str, id: u16) {
        self.set(client, id, Known::MustNot);
    }

    /// The log was told to forget the client.
    pub(super) fn forgets(&mut self, client: &str) {
        for ((owner, _), known) in &mut self.0 {
            if owner == client && *known == Known::Must {
                *known = Known::May;
            }
        }
    }

    /// Compares with what a restart found. Returns how many had to be there and were.
    pub(super) fn compare<'a>(
        &mut self,
        open: impl Iterator<Item = (&'a str, u16)>,
    ) -> Result<u64, String> {
        let mut known = std::mem::take(&mut self.0);
        let mut kept = 0;
        for (client, id) in open {
            match known.remove(&(client.to_owned(), id)) {
                Some(Known::Must) => kept += 1,
                Some(Known::May) => {}
                Some(Known::MustNot) => {
                    return Err(format!("id {id} of {client} was completed and is open"));
                }
                None => return Err(format!("id {id} of {client} was never used and is open")),
            }
            self.changes(client, id);
        }
        match known.iter().find(|(_, known)| **known == Known::Must) {
            Some(((client, id), _)) => Err(format!("id {id} of {client} is not open any more")),
            None => Ok(kept),
        }
    }
}
