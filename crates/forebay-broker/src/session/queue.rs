//! The queue of messages for one session: bounded in messages and bytes, with every drop reported.

use std::collections::VecDeque;
use std::sync::Arc;

use forebay_core::QoS;

use crate::config::OnQueueFull;
use crate::publication::Publication;

/// A message that waits for its session.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) publication: Arc<Publication>,
    /// The QoS of this delivery.
    pub(crate) qos: QoS,
    /// The RETAIN flag of this delivery.
    pub(crate) retain: bool,
}

/// Bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) on_full: OnQueueFull,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits; so many others were dropped for it.
    Queued { dropped: usize },
    /// It was dropped, and so many others.
    Dropped { dropped: usize },
    /// There is no room and the session is to end.
    Overflow,
}

/// Messages for one session, oldest first.
#[derive(Debug, Default)]
pub(crate) struct SessionQueue {
    messages: VecDeque<Queued>,
    bytes: usize,
    qos0: usize,
}

impl SessionQueue {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message. Where there is no room the oldest messages of QoS 0 go first.
    pub(crate) fn push(&mut self, message: Queued, limits: QueueLimits) -> Pushed {
        let bytes = message.publication.bytes();
        let mut dropped = 0;
        if message.qos == QoS::AtMostOnce {
            // Half of the queue is kept for what was promised more than an attempt.
            while self.qos0 > 0 && self.qos0 >= limits.messages.div_ceil(2) {
                dropped += self.drop_oldest_qos0();
            }
        }
        while !self.has_room(bytes, limits) && self.qos0 > 0 {
            dropped += self.drop_oldest_qos0();
        }
        if !self.has_room(bytes, limits) {
            match limits.on_full {
                _ if message.qos == QoS::AtMostOnce => return Pushed::Dropped { dropped },
                OnQueueFull::DropNewest => return Pushed::Dropped { dropped },
                OnQueueFull::Disconnect => return Pushed::Overflow,
                OnQueueFull::DropOldest => {
                    while !self.has_room(bytes, limits) {
                        dropped += usize::from(self.pop().is_some());
                    }
                }
            }
        }
        self.bytes += bytes;
        self.qos0 += usize::from(message.qos == QoS::AtMostOnce);
        self.messages.push_back(message);
        Pushed::Queued { dropped }
    }

    /// An empty queue takes any message, or one as large as the bound could never be delivered.
    fn has_room(&self, bytes: usize, limits: QueueLimits) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < limits.messages && self.bytes + bytes <= limits.bytes)
    }

    fn drop_oldest_qos0(&mut self) -> usize {
        let oldest = self
            .messages
            .iter()
            .position(|message| message.qos == QoS::AtMostOnce);
        let Some(removed) = oldest.and_then(|index| self.messages.remove(index)) else {
            return 0;
        };
        self.bytes -= removed.publication.bytes();
        self.qos0 -= 1;
        1
    }

    /// The message that is next.
    pub(crate) fn front(&self) -> Option<&Queued> {
        self.messages.front()
    }

    /// Takes the next message. An emptied queue gives its memory back.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.publication.bytes();
        self.qos0 -= usize::from(message.qos == QoS::AtMostOnce);
        if self.messages.is_empty() && self.messages.capacity() > 64 {
            self.messages = VecDeque::new();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use forebay_core::Time;

    use super::*;

    fn message(name: &str, qos: QoS, payload: usize) -> Queued {
        let payload = Bytes::from(vec![0; payload]);
        Queued {
            publication: Arc::new(Publication::new(
                name,
                &payload,
                qos,
                false,
                None,
                Time::ZERO,
            )),
            qos,
            retain: false,
        }
    }

    fn limits(messages: usize, on_full: OnQueueFull) -> QueueLimits {
        QueueLimits {
            messages,
            bytes: 1 << 20,
            on_full,
        }
    }

    fn names(queue: &mut SessionQueue) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(message) = queue.pop() {
            names.push(message.publication.topic.to_string());
        }
        assert_eq!(queue.bytes(), 0);
        names
    }

    #[test]
    fn qos_0_gives_way_and_then_the_policy_decides() {
        use QoS::{AtLeastOnce, AtMostOnce};
        for (policy, last, kept) in [
            (
                OnQueueFull::DropNewest,
                Pushed::Dropped { dropped: 0 },
                ["b", "c", "d"],
            ),
            (
                OnQueueFull::DropOldest,
                Pushed::Queued { dropped: 1 },
                ["c", "d", "e"],
            ),
            (OnQueueFull::Disconnect, Pushed::Overflow, ["b", "c", "d"]),
        ] {
            let mut queue = SessionQueue::default();
            let limits = limits(3, policy);
            assert_eq!(
                queue.push(message("a", AtMostOnce, 1), limits),
                Pushed::Queued { dropped: 0 }
            );
            queue.push(message("b", AtLeastOnce, 1), limits);
            queue.push(message("c", AtLeastOnce, 1), limits);
            assert_eq!(
                queue.push(message("d", AtLeastOnce, 1), limits),
                Pushed::Queued { dropped: 1 }
            );
            assert_eq!(queue.push(message("e", AtLeastOnce, 1), limits), last);
            assert_eq!(names(&mut queue), kept);
        }
    }

    #[test]
    fn qos_0_uses_at_most_half_and_bytes_are_bounded() {
        let mut queue = SessionQueue::default();
        let limits = limits(4, OnQueueFull::DropNewest);
        for name in ["a", "b", "c"] {
            queue.push(message(name, QoS::AtMostOnce, 1), limits);
        }
        assert_eq!(names(&mut queue), ["b", "c"]);
        let limits = QueueLimits {
            bytes: 1000,
            ..limits
        };
        let large = queue.push(message("large", QoS::AtLeastOnce, 5000), limits);
        assert_eq!(large, Pushed::Queued { dropped: 0 });
        let next = queue.push(message("next", QoS::AtLeastOnce, 1), limits);
        assert_eq!(next, Pushed::Dropped { dropped: 0 });
        assert_eq!(names(&mut queue), ["large"]);
    }
}
