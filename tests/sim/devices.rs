//! The devices: connections that publish numbered messages under keys of their own and check their answers.

use std::collections::BTreeMap;

use forebay_core::{Entropy, QoS, SeededEntropy};
use forebay_pipeline::{AckRing, Admission};

/// What a connection remembers of a publish until its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) key: String,
    pub(crate) number: u64,
    /// Position among the acknowledged publishes of the connection.
    pub(crate) order: u64,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: usize,
    pub(crate) ring: AckRing<Expected>,
    /// The next number of each key.
    next: BTreeMap<String, u64>,
    pub(crate) left: u64,
    pub(crate) parked: bool,
    opened: u64,
    pub(crate) answered: u64,
    /// The first thing that was wrong with an answer.
    pub(crate) problem: Option<String>,
}

/// A message to publish.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) slot: u32,
}

impl Connection {
    pub(crate) fn new(index: usize, workers: usize, entropy: &mut SeededEntropy) -> Self {
        let keys = 1 + entropy.below(4);
        Self {
            worker: index % workers,
            ring: AckRing::new(1 + entropy.below(32) as usize),
            next: (0..keys)
                .map(|key| (format!("sim/{index}-{key}"), 0))
                .collect(),
            left: 20 + entropy.below(80),
            parked: false,
            opened: 0,
            answered: 0,
            problem: None,
        }
    }

    /// What it published in the end, by key.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&str, u64)> {
        self.next.iter().map(|(key, count)| (key.as_str(), *count))
    }

    /// The next message, unless it must wait for answers or has none left.
    pub(crate) fn next(&mut self, entropy: &mut SeededEntropy) -> Option<Outgoing> {
        if self.left == 0 || self.parked || self.ring.len() >= self.ring.capacity() {
            return None;
        }
        self.left -= 1;
        // One key of each connection is hot.
        let place = match entropy.below(2) {
            0 => 0,
            _ => entropy.below(self.next.len() as u64) as usize,
        };
        let (key, next) = self.next.iter_mut().nth(place).unwrap();
        let number = *next;
        *next += 1;
        let key = key.clone();
        let padding = entropy.below(200) as usize;
        let payload = format!("{number} {}", "x".repeat(padding)).into_bytes();
        if entropy.below(10) == 0 {
            return Some(Outgoing {
                topic: key,
                payload,
                qos: QoS::AtMostOnce,
                slot: 0,
            });
        }
        let expected = Expected {
            key: key.clone(),
            number,
            order: self.opened,
        };
        self.opened += 1;
        let slot = self.ring.open(expected).unwrap();
        Some(Outgoing {
            topic: key,
            payload,
            qos: QoS::AtLeastOnce,
            slot,
        })
    }

    /// What the pipeline said about a publish.
    pub(crate) fn admitted(&mut self, qos: QoS, slot: u32, admission: Admission) {
        match admission {
            Admission::Parked => self.parked = true,
            _ if qos == QoS::AtMostOnce => {}
            Admission::Pending { records, .. } => self.ring.pending(slot, records),
            Admission::Done { .. } => self.wrong(format!("slot {slot} was not waited for")),
            Admission::Rejected => self.wrong(format!("slot {slot} was rejected")),
        }
    }

    /// Takes the answers that are ready; each must be for the oldest publish and for a stored record.
    pub(crate) fn take_answers(&mut self, copies: &BTreeMap<(String, u64), u64>) -> Vec<Expected> {
        let mut answers = Vec::new();
        while let Some((expected, failed)) = self.ring.pop_ready() {
            if failed {
                self.wrong(format!("{expected:?} failed"));
            }
            if expected.order != self.answered {
                self.wrong(format!(
                    "{expected:?} was answered as number {}",
                    self.answered
                ));
            }
            if !copies.contains_key(&(expected.key.clone(), expected.number)) {
                self.wrong(format!("{expected:?} was answered and is not stored"));
            }
            self.answered += 1;
            answers.push(expected);
        }
        answers
    }

    pub(crate) fn wrong(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}
