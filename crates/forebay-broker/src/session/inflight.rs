//! Messages with QoS 1 and 2 that the client has not acknowledged.

use std::collections::VecDeque;

/// What the client is to send next for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// PUBACK.
    Acknowledge,
    /// PUBREC.
    Receive,
    /// PUBCOMP.
    Complete,
}

/// Messages in flight to one client, oldest first. Their number is bounded by whoever adds them.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    /// Acknowledgements come in order nearly always, so a search from the front is short.
    messages: VecDeque<(u16, Stage)>,
    last_id: u16,
}

impl Inflight {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes an id that is not in flight.
    pub(crate) fn add(&mut self, stage: Stage) -> u16 {
        debug_assert!(self.messages.len() < usize::from(u16::MAX));
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.position(self.last_id).is_none() {
                break;
            }
        }
        self.messages.push_back((self.last_id, stage));
        self.last_id
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.messages.iter().position(|(found, _)| *found == id)
    }

    /// True when `id` is the oldest one that waits for `stage`.
    pub(crate) fn is_oldest(&self, id: u16, stage: Stage) -> bool {
        self.messages
            .iter()
            .find(|(_, found)| *found == stage)
            .is_none_or(|(oldest, _)| *oldest == id)
    }

    /// Ends the flight of `id` if it waits for `stage`. False when it does not.
    pub(crate) fn finish(&mut self, id: u16, stage: Stage) -> bool {
        match self.position(id) {
            Some(index) if self.messages[index].1 == stage => {
                self.messages.remove(index);
                true
            }
            _ => false,
        }
    }

    /// The client has the QoS 2 message `id`; it waits for PUBCOMP from now on. False when it did not wait for PUBREC
    /// or PUBCOMP.
    pub(crate) fn received(&mut self, id: u16) -> bool {
        match self.position(id) {
            Some(index) if self.messages[index].1 != Stage::Acknowledge => {
                self.messages[index].1 = Stage::Complete;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_zero_or_in_flight_and_stages_are_kept_apart() {
        let mut inflight = Inflight {
            last_id: u16::MAX - 1,
            ..Inflight::default()
        };
        let first = inflight.add(Stage::Acknowledge);
        let second = inflight.add(Stage::Receive);
        assert_eq!((first, second), (u16::MAX, 1));
        inflight.last_id = u16::MAX - 1;
        assert_eq!(inflight.add(Stage::Acknowledge), 2);
        assert!(
            inflight.is_oldest(first, Stage::Acknowledge)
                && !inflight.is_oldest(2, Stage::Acknowledge)
        );
        assert!(!inflight.finish(second, Stage::Acknowledge));
        assert!(!inflight.received(first));
        assert!(inflight.received(second));
        assert!(inflight.finish(second, Stage::Complete));
        assert!(inflight.finish(first, Stage::Acknowledge));
        assert!(!inflight.finish(first, Stage::Acknowledge));
        assert_eq!(inflight.len(), 1);
    }
}
